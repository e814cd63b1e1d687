"""What the front door keeps out, each tried as an attack: nothing of it is left behind, the old object is intact."""

import base64
import hashlib
import http.client
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from awscrt import checksums

from tests.e2e.samples import (
    MIB,
    body,
    exists,
    keys_in,
    kms,
    new_bucket,
    new_key,
    new_kms_key,
    refused,
    s3,
    shared_bucket,
)
from tests.e2e.stores import Endpoint, answers, wait_for
from tests.e2e.wire import (
    EMPTY_SHA256,
    SIGNED_CHUNKS,
    SIGNED_TRAILER,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Answer,
    Signed,
    Signer,
    Wire,
    chunked,
    now,
    reset,
    stamp,
)

SMALL, LARGE = 1000, 2 * MIB
OLD = b"the old object"


@pytest.fixture(params=["small", "large"])
def data(request: pytest.FixtureRequest) -> bytes:
    """A body that is read whole before it goes up, and one that streams."""
    return body(SMALL if request.param == "small" else LARGE)


@pytest.fixture
def target(endpoint: Endpoint) -> tuple[str, str]:
    """Bucket and key of an object that has to stay as it is."""
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=OLD)
    return bucket, key


def intact(endpoint: Endpoint, target: tuple[str, str]) -> bool:
    bucket, key = target
    same = s3(endpoint).get_object(Bucket=bucket, Key=key)["Body"].read() == OLD
    return same and keys_in(endpoint, bucket, key) == [key]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Signatures.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-copy-source", "/victim/secret"),
        ("x-amz-meta-a", "b"),
        ("X-Amz-Server-Side-Encryption", "AES256"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-storage-class", "GLACIER"),
        ("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ],
)
def test_what_is_not_signed_is_not_accepted(endpoint: Endpoint, target: tuple[str, str], name: str, value: str) -> None:
    """Neither beside a signed request nor beside a presigned URL, whoever has got it."""
    path = "/{}/{}".format(*target)
    with Wire(endpoint) as wire:
        for head in (wire.signed("PUT", path, payload=UNSIGNED), wire.presigned("PUT", path)):
            answer = wire.send(head.adding((name, value)), b"attack")
            told = (answer.status, answer.code, answer.message)
            assert told == (403, "AccessDenied", "There were headers present in the request which were not signed")
            assert answer.error["HeadersNotSigned"] == name.lower()
    assert intact(endpoint, target)


def test_the_host_has_to_be_signed(endpoint: Endpoint, target: tuple[str, str]) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target))
        fields = dict(head.headers)
        names = "x-amz-content-sha256;x-amz-date"
        lower = {name: fields[name] for name in names.split(";")}
        signature = wire.signer.signature("GET", head.target, (), lower, EMPTY_SHA256, head.moment)
        credential = f"{wire.signer.access_key_id}/{wire.signer.scope(head.moment)}"
        authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}"
        answer = wire.send(head.replacing("Authorization", authorization))
    assert (answer.status, answer.code) == (403, "AccessDenied")


@pytest.mark.parametrize("name", ["x-amz-date", "x-amz-content-sha256", "Authorization", "x-amz-meta-a", "Host"])
def test_what_stands_there_twice(endpoint: Endpoint, target: tuple[str, str], name: str) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), (), {"x-amz-meta-a": "b"}, payload=UNSIGNED)
        value = dict(head.headers)[name]
        assert wire.send(head.adding((name, value)), b"attack").status == 400
    assert intact(endpoint, target)


@pytest.mark.parametrize("name", ["Range", "Content-MD5"])
def test_signed_headers_that_stand_there_twice(endpoint: Endpoint, target: tuple[str, str], name: str) -> None:
    value = {"Range": "bytes=0-1", "Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}[name]
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target), (), {name: value})
        assert wire.send(head.adding((name, value))).status == 400


def signed_by(**changes: Any) -> Callable[[Wire], Signer]:
    def make(wire: Wire) -> Signer:
        own = {"access_key_id": wire.signer.access_key_id, "secret": wire.signer.secret, **changes}
        return Signer(**own)

    return make


