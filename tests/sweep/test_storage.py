import socket
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


def test_a_service_that_says_nothing_or_something_else_is_told(silent, monkeypatch):
    monkeypatch.setattr(connect, "CONNECT", 0.1)
    with pytest.raises(
        Unreachable, match=rf"the thing at 127.0.0.1:{silent} does not answer within 0.1 seconds"
    ):
        reach("127.0.0.1", silent, "the thing", grpc=True)
    reach("127.0.0.1", silent, "the thing")
    with socket.create_server(("127.0.0.1", 0)) as server:
        for greeting, fine in ((b"SSH-2.0-server\r\n", False), (b"\0\0\0\4\0\0\0\0\0", True), (b"", False)):
            answering = threading.Thread(target=_greet, args=(server, greeting))
            answering.start()
            port = server.getsockname()[1]
            if fine:
                reach("127.0.0.1", port, "the thing", grpc=True)
            else:
                with pytest.raises(Unreachable, match="something else listens there"):
                    reach("127.0.0.1", port, "the thing", grpc=True)
            answering.join()


def _greet(server: socket.socket, greeting: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(greeting)


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


def test_a_database_that_cannot_be_opened_is_told(tmp_path):
    with pytest.raises(Unreachable, match="--storage sqlite:////nowhere.*: .*unable to open database file"):
        storage.open_storage("sqlite:////nowhere/at/all.db", tmp_path)


def test_the_journal_survives_a_cut_in_the_middle_of_a_line(tmp_path):
    study = optuna.create_study(storage=storage.open_storage(None, tmp_path), study_name="s")
    study.tell(study.ask(), 1.0)
    study.ask()
    journal = tmp_path / storage.JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"work')
    again = optuna.load_study(study_name="s", storage=storage.open_storage(None, tmp_path))
    assert [t.state.name for t in again.trials] == ["COMPLETE", "RUNNING"]
    assert journal.read_bytes() == whole
