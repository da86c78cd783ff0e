"""Where the trials of a search are written down: Optuna's journal in the sweep's directory, or a database.

Several machines that are given one database share one search: each takes trials from it until all are done.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

from hypermnesia.errors import HypermnesiaError
from hypermnesia.sweep.connect import ANSWER, Unreachable, reach, within

JOURNAL = "study.journal"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def import_optuna() -> ModuleType:
    """Optuna, which is an extra, told to keep quiet."""
    try:
        import optuna
    except ImportError as error:
        raise HypermnesiaError("a search needs Optuna: pip install 'hypermnesia[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def open_storage(url: str | None, directory: Path) -> Any:
    """The storage at `url` (postgresql://, mysql:// or sqlite:///), else the journal in `directory`.

    Raises `HypermnesiaError` for what is no such address, has no driver installed, or does not answer in 10 seconds.
    """
    optuna = import_optuna()
    if url is not None:
        return _database(optuna, url)
    journal = directory / JOURNAL
    _mend(journal)
    return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))


def _mend(journal: Path) -> None:
    """Cut off a last line that its writer did not finish before it was killed: nothing depends on it yet."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with open(journal, "r+b") as file:
            file.truncate(whole)


def _database(optuna: ModuleType, url: str) -> Any:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise HypermnesiaError(
            "--storage: no database URL; expected such as postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error
    shown = parsed.render_as_string(hide_password=True)
    kind = parsed.drivername.partition("+")[0]
    if kind in _PORTS:
        reach(parsed.host or "localhost", parsed.port or _PORTS[kind], f"the database {shown}")
    timeout = {} if kind not in _PORTS else {"connect_args": {"connect_timeout": int(ANSWER)}}
    try:
        return within(
            lambda: optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **timeout}),
            f"the database {shown}",
        )
    except (ImportError, NoSuchModuleError) as error:
        raise HypermnesiaError(
            f"--storage {shown}: its driver is missing ({error}); "
            "install psycopg2-binary for PostgreSQL, pymysql (mysql+pymysql://) for MySQL"
        ) from error
    except SQLAlchemyError as error:
        raise Unreachable(f"--storage {shown}: {str(error.__cause__ or error).splitlines()[0]}") from error
