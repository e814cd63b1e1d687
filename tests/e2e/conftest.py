"""Fixtures of the end-to-end tests. Endpoints are started once per session and shared: use buckets of your own."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stores import STORES, Dev, Endpoint, Endpoints


@pytest.fixture(scope="session")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoints]:
    """All endpoints of the session, by store, scheme and number of workers."""
    started = Endpoints(tmp_path_factory.mktemp("e2e"))
    yield started
    started.close()


@pytest.fixture(params=STORES)
def store_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def endpoint(endpoints: Endpoints, store_name: str) -> Endpoint:
    """An endpoint over http, in front of each store in turn."""
    return endpoints.get(store_name)


@pytest.fixture
def tls_endpoint(endpoints: Endpoints, store_name: str) -> Endpoint:
    """An endpoint over https, in front of each store in turn."""
    return endpoints.get(store_name, tls=True)


@pytest.fixture(params=["http", "https"])
def any_endpoint(endpoints: Endpoints, store_name: str, request: pytest.FixtureRequest) -> Endpoint:
    """Over http and over https, in front of each store in turn."""
    return endpoints.get(store_name, tls=request.param == "https")


@pytest.fixture
def two_worker_endpoint(endpoints: Endpoints, store_name: str) -> Endpoint:
    """An endpoint over http that is served by two workers, in front of each store in turn."""
    return endpoints.get(store_name, workers=2)


@pytest.fixture
def bucket_name() -> str:
    """A name that no other test uses, of a bucket that does not exist yet."""
    return f"test-{uuid.uuid4().hex[:20]}"


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[Dev]:
    """``sse-kms-proxy dev`` on a directory of the test's own, to be started; it is stopped afterwards."""
    runner = Dev(tmp_path / "data")
    yield runner
    runner.kill()
