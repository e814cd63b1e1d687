"""Bodies that are received in blocks: nothing is lost, mixed up or waited for in vain on the way in and out of that."""

import asyncio
import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.server.limits import Limits
from proxy.stream import BodyCutShort, read_all
from tests.server.test_http import HOST, client, echo, ok, serving, size

BOTH_LOOPS = True

DATA = random.Random(1).randbytes(1_500_000)


def put(length: int) -> bytes:
    return b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % length


@settings(max_examples=20, deadline=None)
@given(
    length=st.integers(260_000, len(DATA)) | st.sampled_from([262_144, 262_145, 524_288]),
    cuts=st.lists(st.integers(1, len(DATA)), max_size=6),
)
async def test_a_long_body_arrives_whole_and_the_next_request_after_it(length: int, cuts: list[int]) -> None:
    wire = put(length) + DATA[:length] + b"GET /next HTTP/1.1\r\n" + HOST + b"\r\n"
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    async with serving(echo, Limits()) as port, client(port) as c:
        for start, end in itertools.pairwise(edges):
            c.send(wire[start:end])
            await c.writer.drain()
            await asyncio.sleep(0)
        assert (await c.answer())[2].partition(b"\n\n")[2] == DATA[:length]
        assert (await c.answer())[2].startswith(b"GET /next ? \n")


async def test_long_bodies_one_after_the_other_over_tls(tls) -> None:
    async with serving(size, Limits(), ssl_context=tls.server) as port, client(port, ssl=tls.client) as c:
        for length in (300_000, 1_000_000, 10, 700_000):
            c.send(put(length) + DATA[:length])
            assert (await c.answer())[2] == b"%d" % length


@pytest.mark.parametrize("end", ["eof", "reset"])
async def test_a_long_body_that_is_cut_short_is_an_error(end: str) -> None:
    seen = asyncio.Event()

    async def handler(request: Request) -> Response:
        with pytest.raises(BodyCutShort):
            await read_all(request.body, 1 << 30)
        seen.set()
        return Response(400)

    async with serving(handler) as port, client(port) as c:
        c.send(put(1_000_000) + DATA[:600_000])
        await c.writer.drain()
        await asyncio.sleep(0.02)
        c.writer.write_eof() if end == "eof" else c.reset()
        async with asyncio.timeout(2):
            await seen.wait()


async def test_a_client_that_drips_is_waited_for_and_one_that_stops_is_not() -> None:
    async def handler(request: Request) -> Response:
        try:
            return Response(200, CIMultiDict(), b"%d" % len(await read_all(request.body, 1 << 30)))
        except BodyCutShort:
            return Response(400, CIMultiDict(), b"too slow")

    limits = Limits(stall_seconds=1.0, linger_seconds=0.1)
    async with serving(handler, limits) as port, client(port) as c:
        c.send(put(600_000))
        for _ in range(6):
            c.send(bytes(1000))
            await asyncio.sleep(0.2)
        c.send(bytes(594_000))
        assert (await c.answer())[2] == b"600000"
        c.send(put(600_000) + bytes(1000))
        assert (await c.answer())[2] == b"too slow"


async def test_a_long_body_that_nobody_reads_ends_the_connection_after_the_answer() -> None:
    async with serving(ok, Limits(linger_seconds=0.1)) as port, client(port) as c:
        c.send(put(50_000_000) + DATA)
        _, fields, body = await c.answer()
        assert (fields["Connection"], body) == ("close", b"ok")


async def test_a_refused_request_with_a_long_body_is_answered() -> None:
    async with serving(ok, Limits(linger_seconds=0.2)) as port, client(port) as c:
        c.send(b"PUT /#x HTTP/1.1\r\n" + HOST + b"Content-Length: 700000\r\n\r\n" + DATA[:700_000] + b"GET /")
        assert (await c.answer())[0] == 400
        assert await c.rest() == b""
