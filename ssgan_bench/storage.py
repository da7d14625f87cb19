"""Optuna's storage: the URL of a database, opened or refused in one line that never names a password."""

import warnings
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ssgan_bench.config import ConfigError

UNUSABLE = (StorageInternalError, SQLAlchemyError, RuntimeError, ImportError, KeyError, ValueError)
"""What Optuna and SQLAlchemy raise when a storage is opened that cannot be used."""


def sqlite_url(path: Path) -> str:
    """Write the URL of a SQLite file, whatever characters its path has."""
    return sqlalchemy.URL.create("sqlite", database=str(path.resolve())).render_as_string()


def checked_url(url: str) -> sqlalchemy.URL:
    """Parse a URL without ever repeating its password.

    Raises:
        ConfigError: it is not the URL of a database that outlives this process.
    """
    try:
        parsed = sqlalchemy.engine.make_url(url)
    except (SQLAlchemyError, ValueError):
        kind = url.partition("://")[0][:20]
        raise ConfigError(
            f"--storage {kind}...: not a database URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError(f"--storage {url}: a database in memory cannot be shared by processes; write sqlite:///FILE")
    return parsed


def shown(url: sqlalchemy.URL) -> str:
    """The URL without its password."""
    return url.render_as_string(hide_password=True)


def refusal(url: sqlalchemy.URL, error: Exception) -> Exception:
    """What to raise of a storage that cannot be opened: OSError if the machine is to blame, else ConfigError."""
    cause = _cause(error)
    line = f"--storage {shown(url)}: "
    if isinstance(cause, OperationalError) and ("disk" in str(cause.orig) or "readonly" in str(cause.orig)):
        return OSError(line + first_line(error))
    return ConfigError(
        f"{line}cannot be used as Optuna storage ({first_line(error)}); check it, or move a damaged file away "
        "and run the same command: finished runs are kept in records/"
    )


def open_storage(url: str) -> RDBStorage:
    """Open a database, and make Optuna's tables where they are missing."""
    sqlite = url.startswith("sqlite")
    # SQLite: a connection that is kept would write on into a file that was deleted. Else: a kept one may have died.
    options: dict[str, Any] = (
        {"connect_args": {"timeout": 60}, "poolclass": NullPool} if sqlite else {"pool_pre_ping": True}
    )
    engine = sqlalchemy.create_engine(url, **options)
    try:  # Optuna would leave the connection to a damaged file open
        with engine.connect() as connection:
            if sqlite:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # the dashboard reads while we write
            sqlalchemy.inspect(connection).get_table_names()
    finally:
        engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Optuna takes the URL for a format string.
        return RDBStorage(url.replace("{", "{{").replace("}", "}}"), engine_kwargs=options)


def _cause(error: BaseException) -> BaseException:
    """What Optuna's errors are about: the database's own error, where there is one."""
    while isinstance(error, StorageInternalError | ImportError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """What the database itself said, in one line."""
    error = _cause(error)
    text = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    hint = "; pip install 'ssgan-bench[pg]' brings postgresql+psycopg" if isinstance(error, ImportError) else ""
    return text.splitlines()[0] + hint
