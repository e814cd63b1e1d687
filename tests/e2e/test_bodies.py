"""Bodies that are not what they are said to be, that break off, and that are not asked for: nothing is left behind."""

import base64
import http.client
import socket
from collections.abc import Callable
from datetime import timedelta

import pytest
from awscrt import checksums

from tests.e2e.samples import (
    MIB,
    PRECIOUS,
    body,
    exists,
    intact,
    kms,
    new_key,
    new_kms_key,
    precious_object,
    s3,
    shared_bucket,
)
from tests.e2e.stores import Endpoint, wait_for
from tests.e2e.wire import (
    SIGNED_CHUNKS,
    SIGNED_TRAILER,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Signed,
    Wire,
    chunked,
    now,
    raw,
    render,
    reset,
    sha256,
    stamp,
)

SMALL, LARGE = 1000, 2 * MIB


@pytest.fixture(params=["small", "large"])
def data(request: pytest.FixtureRequest) -> bytes:
    """A body that is read whole before it goes up, and one that streams."""
    return body(SMALL if request.param == "small" else LARGE)


@pytest.fixture
def target(endpoint: Endpoint) -> tuple[str, str]:
    """Bucket and key of an object that has to stay as it is."""
    return precious_object(endpoint)


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
            found.append((status, source.read(length)[: len(PRECIOUS)]))
        source.close()
        connection.close()
    assert [status for status, _ in found] == [200, 404, 200, 403]
    assert [content for status, content in found if status == 200] == [PRECIOUS, PRECIOUS]


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
