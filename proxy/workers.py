"""Worker processes: several on one port, replaced when they crash, drained on SIGTERM.

Each worker has a listening socket of its own on the common port (SO_REUSEPORT), so the kernel spreads connections
evenly; a socket shared by all would give a burst of connections to whichever process wakes first. The supervisor
keeps every socket open too: what waits in a dead worker's queue is not lost but served by its replacement. Where the
kernel does not balance SO_REUSEPORT, all workers share one socket.
"""

import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from proxy.config import Config, StartError
from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.processes import StopSignal, interrupts_held_back, watch_supervisor

logger = logging.getLogger(__name__)

Run = Callable[[Config, socket.socket, str, Callable[[], None]], None]

_BACKLOG = 4096
_ATTEMPTS_TO_START = 4
_QUICK_END_SECONDS = 1.0
_LONGEST_PAUSE = 5.0
_KILL_AFTER_DRAIN_SECONDS = 5.0


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """Listening sockets on one address, one for each of ``count`` workers.

    Raises:
        StartError: the port is taken, or the address is not this machine's.
    """
    family, address = _resolve(host, port)
    first = _bind_exclusively(family, address)
    sockets = [first]
    try:
        if count > 1 and sys.platform.startswith("linux"):
            # Set after the bind, which has thus failed if anybody, even with SO_REUSEPORT, was on the port.
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            while len(sockets) < count:
                sockets.append(_socket(family))
                sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sockets[-1].bind(address)
        for each in sockets:
            each.listen(_BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        raise _cannot_listen(address, error) from error
    return sockets if len(sockets) == count else sockets * count


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror}") from error
    # "localhost" often resolves to both families; clients that are told 127.0.0.1 want this one.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, (str(address[0]), port)


def _socket(family: socket.AddressFamily) -> socket.socket:
    created = socket.socket(family, socket.SOCK_STREAM)
    created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        created.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    return created


