"""The three headers of SSE-C: what a key must look like, and AWS's words for one that does not."""

import base64
import hashlib
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Peer, Request
from proxy.s3.encryption import customer_keys
from proxy.s3.encryption.customer_keys import COPY_SOURCE_PREFIX, PREFIX, CustomerKey
from proxy.s3.gateway import Settings

KEY = bytes(range(32))
TLS = Peer("192.0.2.1", secure=True)
SPECIFYING = "Requests specifying Server Side Encryption with Customer provided keys"
UNMATCHED = "The calculated MD5 hash of the key did not match the hash that was provided."
INVALID = "The secret key was invalid for the specified algorithm."


def md5(key: bytes) -> str:
    return base64.b64encode(hashlib.md5(key).digest()).decode()


def fields(secret: bytes = KEY, prefix: str = PREFIX, **changed: str | None) -> dict[str, str]:
    key = base64.b64encode(secret).decode()
    made: dict[str, str | None] = {"algorithm": "AES256", "key": key, "key-MD5": md5(secret)}
    made |= {name.replace("_", "-"): value for name, value in changed.items()}
    return {prefix + name: value for name, value in made.items() if value is not None}


def request(headers: dict[str, str], peer: Peer | None = TLS) -> Request:
    return Request("PUT", "/b/k", headers=CIMultiDict(headers), peer=peer)


def refused(headers: dict[str, str], peer: Peer | None = TLS, **how: Any) -> AwsError:
    with pytest.raises(AwsError) as error:
        customer_keys.parse(request(headers, peer), Settings(), **how)
    return error.value


def test_a_well_formed_key() -> None:
    found = customer_keys.parse(request({name.upper(): value for name, value in fields().items()}), Settings())
    assert found == CustomerKey(KEY, md5(KEY))
    assert repr(KEY)[2:-1] not in repr(found)
    assert customer_keys.parse(request({"x-amz-server-side-encryption": "aws:kms"}), Settings()) is None


def test_the_key_of_a_copys_source_has_headers_of_its_own() -> None:
    both = fields() | fields(b"s" * 32, COPY_SOURCE_PREFIX)
    found = customer_keys.parse(request(both), Settings(), prefix=COPY_SOURCE_PREFIX)
    assert found == CustomerKey(b"s" * 32, md5(b"s" * 32))
    assert customer_keys.parse(request(both), Settings()) == CustomerKey(KEY, md5(KEY))
    assert customer_keys.parse(request(fields()), Settings(), prefix=COPY_SOURCE_PREFIX) is None


@pytest.mark.parametrize("prefix", [PREFIX, COPY_SOURCE_PREFIX])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"algorithm": None}, f"{SPECIFYING} must provide a valid encryption algorithm."),
        ({"key": None}, f"{SPECIFYING} must provide an appropriate secret key."),
        ({"key_MD5": None}, f"{SPECIFYING} must provide the client calculated MD5 of the secret key."),
        ({"key_MD5": md5(b"another")}, UNMATCHED),
        ({"key_MD5": "\udcff"}, UNMATCHED),
        ({"key": base64.b64encode(b"x" * 32).decode()}, UNMATCHED),
        ({"key": base64.b64encode(b"x" * 16).decode(), "key_MD5": md5(b"x" * 16)}, INVALID),
        ({"key": base64.b64encode(b"x" * 33).decode(), "key_MD5": md5(b"x" * 33)}, INVALID),
        ({"key": ""}, UNMATCHED),
        ({"key": "%%%"}, INVALID),
        ({"key": "\udcff"}, INVALID),
    ],
)
def test_faults_in_awss_words(changed: dict[str, str | None], message: str, prefix: str) -> None:
    error = refused(fields(prefix=prefix, **changed), prefix=prefix)
    assert (error.status, error.code, error.message) == (400, "InvalidArgument", message)
    assert error.detail == {"ArgumentName": "x-amz-server-side-encryption", "ArgumentValue": "null"}


def test_there_is_one_algorithm() -> None:
    error = refused(fields(algorithm="AES128"))
    assert (error.status, error.code) == (400, "InvalidEncryptionAlgorithmError")
    assert error.message == "The Encryption request you specified is not valid. Supported value: AES256."
    assert error.detail["ArgumentValue"] == "AES128"


@pytest.mark.parametrize("peer", [None, Peer("127.0.0.1", secure=False)])
@pytest.mark.parametrize("name", ["algorithm", "key", "key-MD5"])
def test_no_part_of_it_goes_over_plain_http(name: str, peer: Peer | None) -> None:
    error = refused({PREFIX + name: "x"}, peer)
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert error.message == f"{SPECIFYING} must be made over a secure connection."


def test_it_can_be_turned_off() -> None:
    with pytest.raises(AwsError) as error:
        customer_keys.parse(request(fields()), Settings(customer_keys=False))
    assert (error.value.status, error.value.code) == (501, "NotImplemented")
    assert customer_keys.parse(request({}), Settings(customer_keys=False)) is None
