"""Worker processes: real ones, which serve a line of text instead of S3."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxy.config import Config, KeysSettings, Listen, StartError, StateSettings, UpstreamSettings
from proxy.kms.errors import WrongRootKey
from proxy.processes import StopSignal
from proxy.workers import Run, Workers, listen


def serve_name(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    """Answers each connection with this worker's name and process, slowly if asked to, until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    listener.settimeout(0.02)
    ready()
    while not stopping.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(None)
            if connection.recv(10) == b"slow":
                connection.sendall(b"begun ")
                time.sleep(1)
            connection.sendall(f"{name} {os.getpid()}".encode())


def never_end(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready()
    time.sleep(600)


def end_slowly(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    ready()
    while not stopping.wait(0.02):
        pass
    time.sleep(0.5)
    config.state.database.touch()


def refuse(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    raise WrongRootKey("this root key is another one's")


def stumble(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    raise LookupError("unforeseen")


def vanish(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    os._exit(7)


def start_only_once(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    marker = config.state.database
    if marker.exists():
        raise StartError("the disk is full")
    marker.touch()
    ready()
    sys.exit(3)


@pytest.fixture(autouse=True)
def no_signal_ends_the_tests() -> Iterator[None]:
    """One that comes after the supervision has ended too early must fail the test, not end the process that runs it."""
    former = signal.signal(signal.SIGTERM, lambda *_: None)
    yield
    signal.signal(signal.SIGTERM, former)


def config_of(folder: Path, workers: int, drain_seconds: float = 5.0) -> Config:
    return Config(
        listen=Listen(workers=workers, drain_seconds=drain_seconds),
        upstream=UpstreamSettings("http://127.0.0.1:1", "access", "secret"),
        keys=KeysSettings(folder / "keys.db", root_key=bytes(32)),
        state=StateSettings(folder / "state.db"),
        users=(),
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Running:
    """Workers that are supervised in this thread while ``meanwhile`` runs in another one, which ends with SIGTERM."""

    def __init__(self, folder: Path, count: int, run: Run, drain_seconds: float = 5.0) -> None:
        self.port = free_port()
        self.workers = Workers(config_of(folder, count, drain_seconds), listen("127.0.0.1", self.port, count), run)

    def supervise(self, meanwhile: Callable[[], None]) -> None:
        failures: list[Exception] = []

        def play() -> None:
            try:
                meanwhile()
            except Exception as error:  # noqa: BLE001 - it is raised again in the other thread
                failures.append(error)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)

        with StopSignal() as stop:
            thread = threading.Thread(target=play)
            try:
                assert self.workers.start(stop)
                thread.start()
                self.workers.supervise(stop)
            finally:
                self.workers.stop(stop)
                if thread.ident:
                    thread.join()
        if failures:
            raise failures[0]

    def supervise_to_the_end(self, check: Callable[[], None] = lambda: None) -> None:
        """Without anything that stops it."""
        with StopSignal() as stop:
            try:
                assert self.workers.start(stop)
                self.workers.supervise(stop, check)
            finally:
                self.workers.stop(stop)

    def ask(self, text: bytes = b"quick") -> tuple[str, int]:
        """The name and the process id of the worker that answered."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(text)
            return self.answer(connection)

    @staticmethod
    def answer(connection: socket.socket) -> tuple[str, int]:
        answer = b""
        while piece := connection.recv(100):
            answer += piece
        name, pid = answer.decode().split()[-2:]
        return name, int(pid)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in listed]
    assert not [line for line in lines if b"spawn_main" in line]


def test_connections_are_spread_over_all_workers(tmp_path: Path) -> None:
    running = Running(tmp_path, 2, serve_name)
    answered = []
    running.supervise(lambda: answered.extend(running.ask()[0] for _ in range(60)))
    assert set(answered) == {"worker-1", "worker-2"}
    assert min(answered.count(name) for name in set(answered)) >= 10


def test_a_worker_that_is_killed_is_replaced_and_no_connection_is_lost(tmp_path: Path) -> None:
    running = Running(tmp_path, 2, serve_name)

    def meanwhile() -> None:
        before = dict(running.ask() for _ in range(40))
        os.kill(before["worker-1"], signal.SIGKILL)
        after = dict(running.ask() for _ in range(40))
        assert after["worker-1"] != before["worker-1"]
        assert after["worker-2"] == before["worker-2"]

    running.supervise(meanwhile)


def test_a_request_under_way_ends_before_its_worker_does(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, serve_name)
    connections: list[socket.socket] = []

    def meanwhile() -> None:
        connections.append(socket.create_connection(("127.0.0.1", running.port), timeout=10))
        connections[0].sendall(b"slow")
        assert connections[0].recv(6) == b"begun "

    running.supervise(meanwhile)
    with connections[0] as connection:
        assert running.answer(connection)[0] == "worker-1"
    with pytest.raises(ConnectionRefusedError):
        running.ask()


def test_a_worker_that_does_not_end_is_killed_at_a_second_signal(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, never_end, drain_seconds=60)
    second = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    started = time.monotonic()
    running.supervise(second.start)
    second.join()
    assert 0.9 < time.monotonic() - started < 15


def test_a_signal_that_nothing_has_waited_for_is_no_further_one(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, end_slowly)
    with StopSignal() as stop:
        assert running.workers.start(stop)
        os.kill(os.getpid(), signal.SIGTERM)
        running.workers.supervise(stop)
        running.workers.stop(stop)
    assert running.workers._config.state.database.exists()


def test_a_wish_to_reload_is_no_further_stop_signal(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, end_slowly)
    with StopSignal(with_reload=True) as stop:
        assert running.workers.start(stop)
        asking = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP))
        asking.start()
        running.workers.stop(stop)
        asking.join()
        assert stop.take_reload()
    assert running.workers._config.state.database.exists()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (refuse, "this root key is another one's"),
        (stumble, "worker-1 failed: LookupError: unforeseen"),
        (vanish, "worker-1 ended with exit code 7 before it was ready"),
    ],
)
def test_what_keeps_a_worker_from_starting_is_told(tmp_path: Path, run: Run, message: str) -> None:
    running = Running(tmp_path, 1, run)
    with pytest.raises(StartError) as caught:
        running.supervise(lambda: None)
    assert str(caught.value) == message


def test_it_gives_up_when_a_replacement_cannot_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running = Running(tmp_path, 1, start_only_once)
    with pytest.raises(StartError) as caught:
        running.supervise_to_the_end()
    assert str(caught.value) == "worker-1 could not be replaced after 4 attempts: the disk is full"
    assert caplog.messages[0].startswith("worker-1: ended with exit code 3; it is replaced in ")


def test_a_check_that_fails_ends_the_supervision(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, serve_name)

    def check() -> None:
        raise StartError("the store is gone")

    with pytest.raises(StartError, match="the store is gone"):
        running.supervise_to_the_end(check)


def test_a_stop_signal_while_they_start_is_heeded(tmp_path: Path) -> None:
    running = Running(tmp_path, 1, serve_name)
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert not running.workers.start(stop)
        running.workers.stop()
    assert stop.received == [signal.SIGINT]


@pytest.mark.parametrize("count", [1, 3])
def test_a_port_is_ours_alone(count: int) -> None:
    port = free_port()
    listeners = listen("127.0.0.1", port, count)
    try:
        with pytest.raises(StartError, match=f"port {port} on 127.0.0.1 is taken"):
            listen("127.0.0.1", port, 2)
    finally:
        for listener in listeners:
            listener.close()
    for listener in listen("127.0.0.1", port, count):
        listener.close()


def test_a_port_that_a_dying_program_leaves_soon_is_waited_for() -> None:
    with socket.socket() as dying:
        dying.bind(("127.0.0.1", 0))
        dying.listen()
        threading.Timer(0.2, dying.close).start()
        for listener in listen("127.0.0.1", dying.getsockname()[1], 1):
            listener.close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1 port 9: Cannot assign requested address"):
        listen("192.0.2.1", 9, 1)
