"""The load generator: plays requests that were signed beforehand over a number of connections, as fast as it can.

It is a process of its own with one thread. A small request costs it about as much as it costs ``wrk``, and unlike that
it sends a given number of requests exactly, so that the CPU time of those who serve them can be divided by it.
"""

import multiprocessing
import os
import select
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.processes import die_with_parent
from tests.bench.clocks import cpu_seconds

Pieces = Sequence[bytes | memoryview]
"""A request as it goes out, in pieces: the head, then a body that other requests may share."""

_BUFFER: Final = 1024 * 1024
_MOST_PIECES: Final = 64
"""That one system call sends."""
_STALLED_SECONDS: Final = 60.0
_LENGTH: Final = b"\r\ncontent-length:"


class LoadFailed(Exception):
    """An answer was not what it has to be; what follows would be no measurement."""


@dataclass(frozen=True)
class Load:
    """What is to be played."""

    port: int
    """On loopback."""
    requests: Sequence[Pieces] = field(repr=False)
    """Played in turn, each as often as it takes."""
    count: int
    connections: int
    status: int = 200
    length: int | None = None
    """Bytes that every answer's head announces; None for any number."""
    bodiless: bool = False
    """Whether the answers are to HEAD."""
    seconds: float | None = None
    """After so long the rest is left, and what is under way is cut."""


@dataclass(frozen=True)
class Played:
    """How it went."""

    count: int
    """Requests that were answered whole."""
    seconds: float
    received: int
    """Bytes of bodies of answers."""
    sent: int
    """Bytes of requests."""
    latencies: tuple[float, ...] = field(repr=False)
    """Seconds, ascending."""
    cpu: float
    """Seconds of CPU that the generator itself took."""

    def quantile(self, share: float) -> float:
        """Seconds within which that share of the requests was answered."""
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)] if self.latencies else 0.0


def play(load: Load) -> Played:
    """Plays it in a new process. Raises LoadFailed."""
    # The requests are in memory already: a fork copies nothing.
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(load, sender, os.getpid()))
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        raise LoadFailed("the load generator ended") from None
    finally:
        process.join()
    if isinstance(outcome, str):
        raise LoadFailed(outcome)
    assert isinstance(outcome, Played)
    return outcome


def _child(load: Load, sender: "multiprocessing.connection.Connection", parent: int) -> None:  # type: ignore[name-defined]
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sender.send(_Player(load).run())
    except (OSError, LoadFailed) as error:
        sender.send(f"{type(error).__name__}: {error}")


class _Player:
    def __init__(self, load: Load) -> None:
        self._load = load
        self._left = load.count
        self._next = _in_turn(load.requests)
        self._latencies: list[float] = []
        self._received = self._sent = 0
        self._buffer = memoryview(bytearray(_BUFFER))
        self._poll = select.epoll()
        self._open: dict[int, _Client] = {}

    def run(self) -> Played:
        load = self._load
        clients = [_Client(load) for _ in range(min(load.connections, load.count))]
        began, cpu = time.perf_counter(), cpu_seconds(os.getpid())
        deadline = began + load.seconds if load.seconds is not None else None
        for client in clients:
            self._open[client.fileno] = client
            self._poll.register(client.fileno, select.EPOLLIN)
            self._begin(client)
        while self._open and (deadline is None or time.perf_counter() < deadline):
            events = self._poll.poll(_STALLED_SECONDS if deadline is None else 0.1)
            if not events and deadline is None:
                raise LoadFailed(f"nothing has come for {_STALLED_SECONDS:g} s")
            for fileno, event in events:
                self._turn(self._open[fileno], event)
        seconds = time.perf_counter() - began
        for client in clients:
            self._received += client.received
            client.socket.close()
        latencies = tuple(sorted(self._latencies))
        cpu = cpu_seconds(os.getpid()) - cpu
        return Played(len(latencies), seconds, self._received, self._sent, latencies, cpu)

    def _begin(self, client: "_Client") -> None:
        """The client's next request, or its end."""
        if not self._left:
            self._poll.unregister(client.fileno)
            del self._open[client.fileno]
            return
        self._left -= 1
        client.begin(next(self._next))
        self._send(client)

    def _send(self, client: "_Client") -> None:
        self._sent += client.send()
        if bool(client.rest) is not client.writes:
            client.writes = bool(client.rest)
            self._poll.modify(client.fileno, select.EPOLLIN | (select.EPOLLOUT if client.writes else 0))

    def _turn(self, client: "_Client", event: int) -> None:
        if event & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR) and client.receive(self._buffer):
            self._latencies.append(time.perf_counter() - client.began)
            self._received += client.received
            client.received = 0
            self._begin(client)
            return
        if event & select.EPOLLOUT:
            self._send(client)


class _Client:
    """One connection with one request on it."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.socket = socket.create_connection(("127.0.0.1", load.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.fileno = self.socket.fileno()
        self.rest: list[bytes | memoryview] = []
        """Of the request, that have not been sent."""
        self.writes = False
        """Whether the poll waits for room to send."""
        self.began = 0.0
        self.received = 0
        """Bytes of the answer's body so far."""
        self._head = b""
        self._tail = b""
        self._left: int | None = None
        """Bytes of the answer's body to come, once its head is there; -1 for chunks, whose end is told by its
        bytes: they must be in nothing else that a read ends with."""

    def begin(self, request: Pieces) -> None:
        self.began = time.perf_counter()
        self.rest = list(request)
        self._head, self._tail, self._left, self.received = b"", b"", None, 0

    def send(self) -> int:
        """Sends what there is room for."""
        total = 0
        while self.rest:
            try:
                sent = self.socket.sendmsg(self.rest[:_MOST_PIECES])
            except BlockingIOError:
                break
            total += sent
            while self.rest and sent >= len(self.rest[0]):
                sent -= len(self.rest[0])
                del self.rest[0]
            if sent:
                self.rest[0] = memoryview(self.rest[0])[sent:]
        return total

    def receive(self, buffer: memoryview) -> bool:
        """Takes what has come; returns whether the answer is complete."""
        try:
            size = self.socket.recv_into(buffer)
        except BlockingIOError:
            return False
        if not size:
            raise LoadFailed("the connection was closed within an answer")
        start = 0
        if self._left is None:
            start = self._take_head(bytes(buffer[: min(size, 65_536)]))
            if self._left is None:
                return False
        self.received += size - start
        if self._left < 0:
            self._tail = (self._tail + bytes(buffer[max(start, size - 5) : size]))[-5:]
            return self._tail == b"0\r\n\r\n"
        self._left -= size - start
        return not self._left

    def _take_head(self, data: bytes) -> int:
        """Reads the head as far as it has come; returns where the body begins in ``data`` once it is whole."""
        before = len(self._head)
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return len(data)
        load, status = self._load, int(self._head[9:12])
        if status != load.status:
            raise LoadFailed(f"an answer of {status}: {self._head[:1500].decode(errors='replace')}")
        lower = self._head[: end + 2].lower()
        at = lower.find(_LENGTH)
        length = int(lower[at + len(_LENGTH) : lower.index(b"\r\n", at + 2)]) if at >= 0 else -1
        if load.length is not None and length != load.length:
            raise LoadFailed(f"an answer of {length} bytes where {load.length} were due")
        self._left = 0 if load.bodiless or status == 204 else length
        return end + 4 - before


def _in_turn(requests: Sequence[Pieces]) -> Iterator[Pieces]:
    while True:
        yield from requests
