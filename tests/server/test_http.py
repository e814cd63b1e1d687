"""The HTTP server against raw sockets: clients of every manner, on both event loops."""

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.stream import BodyCutShort, ByteStream, read_all

BOTH_LOOPS = True

HOST = b"Host: here\r\n"
LIMITS = Limits(
    head_seconds=0.3, idle_seconds=0.3, stall_seconds=0.3, linger_seconds=0.2, discard=1000, line=4096, head=8192
)


def malformed(status: int, reason: str) -> Response:
    return Response(status, CIMultiDict({"Content-Type": "text/malformed"}), reason.encode())


Handler = Callable[[Request], Awaitable[Response]]


@contextlib.asynccontextmanager
async def serving(handler: Handler, limits: Limits = LIMITS, **how: object) -> AsyncIterator[int]:
    server = HttpServer(handler, limits=limits, malformed=malformed)
    port = await server.start("127.0.0.1", 0, **how)  # type: ignore[arg-type]
    try:
        yield port
    finally:
        await server.stop(0.05)


class Client:
    """A socket and patience."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(5):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = raw.decode("utf-8", "surrogateescape")[:-4].split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = dict(line.split(": ", 1) for line in lines)
        assert len(fields) == len(lines), "a header field stands there twice"
        return int(status), fields

    async def answer(self, *, bodyless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, fields = await self.head()
        async with asyncio.timeout(5):
            length = 0 if bodyless else int(fields.get("Content-Length", 0))
            return status, fields, await self.reader.readexactly(length)

    async def final(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer that is not an interim one."""
        answer = await self.answer()
        return await self.answer() if answer[0] == 100 else answer

    async def rest(self) -> bytes:
        async with asyncio.timeout(5):
            return await self.reader.read()

    async def is_open(self) -> bool:
        """Whether the server has left the connection open; no more than a moment is waited."""
        try:
            async with asyncio.timeout(0.05):
                return await self.reader.read(1) != b""
        except TimeoutError:
            return True
        except ConnectionError:
            return False

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def client(port: int, **how: object) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **how)  # type: ignore[arg-type]
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


class Stream:
    """A body of given pieces; an exception among them is raised. Knows whether it was closed."""

    def __init__(self, *pieces: bytes | Exception, wait: asyncio.Event | None = None) -> None:
        self.pieces = list(pieces)
        self.wait = wait
        self.closed = asyncio.Event()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        if not self.pieces:
            if self.wait is not None:
                await self.wait.wait()
            raise StopAsyncIteration
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed.set()


async def echo(request: Request) -> Response:
    """What was received, as far as it fits into one body."""
    body = await read_all(request.body, 1 << 26)
    fields = "".join(f"{name}={value}\n" for name, value in request.headers.items())
    text = f"{request.method} {request.path} ? {request.query}\n{fields}\n"
    return Response(200, CIMultiDict(), text.encode("utf-8", "surrogateescape") + body)


async def size(request: Request) -> Response:
    return Response(200, CIMultiDict(), str(len(await read_all(request.body, 1 << 30))).encode())


async def ok(request: Request) -> Response:
    return Response(200, CIMultiDict(), b"ok")


async def ask(port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    async with client(port) as c:
        c.send(data)
        return await c.answer()


# What the handler gets.


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/", "/ ? "),
        ("/a%2Fb//c/../d/./e%20+", "/a%2Fb//c/../d/./e%20+ ? "),
        ("//", "// ? "),
        ("/%C3%A9%ff?a=%2F&a&b=?c", "/%C3%A9%ff ? a=%2F&a&b=?c"),
        ("/a??", "/a ? ?"),
    ],
)
async def test_the_request_target_is_raw(target: str, seen: str) -> None:
    async with serving(echo) as port:
        _, _, body = await ask(port, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert body.decode().splitlines()[0] == "GET " + seen


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("http://elsewhere:81/a%2Fb?c", "/a%2Fb ? c"),
        ("HTTPS://elsewhere:81", "/ ? "),
        ("http://elsewhere:81?x=/y", "/ ? x=/y"),
    ],
)
async def test_an_absolute_target_names_the_host(target: str, seen: str) -> None:
    async with serving(echo) as port:
        _, _, body = await ask(port, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
    assert body.decode().splitlines() == ["GET " + seen, "Host=elsewhere:81", ""]


async def test_every_header_field_arrives_byte_for_byte() -> None:
    async with serving(echo) as port:
        lines = b"X-A: 1\r\nx-a:2\r\nX-B: \t caf\xc3\xa9 \xff  \r\nX-C:\r\n"
        _, _, body = await ask(port, b"GET / HTTP/1.1\r\n" + HOST + lines + b"\r\n")
    assert body.splitlines()[1:] == [b"Host=here", b"X-A=1", b"x-a=2", b"X-B=caf\xc3\xa9 \xff", b"X-C=", b""]


async def test_a_compressed_body_is_left_compressed() -> None:
    async with serving(echo) as port:
        head = b"PUT / HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n" + HOST
        _, _, body = await ask(port, head + b"\r\n\x1f\x8b\x08\x00")
    assert body.endswith(b"\n\x1f\x8b\x08\x00")


async def test_the_peer_is_known() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict(), repr(request.peer).encode())

    async with serving(handler) as port:
        _, _, body = await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert body == b"Peer(address='127.0.0.1', secure=False, tls_version='')"


