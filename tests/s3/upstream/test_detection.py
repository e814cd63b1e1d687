from dataclasses import dataclass, field

import pytest
from multidict import CIMultiDict

from proxy.aws.message import Request, Response
from proxy.s3.upstream.detection import detect, wait_for_store
from proxy.s3.upstream.port import UpstreamError
from proxy.s3.upstream.profiles import PROFILES
from tests.fakes import FakeRandom

ANSWERS = {
    # As they were given by the stores themselves.
    "seaweedfs": {"Server": "SeaweedFS 8000GB 4.48", "X-Amz-Request-Id": "18EC17F876667F31A1ED7BCD"},
    "minio": {"Server": "MinIO", "X-Minio-Error-Code": "NoSuchBucket"},
    "aws": {"Server": "AmazonS3", "x-amz-request-id": "4442587FB7D0A2F9", "x-amz-id-2": "eftixk72aD6Ap51T"},
    "ceph": {"x-amz-request-id": "tx000000000000000000001-0065b7d3f2-1015-default"},
    "s3": {"Server": "nginx", "x-amz-request-id": "1"},
}
HIDDEN = {
    "minio": {"Server": "nginx", "X-Minio-Error-Code": "NoSuchBucket"},
    "ceph": {"Server": "haproxy", "x-amz-request-id": "tx000000000000000000001-0065b7d3f2-1015-default"},
}


@dataclass
class Store:
    headers: dict[str, str]
    failures: int = 0
    sent: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        if self.failures:
            self.failures -= 1
            raise UpstreamError("nobody is there")
        return Response(404, CIMultiDict(self.headers))

    async def aclose(self) -> None:
        """There is nothing to close."""


@pytest.mark.parametrize(("name", "headers"), [*ANSWERS.items(), *HIDDEN.items()])
async def test_a_store_is_known_by_one_harmless_answer(name: str, headers: dict[str, str]) -> None:
    store = Store(headers)
    assert await detect(store, FakeRandom()) == name
    assert name in PROFILES
    (request,) = store.sent
    assert request.method == "HEAD"
    assert len(request.path[1:].split("/")) == 1


async def test_a_store_that_does_not_answer_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.s3.upstream.detection._PAUSE", 0.0)
    store = Store(ANSWERS["minio"], failures=3)
    assert await wait_for_store(store, FakeRandom(), lambda: False) == "minio"
    assert len(store.sent) == 4


async def test_a_stopped_program_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.s3.upstream.detection._PAUSE", 0.0)
    store = Store({}, failures=1000)
    assert await wait_for_store(store, FakeRandom(), lambda: len(store.sent) == 2) == "s3"
