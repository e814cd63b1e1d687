"""The upstream client against stores of every manner, scripted on raw sockets, on both event loops."""

import asyncio
import contextlib
import itertools
import os
import random
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws.credentials import StoreCredentials
from proxy.aws.message import Request, Response
from proxy.aws.sigv4 import sign
from proxy.s3.upstream.http import HttpUpstream, Timeouts
from proxy.s3.upstream.port import UpstreamError, UpstreamTimeout
from proxy.stream import Buffer, read_all

BOTH_LOOPS = True

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PATIENT = Timeouts(first_byte=5, idle=5)
TIMEOUTS = Timeouts(connect=0.5, first_byte=0.15, idle=0.15, keep_alive=5)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Store:
    """The store's end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number
        """Of the connection, from 0."""

    async def head(self) -> str:
        """The next request's head; IncompleteReadError at the end of the connection."""
        return (await self.reader.readuntil(b"\r\n\r\n")).decode("utf-8", "surrogateescape")

    async def request(self) -> tuple[str, bytes]:
        head = await self.head()
        length = [line[16:] for line in head.split("\r\n") if line.lower().startswith("content-length: ")]
        return head, await self.reader.readexactly(int(length[0]) if length else 0)

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Store], Awaitable[None]]


@contextlib.asynccontextmanager
async def store(script: Script, **how: Any) -> AsyncIterator[tuple[int, list[Store]]]:
    """Runs a script for each connection; yields the port and the connections made so far."""
    connections: list[Store] = []
    tasks: set[asyncio.Task[None]] = set()

    async def run(connection: Store) -> None:
        try:
            await script(connection)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            connection.writer.close()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Store(reader, writer, len(connections))
        connections.append(connection)
        tasks.add(asyncio.ensure_future(run(connection)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **how)
    try:
        yield server.sockets[0].getsockname()[1], connections
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


@contextlib.asynccontextmanager
async def upstream(port: int, scheme: str = "http", **how: Any) -> AsyncIterator[HttpUpstream]:
    how = {"timeouts": TIMEOUTS, "clock": lambda: NOW, **how}
    client = HttpUpstream(f"{scheme}://127.0.0.1:{port}", StoreCredentials("AKID", "secret"), "eu-west-1", **how)
    try:
        yield client
    finally:
        await client.aclose()


async def answers_ok(connection: Store) -> None:
    while True:
        await connection.request()
        connection.send(OK)


def says(data: bytes) -> Script:
    """A store that answers every request with the same bytes and closes."""

    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(data)

    return script


def get(path: str = "/b/k", query: str = "", **headers: str) -> Request:
    return Request("GET", path, query, CIMultiDict(headers))


class Stream:
    """A body of given pieces; an exception among them is raised, an event waited for. Knows whether it was closed."""

    def __init__(self, *pieces: Buffer | Exception | asyncio.Event) -> None:
        self.pieces = list(pieces)
        self.closed = asyncio.Event()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Buffer:
        while self.pieces:
            piece = self.pieces.pop(0)
            if isinstance(piece, Exception):
                raise piece
            if not isinstance(piece, asyncio.Event):
                return piece
            await piece.wait()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed.set()


def put(body: bytes | Stream, length: int | None = None) -> Request:
    headers = CIMultiDict({} if length is None else {"Content-Length": str(length)})
    return Request("PUT", "/b/k", "", headers, body)


async def content(response: Response) -> bytes:
    return await read_all(response.body, 1 << 30)


# What is sent.


async def test_the_request_on_the_wire() -> None:
    seen = []

    async def script(connection: Store) -> None:
        while True:
            seen.append(await connection.request())
            connection.send(OK)

    headers = CIMultiDict([("X-Amz-Meta-A", "caf\xe9 \udcff"), ("Range", "bytes=0-1"), ("Content-Type", "text/x")])
    async with store(script) as (port, _), upstream(port) as client:
        await client.send(Request("PUT", "/b/a%2Fb//../c", "x=%2F&y&z=", headers, b"body"))
        await client.send(Request("DELETE", "/b/k"))
        await client.send(Request("POST", "/b/k", "uploads"))
        await client.send(Request("HEAD", "/b/k"))
    (head, body), *others = seen
    first, *lines = head[:-4].split("\r\n")
    assert first == "PUT /b/a%2Fb//../c?x=%2F&y&z= HTTP/1.1"
    assert body == b"body"
    sent = dict(line.split(": ", 1) for line in lines)
    assert len(sent) == len(lines)
    base = CIMultiDict([*headers.items(), ("Content-Length", "4"), ("Host", f"127.0.0.1:{port}")])
    expected = sign(
        Request("PUT", "/b/a%2Fb//../c", "x=%2F&y&z=", base),
        access_key_id="AKID",
        secret="secret",
        region="eu-west-1",
        service="s3",
        now=NOW,
        payload_hash="UNSIGNED-PAYLOAD",
    )
    assert sent == {**base, **expected}
    assert [other[0].split("\r\n")[0] for other in others] == [
        "DELETE /b/k HTTP/1.1",
        "POST /b/k?uploads HTTP/1.1",
        "HEAD /b/k HTTP/1.1",
    ]
    assert ["Content-Length: 0\r\n" in other[0] for other in others] == [False, True, False]


@pytest.mark.parametrize(
    "request_",
    [
        get(**{"X-A": "b\r\nX-Injected: c"}),
        get(**{"X-A": "b\nc"}),
        get(**{"X-A": "b\rc"}),
        get(**{"X-A": "b\0c"}),
        get(**{"X-A: b": "c"}),
        get(**{"X A": "c"}),
        get(**{"": "c"}),
        get("/a b"),
        get("/a\r\nX: y"),
        get("/a#b"),
        get("a"),
        get("/a", "b c"),
        get("/a", "b\nc"),
        get(**{"Transfer-Encoding": "chunked"}),
        get(Connection="close"),
        get(Host="elsewhere"),
        get(Expect="100-continue"),
        Request("GET / HTTP/1.1\r\nX:", "/"),
        put(b"body", 3),
        put(b"body", 5),
        Request("PUT", "/", "", CIMultiDict({"Content-Length": "+4"}), b"body"),
        put(Stream(b"body")),
        put(Stream(b"body"), 3),
        put(Stream(b"body"), 5),
        put(Stream(b"body", b"more"), 5),
    ],
    ids=itertools.count(),
)
async def test_what_must_not_be_sent_is_refused(request_: Request) -> None:
    async with store(answers_ok) as (port, connections), upstream(port) as client:
        with pytest.raises(ValueError):
            await client.send(request_)
        assert connections == []
        assert isinstance(request_.body, bytes) or request_.body.closed.is_set()


@pytest.mark.parametrize(
    "url", ["127.0.0.1:80", "ftp://h", "http://", "http://h/path", "http://h?q", "http://u:p@h", "http://h:99999"]
)
async def test_a_url_of_another_form_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        HttpUpstream(url, StoreCredentials("a", "b"), "r", clock=lambda: NOW)


async def test_secrets_are_not_shown() -> None:
    assert "hidden" not in repr(StoreCredentials("AKID", "hidden"))


@given(
    length=st.sampled_from([0, 1, 65_535, 65_536, 65_537, 200_000, 1 << 20]),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=6),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
@settings(max_examples=20, deadline=None)
async def test_any_split_of_a_body_arrives_whole(length: int, cuts: list[int], kind: Any) -> None:
    whole = bytes(range(256)) * (length // 256) + bytes(range(length % 256))
    edges = sorted({0, length, *(cut for cut in cuts if cut < length)})
    pieces = [kind(whole[start:end]) for start, end in itertools.pairwise(edges)]
    seen = []

    async def script(connection: Store) -> None:
        while True:
            seen.append((await connection.request())[1])
            connection.send(OK)

    stream = Stream(*pieces)
    async with store(script) as (port, _), upstream(port) as client:
        assert await content(await client.send(put(stream, length))) == b"ok"
        assert await content(await client.send(put(whole))) == b"ok"
    assert seen == [whole, whole]
    assert stream.closed.is_set()


async def test_a_store_that_takes_its_time_slows_the_body() -> None:
    given_out = 0
    go = asyncio.Event()

    class Long(Stream):
        async def __anext__(self) -> bytes:
            nonlocal given_out
            if given_out == 64 << 20:
                raise StopAsyncIteration
            given_out += 1 << 18
            return bytes(1 << 18)

    async def script(connection: Store) -> None:
        await connection.head()
        await go.wait()
        left = 64 << 20
        while left:
            left -= len(await connection.reader.read(1 << 20))
        connection.send(OK)

    async with store(script) as (port, _), upstream(port) as client:
        sending = asyncio.create_task(client.send(put(Long(), 64 << 20)))
        await asyncio.sleep(0.1)
        assert given_out < 32 << 20
        go.set()
        assert await content(await sending) == b"ok"


# Answers.

DIGITS = b"0123456789"
CHUNKS = b"4;e=1\r\n0123\r\n6\r\n456789\r\n0\r\nT: x\r\n\r\n"
BODIES = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + DIGITS,
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "close": b"HTTP/1.1 200 OK\r\n\r\n" + DIGITS,
    "1.0": b"HTTP/1.0 200 OK\r\n\r\n" + DIGITS,
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-A: z\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n" + DIGITS,
}


@pytest.mark.parametrize("kind", BODIES)
async def test_answers_arrive_whole_however_they_are_cut(kind: str) -> None:
    wire = BODIES[kind]

    async def script(connection: Store) -> None:
        cut = int((await connection.head()).split()[1][1:])
        connection.send(wire[:cut])
        await asyncio.sleep(0.001)
        connection.send(wire[cut:])

    async def fetch(client: HttpUpstream, cut: int) -> None:
        response = await client.send(get(f"/{cut}"))
        assert response.status == 200
        assert "X-A" not in response.headers
        assert await content(response) == DIGITS

    async with store(script) as (port, _), upstream(port, timeouts=Timeouts(keep_alive=0), connections=20) as client:
        await asyncio.gather(*(fetch(client, cut) for cut in range(len(wire))))


@given(
    cuts=st.lists(st.integers(1, 1_000_000), max_size=8), chunked=st.booleans(), kib=st.sampled_from([250, 513, 960])
)
@settings(max_examples=20, deadline=None)
async def test_a_large_answer_arrives_whole(cuts: list[int], chunked: bool, kib: int) -> None:
    whole = random.Random(kib).randbytes(kib * 1024)

    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            edges = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
            pieces = [whole[start:end] for start, end in itertools.pairwise(edges)]
            if chunked:
                connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                pieces = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces] + [b"0\r\n\r\n"]
            else:
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole))
            for piece in pieces:
                connection.send(piece)
                await connection.writer.drain()

    async with store(script) as (port, connections), upstream(port, timeouts=PATIENT) as client:
        for _ in range(3):
            assert await content(await client.send(get())) == whole
        assert len(connections) == 1