@pytest.mark.parametrize(
    ("signer", "status", "code"),
    [
        (signed_by(access_key_id="AKIDOESNOTEXIST12345"), 403, "InvalidAccessKeyId"),
        (signed_by(secret="not the secret"), 403, "SignatureDoesNotMatch"),
        (signed_by(region="us east"), 400, "AuthorizationHeaderMalformed"),
        (signed_by(service="ec2"), 400, "AuthorizationHeaderMalformed"),
    ],
)
def test_who_is_not_known(
    endpoint: Endpoint, target: tuple[str, str], signer: Callable[[Wire], Signer], status: int, code: str
) -> None:
    with Wire(endpoint) as wire:
        fields = {"x-amz-content-sha256": UNSIGNED}
        head = wire.signed("PUT", "/{}/{}".format(*target), (), fields, UNSIGNED, signer=signer(wire))
        answer = wire.send(head, b"attack")
    assert (answer.status, answer.code) == (status, code)
    assert intact(endpoint, target)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (lambda head: head.replacing("Authorization", None), 403, "AccessDenied"),
        (lambda head: head.replacing("Authorization", "AWS AKIA:c2lnbmF0dXJl"), 400, "InvalidRequest"),
        (lambda head: head.replacing("Authorization", "Bearer token"), 400, "InvalidArgument"),
        (lambda head: head.replacing("Authorization", "AWS4-HMAC-SHA256 Credential=x"), 400, None),
        (lambda head: head.replacing("x-amz-date", stamp(now() - timedelta(seconds=5))), 403, "SignatureDoesNotMatch"),
        (lambda head: head.replacing("x-amz-date", None), 403, "AccessDenied"),
        (lambda head: head.replacing("x-amz-content-sha256", EMPTY_SHA256), 403, "SignatureDoesNotMatch"),
        (lambda head: head.replacing("x-amz-meta-a", "changed"), 403, "SignatureDoesNotMatch"),
        (lambda head: head.asking("tagging"), 403, "SignatureDoesNotMatch"),
        (lambda head: head.asking("X-Amz-Signature=0"), 400, "InvalidArgument"),
        (lambda head: Signed("DELETE", *_rest(head)), 403, "SignatureDoesNotMatch"),
    ],
)
def test_what_was_changed_on_its_way(
    endpoint: Endpoint, target: tuple[str, str], change: Callable[[Signed], Signed], status: int, code: str | None
) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), (), {"x-amz-meta-a": "b"}, UNSIGNED)
        answer = wire.send(change(head), b"attack")
    assert answer.status == status
    assert code is None or answer.code == code
    assert intact(endpoint, target)


def _rest(head: Signed) -> tuple[Any, ...]:
    return head.target, head.headers, head.moment, head.signature


@pytest.mark.parametrize("minutes", [-16, -14, 14, 16])
def test_clocks_that_differ(endpoint: Endpoint, target: tuple[str, str], minutes: int) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("GET", "/{}/{}".format(*target), moment=now() + timedelta(minutes=minutes))
        answer = wire.send(head)
    if abs(minutes) < 15:
        assert (answer.status, answer.body) == (200, OLD)
    else:
        message = "The difference between the request time and the current time is too large."
        assert (answer.status, answer.code, answer.message) == (403, "RequestTimeTooSkewed", message)
        assert answer.error["MaxAllowedSkewMilliseconds"] == "900000"


def test_a_service_cannot_be_confused_with_another(endpoint: Endpoint, target: tuple[str, str]) -> None:
    """What is signed for the key service is not served as S3, whatever its path says, nor the other way round."""
    with Wire(endpoint) as wire:
        own = wire.signer
        signer = Signer(own.access_key_id, own.secret, own.region, "kms")
        deleted = wire.send(wire.signed("DELETE", "/{}/{}".format(*target), signer=signer))
        assert deleted.status == 400
        headers = {"X-Amz-Target": "TrentService.CreateKey", "Content-Type": "application/x-amz-json-1.1"}
        assert wire.send(wire.signed("POST", "/", (), headers, sha256(b"{}")), b"{}").status in {405, 501}
    assert intact(endpoint, target)


