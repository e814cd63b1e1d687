"""The composition root: the only module that names concrete classes."""

import asyncio
import signal
import socket
from collections.abc import Callable

from proxy.config import Config


def run_worker(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    """Serves the endpoint on a listening socket until SIGTERM, then drains.

    ``ready`` is called once, when requests are answered. Raises StartError (or OSError) when it can't start.
    """
    asyncio.run(_serve(config, listener, name, ready))


async def adopt(
    config: Config, buckets: list[str] | None, mixed: bool, account: str | None, region: str | None
) -> list[str]:
    """Puts buckets of the store on record (all of them for None) and returns the names of those newly adopted."""
    raise NotImplementedError


async def _serve(config: Config, listener: socket.socket, name: str, ready: Callable[[], None]) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = f"{name} {config.upstream.url}".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, sock=listener)
    ready()
    await stopped.wait()
    server.close()