async def test_header_fields_come_as_they_were_sent() -> None:
    wire = b'HTTP/1.1 404 Nope\r\nX-A: caf\xc3\xa9 \xff \r\nx-a: 2\r\nETag:"e"\r\nX-Empty:\r\nContent-Length: 0\r\n\r\n'
    async with store(says(wire)) as (port, _), upstream(port) as client:
        response = await client.send(get())
    assert response.status == 404
    assert response.body == b""
    assert list(response.headers.items()) == [
        ("X-A", "caf\xe9 \udcff"),
        ("x-a", "2"),
        ("ETag", '"e"'),
        ("X-Empty", ""),
        ("Content-Length", "0"),
    ]


@pytest.mark.parametrize("pause", [False, True])
async def test_trailer_fields_are_no_header_fields(pause: bool) -> None:
    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nETag: 1\r\n\r\n2\r\nok\r\n")
            await asyncio.sleep(0.01 if pause else 0)
            connection.send(b"0\r\nETag: 2\r\nx-amz-meta-a: b\r\n\r\n")

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(2):
            answer = await client.send(get())
            assert await content(answer) == b"ok"
            assert list(answer.headers.items()) == [("Transfer-Encoding", "chunked"), ("ETag", "1")]
        assert len(connections) == 1


async def test_answers_without_a_body_keep_the_connection() -> None:
    wires = {
        "HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        "DELETE": b"HTTP/1.1 204 No Content\r\n\r\n",
        "GET": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: x\r\n\r\n",
        "PUT": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "OPTIONS": b"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n",
    }

    async def script(connection: Store) -> None:
        while True:
            head, _ = await connection.request()
            connection.send(b"HTTP/1.1 404 Not Found\r\n\r\n" if "/none" in head else wires[head.split()[0]])

    async with store(script) as (port, connections), upstream(port) as client:
        for method in [*wires, *wires]:
            response = await client.send(Request(method, "/"))
            assert response.body == b""
            assert (await client.send(Request("HEAD", "/none"))).status == 404
        assert (await client.send(Request("HEAD", "/"))).headers["Content-Length"] == "1000"
        assert len(connections) == 1