def test_the_operation_of_the_key_service_has_to_be_signed(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    with Wire(endpoint) as wire:
        own = wire.signer
        signer = Signer(own.access_key_id, own.secret, own.region, "kms")
        call = f'{{"KeyId": "{arn}"}}'.encode()
        headers = {"X-Amz-Target": "TrentService.DescribeKey", "Content-Type": "application/x-amz-json-1.1"}
        head = wire.signed("POST", "/", (), headers, sha256(call), signer=signer)
        assert wire.send(head.replacing("X-Amz-Target", "TrentService.DisableKey"), call).status == 400
        bare = wire.signed("POST", "/", (), {"Content-Type": headers["Content-Type"]}, sha256(call), signer=signer)
        answer = wire.send(bare.adding(("X-Amz-Target", "TrentService.DisableKey")), call)
        assert answer.status == 400
        assert answer.json()["__type"] == "InvalidSignatureException"
        assert wire.send(head, call.replace(b"KeyId", b"keyId")).json()["__type"] == "InvalidSignatureException"
        assert wire.send(head, call).status == 200
    assert kms(endpoint).describe_key(KeyId=arn)["KeyMetadata"]["KeyState"] == "Enabled"


def test_another_account_s_bucket_is_expected(endpoint: Endpoint, target: tuple[str, str]) -> None:
    bucket, key = target
    with refused(403, "AccessDenied"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", ExpectedBucketOwner="111122223333")
    assert intact(endpoint, target)
    s3(endpoint).get_object(Bucket=bucket, Key=key, ExpectedBucketOwner=endpoint.account)["Body"].read()


# Bodies that are not what they are said to be.


def test_a_wrong_hash(endpoint: Endpoint, target: tuple[str, str], data: bytes) -> None:
    with Wire(endpoint) as wire:
        answer = wire.send(wire.signed("PUT", "/{}/{}".format(*target), payload=sha256(b"other")), data)
    message = "The provided 'x-amz-content-sha256' header does not match what was computed."
    assert (answer.status, answer.code, answer.message) == (400, "XAmzContentSHA256Mismatch", message)
    assert answer.error["S3ComputedContentSHA256"] == sha256(data)
    assert intact(endpoint, target)


@pytest.mark.parametrize("value", ["", "abc", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "UNSIGNED"])
def test_a_hash_that_is_none(endpoint: Endpoint, target: tuple[str, str], value: str) -> None:
    with Wire(endpoint) as wire:
        answer = wire.send(wire.signed("PUT", "/{}/{}".format(*target), payload=value), b"attack")
    assert answer.status in {400, 501}
    assert intact(endpoint, target)


CRC = ("x-amz-checksum-crc32c", "AAAAAA==")


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
@pytest.mark.parametrize("which", [0, 1, -2, -1])
def test_a_wrong_chunk_signature(
    endpoint: Endpoint, target: tuple[str, str], data: bytes, mode: str, which: int
) -> None:
    if len(data) == SMALL:
        data = body(20_000)  # chunks have 8 KiB at least
    with Wire(endpoint) as wire:
        head, pieces = streamed(wire, target, data, mode)
        start, middle, rest = pieces[which].partition(b"chunk-signature=")
        assert middle
        pieces[which] = start + middle + (b"0" if rest[:1] != b"0" else b"1") + rest[1:]
        answer = wire.send(head, pieces)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert intact(endpoint, target)


def streamed(wire: Wire, target: tuple[str, str], data: bytes, mode: str) -> tuple[Signed, list[bytes]]:
    """A PUT in one of the STREAMING- modes that is right, and has at least three chunks."""
    own = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data))}
    trailer = None
    if mode != SIGNED_CHUNKS:
        trailer = (CRC[0], base64.b64encode(checksums.crc32c(data).to_bytes(4, "big")).decode())
        own["x-amz-trailer"] = trailer[0]
    head = wire.signed("PUT", "/{}/{}".format(*target), (), own, mode)
    signer = None if mode == UNSIGNED_TRAILER else wire.signer
    return head, chunked(signer, head, data, trailer=trailer, size=8192 if len(data) < MIB else 65_536)


