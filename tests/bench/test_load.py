"""The load generator counts what it is to count, and takes no wrong answer for a right one."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.stream import read_all
from tests.bench.load import Load, LoadFailed, Played, play

SIZE = 300_000
GET = (b"GET /body HTTP/1.1\r\nHost: h\r\n\r\n",)


async def handle(request: Request) -> Response:
    received = await read_all(request.body, 2 * SIZE)
    match request.path:
        case "/body":
            return Response(200, CIMultiDict({"Content-Length": str(SIZE)}), b"x" * SIZE)
        case "/chunks":
            return Response(200, CIMultiDict(), Chunks())
        case "/length":
            return Response(200, CIMultiDict({"x-length": str(len(received))}), str(len(received)).encode())
    return Response(404, CIMultiDict(), b"")


class Chunks:
    def __init__(self) -> None:
        self._left = 7

    def __aiter__(self) -> "Chunks":
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        await asyncio.sleep(0)
        return b"x" * 5000

    async def aclose(self) -> None:
        pass


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server = HttpServer(handle, limits=Limits(), malformed=lambda status, _: Response(status, CIMultiDict(), b""))
    yield await server.start("127.0.0.1", 0)
    await server.stop(1)


async def played(load: Load) -> Played:
    return await asyncio.to_thread(play, load)


async def test_each_request_is_sent_once(port: int) -> None:
    found = await played(Load(port, [GET], 25, 4, length=SIZE))
    assert found.count == len(found.latencies) == 25
    assert found.received == 25 * SIZE
    assert 0 < found.quantile(0.5) <= found.quantile(1) < found.seconds * 1.01


async def test_bodies_in_pieces_go_up_whole(port: int) -> None:
    head = b"PUT /length HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % SIZE
    found = await played(Load(port, [(head, b"", b"y" * 100, memoryview(b"z" * (SIZE - 100)))], 6, 3, length=6))
    assert (found.count, found.received, found.sent) == (6, 6 * 6, 6 * (len(head) + SIZE))


async def test_chunks_end_where_they_end(port: int) -> None:
    found = await played(Load(port, [(b"GET /chunks HTTP/1.1\r\nHost: h\r\n\r\n",)], 8, 2))
    assert found.count == 8


async def test_answers_to_head_have_no_body(port: int) -> None:
    head = (b"HEAD /body HTTP/1.1\r\nHost: h\r\n\r\n",)
    found = await played(Load(port, [head], 5, 1, length=SIZE, bodiless=True))
    assert (found.count, found.received) == (5, 0)


@pytest.mark.parametrize("load", [{"status": 206}, {"length": SIZE - 1}])
async def test_a_wrong_answer_ends_it(port: int, load: dict[str, int]) -> None:
    with pytest.raises(LoadFailed, match="an answer of"):
        await played(Load(port, [GET], 3, 1, **load))  # type: ignore[arg-type]


async def test_it_stops_in_time(port: int) -> None:
    found = await played(Load(port, [GET], 10**9, 2, seconds=0.2))
    assert 0 < found.count < 10**9
    assert found.seconds < 5