async def test_an_answer_that_nobody_reads_slows_the_store() -> None:
    sent = 0

    async def script(connection: Store) -> None:
        nonlocal sent
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 << 20))
        while sent < 64 << 20:
            connection.send(bytes(1 << 18))
            sent += 1 << 18
            await connection.writer.drain()

    async with store(script) as (port, _), upstream(port) as client:
        response = await client.send(get())
        await asyncio.sleep(0.25)  # longer than the idle time: the store waits for us, not we for the store
        assert sent < 32 << 20
        assert len(await content(response)) == 64 << 20


# Connections.


async def test_a_connection_is_used_again() -> None:
    async with store(answers_ok) as (port, connections), upstream(port) as client:
        for _ in range(5):
            assert await content(await client.send(get())) == b"ok"
        assert len(connections) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        OK + b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned",
        OK + b"HTTP/1.1 500 Poisoned\r\nX-A: poisoned\r\nContent-Length: 0\r\n\r\n",
        OK + b"junk",
    ],
)
async def test_a_connection_is_not_used_again(wire: bytes) -> None:
    """Where the store says so, or sends what nobody asked for."""

    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(wire)

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(3):
            response = await client.send(get())
            assert response.status == 200
            assert dict(response.headers).keys() <= {"Connection", "Content-Length"}
            assert await content(response) == b"ok"
        assert len(connections) == 3


