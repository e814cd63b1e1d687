"""Heads of bare requests: the same as the general way makes them."""

from datetime import UTC, datetime, timedelta

import pytest
from multidict import CIMultiDict

from proxy.aws import sigv4, sigv4_bare
from proxy.aws.http_head import encode_head
from proxy.aws.message import Request

NOW = datetime(2026, 11, 28, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/bucket", "/b/a/key.bin", "/b/k%20%C3%A4~%2F", "/b//x/../y", "/b/\xe4"])
@pytest.mark.parametrize("host", ["127.0.0.1:9000", "store.example"])
def test_a_bare_head_is_what_the_general_way_makes(method: str, path: str, host: str) -> None:
    for now in (NOW, NOW + timedelta(seconds=1)):
        secrets = {"access_key_id": "AKIA", "secret": "secret", "region": "eu-west-1", "now": now}
        request = Request(method, path, headers=CIMultiDict({"Host": host}))
        added = sigv4.sign(request, service="s3", payload_hash=sigv4.UNSIGNED_PAYLOAD, **secrets)  # type: ignore[arg-type]
        expected = encode_head(f"{method} {path} HTTP/1.1", [("Host", host), *added.items()])
        assert sigv4_bare.head(method, path, host=host, **secrets) == expected  # type: ignore[arg-type]
