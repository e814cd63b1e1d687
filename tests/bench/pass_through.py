"""The proxy's shell with nothing inside: its HTTP server and its client to the store, bytes passed as they are.

What it costs is what everything but S3, keys and encryption costs. It authenticates nobody: a benchmark's mode, which
the program itself does not have. Run: ``python -m tests.bench.pass_through PORT URL`` with the store's credentials in
``STORE_ACCESS_KEY`` and ``STORE_SECRET_KEY``.
"""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime

import uvloop
from multidict import CIMultiDict

from proxy.aws.credentials import StoreCredentials
from proxy.aws.message import Request, Response
from proxy.s3.upstream.http import HttpUpstream
from proxy.server.http import HttpServer
from proxy.server.limits import Limits

_PASSED = ("Content-Length", "Content-Type", "Range", "x-amz-checksum-mode")
_NOT_PASSED = ("Connection", "Keep-Alive", "Transfer-Encoding", "Date")


async def main(port: int, url: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    credentials = StoreCredentials(os.environ["STORE_ACCESS_KEY"], os.environ["STORE_SECRET_KEY"])
    upstream = HttpUpstream(url, credentials, "us-east-1", clock=lambda: datetime.now(UTC))

    async def handle(request: Request) -> Response:
        headers = CIMultiDict((name, request.headers[name]) for name in _PASSED if name in request.headers)
        answer = await upstream.send(Request(request.method, request.path, request.query, headers, request.body))
        for name in _NOT_PASSED:
            answer.headers.pop(name, None)  # type: ignore[attr-defined]
        return answer

    server = HttpServer(handle, limits=Limits(), malformed=lambda status, _: Response(status, CIMultiDict(), b""))
    await server.start("127.0.0.1", port)
    await stopped.wait()
    await server.stop(1)
    await upstream.aclose()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