EDITS: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the chunks changed about": lambda pieces: [pieces[1], pieces[0], *pieces[2:]],
    "a chunk left out": lambda pieces: pieces[1:],
    "a chunk twice": lambda pieces: [pieces[0], *pieces],
    "another byte": lambda pieces: [pieces[0][:-5] + b"!" + pieces[0][-4:], *pieces[1:]],
    "no end": lambda pieces: pieces[:-1],
    "more after the end": lambda pieces: [*pieces, b"0\r\n\r\n"],
    "a chunk after the end": lambda pieces: [*pieces, *pieces],
    "no trailer": lambda pieces: [*pieces[:-1], pieces[-1].partition(b"\r\n")[0] + b"\r\n\r\n"],
    "another value in the trailer": lambda pieces: [
        *pieces[:-1],
        pieces[-1].partition(b"crc32c:")[0] + b"crc32c:AAAAAA==\r\n" + pieces[-1].partition(b"crc32c:")[2][10:],
    ],
    "a trailer more": lambda pieces: [*pieces[:-1], pieces[-1][:-2] + b"x-amz-meta-a: b\r\n\r\n"],
    "a size that is none": lambda pieces: [b"xyz" + pieces[0], *pieces[1:]],
    "a negative size": lambda pieces: [b"-" + pieces[0], *pieces[1:]],
    "a huge size": lambda pieces: [b"ffffffffffffffff" + pieces[0].lstrip(b"0123456789abcdef"), *pieces[1:]],
}


@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_chunks_that_were_edited(
    endpoint: Endpoint,
    target: tuple[str, str],
    mode: str,
    edit: Callable[[list[bytes]], list[bytes]],
) -> None:
    data = body(LARGE)
    with Wire(endpoint) as wire:
        head, pieces = streamed(wire, target, data, mode)
        edited = edit(pieces)
        assert b"".join(edited) != b"".join(pieces)
        answer = wire.send(head, edited)
        assert answer.status in {400, 403}, (answer.status, answer.body)
        assert answer.code in {
            "BadDigest",
            "IncompleteBody",
            "InvalidChunkSizeError",
            "MalformedTrailerError",
            "SignatureDoesNotMatch",
        }
        assert intact(endpoint, target)
        # The same, unedited.
        assert wire.send(head, pieces).status == 200


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, UNSIGNED_TRAILER])
@pytest.mark.parametrize("lie", ["1", "-1", "+5", "abc", "", "99999999999999999999999"])
def test_a_decoded_length_that_is_a_lie(endpoint: Endpoint, target: tuple[str, str], mode: str, lie: str) -> None:
    data = body(SMALL)
    with Wire(endpoint) as wire:
        own = {"Content-Encoding": "aws-chunked", "x-amz-decoded-content-length": lie}
        if mode == UNSIGNED_TRAILER:
            own["x-amz-trailer"] = CRC[0]
        head = wire.signed("PUT", "/{}/{}".format(*target), (), own, mode)
        signer = None if mode == UNSIGNED_TRAILER else wire.signer
        answer = wire.send(head, chunked(signer, head, data, trailer=CRC if own.get("x-amz-trailer") else None))
    assert answer.status in {400, 411}
    assert answer.code in {"IncompleteBody", "MissingContentLength", "EntityTooLarge"}
    assert intact(endpoint, target)


@pytest.mark.parametrize("difference", [1, 100_000, 3 * MIB])
def test_a_body_that_ends_early(endpoint: Endpoint, target: tuple[str, str], data: bytes, difference: int) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), payload=UNSIGNED)
        answer = wire.send(head, data, length=len(data) + difference)
    assert answer.status in {0, 400}
    assert answer.status == 0 or answer.code == "IncompleteBody"
    assert intact(endpoint, target)


def test_a_body_that_goes_on(endpoint: Endpoint, target: tuple[str, str], data: bytes) -> None:
    """What follows is no part of the object; it is no request either."""
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), payload=sha256(data))
        answer = wire.send(head, data, length=len(data) - 1)
        assert answer.status == 400
        assert answer.code in {"XAmzContentSHA256Mismatch", "BadRequest"}
        wire.close()
    assert intact(endpoint, target)