async def test_unasked_bytes_on_an_idle_connection_are_not_an_answer() -> None:
    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(OK)
            await asyncio.sleep(0.02)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned")

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(2):
            assert await content(await client.send(get())) == b"ok"
            await asyncio.sleep(0.05)
        assert len(connections) == 2


async def test_a_body_behind_an_answer_to_head_is_not_the_next_answer() -> None:
    async def script(connection: Store) -> None:
        while True:
            head, _ = await connection.request()
            connection.send(OK if head.startswith("GET") else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nXX")

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(2):
            assert (await client.send(Request("HEAD", "/"))).body == b""
            assert await content(await client.send(get())) == b"ok"
        assert len(connections) > 1


async def test_no_more_connections_than_allowed() -> None:
    open_now, most = 0, 0

    async def script(connection: Store) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while True:
                await connection.request()
                await asyncio.sleep(0.01)
                connection.send(OK)
                if connection.number % 3 == 0:
                    return
        finally:
            open_now -= 1

    async with store(script) as (port, _), upstream(port, connections=3) as client:
        responses = await asyncio.gather(*(client.send(get()) for _ in range(30)))
        assert [await content(response) for response in responses] == [b"ok"] * 30
    assert most == 3


async def test_waiting_for_a_connection_has_an_end() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nbegin")
        await asyncio.sleep(5)

    timeouts = Timeouts(connect=0.1, idle=5)
    async with store(script) as (port, _), upstream(port, connections=1, timeouts=timeouts) as client:
        response = await client.send(get())
        with pytest.raises(UpstreamTimeout):
            await client.send(get())
        waiting = asyncio.create_task(client.send(get()))
        await asyncio.sleep(0.01)
        assert not isinstance(response.body, bytes)
        await response.body.aclose()
        second = await waiting
        assert not isinstance(second.body, bytes)
        await second.body.aclose()


async def test_an_old_connection_is_not_used() -> None:
    timeouts = Timeouts(keep_alive=0.05)
    async with store(answers_ok) as (port, connections), upstream(port, timeouts=timeouts) as client:
        await client.send(get())
        await client.send(get())
        assert len(connections) == 1
        await asyncio.sleep(0.06)
        await client.send(get())
        assert len(connections) == 2


# Stores that close.


async def test_a_connection_closed_while_idle_is_replaced() -> None:
    """Noticed or not: by an end, by a reset, and at the moment when the next request arrives."""

    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(OK)
        if connection.number == 0:
            return
        if connection.number == 1:
            await asyncio.sleep(0.01)
            connection.reset()
        elif connection.number == 2:
            await connection.head()
        else:
            await answers_ok(connection)

    async with store(script) as (port, connections), upstream(port) as client:
        for number in range(4):
            assert await content(await client.send(put(b"body"))) == b"ok"
            await asyncio.sleep(0.03)
            assert len(connections) == number + 1
        assert await content(await client.send(put(b"body"))) == b"ok"
        assert len(connections) == 4


async def test_a_request_that_met_a_closed_connection_goes_to_a_new_one() -> None:
    """Not to another one of the same age, which is likely closed, too."""

    async def script(connection: Store) -> None:
        await connection.request()
        await asyncio.sleep(0.01)
        connection.send(OK)
        if connection.number < 3:
            await connection.head()
        else:
            await answers_ok(connection)

    async with store(script) as (port, connections), upstream(port) as client:
        await asyncio.gather(*(client.send(get()) for _ in range(3)))
        assert len(connections) == 3
        assert await content(await client.send(get())) == b"ok"
        assert len(connections) == 4


async def test_a_small_streamed_body_is_sent_again_like_bytes() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(OK)
        if connection.number == 0:
            await connection.head()

    async with store(script) as (port, connections), upstream(port) as client:
        await client.send(get())
        assert await content(await client.send(put(Stream(b"a" * 100, b"b"), 101))) == b"ok"
        assert len(connections) == 2


async def test_a_request_is_sent_again_only_once() -> None:
    requests = 0

    async def script(connection: Store) -> None:
        nonlocal requests
        await connection.request()
        requests += 1
        if connection.number == 0:
            connection.send(OK)
            await connection.request()
            requests += 1

    async with store(script) as (port, connections), upstream(port) as client:
        await client.send(get())
        with pytest.raises(UpstreamError):
            await client.send(put(b"body"))
        assert requests == 3
        assert len(connections) == 2


async def test_a_new_connection_that_is_closed_is_an_error() -> None:
    async def script(connection: Store) -> None:
        await connection.request()

    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(UpstreamError):
            await client.send(get())
        assert len(connections) == 1


async def test_a_large_streamed_body_is_never_sent_again() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(OK)
        await connection.head()
        await connection.reader.read(1000)
        connection.reset()

    async with store(script) as (port, connections), upstream(port) as client:
        await client.send(get())
        stream = Stream(*[bytes(1 << 18)] * 64)
        with pytest.raises(UpstreamError):
            await client.send(put(stream, 64 << 18))
        assert len(connections) == 1
        assert stream.closed.is_set()


async def test_a_large_streamed_body_meets_no_connection_whose_end_has_arrived() -> None:
    """Be it that the event loop has not been told of it."""
    async with store(answers_ok) as (port, connections), upstream(port) as client:
        await client.send(get())
        descriptor = connections[0].writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(descriptor)) as end:
            end.shutdown(socket.SHUT_RDWR)
        assert await content(await client.send(put(Stream(bytes(100_000)), 100_000))) == b"ok"
        assert len(connections) == 2