async def test_tls(tls) -> None:
    async def handler(request: Request) -> Response:
        assert request.peer is not None
        assert request.peer.secure
        assert request.peer.tls_version == "TLSv1.3"
        return Response(200, CIMultiDict({"Content-Length": "3000000"}), Stream(b"x" * 1_500_000, b"y" * 1_500_000))

    async with serving(handler, ssl_context=tls.server) as port, client(port, ssl=tls.client) as c:
        for _ in range(2):
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            _, _, body = await c.answer()
            assert body == b"x" * 1_500_000 + b"y" * 1_500_000


async def test_a_bound_socket_and_a_shared_port() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        server = HttpServer(ok, limits=LIMITS, malformed=malformed)
        port = await server.start(sock=sock)
        assert (await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"))[2] == b"ok"
        await server.stop(0.1)
    async with (
        serving(ok, reuse_port=True) as port,
        serving(ok, reuse_port=True) as other,
    ):
        third = HttpServer(ok, limits=LIMITS, malformed=malformed)
        assert await third.start("127.0.0.1", port, reuse_port=True) == port != other
        await third.stop(0.1)
        with pytest.raises(OSError):
            await HttpServer(ok, limits=LIMITS, malformed=malformed).start("127.0.0.1", port)


# What is no request.

BAD = {
    "a folded field": (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", 400),
    "a bare line feed": (b"GET / HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", 400),
    "a bare carriage return": (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
    "a NUL": (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "raw bytes in the path": (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "a fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "user information": (b"GET http://u:p@h/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "an asterisk": (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "another scheme": (b"GET ftp://h/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "CONNECT": (b"CONNECT h:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "two lengths": (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
    "a list of lengths": (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx", 400),
    "a signed length": (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx", 400),
    "the length that means none": (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551615\r\n\r\n", 400),
    "too great a length": (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
    "length and chunks": (
        b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "chunks and length": (
        b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two codings": (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "a coding and another protocol": (
        b"PUT / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
    ),
    "an endless name": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a" * 20_000, 431),
    "an endless target": (b"GET /" + b"a" * 20_000, 431),
    "too many fields": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A:b\r\n" * 1024 + b"\r\n", 400),
    "an unknown coding": (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    "an empty coding": (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\nContent-Length: 1\r\n\r\nx", 400),
    "another expectation": (b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\nx", 417),
    "a long target": (b"GET /" + b"a" * 4096 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
    "a long field": (b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 4097 + b"\r\n\r\n", 431),
    "a long name": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"a" * 4097 + b": b\r\n\r\n", 431),
    "a long head": (b"GET / HTTP/1.1\r\nHost: h\r\n" + (b"A: " + b"a" * 2000 + b"\r\n") * 5 + b"\r\n", 431),
    "an endless head": (b"GET / HTTP/1.1\r\nHost: h\r\n" + b"A: aaaaaaaaaaaa\r\n" * 800, 431),
}


@pytest.mark.parametrize("case", BAD)
async def test_what_is_no_request_is_refused(case: str) -> None:
    """With an answer of ours, once, without a word of what was sent; nothing behind it is taken for a request."""
    data, status = BAD[case]

    async def handler(request: Request) -> Response:
        raise AssertionError("the handler must not be called")

    async with serving(handler) as port, client(port) as c:
        for at in range(0, len(data), 1000):
            c.send(data[at : at + 1000])
            await asyncio.sleep(0)
        c.send(b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
        got, fields, body = await c.answer()
        with contextlib.suppress(ConnectionResetError):
            assert await c.rest() == b""
    assert got == status
    assert fields["Content-Type"] == "text/malformed"
    assert fields["Connection"] == "close"
    assert b"aaaa" not in body


async def test_a_long_head_is_refused_also_when_it_comes_in_one_piece() -> None:
    async with serving(ok) as port:
        assert (await ask(port, BAD["a long head"][0]))[0] == 431


async def test_http_0_9_is_refused() -> None:
    async with serving(ok) as port:
        assert (await ask(port, b"GET /\r\n\r\n"))[0] == 505


async def test_http_1_0_knows_no_chunks() -> None:
    async with serving(ok) as port:
        data = b"PUT / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        assert (await ask(port, data))[0] == 501


async def test_heads_up_to_the_limit_are_served() -> None:
    async with serving(echo) as port, client(port) as c:
        c.send(b"GET /" + b"p" * 4095 + b" HTTP/1.1\r\nHost: h\r\nA: " + b"a" * 3900 + b"\r\n\r\n")
        status, _, body = await c.answer()
        assert status == 200
        assert len(body) > 7995
        c.send(b"".join([b"GET / HTTP/1.1\r\nHost: h\r\n", *(b"A%d: b\r\n" % n for n in range(500)), b"\r\n"]))
        assert (await c.answer())[2].count(b"=b\n") == 500


async def test_a_head_that_comes_byte_by_byte_is_served() -> None:
    async with serving(echo) as port, client(port) as c:
        for byte in b"GET /slow?x HTTP/1.1\r\nHost: h\r\n\r\n":
            c.send(bytes([byte]))
            await c.writer.drain()
            await asyncio.sleep(0)
        assert (await c.answer())[2].startswith(b"GET /slow ? x\n")


async def test_a_head_that_takes_too_long_is_cut() -> None:
    async with serving(ok) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await c.answer())[0] == 200
        c.send(b"GET / HTTP/1.1\r\nHost:")
        status, fields, _ = await c.answer()
        assert status == 408
        assert fields["Connection"] == "close"
        assert await c.rest() == b""


async def test_an_idle_connection_is_closed() -> None:
    async with serving(ok) as port:
        async with client(port) as c:
            assert await c.rest() == b""
        async with client(port) as c:
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await c.answer())[0] == 200
            assert await c.is_open()
            assert await c.rest() == b""


async def test_a_request_that_the_loop_has_not_read_yet_keeps_its_idle_connection() -> None:
    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    async with serving(ok) as port, client(port) as c:
        for _ in range(3):
            c.send(one)
            assert (await c.answer())[2] == b"ok"
            await asyncio.sleep(0.15)
            # The loop is held up until after the time limit, and the request comes meanwhile.
            time.sleep(0.3)  # noqa: ASYNC251
            c.send(one)
            assert (await c.answer())[2] == b"ok"


# Bodies that come in.


@given(
    body=st.binary(max_size=300),
    cuts=st.lists(st.integers(0, 500), max_size=6),
    chunks=st.lists(st.integers(1, 80), max_size=5),
    pause=st.booleans(),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_split_of_a_body_arrives_whole(body: bytes, cuts: list[int], chunks: list[int], pause: bool) -> None:
    wire = b"PUT / HTTP/1.1\r\n" + HOST
    if chunks:
        framed, left = b"", body
        for length in [*chunks, len(body)]:
            piece, left = left[:length], left[length:]
            framed += b"%X;ext=1\r\n%b\r\n" % (len(piece), piece) if piece else b""
        wire += b"Transfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\nTrailer: x\r\n\r\n"
    else:
        wire += b"Content-Length: %d\r\n\r\n" % len(body) + body
    wire += b"GET /next HTTP/1.1\r\nHost: h\r\n\r\n"
    async with serving(echo) as port, client(port) as c:
        at = 0
        for cut in [*sorted(cuts), len(wire)]:
            c.send(wire[at:cut])
            at = max(at, cut)
            if pause:
                await c.writer.drain()
                await asyncio.sleep(0.001)
        assert (await c.answer())[2].partition(b"\n\n")[2] == body
        assert (await c.answer())[2].startswith(b"GET /next ? \n")


async def test_a_large_body_comes_in_large_pieces_and_with_back_pressure() -> None:
    go = asyncio.Event()
    largest = 0

    async def handler(request: Request) -> Response:
        nonlocal largest
        await go.wait()
        total = 0
        assert not isinstance(request.body, bytes)
        async for piece in request.body:
            total += len(piece)
            largest = max(largest, len(piece))
        return Response(200, CIMultiDict(), str(total).encode())

    length = 64 << 20
    async with serving(handler) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length)
        piece = bytes(1 << 20)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.25):
                while sent < length:
                    c.send(piece)
                    sent += len(piece)
                    await c.writer.drain()
        assert sent < 32 << 20, "the server took a body that nobody reads"
        go.set()
        while sent < length:
            c.send(piece)
            sent += len(piece)
            await c.writer.drain()
        assert (await c.answer())[2] == b"%d" % length
    assert 32 << 10 < largest <= 512 << 10


async def test_a_body_that_the_client_cuts_short_is_an_error() -> None:
    seen: list[object] = []
    done = asyncio.Event()

    async def handler(request: Request) -> Response:
        try:
            seen.append(len(await read_all(request.body, 100)))
        except BodyCutShort as error:
            seen.append(error)
        done.set()
        return Response(400)

    for framing in (b"Content-Length: 10\r\n\r\n12345", b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"):
        for end in ("eof", "reset", "close"):
            async with serving(handler) as port, client(port) as c:
                c.send(b"PUT / HTTP/1.1\r\n" + HOST + framing)
                await c.writer.drain()
                await asyncio.sleep(0.01)
                if end == "eof":
                    c.writer.write_eof()
                elif end == "reset":
                    c.reset()
                else:
                    c.writer.close()
                async with asyncio.timeout(2):
                    await done.wait()
            done.clear()
    assert len(seen) == 6
    assert all(isinstance(outcome, BodyCutShort) for outcome in seen)


async def test_a_body_whose_framing_breaks_is_an_error() -> None:
    async def handler(request: Request) -> Response:
        with pytest.raises(BodyCutShort):
            await read_all(request.body, 100)
        return Response(400, CIMultiDict(), b"cut")

    async with serving(handler, Limits(linger_seconds=0.1)) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n")
        await c.writer.drain()
        await asyncio.sleep(0.02)
        c.send(b"zz\r\n12345\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        assert (await c.answer())[2] == b"cut"
        assert await c.rest() == b""


@pytest.mark.parametrize("at_once", [True, False])
async def test_trailer_fields_are_dropped(at_once: bool) -> None:
    """They come after the signature was verified, so nothing may take them for fields of the head."""
    began = asyncio.Event()

    async def handler(request: Request) -> Response:
        began.set()
        return await echo(request)

    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    rest = b"3\r\nabc\r\n0\r\nX-Amz-Acl: public-read\r\nAuthorization: x\r\nHost: other\r\n\r\n"
    async with serving(handler) as port, client(port) as c:
        for data in [head + rest] if at_once else [head, rest]:
            c.send(data)
            if not at_once:
                await began.wait()
        c.send(b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await c.answer())[2] == b"PUT / ? \nHost=here\nTransfer-Encoding=chunked\n\nabc"
        assert (await c.answer())[2] == b"GET /next ? \nHost=here\n\n"


@pytest.mark.parametrize("endless", [b"X-A: ", b"X-A: b\r\n" * 1000, b"1;ext="])
async def test_what_is_no_body_in_a_body_in_chunks_has_an_end(endless: bytes) -> None:
    """The parser keeps a field until it ends: the memory must not be filled with it."""
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    beginning = b"3\r\nabc\r\n" + (b"" if b"ext" in endless else b"0\r\n")
    read = asyncio.Event()

    async def handler(request: Request) -> Response:
        with pytest.raises(BodyCutShort):
            await read_all(request.body, 1 << 30)
        read.set()
        return Response(200)

    async with serving(handler) as port, client(port) as c:
        c.send(head + beginning + endless)
        for _ in range(12):
            c.send(b"X-A: bbb\r\n" * 100 if endless.endswith(b"\n") else b"a" * 1000)
            await c.writer.drain()
            await asyncio.sleep(0.005)
        async with asyncio.timeout(0.2):
            await read.wait()


async def test_the_framing_of_chunks_may_come_apart_from_them() -> None:
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with serving(size) as port, client(port) as c:
        c.send(head)
        for _ in range(40):
            c.send(b"2000\r\n" + bytes(0x2000))
            await c.writer.drain()
            await asyncio.sleep(0)
            c.send(b"\r\n")
            await c.writer.drain()
            await asyncio.sleep(0)
        c.send(b"0\r\n\r\n")
        assert (await c.answer())[2] == str(40 * 0x2000).encode()


async def test_a_client_that_stops_sending_is_not_waited_for() -> None:
    async def handler(request: Request) -> Response:
        with pytest.raises(BodyCutShort):
            await read_all(request.body, 100)
        return Response(400, CIMultiDict(), b"too slow")

    async with serving(handler) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n12345")
        status, _, body = await c.answer()
        assert (status, body) == (400, b"too slow")
        assert await c.rest() == b""


async def test_continue_is_sent_at_the_first_read() -> None:
    go = asyncio.Event()

    async def handler(request: Request) -> Response:
        await go.wait()
        return await size(request)

    async with serving(handler) as port, client(port) as c:
        for _ in range(2):
            go.clear()
            c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n")
            assert await c.is_open()
            go.set()
            async with asyncio.timeout(2):
                assert await c.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            c.send(b"12345")
            assert (await c.answer())[2] == b"5"


async def test_continue_is_sent_before_an_empty_body_too() -> None:
    """As AWS does. The aws CLI waits for it, and would take what comes in its place for the next answer's head."""
    async with serving(size) as port, client(port) as c:
        for _ in range(2):
            c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n")
            async with asyncio.timeout(2):
                assert await c.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await c.answer())[2] == b"0"


async def test_continue_is_not_sent_to_a_client_that_has_begun() -> None:
    async with serving(size) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n12")
        await asyncio.sleep(0.02)
        c.send(b"345")
        status, _, body = await c.answer()
        assert (status, body) == (200, b"5")


async def test_a_body_that_is_not_asked_for_ends_the_connection() -> None:
    async with serving(ok) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        status, fields, _ = await c.answer()
        assert status == 200
        assert fields["Connection"] == "close"
        assert await c.rest() == b""


@pytest.mark.parametrize(
    "data",
    [
        b"PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n12345",
        b"PUT / HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n12345",
    ],
)
async def test_continue_is_not_sent_where_it_is_of_no_use(data: bytes) -> None:
    async with serving(size) as port:
        assert (await ask(port, data))[0] == 200


async def test_continue_is_sent_before_an_empty_body_is_read_too() -> None:
    """As AWS does it: the aws CLI spoils the connection where a final answer comes in its place."""
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n"
    async with serving(size) as port, client(port) as c:
        c.send(head)
        assert (await c.answer())[0] == 100
        assert (await c.answer())[0] == 200
    async with serving(ok) as port, client(port) as c:
        c.send(head)
        status, fields, _ = await c.answer()
        assert (status, fields["Connection"]) == (200, "close")


async def test_the_connection_outlives_a_small_unread_body() -> None:
    async with serving(ok) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n" + bytes(400))
        status, fields, _ = await c.answer()
        assert status == 200
        assert "Connection" not in fields
        c.send(bytes(500) + b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await c.answer())[2] == b"ok"
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n" + bytes(400))
        assert (await c.answer())[0] == 200
        assert await c.rest() == b"", "a rest that does not come is not waited for long"


async def test_a_large_unread_body_ends_the_connection_after_the_answer() -> None:
    async with serving(ok) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000000\r\n\r\n" + bytes(2000))
        status, fields, body = await c.answer()
        assert (status, body) == (200, b"ok")
        assert fields["Connection"] == "close"
        with contextlib.suppress(ConnectionError):
            assert await c.rest() == b""


# Answers.


async def test_the_connection_outlives_a_whole_body_that_is_not_read() -> None:
    """So much of it that no more was read meanwhile."""
    come = asyncio.Event()

    async def handler(request: Request) -> Response:
        if request.method == "PUT":
            await come.wait()
        return Response(200, CIMultiDict(), request.method.encode())

    for size in (600_000, 530_000, 700_000):
        come.clear()
        async with serving(handler, Limits()) as port, client(port) as c:
            c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
            await c.writer.drain()
            await asyncio.sleep(0.05)
            come.set()
            assert (await c.answer())[2] == b"PUT"
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await c.answer())[2] == b"GET"


async def test_bodies_that_wait_in_a_row_are_bounded_together() -> None:
    go = asyncio.Event()

    async def handler(request: Request) -> Response:
        await go.wait()
        return Response(200, CIMultiDict(), str(len(await read_all(request.body, 1 << 20))).encode())

    one = b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 400000\r\n\r\n" + bytes(400_000)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listening.bind(("127.0.0.1", 0))
        server = HttpServer(handler, limits=Limits(), malformed=malformed)
        port = await server.start(sock=listening)
        async with client(port) as c:
            c.writer.transport.set_write_buffer_limits(high=0)
            sent = 0
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    for _ in range(16):
                        c.send(one)
                        await c.writer.drain()
                        sent += 1
            # What the system holds on both sides comes on top.
            assert sent < 14
            go.set()
            for _ in range(sent):
                assert (await c.answer())[2] == b"400000"
        await server.stop(0.1)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as port, client(port) as c:
        c.send(b"".join(b"GET /%d HTTP/1.1\r\n%b\r\n" % (n, HOST) for n in range(50)))
        for n in range(50):
            assert (await c.answer())[2].startswith(b"GET /%d ? \n" % n)


async def test_what_the_server_adds() -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/own":
            return Response(200, CIMultiDict({"Server": "AmazonS3", "Date": "x", "Content-Length": "2"}), b"ok")
        return Response(
            299, CIMultiDict({"Connection": "x", "Transfer-Encoding": "gzip", "X-A": "caf\xe9\udcff"}), b"ok"
        )

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        status, fields, _ = await c.answer()
        assert status == 299
        assert set(fields) == {"X-A", "Content-Length", "Date"}
        assert fields["X-A"].encode("utf-8", "surrogateescape") == b"caf\xc3\xa9\xff"
        sent = parsedate_to_datetime(fields["Date"])
        assert abs((datetime.now(sent.tzinfo) - sent).total_seconds()) < 5
        c.send(b"GET /own HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await c.answer())[1] == {"Server": "AmazonS3", "Date": "x", "Content-Length": "2"}


@pytest.mark.parametrize(
    ("request_line", "field", "connection", "stays"),
    [
        (b"GET / HTTP/1.1", b"", None, True),
        (b"GET / HTTP/1.1", b"Connection: close\r\n", "close", False),
        (b"GET / HTTP/1.1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", "close", False),
        (b"GET / HTTP/1.1", b"Connection: Upgrade\r\nUpgrade: websocket\r\n", "close", False),
        (b"GET / HTTP/1.0", b"", "close", False),
        (b"GET / HTTP/1.0", b"Connection: keep-alive\r\n", "keep-alive", True),
    ],
)
async def test_who_keeps_a_connection(request_line: bytes, field: bytes, connection: str | None, stays: bool) -> None:
    async with serving(ok) as port, client(port) as c:
        c.send(request_line + b"\r\n" + HOST + field + b"\r\n")
        _, fields, _ = await c.answer()
        assert fields.get("Connection") == connection
        assert await c.is_open() is stays


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_body_beside_a_wish_for_another_protocol(at_once: bool) -> None:
    """As ``curl --http2`` sends it."""
    head = b"PUT / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\n"
    async with serving(size) as port, client(port) as c:
        for piece in [head + b"12345"] if at_once else [head, b"123", b"45"]:
            c.send(piece)
            await asyncio.sleep(0.01)
        assert (await c.answer())[2] == b"5"
        assert await c.rest() == b""


async def test_the_next_head_may_begin_together_with_a_body() -> None:
    async with serving(echo) as port, client(port) as c:
        for whole in (b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"):
            c.send(b"PUT / HTTP/1.1\r\n" + HOST + whole + b"GET /next HT")
            assert (await c.answer())[2].endswith(b"\nabc")
            c.send(b"TP/1.1\r\n" + HOST)
            await asyncio.sleep(0.01)
            c.send(b"\r\n")
            assert (await c.answer())[2].startswith(b"GET /next ? \n")


async def test_a_client_that_sends_without_reading_is_not_read_from_for_ever() -> None:
    go = asyncio.Event()
    calls = 0

    async def handler(request: Request) -> Response:
        nonlocal calls
        calls += 1
        await go.wait()
        return Response(200, CIMultiDict(), b"x")

    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    async with serving(handler, Limits()) as port, client(port) as c:
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.3):
                while sent < 1_000_000:
                    c.send(one * 1000)
                    sent += 1000
                    await c.writer.drain()
        assert sent < 1_000_000, "the server took requests that it does not answer"
        assert calls == 1
        go.set()
        for _ in range(2000):
            assert (await c.answer())[2] == b"x"


async def test_answers_without_a_body() -> None:
    streams = [Stream(b"never read") for _ in range(3)]
    answers = {
        "/head": Response(200, CIMultiDict({"Content-Length": "1234"}), streams[0]),
        "/head-bytes": Response(404, CIMultiDict({"Content-Length": "5"}), b""),
        "/204": Response(204, CIMultiDict({"Content-Length": "0"}), streams[1]),
        "/304": Response(304, CIMultiDict({"ETag": '"a"'}), streams[2]),
        "/empty": Response(200),
        "/empty-stream": Response(200, CIMultiDict({"Content-Length": "0"}), Stream()),
    }

    async def handler(request: Request) -> Response:
        return answers[request.path]

    async with serving(handler) as port, client(port) as c:
        lengths = {}
        for path in answers:
            method = b"HEAD" if path.startswith("/head") else b"GET"
            c.send(method + b" " + path.encode() + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            _, fields, _ = await c.answer(bodyless=True)
            lengths[path] = fields.get("Content-Length")
            assert "Transfer-Encoding" not in fields
    assert lengths == {
        "/head": "1234",
        "/head-bytes": "5",
        "/204": None,
        "/304": None,
        "/empty": "0",
        "/empty-stream": "0",
    }
    assert all(stream.closed.is_set() for stream in streams)


@given(pieces=st.lists(st.binary(max_size=200_000), max_size=8))
@settings(max_examples=15, deadline=None)
async def test_a_streamed_answer_arrives_whole(pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    stream = Stream(*pieces)

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": str(len(whole))}), stream)

    async with serving(handler) as port:
        assert (await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"))[2] == whole
    assert stream.closed.is_set()


async def test_a_stream_of_unknown_length_goes_in_chunks() -> None:
    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict(), Stream(b" ", b"", b"x" * 300, b"end"))

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        _, fields = await c.head()
        assert fields["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in fields
        assert await c.rest() == b"1\r\n \r\n12c\r\n" + b"x" * 300 + b"\r\n3\r\nend\r\n0\r\n\r\n"
        assert (await ask(port, b"GET / HTTP/1.0\r\n\r\n"))[0] == 500


@pytest.mark.parametrize("length", [10, None])
@pytest.mark.parametrize(
    "pieces",
    [(b"1234", ValueError("of the store")), (b"1234", ConnectionResetError("of the store")), (b"1234",)],
    ids=["error", "connection", "short"],
)
async def test_a_torn_answer_can_t_be_taken_for_whole(
    length: int | None, pieces: tuple[bytes | Exception, ...], caplog: pytest.LogCaptureFixture
) -> None:
    stream = Stream(*pieces)
    torn = length is not None or len(pieces) > 1
    headers = CIMultiDict({"Content-Length": str(length)}) if length else CIMultiDict[str]()

    async def handler(request: Request) -> Response:
        return Response(200, headers, stream)

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET /?X-Amz-Signature=secret HTTP/1.1\r\n" + HOST + b"\r\n")
        assert (await c.head())[0] == 200
        body = b""
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            async with asyncio.timeout(0.2):
                while piece := await c.reader.read(1000):
                    body += piece
        assert await c.is_open() is not torn
        assert len(body) < 10 or not torn
        assert body.endswith(b"0\r\n\r\n") is not torn
    await asyncio.wait_for(stream.closed.wait(), 1)
    records = [record.getMessage() for record in caplog.records]
    assert len(records) == torn
    assert "secret" not in "".join(records)


async def test_the_last_piece_waits_for_the_end_of_the_stream() -> None:
    """A verifier that fails at the very end leaves the client with less than the length."""
    stream = Stream(b"1234", b"5678", ValueError("does not verify"))

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": "8"}), stream)

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await c.head()
        with contextlib.suppress(ConnectionResetError):
            assert b"5678" not in await c.rest()


@pytest.mark.parametrize(
    "response",
    [
        Response(200, CIMultiDict({"X-A": "b\r\nX-Injected: c"}), b"ok"),
        Response(200, CIMultiDict({"X-A": "b\nX-Injected: c"}), b"ok"),
        Response(200, CIMultiDict({"X-A: b\r\nX-Injected": "c"}), b"ok"),
        Response(200, CIMultiDict({"X-A: b": "c"}), b"ok"),
        Response(200, CIMultiDict({"Content-Length": "3"}), b"ok"),
        Response(200, CIMultiDict({"Content-Length": "3"}), Stream(ValueError("at once"))),
        Response(200, CIMultiDict({"Content-Length": "3"}), Stream(b"1234")),
        Response(200, CIMultiDict({"X-A": "b\r\nX-Injected: c"}), Stream(b"ok")),
    ],
    ids=itertools.count(),
)
async def test_an_answer_that_can_t_be_sent_is_an_internal_error(response: Response) -> None:
    async def handler(request: Request) -> Response:
        return response

    async with serving(handler) as port:
        status, fields, body = await ask(port, b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status == 500
    assert "X-Injected" not in fields
    assert b"internal error" in body


async def test_an_exception_of_the_handler_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        if request.path == "/timeout":
            raise TimeoutError
        raise ValueError("inside")

    async with serving(handler) as port, client(port) as c:
        for path in (b"/timeout", b"/"):
            caplog.clear()
            c.send(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
            status, fields, body = await c.answer()
            assert (status, fields["Content-Type"]) == (500, "text/malformed")
            assert b"inside" not in body
            assert [record.levelno for record in caplog.records] == [logging.ERROR]


async def test_a_cancellation_that_nobody_asked_for_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(request: Request) -> Response:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting
        raise AssertionError

    async with serving(handler) as port, client(port) as c:
        for _ in range(2):
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            assert (await c.answer())[0] == 500
    assert "the handler of a GET request failed" in caplog.text


async def test_a_client_that_reads_slowly_slows_the_stream() -> None:
    given_out = 0

    class Endless(Stream):
        async def __anext__(self) -> bytes:
            nonlocal given_out
            given_out += 1 << 18
            return bytes(1 << 18)

    stream = Endless()

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": str(1 << 40)}), stream)

    async with serving(handler) as port, client(port, limit=1 << 16) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await c.head()
        await asyncio.sleep(0.1)
        assert given_out < 64 << 20
        async with asyncio.timeout(3):
            await stream.closed.wait()


@pytest.mark.parametrize("field", [b"Connection: close\r\n", b""])
async def test_a_client_that_leaves_the_end_of_its_answer_does_not_keep_the_connection(field: bytes) -> None:
    """All has been handed to the transport, which closes once the client has taken it: never, if that were all."""
    size = 3 << 18

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": str(size)}), Stream(*[bytes(1 << 18)] * 3))

    server = HttpServer(handler, limits=LIMITS, malformed=malformed)
    with socket.socket() as listening, socket.socket() as c:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)
        listening.bind(("127.0.0.1", 0))
        port = await server.start(sock=listening)
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.connect(("127.0.0.1", port))
        c.sendall(b"GET / HTTP/1.1\r\n" + HOST + field + b"\r\n")
        await asyncio.sleep(0.9)
        started = asyncio.get_running_loop().time()
        await server.stop(5)
        assert asyncio.get_running_loop().time() - started < 1, "the connection was still there"


async def test_over_tls_too_a_client_has_time_for_the_end_of_its_last_answer(tls) -> None:
    size = 3 << 18

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": str(size)}), Stream(*[bytes(1 << 18)] * 3))

    limits = dataclasses.replace(LIMITS, stall_seconds=5, linger_seconds=0.1)
    server = HttpServer(handler, limits=limits, malformed=malformed)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listening.bind(("127.0.0.1", 0))
        port = await server.start(sock=listening, ssl_context=tls.server)
        async with client(port, ssl=tls.client, limit=1 << 12) as c:
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            await c.head()
            await asyncio.sleep(0.4)
            assert len(await c.rest()) == size
        await server.stop(5)


# Clients that go away, and the end.


async def test_a_client_that_goes_away_cancels_the_handler() -> None:
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(request: Request) -> Response:
        started.set()
        try:
            await asyncio.sleep(10)
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler) as port:
        async with client(port) as c:
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await started.wait()
        async with asyncio.timeout(5):
            await cancelled.wait()


@pytest.mark.parametrize("seconds", [0, 0.01, 0.4])
@pytest.mark.parametrize("streamed", [False, True])
async def test_who_closes_its_half_of_the_connection_gets_its_answers(seconds: float, streamed: bool) -> None:
    async def handler(request: Request) -> Response:
        body = str(len(await read_all(request.body, 1 << 30))).encode() * 5
        await asyncio.sleep(seconds)
        if not streamed:
            return Response(200, CIMultiDict(), body)
        return Response(200, CIMultiDict({"Content-Length": str(len(body))}), Stream(*[bytes([byte]) for byte in body]))

    async with serving(handler) as port:
        for length in (0, 3, 700_000):
            sent = b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length + bytes(length)
            async with client(port) as c:
                c.send(sent + sent)
                c.writer.write_eof()
                first, second = await c.final(), await c.final()
                assert first[2] == second[2] == str(length).encode() * 5
                assert (first[1].get("Connection"), second[1].get("Connection")) == (None, "close")
                assert await c.rest() == b""


@pytest.mark.parametrize(
    ("after", "statuses"),
    [
        (b"", [200]),
        (b"GET / HTT", [200]),
        (b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n1234", [200, 400]),
        (b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234", [200, 400]),
        (b"no request\r\n\r\n", [200, 400]),
    ],
)
async def test_what_has_not_come_whole_when_its_half_is_closed_is_an_error(after: bytes, statuses: list[int]) -> None:
    async def handler(request: Request) -> Response:
        try:
            await asyncio.sleep(0.05)
            return await size(request)
        except BodyCutShort:
            return Response(400)

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n" + after)
        c.writer.write_eof()
        assert [(await c.final())[0] for _ in statuses] == statuses
        assert await c.rest() == b""


@pytest.mark.parametrize(("begun", "end"), [(False, "close"), (False, "reset"), (True, "reset")])
async def test_who_has_gone_is_told_from_who_has_closed_its_half(begun: bool, end: str) -> None:
    """Also where the handler, or the body of the answer, takes its time."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    class Waiting(Stream):
        async def __anext__(self) -> bytes:
            if not self.pieces:
                await forever()
            return await super().__anext__()

    async def handler(request: Request) -> Response:
        if begun:
            return Response(200, CIMultiDict({"Content-Length": "100"}), Waiting(b"1", b"2"))
        await forever()
        raise AssertionError

    async with serving(handler) as port, client(port) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await started.wait()
        c.writer.write_eof()
        await asyncio.sleep(0.1)
        assert not ended.is_set()
        c.reset() if end == "reset" else c.writer.transport.abort()
        async with asyncio.timeout(5):
            await ended.wait()


async def test_over_tls_the_end_of_what_is_sent_is_the_end_of_the_connection(tls) -> None:
    cancelled = asyncio.Event()

    async def handler(request: Request) -> Response:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        raise AssertionError

    async with serving(handler, ssl_context=tls.server) as port, client(port, ssl=tls.client) as c:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        await asyncio.sleep(0.05)
        c.writer.close()
        async with asyncio.timeout(3):
            await cancelled.wait()


@pytest.mark.parametrize("waiting", ["for the stream", "for the client"])
async def test_a_client_that_goes_away_within_the_answer_closes_the_stream(waiting: str) -> None:
    never = asyncio.Event()
    pieces = [b"x" * 100] if waiting == "for the stream" else [bytes(1 << 20)] * 50
    stream = Stream(*pieces, wait=never)

    async def handler(request: Request) -> Response:
        return Response(200, CIMultiDict({"Content-Length": str(1 << 30)}), stream)

    async with serving(handler, Limits()) as port:
        async with client(port, limit=1 << 16) as c:
            c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
            await c.head()
            c.reset()
        async with asyncio.timeout(1):
            await stream.closed.wait()


async def test_stop_lets_requests_end_and_takes_no_more() -> None:
    go = asyncio.Event()
    started = asyncio.Event()

    async def handler(request: Request) -> Response:
        started.set()
        await go.wait()
        return await size(request)

    server = HttpServer(handler, limits=Limits(), malformed=malformed)
    port = await server.start("127.0.0.1", 0)
    async with client(port) as busy, client(port) as idle:
        busy.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 2000000\r\n\r\n" + bytes(1000))
        await started.wait()
        stopping = asyncio.create_task(server.stop(5))
        assert await idle.rest() == b""
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        busy.send(bytes(1_999_000))
        go.set()
        status, fields, body = await busy.answer()
        assert (status, body) == (200, b"2000000")
        assert fields["Connection"] == "close"
        assert await busy.rest() == b""
        async with asyncio.timeout(1):
            await stopping


async def test_a_request_that_is_on_its_way_when_the_server_stops_is_answered() -> None:
    server = HttpServer(ok, limits=Limits(), malformed=malformed)
    port = await server.start("127.0.0.1", 0)
    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    async with client(port) as busy:
        busy.send(one)
        assert (await busy.answer())[2] == b"ok"
        stopping = asyncio.create_task(server.stop(5))
        await asyncio.sleep(0.02)
        busy.send(one)
        _, fields, body = await busy.answer()
        assert (fields["Connection"], body) == ("close", b"ok")
        assert await busy.rest() == b""
        async with asyncio.timeout(1):
            await stopping


async def test_a_request_that_the_loop_has_not_read_yet_when_the_server_stops_is_answered() -> None:
    server = HttpServer(ok, limits=Limits(), malformed=malformed)
    port = await server.start("127.0.0.1", 0)
    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    async with client(port) as c:
        c.send(one)
        assert (await c.answer())[2] == b"ok"
        await asyncio.sleep(0.15)
        c.send(one)
        async with asyncio.timeout(1):
            await server.stop(5)
        _, fields, body = await c.answer()
        assert (fields["Connection"], body) == ("close", b"ok")
        assert await c.rest() == b""


async def test_stop_cuts_what_does_not_end() -> None:
    started, ended = asyncio.Event(), asyncio.Event()
    stream = Stream(b"x", wait=asyncio.Event())

    async def handler(request: Request) -> Response:
        if request.path == "/stream":
            return Response(200, CIMultiDict({"Content-Length": "1000"}), stream)
        started.set()
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()
        raise AssertionError

    server = HttpServer(handler, limits=Limits(), malformed=malformed)
    port = await server.start("127.0.0.1", 0)
    async with client(port) as c, client(port) as d:
        c.send(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n")
        d.send(b"GET /stream HTTP/1.1\r\n" + HOST + b"\r\n")
        await d.head()
        await started.wait()
        async with asyncio.timeout(1):
            await server.stop(0.1)
        assert ended.is_set()
        assert stream.closed.is_set()
        assert not await c.is_open()
        with contextlib.suppress(ConnectionResetError):
            assert await d.rest() in {b"", b"x"}


async def test_a_body_may_be_given_up_by_its_reader() -> None:
    async def handler(request: Request) -> Response:
        body = request.body
        assert not isinstance(body, bytes)
        stream: ByteStream = body
        first = await anext(stream)
        await stream.aclose()
        assert [piece async for piece in stream] == []
        return Response(200, CIMultiDict(), bytes(first))

    async with serving(handler) as port, client(port) as c:
        c.send(b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n12345")
        assert (await c.answer())[2] == b"12345"
        c.send(b"67890GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\n\r\nx")
        assert (await c.answer())[2] == b"x"