def test_a_body_without_a_length(endpoint: Endpoint, target: tuple[str, str]) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), payload=UNSIGNED).adding(("Transfer-Encoding", "chunked"))
        answer = raw(wire, head, b"6\r\nattack\r\n0\r\n\r\n")
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert intact(endpoint, target)


def test_two_ways_to_read_a_length(endpoint: Endpoint, target: tuple[str, str]) -> None:
    """Request smuggling: never both a length and chunks, never two lengths."""
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), payload=UNSIGNED)
        for fields in (
            [("Content-Length", "6"), ("Transfer-Encoding", "chunked")],
            [("Content-Length", "6"), ("Content-Length", "7")],
            [("Content-Length", "6, 6")],
            [("Content-Length", "+6")],
            [("Content-Length", "0x6")],
            [("Transfer-Encoding", "chunked, identity")],
        ):
            answer = raw(wire, head.adding(*fields), b"attack")
            assert answer.status in {400, 501}, fields
            assert answer.code is not None
    assert intact(endpoint, target)


def raw(wire: Wire, head: Signed, after: bytes) -> Answer:
    """Sends a head as it is, and reads one answer."""
    connection = wire.socket()
    try:
        connection.sendall(render(head) + after)
        response = http.client.HTTPResponse(connection, method=head.method)
        response.begin()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def render(head: Signed) -> bytes:
    fields = "".join(f"{name}: {value}\r\n" for name, value in head.headers)
    return f"{head.method} {head.target} HTTP/1.1\r\n{fields}\r\n".encode()


def test_a_body_that_is_too_long_is_refused_before_it_comes(endpoint: Endpoint, target: tuple[str, str]) -> None:
    with Wire(endpoint) as wire:
        head = wire.signed("PUT", "/{}/{}".format(*target), payload=UNSIGNED)
        answer = raw(wire, head.adding(("Content-Length", str(5 * 1024**3 + 1)), ("Expect", "100-continue")), b"")
    assert (answer.status, answer.code) == (400, "EntityTooLarge")
    assert answer.error["MaxSizeAllowed"] == str(5 * 1024**3)
    assert intact(endpoint, target)


def test_requests_in_a_row_are_answered_in_order(endpoint: Endpoint, target: tuple[str, str]) -> None:
    """Pipelined, with a refusal between them: each gets its own answer."""
    path = "/{}/{}".format(*target)
    with Wire(endpoint) as wire:
        heads = [wire.signed("GET", each) for each in (path, f"{path}-none", path)]
        heads.append(wire.signed("GET", path).replacing("Authorization", None))
        connection = wire.socket()
        connection.sendall(b"".join(map(render, heads)))
        source = connection.makefile("rb")
        found = []
        for _ in heads:
            status = int(source.readline().split()[1])
            length = int(http.client.parse_headers(source)["Content-Length"])
            found.append((status, source.read(length)[: len(OLD)]))
        source.close()
        connection.close()
    assert [status for status, _ in found] == [200, 404, 200, 403]
    assert [content for status, content in found if status == 200] == [OLD, OLD]


@pytest.mark.parametrize("path", ["//{bucket}", "//{bucket}/{key}", "///", "/{bucket}//", "/{bucket}//{key}"])
def test_slashes_lead_nowhere_else(endpoint: Endpoint, target: tuple[str, str], path: str) -> None:
    named = path.format(bucket=target[0], key=target[1])
    with Wire(endpoint) as wire:
        for method in ("GET", "HEAD", "PUT", "DELETE"):
            assert 400 <= wire.call(method, named).status < 500, method
    assert intact(endpoint, target)


# Uploads that are broken off.


def has_ended(endpoint: Endpoint, path: str) -> bool:
    """Whether the worker has said what became of a PUT whose client has gone: it waited for its body, or for the
    store."""
    output = endpoint.program.output()
    return any(f"PUT {path} {status}\n" in output for status in (400, 499))


