"""Where the trials of a search are written down: Optuna's journal in the sweep's directory, or a database.

Several machines that are given one database share one search: each takes trials from it until all are done.
"""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.reach import ANSWER, Unreachable, reach, within

JOURNAL = "study.journal"
_ANEW = "restore the file, or search anew with another --out"
_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}


def import_optuna() -> ModuleType:
    """Optuna, which is an extra, told to keep quiet."""
    try:
        import optuna
    except ImportError as error:
        raise HypermnesiaError("a search needs Optuna: pip install 'hypermnesia[sweep]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def check_storage(url: str) -> None:
    """Raise `HypermnesiaError`, within 10 seconds, for what is no address of a database and for one that does not
    answer."""
    parsed = _parsed(url)
    database = parsed.database or ":memory:"
    if _kind(parsed) == "sqlite" and (":memory:" in database or parsed.query.get("mode") == "memory"):
        raise HypermnesiaError(
            f"--storage {url}: a database in memory ends with the process, and the search with it; "
            "name a file: sqlite:///trials.db"
        )
    port = _PORTS.get(_kind(parsed))
    if port is not None:
        reach(parsed.host or "localhost", parsed.port or port, f"the database {_shown(parsed)}")


def open_storage(url: str | None, directory: Path) -> Any:
    """The storage at `url` (postgresql://, mysql:// or sqlite:///), else the journal in `directory`.

    Raises `HypermnesiaError` for a database that has no driver installed, or cannot be opened.
    """
    optuna = import_optuna()
    if url is not None:
        return _database(optuna, url)
    return _journal(optuna, directory / JOURNAL)


def storage_fault(error: BaseException) -> str | None:
    """What is wrong with the database, if that is what `error` comes from."""
    optuna = import_optuna()
    from sqlalchemy.exc import SQLAlchemyError

    if not isinstance(error, (optuna.exceptions.StorageInternalError, SQLAlchemyError)):
        return None
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return _first_line(cause)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _journal(optuna: ModuleType, path: Path) -> Any:
    """The journal at `path`, in a directory that this process has to itself."""
    try:
        _mend(path)
        for lock in path.parent.glob(f"{path.name}.lock*"):
            lock.unlink()  # of a process that was killed
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(path)))
    except HypermnesiaError:
        raise
    except OSError as error:
        raise HypermnesiaError(f"{error.filename or path}: {error.strerror or error}") from error
    except Exception as error:  # whatever becomes of records that contradict each other
        raise HypermnesiaError(
            f"{path} is no journal that Optuna can follow ({type(error).__name__}: {error}); {_ANEW}"
        ) from error


def _mend(journal: Path) -> None:
    """Cut off a last line that its writer did not finish before it was killed: nothing depends on it yet. Raises
    `HypermnesiaError` for other lines that are no records."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].split(b"\n")[:-1], 1):
        try:
            known = isinstance(json.loads(line)["op_code"], int)
        except (ValueError, TypeError, KeyError, RecursionError):
            known = False
        if not known:
            raise HypermnesiaError(f"{journal}: line {number} is no record of Optuna's; {_ANEW}")
    if whole < len(content):
        with open(journal, "r+b") as file:
            file.truncate(whole)


def _database(optuna: ModuleType, url: str) -> Any:
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

    parsed = _parsed(url)
    timeout = {"connect_args": {"connect_timeout": int(ANSWER)}} if _kind(parsed) in _PORTS else {}
    try:
        return within(
            lambda: optuna.storages.RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **timeout}),
            f"the database {_shown(parsed)}",
        )
    except (ImportError, NoSuchModuleError) as error:
        raise HypermnesiaError(
            f"--storage {_shown(parsed)}: its driver is missing ({error}); "
            "install psycopg2-binary for PostgreSQL, pymysql (mysql+pymysql://) for MySQL"
        ) from error
    except (SQLAlchemyError, RuntimeError) as error:  # the latter of Optuna, for tables of another version
        raise Unreachable(f"--storage {_shown(parsed)}: {_first_line(error.__cause__ or error)}") from error


def _parsed(url: str) -> Any:
    import_optuna()  # which brings SQLAlchemy along
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url)
    except ArgumentError as error:
        raise HypermnesiaError(
            "--storage: no database URL; expected such as postgresql://USER:PASSWORD@HOST/DATABASE"
        ) from error


def _kind(parsed: Any) -> str:
    return parsed.drivername.partition("+")[0]


def _shown(parsed: Any) -> str:
    return parsed.render_as_string(hide_password=True)