@pytest.mark.parametrize("large", [False, True])
async def test_a_connection_that_is_being_closed_is_replaced(large: bool) -> None:
    """Also one that has carried a single request: it is no new one."""
    async with store(answers_ok) as (port, connections), upstream(port) as client:
        await client.send(get())
        (idle,) = client._pool._idle
        idle._transport.close()
        assert not idle.closed
        request = put(Stream(bytes(100_000)), 100_000) if large else get()
        assert await content(await client.send(request)) == b"ok"
        assert len(connections) == 2


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_long_answer_that_is_cut_short_is_an_error(end: str) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        connection.send(bytes(700_000))
        await connection.writer.drain()
        if end == "reset":
            await asyncio.sleep(0.02)
            connection.reset()

    async with store(script) as (port, _), upstream(port) as client:
        response = await client.send(get())
        with pytest.raises(UpstreamError):
            await content(response)


async def test_bytes_behind_a_long_answer_are_not_the_next_answer() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    wire = answer % 900_000 + bytes(900_000) + answer % 3 + b"bad"
    async with store(says(wire)) as (port, connections), upstream(port, timeouts=PATIENT) as client:
        for count in (1, 2):
            assert await content(await client.send(get())) == bytes(900_000)
            assert len(connections) == count


async def test_a_long_answer_that_drips_is_waited_for() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\n")
        for _ in range(5):
            connection.send(bytes(1000))
            await asyncio.sleep(0.3)  # less than the idle time, which all of it together exceeds
        connection.send(bytes(595_000))

    async with store(script) as (port, _), upstream(port, timeouts=Timeouts(idle=1.0)) as client:
        assert await content(await client.send(get())) == bytes(600_000)


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n01234",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n",
    ],
)
@pytest.mark.parametrize("end", ["close", "reset"])
async def test_an_answer_that_is_cut_short_is_an_error(wire: bytes, end: str) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(wire)
        await connection.writer.drain()
        if end == "reset":
            await asyncio.sleep(0.02)
            connection.reset()

    async with store(script) as (port, connections), upstream(port) as client:
        response = await client.send(get())
        received = b""
        assert not isinstance(response.body, bytes)
        while len(received) < 5:
            received += bytes(await anext(response.body))
        assert received == b"01234"
        with pytest.raises(UpstreamError):
            await content(response)
        assert len(connections) == 1


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"garbage\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=lambda wire: str(wire[:60]),
)
async def test_an_answer_that_is_no_http_is_an_error(wire: bytes) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(wire)
        await connection.writer.drain()

    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(UpstreamError) as caught:
            await content(await client.send(get()))
        assert not isinstance(caught.value, UpstreamTimeout)
        assert len(connections) == 1


