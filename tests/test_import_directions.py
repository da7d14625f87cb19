"""What may import what. A new kind of import is a decision: change the table here and the one in CONTRIBUTING.md."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import ssgan_bench

PACKAGE = Path(ssgan_bench.__file__).parent

INTERNAL = {
    "config": set(),
    "mistakes": {"config"},
    "seeding": set(),
    "objectives": set(),
    "networks": set(),
    "records": {"config"},
    "data": {"config", "seeding"},
    "methods": {"objectives", "networks", "config", "data.batches", "seeding"},
    "training": {"methods", "data", "seeding", "config"},
    "evaluation": {"data"},
    "reporting": {"records", "config"},
    "trials": {"training", "evaluation", "records", "data", "methods", "config", "mistakes", "seeding"},
    "engines": {"trials.task", "trials.checkpoint_place", "config"},
    "storage": {"config"},
    "ledger": {"storage", "records", "config"},
    "coordinator": {"engines.base", "trials", "records"},
    "search": {"coordinator", "engines.base", "ledger", "trials", "records", "seeding"},
    "following": {"command_line", "trials", "records", "config"},
    "running": {
        *("command_line", "coordinator", "search", "ledger", "storage", "engines"),
        *("reporting", "trials", "records", "data"),
    },
    "command_line": {"config"},
    "study": {"command_line", "running", "following", "trials", "reporting", "records", "data", "config"},
    "report": {"command_line", "reporting", "records", "config"},
    "evidence": {"command_line", "trials", "reporting", "records", "data", "config"},
}
"""By file or folder of the package: what else of the package it may import (itself it always may)."""
EXTERNAL = {
    "config": {"pydantic"},
    "mistakes": {"pydantic"},
    "seeding": {"torch", "numpy"},
    "objectives": {"torch"},
    "networks": {"torch"},
    "networks.layers": {"torch", "numpy"},  # for dropout's random bits
    "networks.tensorflow_weights": {"torch", "numpy"},
    "records": {"pydantic"},
    "records.locks": {"filelock"},
    "data": {"torch", "torchvision", "numpy", "sklearn", "PIL", "filelock", "platformdirs"},
    "methods": {"torch", "pydantic"},
    "methods.classical": {"torch", "numpy", "threadpoolctl"},
    "methods.conjugate_gradients": {"numpy", "scipy"},
    "methods.graph_method": {"pydantic", "numpy"},
    "methods.label_spreading": {"pydantic", "numpy", "scipy"},
    "methods.neighbor_graph": {"numpy", "scipy", "torch"},
    "methods.poisson_learning": {"pydantic", "numpy", "scipy"},
    "methods.logistic_regression": {"pydantic", "numpy", "sklearn"},
    "training": {"torch"},
    "evaluation": {"torch", "PIL"},
    "evaluation.training_signs": {"scipy"},
    "reporting": {"pandas", "seaborn", "matplotlib", "scipy", "numpy", "jinja2", "pydantic", "filelock"},
    "trials": {"torch", "numpy", "pydantic", "tqdm"},
    "engines": set(),
    "storage": {"optuna", "sqlalchemy"},
    "ledger": {"optuna"},
    "coordinator": set(),
    "search": {"optuna"},
    "following": set(),
    "running": set(),
    "command_line": set(),
    "study": {"torch"},
    "report": set(),
    "evidence": {"torch"},
}
"""Other people's packages, by file or folder; an entry for a single file replaces its folder's."""


def imported(source):
    """Full dotted names of everything that Python source imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = "." * node.level + (node.module or "")
            yield from (f"{origin}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))


def is_within(name, parents):
    return any(f"{name}.".startswith(f"{parent}.") for parent in parents)


def violations(module, source):
    """List what `module` (dotted, below the package) imports and may not."""
    layer = module.split(".")[0]
    internal = INTERNAL[layer] | {layer}
    external = EXTERNAL.get(module, EXTERNAL[layer])
    found = []
    for name in imported(source):
        root, _, inner = name.partition(".")
        if root == "ssgan_bench":
            is_constant = inner in vars(ssgan_bench) and inner not in INTERNAL  # e.g. PROTOCOL_VERSION
            allowed = is_constant or is_within(inner, internal)
        else:
            allowed = root in sys.stdlib_module_names or root in external
        if not allowed:
            found.append(f"{module} imports {name}")
    return found


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts != ("__init__",):
            yield ".".join(part for part in parts if part != "__init__"), path


def test_every_file_keeps_the_import_directions():
    found = [line for module, path in modules() for line in violations(module, path.read_text())]
    assert found == []


def test_every_file_belongs_to_a_known_layer():
    assert {module.split(".")[0] for module, _ in modules()} == INTERNAL.keys()


def test_the_package_itself_imports_nothing():
    assert list(imported((PACKAGE / "__init__.py").read_text())) == []


def test_the_directions_have_no_cycle():
    graph = {layer: {name.split(".")[0] for name in names} for layer, names in INTERNAL.items()}
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(INTERNAL)


def test_only_the_ledger_its_storage_and_the_search_import_optuna():
    importers = {
        module for module, path in modules() if any(is_within(name, ["optuna"]) for name in imported(path.read_text()))
    }
    assert importers == {"ledger", "storage", "search"}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("objectives.new", "import numpy as np"),
        ("objectives.new", "from ssgan_bench.networks import conv"),
        ("networks.conv", "from ssgan_bench.config import NetworkConfig"),
        ("networks.conv", "import numpy"),
        ("records.schema", "import torch.nn"),
        ("records.schema", "from ssgan_bench import trials"),
        ("data.batches", "from ssgan_bench.methods.base import Method"),
        ("methods.ssgan", "from ssgan_bench.data.datasets import load"),
        ("methods.ssgan", "from ssgan_bench.data import datasets"),
        ("methods.ssgan", "import ssgan_bench.training.loop"),
        ("training.loop", "from ssgan_bench.evaluation.classification import predict"),
        ("training.loop", "def f():\n    from ssgan_bench.records import store"),
        ("training.loop", "from ..records import store"),
        ("evaluation.samples", "from ssgan_bench.trials import plan"),
        ("reporting.frames", "if TYPE_CHECKING:\n    import torch"),
        ("reporting.frames", "from optuna.storages import RDBStorage"),
        ("reporting.frames", "import importlib\nimportlib.import_module('torch')"),
        ("trials.run", "import optuna"),
        ("coordinator", "import optuna"),
        ("coordinator", "from ssgan_bench.engines.local import LocalEngine"),
        ("engines.local", "from ssgan_bench.records.store import RecordStore"),
        ("engines.new", "from ssgan_bench.trials.run import CellRunner"),
        ("search", "import sqlalchemy"),
        ("trials.run", "from ssgan_bench.reporting import write_report"),
        ("trials.run", "from ssgan_bench.networks import conv"),
        ("study", "from ssgan_bench.training.loop import train"),
        ("report", "import torch"),
        ("evidence", "from ssgan_bench.training.loop import train"),
        ("config", "from ssgan_bench.seeding import generator"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("objectives.new", "import math\nfrom torch.nn import functional as F"),
        ("networks.conv", "from ssgan_bench.networks import layers"),
        ("networks.tensorflow_weights", "import numpy as np"),
        ("methods.new", "from ssgan_bench.data.batches import RealBatch"),
        ("ledger", "import optuna"),
        ("search", "from optuna.samplers import TPESampler"),
        ("trials.run", "from ssgan_bench import PROTOCOL_VERSION"),
        ("report", "import ssgan_bench.reporting"),
    ],
)
def test_an_allowed_import_is_not_found(module, source):
    assert violations(module, source) == []


def test_reading_records_and_writing_a_report_loads_neither_torch_nor_optuna():
    code = "import sys, ssgan_bench.report, ssgan_bench.reporting; print(*sorted(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(result.stdout.split())
    assert "ssgan_bench.reporting.figures" in loaded
    assert not loaded & {"torch", "optuna", "torchvision", "ssgan_bench.trials", "ssgan_bench.methods"}