@pytest.mark.parametrize("end", ["reset", "orderly"])
@pytest.mark.parametrize("size", [100_000, 4 * MIB])
def test_an_upload_that_is_killed_at_half(endpoint: Endpoint, target: tuple[str, str], size: int, end: str) -> None:
    bucket, key = target
    data = body(size)
    with Wire(endpoint) as wire:
        for path in (f"/{bucket}/{key}", f"/{bucket}/{key}-new"):
            head = wire.signed("PUT", path, payload=sha256(data)).adding(("Content-Length", str(size)))
            connection = wire.socket()
            connection.sendall(render(head) + data[: size // 2])
            if end == "reset":
                reset(connection)
            else:
                connection.close()
            wait_for(lambda path=path: has_ended(endpoint, path), "the request has ended", 10)
    assert intact(endpoint, target)
    assert not exists(endpoint, bucket, f"{key}-new")
    beneath = endpoint.store.client().list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
    assert [entry["Key"] for entry in beneath] == [key]


def test_a_part_that_is_killed_at_half(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    data = body(5 * MIB)
    with Wire(endpoint) as wire:
        query = [("partNumber", "1"), ("uploadId", upload_id)]
        head = wire.signed("PUT", f"/{bucket}/{key}", query, payload=UNSIGNED)
        connection = wire.socket()
        connection.sendall(render(head.adding(("Content-Length", str(len(data))))) + data[: 3 * MIB])
        reset(connection)
        wait_for(lambda: has_ended(endpoint, f"/{bucket}/{key}"), "the request has ended", 10)
    assert "Parts" not in client.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)
    client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)


def test_a_download_that_is_broken_off_harms_nobody(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    data = body(16 * MIB)
    client.put_object(Bucket=bucket, Key=key, Body=data)
    with Wire(endpoint) as wire:
        for _ in range(8):
            connection = wire.socket()
            connection.sendall(render(wire.signed("GET", f"/{bucket}/{key}")))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
            reset(connection)
        assert wire.call("GET", f"/{bucket}/{key}").body == data


# 100 (Continue).


def first_line(connection: socket.socket) -> bytes:
    """The status line of the next answer on a connection; the rest stays."""
    line = b""
    while not line.endswith(b"\r\n"):
        piece = connection.recv(1)
        assert piece, line
        line += piece
    return line


def expecting(head: Signed, size: int) -> bytes:
    return render(head.adding(("Content-Length", str(size)), ("Expect", "100-continue")))


@pytest.mark.parametrize("size", [0, 5, 5 * 1024**3])
def test_no_continue_before_a_request_is_known_to_be_good(
    endpoint: Endpoint, target: tuple[str, str], size: int
) -> None:
    """Not one byte of a body is asked for from strangers, from those without rights, under a key that is refused."""
    bucket, key = target
    path = f"/{bucket}/{key}"
    disabled = new_kms_key(endpoint)
    kms(endpoint).disable_key(KeyId=disabled)
    sse = {
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": disabled,
    }
    with Wire(endpoint) as wire, Wire(endpoint, "app") as app:
        right = wire.signed("PUT", path, payload=UNSIGNED)
        heads = [
            (right.replacing("Authorization", None), b"HTTP/1.1 403 Forbidden\r\n"),
            (right.replacing("x-amz-date", stamp(now() - timedelta(minutes=2))), b"HTTP/1.1 403 Forbidden\r\n"),
            (right.adding(("x-amz-meta-a", "b")), b"HTTP/1.1 403 Forbidden\r\n"),
            (app.signed("PUT", path, payload=UNSIGNED), b"HTTP/1.1 403 Forbidden\r\n"),
            (wire.signed("PUT", "/no-such-bucket-here/x", payload=UNSIGNED), b"HTTP/1.1 404 Not Found\r\n"),
            (wire.signed("PUT", path, (), sse, UNSIGNED), b"HTTP/1.1 400 Bad Request\r\n"),
        ]
        for head, line in heads:
            connection = wire.socket()
            connection.sendall(expecting(head, size))
            assert first_line(connection) == line
            connection.close()
    assert intact(endpoint, target)


@pytest.mark.parametrize("size", [0, 5, 2 * MIB])
def test_continue_and_then_the_answer(any_endpoint: Endpoint, size: int) -> None:
    """Twice on one connection, so that nothing of the first exchange is left for the second."""
    bucket, key, data = shared_bucket(any_endpoint), new_key(), body(size)
    with Wire(any_endpoint) as wire:
        connection = wire.socket()
        for _ in range(2):
            connection.sendall(expecting(wire.signed("PUT", f"/{bucket}/{key}", payload=sha256(data)), size))
            assert first_line(connection) == b"HTTP/1.1 100 Continue\r\n"
            assert first_line(connection) == b"\r\n"
            connection.sendall(data)
            assert first_line(connection) == b"HTTP/1.1 200 OK\r\n"
            rest = b""
            while not rest.endswith(b"\r\n\r\n"):
                rest += connection.recv(1)
        connection.close()
        assert wire.call("GET", f"/{bucket}/{key}").body == data


# What is not there.

OBJECT, BUCKET = "/{bucket}/{key}", "/{bucket}"
UNIMPLEMENTED: dict[str, tuple[str, str, list[tuple[str, str]], dict[str, str]]] = {
    "CopyObject": ("PUT", OBJECT, [], {"x-amz-copy-source": "/{bucket}/{key}"}),
    "UploadPartCopy": (
        "PUT",
        OBJECT,
        [("partNumber", "1"), ("uploadId", "x")],
        {"x-amz-copy-source": "/{bucket}/{key}"},
    ),
    "PostObject": ("POST", BUCKET, [], {"Content-Type": "multipart/form-data; boundary=x"}),
    "GetObjectAttributes": ("GET", OBJECT, [("attributes", "")], {"x-amz-object-attributes": "ETag"}),
    "ListObjectVersions": ("GET", BUCKET, [("versions", "")], {}),
    "ListMultipartUploads": ("GET", BUCKET, [("uploads", "")], {}),
    "RestoreObject": ("POST", OBJECT, [("restore", "")], {}),
    "SelectObjectContent": ("POST", OBJECT, [("select", ""), ("select-type", "2")], {}),
    "GetBucketPolicy": ("GET", BUCKET, [("policy", "")], {}),
    "PutBucketPolicy": ("PUT", BUCKET, [("policy", "")], {}),
    "DeleteBucketPolicy": ("DELETE", BUCKET, [("policy", "")], {}),
    "GetBucketAcl": ("GET", BUCKET, [("acl", "")], {}),
    "PutBucketAcl": ("PUT", BUCKET, [("acl", "")], {}),
    "GetObjectAcl": ("GET", OBJECT, [("acl", "")], {}),
    "PutObjectAcl": ("PUT", OBJECT, [("acl", "")], {}),
    "GetObjectTorrent": ("GET", OBJECT, [("torrent", "")], {}),
    "PutBucketReplication": ("PUT", BUCKET, [("replication", "")], {}),
    "PutPublicAccessBlock": ("PUT", BUCKET, [("publicAccessBlock", "")], {}),
    "UpdateObjectEncryption": ("PUT", OBJECT, [("encryption", "")], {}),
    "GetObject by part": ("GET", OBJECT, [("partNumber", "1")], {}),
    "an unknown method": ("PATCH", OBJECT, [], {}),
    "POST of an object": ("POST", OBJECT, [], {}),
    "OPTIONS": ("OPTIONS", OBJECT, [], {}),
}


@pytest.mark.parametrize(("method", "path", "query", "headers"), UNIMPLEMENTED.values(), ids=UNIMPLEMENTED)
def test_what_is_not_implemented(
    endpoint: Endpoint,
    target: tuple[str, str],
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
) -> None:
    """It is 501, and neither forwarded nor taken for something else."""
    names = {"bucket": target[0], "key": target[1]}
    sent = {name: value.format(**names) for name, value in headers.items()}
    with Wire(endpoint) as wire:
        answer = wire.call(method, path.format(**names), query, sent, b"" if method == "GET" else b"<x/>")
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert intact(endpoint, target)


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
@pytest.mark.parametrize("name", ["acl", "legal-hold", "retention", "torrent", "policy", "logging", "website", "cors"])
def test_a_sub_resource_is_never_taken_for_the_object_or_the_bucket(
    endpoint: Endpoint, target: tuple[str, str], method: str, name: str
) -> None:
    bucket, key = target
    own = new_bucket(endpoint)
    with Wire(endpoint) as wire:
        for path in (f"/{bucket}/{key}", f"/{own}"):
            wire.call(method, path, [(name, "")], {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}, b"<x/>")
            wire.call(method, path, [(name, "")], body=b"<x/>")
            wire.call(method, path, [(name, ""), ("versionId", "null")], body=b"<x/>")
    assert intact(endpoint, target)
    s3(endpoint).head_bucket(Bucket=own)
    assert keys_in(endpoint, own) == []


def test_s3_mv_loses_nothing(endpoint: Endpoint, target: tuple[str, str]) -> None:
    """It copies, then deletes: a copy that does nothing must not look like one."""
    bucket, key = target
    moved = endpoint.aws("s3", "mv", f"s3://{bucket}/{key}", f"s3://{bucket}/{key}-moved")
    assert moved.returncode != 0
    assert "NotImplemented" in moved.stderr.decode()
    assert intact(endpoint, target)


# Limits, and errors of every kind in the form of the service.


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nx-a: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 2000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n : y\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
        (b"HELLO\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_gets_an_answer_in_s3_s_form(endpoint: Endpoint, line: bytes, status: int) -> None:
    with Wire(endpoint) as wire:
        connection = wire.socket()
        connection.sendall(line)
        response = http.client.HTTPResponse(connection)
        response.begin()
        answer = Answer(response.status, response.headers, response.read())
        connection.close()
    assert answer.status in {status, 400, 505}
    assert answer.headers["Content-Type"] == "application/xml"
    assert answer.code is not None
    assert answers(f"{endpoint.url}/-/health")


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Other/>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete>" * 1500 + b"</Delete>" * 1500,
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"\xff\xfe<Delete/>",
    ],
)
def test_documents_that_are_none(endpoint: Endpoint, document: bytes) -> None:
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    with Wire(endpoint) as wire:
        for query, method in ((("delete", ""), "POST"), (("encryption", ""), "PUT"), (("tagging", ""), "PUT")):
            answer = wire.call(method, f"/{shared_bucket(endpoint)}", [query], {"Content-MD5": digest}, document)
            assert (answer.status, answer.code) == (400, "MalformedXML"), query


def test_a_document_that_is_too_large(endpoint: Endpoint) -> None:
    document = b"<Delete>" + b" " * (9 * MIB) + b"</Delete>"
    with Wire(endpoint) as wire:
        answer = wire.call("PUT", f"/{shared_bucket(endpoint)}", [("encryption", "")], body=document)
    assert answer.status == 400


def test_markup_in_names_is_text(endpoint: Endpoint) -> None:
    key = new_key("<script>alert(1)</script>&'\"\x01")
    with Wire(endpoint) as wire:
        answer = wire.call("GET", f"/{shared_bucket(endpoint)}/{key}")
    assert (answer.status, answer.code) == (404, "NoSuchKey")
    assert answer.error["Key"].startswith(key[:-1])


def test_normal_load_is_not_slowed_down(endpoint: Endpoint) -> None:
    """32 clients at once with the largest bodies that are read whole."""
    client, bucket, prefix = s3(endpoint), shared_bucket(endpoint), new_key("load")
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda n: client.put_object(Bucket=bucket, Key=f"{prefix}/{n}", Body=body(MIB)), range(64)))
        read = pool.map(lambda n: client.get_object(Bucket=bucket, Key=f"{prefix}/{n}")["Body"].read(), range(64))
        assert all(data == body(MIB) for data in read)


def test_a_bucket_s_name_is_not_a_path(endpoint: Endpoint, bucket_name: str) -> None:
    with Wire(endpoint) as wire:
        for name in ("..", "a/..", "A_B", "x", "192.168.0.1", "-a-b-", "a..b", "xn--abc", "%2e%2e"):
            answer = wire.call("PUT", f"/{name}" if "/" not in name else f"/{name}/", body=b"")
            assert 400 <= answer.status < 500, name
    with refused(404, "NoSuchBucket"):
        s3(endpoint).list_objects_v2(Bucket=bucket_name)
