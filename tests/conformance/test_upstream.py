"""One suite for every implementation of port Upstream, over a small store served by the project's own HTTP server.

Thus it is also the test of server and client together.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from multidict import CIMultiDict

from proxy.aws.credentials import StoreCredentials
from proxy.aws.message import Request, Response
from proxy.s3.upstream.http import HttpUpstream
from proxy.s3.upstream.port import Upstream, UpstreamError
from proxy.server.http import HttpServer
from proxy.server.limits import Limits
from proxy.stream import BodyCutShort, Buffer, read_all

BOTH_LOOPS = True

SIZES = [0, 1, 4096, 65_535, 65_536, 65_537, 300_000, 5 << 20]


@dataclass
class ObjectStore:
    """Keeps what is put, whole or not at all, and remembers the requests."""

    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    torn: int = 0

    async def handle(self, request: Request) -> Response:
        self.requests.append(request)
        match request.method:
            case "PUT":
                return await self._put(request)
            case "DELETE":
                self.objects.pop(request.path, None)
                return Response(204)
        stored = self.objects.get(request.path)
        if stored is None:
            return Response(404, CIMultiDict(), b"<Error/>")
        headers = CIMultiDict({"Content-Length": str(len(stored)), "ETag": '"e"'})
        if request.method == "HEAD" or len(stored) < 1 << 20:
            return Response(200, headers, b"" if request.method == "HEAD" else stored)
        return Response(200, headers, Pieces(*(stored[at : at + 100_000] for at in range(0, len(stored), 100_000))))

    async def _put(self, request: Request) -> Response:
        if request.query == "refuse":
            return Response(403, CIMultiDict(), b"<Error/>")
        try:
            self.objects[request.path] = await read_all(request.body, 1 << 30)
        except BodyCutShort:
            self.torn += 1
            raise
        return Response(200, CIMultiDict({"ETag": '"e"'}))


class Pieces:
    """A body; an exception among the pieces is raised."""

    def __init__(self, *pieces: Buffer | Exception) -> None:
        self._pieces = list(pieces)
        self.closed = False

    def __aiter__(self) -> "Pieces":
        return self

    async def __anext__(self) -> Buffer:
        await asyncio.sleep(0)
        if not self._pieces:
            raise StopAsyncIteration
        piece = self._pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece

    async def aclose(self) -> None:
        self.closed = True


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore()


@pytest.fixture(params=["http", "https"])
async def upstream(request: pytest.FixtureRequest, store: ObjectStore, tls) -> AsyncIterator[Upstream]:
    server = HttpServer(
        store.handle, limits=Limits(linger_seconds=0.1), malformed=lambda status, _: Response(status, CIMultiDict())
    )
    secure = request.param == "https"
    port = await server.start("127.0.0.1", 0, ssl_context=tls.server if secure else None)
    client = HttpUpstream(
        f"{request.param}://127.0.0.1:{port}",
        StoreCredentials("AKID", "secret"),
        "us-east-1",
        clock=lambda: datetime.now(UTC),
        ssl_context=tls.client if secure else None,
    )
    yield client
    await client.aclose()
    await server.stop(0.1)


def put(path: str, *pieces: Buffer | Exception, length: int, query: str = "") -> Request:
    return Request("PUT", path, query, CIMultiDict({"Content-Length": str(length)}), Pieces(*pieces))


async def get(upstream: Upstream, path: str) -> tuple[int, bytes]:
    response = await upstream.send(Request("GET", path))
    return response.status, await read_all(response.body, 1 << 30)


async def test_bodies_of_all_sizes_go_there_and_back(upstream: Upstream, store: ObjectStore) -> None:
    for size in SIZES:
        whole = bytes(range(256)) * (size // 256) + bytes(size % 256)
        cut = size // 3
        for body in (whole, Pieces(whole[:cut], memoryview(whole)[cut:])):
            headers = CIMultiDict({"Content-Length": str(size)})
            answer = await upstream.send(Request("PUT", f"/b/{size}", "", headers, body))
            assert answer.status == 200
            assert answer.headers["etag"] == '"e"'
            assert store.objects.pop(f"/b/{size}") == whole
            store.objects[f"/b/{size}"] = whole
            assert await get(upstream, f"/b/{size}") == (200, whole)
        head = await upstream.send(Request("HEAD", f"/b/{size}"))
        assert head.headers["Content-Length"] == str(size)
        assert await read_all(head.body, 0) == b""


async def test_many_at_once(upstream: Upstream, store: ObjectStore) -> None:
    async def one(number: int) -> None:
        whole = bytes([number]) * (number * 20_011)
        await upstream.send(put(f"/b/{number}", whole[:10], whole[10:], length=len(whole)))
        assert await get(upstream, f"/b/{number}") == (200, whole)

    await asyncio.gather(*(one(number) for number in range(1, 40)))


async def test_path_query_and_headers_arrive_as_they_were_given(upstream: Upstream, store: ObjectStore) -> None:
    headers = CIMultiDict([("x-amz-meta-a", "caf\xe9 \udcff"), ("Range", "bytes=0-")])
    await upstream.send(Request("GET", "/b/a%2Fb//../c%20", "versionId=%2B&x", headers))
    (seen,) = store.requests
    assert (seen.path, seen.query) == ("/b/a%2Fb//../c%20", "versionId=%2B&x")
    assert seen.headers["x-amz-meta-a"] == "caf\xe9 \udcff"
    assert seen.headers["Range"] == "bytes=0-"
    assert seen.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")


async def test_others_are_asked_for_over_the_same_connections(upstream: Upstream, store: ObjectStore) -> None:
    other, nobody = upstream.asking_as(StoreCredentials("OTHER", "secret")), upstream.asking_as(None)
    for asked in (upstream, other, nobody, other.asking_as(None), upstream):
        await asked.send(put("/b/k", b"x" * 10, length=10))
    by = [request.headers.get("Authorization", "").partition("Credential=")[2][:6] for request in store.requests]
    assert by == ["AKID/2", "OTHER/", "", "", "AKID/2"]
    assert "x-amz-date" not in store.requests[2].headers
    assert len({id(request.peer) for request in store.requests}) == 1
    await upstream.aclose()
    with pytest.raises(UpstreamError):
        await other.send(Request("GET", "/b/k"))


async def test_any_status_is_an_answer(upstream: Upstream) -> None:
    assert await get(upstream, "/b/none") == (404, b"<Error/>")
    assert (await upstream.send(Request("DELETE", "/b/none"))).status == 204
    assert (await upstream.send(Request("HEAD", "/b/none"))).status == 404


async def test_a_refused_body_is_given_up(upstream: Upstream, store: ObjectStore) -> None:
    piece = bytes(1 << 20)
    request = put("/b/k", *[piece] * 200, length=200 << 20, query="refuse")
    answer = await upstream.send(request)
    assert answer.status == 403
    assert isinstance(request.body, Pieces)
    assert request.body.closed
    assert (await get(upstream, "/b/k"))[0] == 404


@pytest.mark.parametrize("size", [100, 1 << 20])
async def test_a_body_that_fails_leaves_nothing_behind(upstream: Upstream, store: ObjectStore, size: int) -> None:
    for at in range(3):
        pieces: list[bytes | Exception] = [bytes(size), bytes(size)]
        error = LookupError("of the body")
        pieces.insert(at, error)
        request = put("/b/k", *pieces, length=2 * size)
        with pytest.raises(LookupError) as caught:
            await upstream.send(request)
        assert caught.value is error
        assert isinstance(request.body, Pieces)
        assert request.body.closed
        assert (await get(upstream, "/b/k"))[0] == 404
    assert store.objects == {}
    async with asyncio.timeout(5):
        # The store may learn of a connection's end after it has answered on another one.
        while store.torn < (0 if size == 100 else 2):  # noqa: ASYNC110 - the store has no event for it
            await asyncio.sleep(0.001)
    assert store.torn == (0 if size == 100 else 2)
    assert store.objects == {}


async def test_an_answer_may_be_given_up(upstream: Upstream, store: ObjectStore) -> None:
    store.objects["/b/k"] = bytes(50 << 20)
    for _ in range(3):
        answer = await upstream.send(Request("GET", "/b/k"))
        assert not isinstance(answer.body, bytes)
        await anext(answer.body)
        await answer.body.aclose()
    assert len((await get(upstream, "/b/k"))[1]) == 50 << 20


async def test_after_the_end_there_are_only_errors(upstream: Upstream) -> None:
    await get(upstream, "/b/k")
    await upstream.aclose()
    with pytest.raises(UpstreamError):
        await upstream.send(Request("GET", "/b/k"))