async def test_an_endless_head_is_an_error() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.send(b"A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n" * 100)
            await connection.writer.drain()

    async with store(script) as (port, _), upstream(port) as client:
        with pytest.raises(UpstreamError, match="too long"):
            await client.send(get())


async def test_broken_chunks_are_an_error() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n")
        await asyncio.sleep(0.02)
        connection.send(b"zz\r\n")
        await asyncio.sleep(1)

    async with store(script) as (port, _), upstream(port) as client:
        response = await client.send(get())
        with pytest.raises(UpstreamError, match="HTTP"):
            await content(response)


# Stores that stall.


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_store_that_does_not_answer_is_not_waited_for(wire: bytes) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(wire)
        await asyncio.sleep(5)

    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(UpstreamTimeout):
            await client.send(put(b"body"))
        assert len(connections) == 1


async def test_a_request_that_takes_long_says_so() -> None:
    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            await asyncio.sleep(0.4)
            connection.send(OK)

    async with store(script) as (port, _), upstream(port) as client:
        patient = await client.send(Request("PUT", "/b/k", body=b"", patience=3))
        assert await content(patient) == b"ok"
        with pytest.raises(UpstreamTimeout):
            await client.send(Request("PUT", "/b/k", body=b""))


@pytest.mark.parametrize("length", [10, 70_000])
async def test_a_store_that_stops_within_its_answer_is_not_waited_for(length: int) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n01234" % length)
        await asyncio.sleep(5)

    async with store(script) as (port, _), upstream(port) as client:
        with pytest.raises(UpstreamTimeout):
            await content(await client.send(get()))


@pytest.mark.parametrize("length", [1, 4956, 65_536])
async def test_a_short_answer_is_handed_on_whole(length: int) -> None:
    """Stores send what is longer than 4 KiB, head included, in two pieces."""

    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
            for at in range(0, length, 4096):
                await asyncio.sleep(0.005)
                connection.send(bytes(min(4096, length - at)))
                await connection.writer.drain()

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(2):
            assert (await client.send(get())).body == bytes(length)
        assert len(connections) == 1


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_short_answer_that_is_cut_is_an_error(end: str) -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
        await connection.writer.drain()
        if end == "reset":
            await asyncio.sleep(0.02)
            connection.reset()

    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(UpstreamError, match="within its answer"):
            await client.send(get())
        assert len(connections) == 1


