import socket
import sqlite3
import threading
import time

import optuna
import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep import storage
from hypermnesia.sweep.engines import reach as connect
from hypermnesia.sweep.engines.reach import Unreachable, reach, within


@pytest.fixture
def silent():
    """A port where connections are accepted and nobody answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def closed():
    """A port where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def test_the_limits_make_ten_seconds():
    assert connect.CONNECT + connect.ANSWER < 10


def test_a_closed_port_is_told_at_once(closed):
    with pytest.raises(Unreachable, match=rf"the thing at 127.0.0.1:{closed} cannot be reached: .*refused"):
        reach("127.0.0.1", closed, "the thing")


def test_a_service_that_listens_is_enough(silent):
    reach("127.0.0.1", silent, "the thing")


def test_an_unknown_host_is_told(monkeypatch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    with pytest.raises(
        Unreachable, match="the thing at nowhere:1 cannot be reached: Name or service not known"
    ):
        reach("nowhere", 1, "the thing")


def test_what_hangs_is_left_behind():
    done = threading.Event()
    started = time.monotonic()
    with pytest.raises(Unreachable, match="the thing does not answer within 0.1 seconds"):
        within(lambda: done.wait(60), "the thing", 0.1)
    assert time.monotonic() - started < 30
    done.set()
    assert within(lambda: 5, "the thing") == 5
    with pytest.raises(ZeroDivisionError):
        within(lambda: 1 // 0, "the thing")


def test_an_unreachable_database_is_told_without_its_password(closed):
    url = f"postgresql://me:secret@127.0.0.1:{closed}/trials"
    with pytest.raises(Unreachable) as error:
        storage.check_storage(url)
    shown = f"postgresql://me:***@127.0.0.1:{closed}/trials"
    assert f"the database {shown} at 127.0.0.1:{closed} cannot be reached" in str(error.value)
    assert "secret" not in str(error.value)


def test_a_database_that_accepts_and_says_nothing_is_told(silent, tmp_path, monkeypatch):
    def hang(*args, **kwargs):
        threading.Event().wait(60)

    monkeypatch.setattr(optuna.storages, "RDBStorage", hang)
    monkeypatch.setattr(storage, "within", lambda call, what: within(call, what, 0.1))
    with pytest.raises(Unreachable, match="the database mysql://127.0.0.1:.*/t does not answer within 0.1"):
        storage.open_storage(f"mysql://127.0.0.1:{silent}/t", tmp_path)


def test_a_missing_driver_is_named(silent, tmp_path, monkeypatch):
    def missing(*args, **kwargs):
        raise ImportError("No module named 'psycopg2'")

    monkeypatch.setattr(optuna.storages, "RDBStorage", missing)
    with pytest.raises(
        HypermnesiaError, match="its driver is missing .*psycopg2.*; install psycopg2-binary for"
    ):
        storage.open_storage(f"postgresql://127.0.0.1:{silent}/t", tmp_path)
    monkeypatch.undo()
    with pytest.raises(HypermnesiaError, match="its driver is missing"):
        storage.open_storage("oracledb2://127.0.0.1/t", tmp_path)


@pytest.mark.parametrize("url", ["", "trials.db", "postgresql"])
def test_what_is_no_address_is_told(url):
    with pytest.raises(
        HypermnesiaError, match="--storage: no database URL; expected such as postgresql://USER"
    ):
        storage.check_storage(url)


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"]
)
def test_a_database_in_memory_is_refused(url):
    with pytest.raises(
        HypermnesiaError, match="a database in memory ends with the process.*sqlite:///trials"
    ):
        storage.check_storage(url)


def test_a_database_that_cannot_be_opened_is_told(tmp_path):
    (tmp_path / "text.db").write_text("no database at all, and long enough to be taken for one" * 9)
    optuna.create_study(storage=f"sqlite:///{tmp_path}/old.db")
    with sqlite3.connect(tmp_path / "old.db") as connection:
        connection.execute("update alembic_version set version_num = 'v1.3.0.a'")
    connection.close()
    for url, said in (
        ("sqlite:////nowhere/at/all.db", ".*unable to open database file"),
        (f"sqlite:///{tmp_path}/text.db", ".*file is not a database"),
        (f"sqlite:///{tmp_path}/old.db", "The runtime optuna version .* is no longer compatible"),
        ("sqlite://trials.db", "Invalid SQLite URL"),
    ):
        with pytest.raises(Unreachable, match=f"--storage sqlite:.*: {said}"):
            storage.open_storage(url, tmp_path)


# ------------------------------------------------------------------------------------------------------ the journal


@pytest.fixture
def journal(tmp_path):
    """A journal with a finished trial and one that runs."""
    study = optuna.create_study(storage=storage.open_storage(None, tmp_path), study_name="s")
    study.tell(study.ask(), 1.0)
    study.ask()
    return tmp_path / storage.JOURNAL


def test_the_journal_survives_a_cut_in_the_middle_of_a_line(journal):
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"work')
    again = optuna.load_study(study_name="s", storage=storage.open_storage(None, journal.parent))
    assert [t.state.name for t in again.trials] == ["COMPLETE", "RUNNING"]
    assert journal.read_bytes() == whole


@pytest.mark.parametrize("bad", [b"\0\0\0", b"{", b"5", b"{}", b"\xff", b'{"op_code": "x"}', b"[" * 100000])
def test_a_bad_line_of_the_journal_is_named(journal, bad):
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([lines[0], bad + b"\n", *lines[1:]]))
    with pytest.raises(
        HypermnesiaError, match=r"study.journal: line 2 is no record of Optuna's; restore the file"
    ):
        storage.open_storage(None, journal.parent)


def test_records_that_lack_something_are_told(journal):
    with open(journal, "ab") as file:
        file.write(b'{"op_code": 0, "worker_id": "x"}\n')
    said = r"study.journal is no journal that Optuna can follow .KeyError: 'study_name'.; restore the file"
    with pytest.raises(HypermnesiaError, match=said):
        storage.open_storage(None, journal.parent)


def test_a_lock_that_a_killed_process_has_left_holds_up_nobody(journal):
    lock = journal.with_name(f"{journal.name}.lock")
    lock.symlink_to(journal)
    started = time.monotonic()
    study = optuna.load_study(study_name="s", storage=storage.open_storage(None, journal.parent))
    study.tell(study.ask(), 2.0)
    assert time.monotonic() - started < 5 and not lock.is_symlink()


def test_a_lock_that_is_none_is_told(journal):
    journal.with_name(f"{journal.name}.lock").mkdir()
    with pytest.raises(HypermnesiaError, match="study.journal.lock: "):
        storage.open_storage(None, journal.parent)
