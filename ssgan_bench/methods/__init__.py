"""Every module of this package that defines a `Method` makes it available under its configuration's name."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