async def test_who_gives_up_a_short_answer_leaves_no_connection_behind() -> None:
    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
            await asyncio.sleep(0.1)
            connection.send(b"56789")

    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.send(get())
        assert (await client.send(get())).body == b"0123456789"
        assert len(connections) == 2


async def test_a_store_that_stops_taking_the_body_is_not_waited_for() -> None:
    async def script(connection: Store) -> None:
        await connection.head()
        await asyncio.sleep(5)

    stream = Stream(*[bytes(1 << 20)] * 64)
    async with store(script) as (port, _), upstream(port) as client:
        with pytest.raises(UpstreamTimeout):
            await client.send(put(stream, 64 << 20))
    assert stream.closed.is_set()


async def test_a_slow_body_is_no_fault_of_the_store() -> None:
    """Neither the first-byte nor the idle time runs while the store waits for us."""
    event = asyncio.Event()
    async with store(answers_ok) as (port, _), upstream(port) as client:
        asyncio.get_running_loop().call_later(0.3, event.set)
        response = await client.send(put(Stream(bytes(100_000), event, bytes(100_000)), 200_000))
        assert await content(response) == b"ok"


async def test_a_store_that_is_not_there_is_an_error() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        async with upstream(sock.getsockname()[1]) as client:
            with pytest.raises(UpstreamError, match="can't connect"):
                await client.send(get())


async def test_a_store_that_never_accepts_is_not_waited_for() -> None:
    """TLS to a port that says nothing: the handshake never ends."""

    async def script(connection: Store) -> None:
        await asyncio.sleep(5)

    timeouts = Timeouts(connect=0.1)
    async with (
        store(script) as (port, _),
        upstream(port, "https", timeouts=timeouts, ssl_context=ssl.create_default_context()) as client,
    ):
        with pytest.raises(UpstreamTimeout):
            await client.send(get())


# Bodies that fail, answers that come early.


class Unverified(Exception):
    """What a body raises."""


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("size", [10, 100_000])
async def test_an_exception_of_the_body_is_raised_as_itself_and_the_store_has_no_whole_body(at: int, size: int) -> None:
    """Also when it comes after the last byte."""
    received = asyncio.Event()
    complete = []

    async def script(connection: Store) -> None:
        try:
            complete.append(await connection.request())
        except (ConnectionError, asyncio.IncompleteReadError):
            received.set()

    error = Unverified("late")
    pieces: list[bytes | Exception] = [bytes(size), bytes(size), bytes(size)]
    pieces.insert(at, error)
    stream = Stream(*pieces)
    async with store(script) as (port, connections), upstream(port) as client:
        with pytest.raises(Unverified) as caught:
            await client.send(put(stream, 3 * size))
        assert caught.value is error
        assert stream.closed.is_set()
        if connections:
            async with asyncio.timeout(1):
                await received.wait()
        await asyncio.sleep(0.01)
        assert complete == []
        assert bool(connections) == (size > 10 and at > 0)


