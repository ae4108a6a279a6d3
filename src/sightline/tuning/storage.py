"""Where a study is kept: an SQLite file for one machine, or PostgreSQL for several."""

from __future__ import annotations

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sightline.errors import ConfigError, MissingExtraError, RunError
from sightline.runs.files import locked, refusal

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

HEARTBEAT_SECONDS = 10
GRACE_SECONDS = 90
"""A trial whose worker was silent for so long counts as one whose worker was killed."""
_BUSY_SECONDS = 120.0
_LOCK = 0x51_67_68_74
"""Any number that other users of a database are unlikely to lock."""


def storage_url(storage: str | None, folder: Path) -> str:
    """The address SQLAlchemy takes for what a user wrote; None means study.db in the folder.

    Raises ConfigError for a database of another kind, and MissingExtraError without the driver.
    """
    if storage is None or "://" not in storage:
        file = folder / "study.db" if storage is None else Path(storage).expanduser().absolute()
        return f"sqlite:///{file}"
    kind, _, rest = storage.partition("://")
    if kind == "sqlite":
        return storage
    if kind not in ("postgresql", "postgres", "postgresql+pg8000"):
        raise ConfigError(
            f"A study cannot be kept in {kind}.",
            expected="an SQLite file, or postgresql://USER:PASSWORD@HOST/DATABASE",
            where="storage",
        )
    if importlib.util.find_spec("pg8000") is None:
        raise MissingExtraError("pg8000", "postgres", "A study in PostgreSQL")
    return f"postgresql+pg8000://{rest}"


def shown(url: str) -> str:
    """The address without its password, for people and for files."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return url.replace(f":{parts.password}@", ":***@", 1)


def is_sqlite(url: str) -> bool:
    """Whether the study lies in a file, which only processes of one machine may share."""
    return url.startswith("sqlite:")


def open_storage(url: str, *, create: bool) -> RDBStorage:
    """The storage at an address; with `create` its tables, and an SQLite file's folder, are made.

    Raises RunError when the database cannot be reached or is none.
    """
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    options: dict[str, Any] = {"pool_pre_ping": True}
    if is_sqlite(url):
        options = {"connect_args": {"timeout": _BUSY_SECONDS}}
        if create:
            _make_folder(_file(url).parent)
    try:
        with exclusive(url), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # optuna calls heartbeats experimental
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                skip_table_creation=not create,
            )
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, RuntimeError) as error:
        raise RunError(
            "The study's database cannot be used.",
            expected="an SQLite file of Optuna's, or a PostgreSQL server that lets you in",
            got=str(error).splitlines()[0][:200],
            where=shown(url),
            remedy="check address, user and password, or choose another with --storage",
        ) from error


@contextlib.contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Let one process at a time run the block, of all that use the same database.

    For SQLite it is a lock on the file's folder: its own transactions do not keep a second process
    from reading a state that the first is about to change.
    """
    if is_sqlite(url):
        with locked(_file(url).parent):
            yield
        return
    import sqlalchemy

    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    try:
        with engine.begin() as connection:
            # Given back when the transaction ends, also by a process that was killed.
            connection.execute(sqlalchemy.text(f"select pg_advisory_xact_lock({_LOCK})"))
            yield
    finally:
        engine.dispose()


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).absolute()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, folder, setting="--storage") from error
