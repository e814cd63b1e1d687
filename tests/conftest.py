"""What tests of several packages share."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest
import uvloop
from hypothesis import settings

from proxy import certificates

# How long an example takes says more of the machine than of the program; benchmarks measure that.
settings.register_profile("default", deadline=None)
settings.load_profile("default")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, LoopFactory]:
    """A module that says ``BOTH_LOOPS = True`` is run on asyncio's event loop and on uvloop; others on asyncio's."""
    module = item.getparent(pytest.Module)
    if module is not None and getattr(module.obj, "BOTH_LOOPS", False):
        return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@dataclass(frozen=True)
class Tls:
    """Contexts for a server at 127.0.0.1 and a client that trusts its throwaway authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    files = certificates.provide(tmp_path_factory.mktemp("ca"), ["127.0.0.1"])
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.certificate, files.key)
    return Tls(server, ssl.create_default_context(cafile=str(files.authority)))