@pytest.mark.parametrize(
    "wire", [OK, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\n0123"], ids=["whole", "rest"]
)
@pytest.mark.parametrize("waiting", ["for the body", "for the store"])
async def test_an_early_answer_is_returned_and_the_connection_is_not_used_again(wire: bytes, waiting: str) -> None:
    async def script(connection: Store) -> None:
        head = await connection.head()
        if head.startswith("GET"):
            connection.send(OK)
            return
        await connection.reader.read(10_000)
        connection.send(wire)
        if wire != OK:
            await asyncio.sleep(0.02)
            connection.send(b"456789")
        await asyncio.sleep(0.5)

    never = asyncio.Event()
    pieces = [bytes(100_000), never] if waiting == "for the body" else [bytes(1 << 20)] * 100
    stream = Stream(*pieces)
    async with store(script) as (port, connections), upstream(port) as client:
        async with asyncio.timeout(1):
            response = await client.send(put(stream, 1 << 40))
        assert stream.closed.is_set()
        assert await content(response) == (b"ok" if wire == OK else b"0123456789")
        assert await content(await client.send(get())) == b"ok"
        assert len(connections) == 2


# Giving up.


@pytest.mark.parametrize("when", ["answer", "body", "stream"])
async def test_a_cancelled_send_frees_its_connection(when: str) -> None:
    gone = asyncio.Event()

    async def script(connection: Store) -> None:
        head = await connection.head()
        if head.startswith("GET /next"):
            connection.send(OK)
            return
        try:
            while await connection.reader.read(1000):
                pass
        except ConnectionError:
            pass
        gone.set()

    never = asyncio.Event()
    stream = Stream(bytes(100_000), never) if when == "stream" else Stream(*[bytes(1 << 20)] * 100)
    request = get() if when == "answer" else put(stream, 1 << 40)
    async with store(script) as (port, _), upstream(port, connections=1) as client:
        sending = asyncio.create_task(client.send(request))
        await asyncio.sleep(0.05)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        async with asyncio.timeout(1):
            await gone.wait()
        assert await content(await client.send(get("/next"))) == b"ok"
        assert when == "answer" or stream.closed.is_set()


@pytest.mark.parametrize(("length", "kept"), [(70_000, True), (200_000_000, False)])
async def test_an_answer_may_be_closed_unread(length: int, kept: bool) -> None:
    async def script(connection: Store) -> None:
        while True:
            await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(10_000))
            await asyncio.sleep(0.01)
            for _ in range(length // 10_000 - 1):
                connection.send(bytes(10_000))
                await connection.writer.drain()

    async with store(script) as (port, connections), upstream(port) as client:
        for _ in range(3):
            response = await client.send(get())
            assert not isinstance(response.body, bytes)
            await response.body.aclose()
            await response.body.aclose()
            with pytest.raises(UpstreamError):
                await anext(response.body)
            await asyncio.sleep(0.05)
        assert len(connections) == (1 if kept else 3)


async def test_close_cuts_everything() -> None:
    async def script(connection: Store) -> None:
        await connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n01234")
        await asyncio.sleep(5)

    async with store(script) as (port, _), upstream(port) as client:
        response = await client.send(get())
        await client.aclose()
        with pytest.raises(UpstreamError):
            await content(response)
        with pytest.raises(UpstreamError):
            await client.send(get())


# TLS.


async def test_tls(tls) -> None:
    async def script(connection: Store) -> None:
        while True:
            _, body = await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    async with (
        store(script, ssl=tls.server) as (port, connections),
        upstream(port, "https", ssl_context=tls.client) as client,
    ):
        assert await content(await client.send(put(Stream(*[b"x" * 300_000] * 10), 3_000_000))) == b"x" * 3_000_000
        assert await content(await client.send(put(b"small"))) == b"small"
        assert len(connections) == 1


async def test_long_answers_over_tls(tls) -> None:
    sizes = [300_000, 2_000_000, 5, 600_000]
    data = random.Random(2).randbytes(max(sizes))

    async def script(connection: Store) -> None:
        for length in sizes:
            await connection.request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + data[:length])

    async with (
        store(script, ssl=tls.server) as (port, connections),
        upstream(port, "https", ssl_context=tls.client, timeouts=PATIENT) as client,
    ):
        for length in sizes:
            assert await content(await client.send(get())) == data[:length]
        assert len(connections) == 1


async def test_a_certificate_of_an_unknown_authority_is_refused(tls) -> None:
    async with store(answers_ok, ssl=tls.server) as (port, _), upstream(port, "https") as client:
        with pytest.raises(UpstreamError, match="certificate"):
            await client.send(get())


async def test_a_certificate_for_another_host_is_refused(tls) -> None:
    async with store(answers_ok, ssl=tls.server) as (port, _):
        client = HttpUpstream(
            f"https://localhost:{port}", StoreCredentials("a", "b"), "r", clock=lambda: NOW, ssl_context=tls.client
        )
        with pytest.raises(UpstreamError, match=r"[Hh]ostname"):
            await client.send(get())
        await client.aclose()


async def test_a_store_that_speaks_no_tls_is_an_error(tls) -> None:
    async def script(connection: Store) -> None:
        await connection.reader.read(10)
        connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with store(script) as (port, _), upstream(port, "https", ssl_context=tls.client) as client:
        with pytest.raises(UpstreamError, match="can't connect"):
            await client.send(get())