def _bind_exclusively(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    """Tries for half a second: workers whose supervisor was killed go with it, but not in the same instant."""
    deadline = time.monotonic() + 0.5
    while True:
        created = _socket(family)
        try:
            created.bind(address)
            # Two sockets may be bound to an address as long as neither listens.
            created.listen(_BACKLOG)
        except OSError as error:
            created.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise _cannot_listen(address, error) from error
            time.sleep(0.05)
        else:
            return created


def _cannot_listen(address: tuple[str, int], error: OSError) -> StartError:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return StartError(f"port {port} on {host} is taken by another program; choose another with --port")
    return StartError(f"cannot listen on {host} port {port}: {error.strerror}")


@dataclass
class _Worker:
    """One place in the row of workers, and the process that fills it now."""

    name: str
    listener: socket.socket
    process: SpawnProcess | None = None
    config: Config | None = None
    """What the process was started with."""
    status: Connection | None = None
    ready: bool = False
    failure: str = ""
    """Why the process could not start, in its own words."""
    started: float = 0.0
    failed_starts: int = 0
    quick_ends: int = 0
    restart_at: float | None = None


def serve_endpoint(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    """``app.run_worker``, which only the workers load: what it imports takes half a second and 25 MB."""
    from proxy.app import run_worker  # noqa: PLC0415

    run_worker(config, listener, name, ready)


class Workers:
    """The worker processes of one endpoint. ``listeners`` has one socket for each; they are closed by ``stop``.

    ``run`` is the work of one: a function of a module, with the signature and promises of ``app.run_worker``.
    """

    def __init__(self, config: Config, listeners: Sequence[socket.socket], run: Run = serve_endpoint) -> None:
        self._config = config
        self._run = run
        self._context = multiprocessing.get_context("spawn")
        self._workers = [_Worker(f"worker-{number}", listener) for number, listener in enumerate(listeners, 1)]

    def start(self, stop: StopSignal) -> bool:
        """Starts all and waits until all are ready; False if a stop signal came first.

        Raises:
            StartError: one of them could not start.
        """
        for worker in self._workers:
            self._launch(worker)
        while not all(worker.ready for worker in self._workers):
            for worker in self._wait(stop, None):
                raise StartError(worker.failure or f"{worker.name} {_how_it_ended(worker)} before it was ready")
            if stop:
                return False
        return True

    def supervise(self, stop: StopSignal, check: Callable[[], None] = lambda: None) -> None:
        """Replaces workers that end, until a stop signal comes. ``check`` is called twice a second; it may raise.

        Raises:
            StartError: a worker's replacement could not start, several times in a row.
        """
        while not stop:
            for worker in self._wait(stop, 0.5):
                self._plan_replacement(worker)
            for worker in self._workers:
                if worker.restart_at is not None and worker.restart_at <= time.monotonic():
                    self._launch(worker)
            check()

    def stop(self, stop: StopSignal | None = None) -> None:
        """Lets requests under way end, then ends all; a further stop signal, or time running out, ends them at once."""
        # The signal that brought this about is no further one, though nothing may have waited for it yet.
        came = len(stop.received) if stop is not None else 0
        for worker in self._workers:
            worker.listener.close()
        running = [worker.process for worker in self._workers if worker.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._config.listen.drain_seconds + _KILL_AFTER_DRAIN_SECONDS
        while running and time.monotonic() < deadline:
            ended = wait([process.sentinel for process in running] + ([stop.socket] if stop is not None else []), 0.5)
            if stop is not None and stop.socket in ended:
                # SIGHUP, for one, is none that stops anything.
                stop.clear()
                if len(stop.received) > came:
                    break
            running = [process for process in running if process.is_alive()]
        for process in running:
            logger.warning("%s did not end in time and is killed", process.name)
            process.kill()
        for worker in self._workers:
            if worker.process is not None:
                worker.process.join()
            if worker.status is not None:
                worker.status.close()

    def reload(self, config: Config) -> None:
        """Takes in the users and roles of a configuration, and has the workers read its file anew (SIGHUP)."""
        self._config = replace(self._config, users=config.users, roles=config.roles)
        for worker in self._workers:
            if worker.ready:
                self._have_reload(worker)

    def _have_reload(self, worker: _Worker) -> None:
        worker.config = self._config
        if worker.process is not None and worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, signal.SIGHUP)

    def _launch(self, worker: _Worker) -> None:
        reader, writer = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work,
            name=worker.name,
            args=(self._run, self._config, worker.listener, worker.name, writer),
            daemon=True,
        )
        with interrupts_held_back():
            process.start()
        writer.close()
        worker.process, worker.status, worker.started = process, reader, time.monotonic()
        worker.config = self._config
        worker.ready, worker.failure, worker.restart_at = False, "", None

    def _wait(self, stop: StopSignal, seconds: float | None) -> list[_Worker]:
        """Waits for something to happen, takes in what workers say, and returns those whose process has ended."""
        if seconds is not None:
            due = [worker.restart_at for worker in self._workers if worker.restart_at is not None]
            seconds = max(0.0, min([seconds, *(at - time.monotonic() for at in due)]))
        sentinels = [worker.process.sentinel for worker in self._workers if worker.process is not None]
        pipes = [worker.status for worker in self._workers if worker.status is not None and not worker.ready]
        happened = wait([stop.socket, *sentinels, *pipes], seconds)
        if stop.socket in happened:
            stop.clear()
        for worker in self._workers:
            if worker.status in happened:
                self._listen_to(worker)
        return [
            worker for worker in self._workers if worker.process is not None and worker.process.sentinel in happened
        ]

    def _listen_to(self, worker: _Worker) -> None:
        if worker.status is None:
            return
        try:
            worker.failure = worker.status.recv()
        except (EOFError, OSError):
            worker.status.close()
            worker.status = None
        else:
            worker.ready = not worker.failure
            worker.failed_starts = 0 if worker.ready else worker.failed_starts
            if worker.ready and worker.config is not self._config:
                self._have_reload(worker)

    def _plan_replacement(self, worker: _Worker) -> None:
        if worker.process is None:
            return
        ended = _how_it_ended(worker)
        how = worker.failure or ended
        lived = time.monotonic() - worker.started
        worker.failed_starts = 0 if worker.ready else worker.failed_starts + 1
        worker.quick_ends = worker.quick_ends + 1 if not worker.ready or lived < _QUICK_END_SECONDS else 0
        if worker.failed_starts >= _ATTEMPTS_TO_START:
            raise StartError(f"{worker.name} could not be replaced after {_ATTEMPTS_TO_START} attempts: {how}")
        pause = min(0.1 * 2**worker.quick_ends, _LONGEST_PAUSE) if worker.quick_ends else 0.0
        logger.error("%s: %s; it is replaced in %.1f s", worker.name, how, pause)
        worker.restart_at = time.monotonic() + pause
        if worker.status is not None:
            worker.status.close()
        worker.process, worker.status, worker.ready = None, None, False


def _how_it_ended(worker: _Worker) -> str:
    if worker.process is None:
        return "was not started"
    # The sentinel closes a moment before the exit code can be had.
    worker.process.join()
    code = worker.process.exitcode
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _work(run: Run, config: Config, listener: socket.socket, name: str, status: Connection) -> None:
    """The whole life of a worker process. It tells ``status`` once: "" when it is ready, or why it can't start."""
    watch_supervisor()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def ready() -> None:
        status.send("")
        status.close()

    try:
        run(config, listener, name, ready)
    except (StartError, RootKeyUnusable, WrongRootKey, OSError) as error:
        _say(status, str(error))
        sys.exit(1)
    except Exception as error:
        # Not foreseen, so whoever looks into it needs the whole story.
        logger.exception("%s failed", name)
        _say(status, f"{name} failed: {type(error).__name__}: {error}")
        sys.exit(1)


def _say(status: Connection, failure: str) -> None:
    with suppress(OSError):
        status.send(failure)
