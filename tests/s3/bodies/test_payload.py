"""What an upload's head asks for, and what its body must then be."""

import base64
import hashlib
import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from proxy.aws import canonical, checksums
from proxy.aws.credentials import Caller
from proxy.aws.errors import AwsError
from proxy.aws.message import Request
from proxy.aws.sigv4 import Scope, Verified
from proxy.s3.bodies import payload
from proxy.s3.bodies.payload import Payload

KEY = canonical.signing_key("secret", "20130524", "us-east-1", "s3")
TIMESTAMP = "20130524T000000Z"
SCOPE = Scope("20130524", "us-east-1", "s3")
SEED = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
LIMIT = 5 * 1024**3
DATA = b"hello world"
SHA256 = hashlib.sha256(DATA).hexdigest()
MD5 = base64.b64encode(hashlib.md5(DATA).digest()).decode()
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def checksum(algorithm: str, data: bytes = DATA) -> str:
    hasher = checksums.new(algorithm)
    hasher.update(data)
    return checksums.encode(hasher.digest())


def verified(mode: str) -> Verified:
    caller = Caller("111122223333", "arn:aws:iam::111122223333:user/a", "AIDAEXAMPLE", "AKIDEXAMPLE")
    return Verified(caller, SCOPE, TIMESTAMP, SEED, KEY, mode, presigned=False)


def plan(
    mode: str = "UNSIGNED-PAYLOAD", *, limit: int = LIMIT, size: int | None = len(DATA), **headers: str
) -> Payload:
    fields = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    if size is not None:
        fields["x-amz-decoded-content-length" if mode.startswith("STREAMING") else "Content-Length"] = str(size)
    return payload.plan(Request("PUT", "/b/k", "", fields), verified(mode), limit=limit)


def plan_refused(*args: str, **kwargs: object) -> AwsError:
    with pytest.raises(AwsError) as caught:
        plan(*args, **kwargs)  # type: ignore[arg-type]
    return caught.value


def signature(subject: str, previous: str, hashes: str) -> str:
    return canonical.signature(KEY, f"AWS4-HMAC-SHA256-{subject}\n{TIMESTAMP}\n{SCOPE}\n{previous}\n{hashes}")


def signed_body(data: bytes, trailer: str = "") -> bytes:
    """One signed chunk, and a signed trailer if there is one."""
    first = signature("PAYLOAD", SEED, f"{canonical.EMPTY_SHA256}\n{hashlib.sha256(data).hexdigest()}")
    last = signature("PAYLOAD", first, f"{canonical.EMPTY_SHA256}\n{canonical.EMPTY_SHA256}")
    body = f"{len(data):x};chunk-signature={first}\r\n".encode() + data + f"\r\n0;chunk-signature={last}\r\n".encode()
    if trailer:
        end = signature("TRAILER", last, hashlib.sha256(f"{trailer}\n".encode()).hexdigest())
        body += f"{trailer}\r\nx-amz-trailer-signature:{end}\r\n".encode()
    return body + b"\r\n"


def unsigned_body(data: bytes, trailer: str = "") -> bytes:
    head = f"{len(data):x}\r\n".encode() + data + b"\r\n" if data else b""
    return head + b"0\r\n" + (f"{trailer}\r\n" if trailer else "").encode() + b"\r\n"


def run(planned: Payload, *pieces: bytes, want_md5: bool = False) -> tuple[bytes, payload.PayloadVerifier]:
    """By ``scatter``, and then by ``update``, if that has not refused it already."""
    scattering = planned.verifier(want_md5=want_md5)
    scattered = b"".join(bytes(part) for piece in pieces for part in scattering.scatter(piece))
    scattered += bytes(scattering.finalize())
    verifier = planned.verifier(want_md5=want_md5)
    out = b"".join(bytes(verifier.update(piece)) for piece in pieces) + bytes(verifier.finalize())
    assert (scattered, scattering.checksums) == (out, verifier.checksums)
    return out, verifier


def refused(planned: Payload, *pieces: bytes) -> AwsError:
    verifier = planned.verifier(want_md5=False)
    with pytest.raises(AwsError) as updated:
        _ = [verifier.update(piece) for piece in pieces], verifier.finalize()
    with pytest.raises(AwsError) as caught:
        run(planned, *pieces)
    assert caught.value.status in {400, 403}
    assert caught.value.code == updated.value.code
    return caught.value


# The plan


def test_a_bare_upload() -> None:
    planned = plan()
    assert (planned.length, planned.declared, planned.trailer, planned.algorithm) == (11, {}, None, "CRC64NVME")


@pytest.mark.parametrize("mode", ["UNSIGNED-PAYLOAD", SHA256, SIGNED, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("size", [None, "", "-1", "+1", "x", "1 1", "1_1", "9" * 20])
def test_the_length_must_be_known(mode: str, size: str | None) -> None:
    fields = CIMultiDict({} if mode.startswith("STREAMING") else {"x-amz-decoded-content-length": "11"})
    if mode.startswith("STREAMING"):
        fields["Content-Length"] = "11"
    if size is not None:
        fields["x-amz-decoded-content-length" if mode.startswith("STREAMING") else "Content-Length"] = size
    with pytest.raises(AwsError) as caught:
        payload.plan(Request("PUT", "/b/k", "", fields), verified(mode), limit=LIMIT)
    assert (caught.value.code, caught.value.status) == ("MissingContentLength", 411)
    assert caught.value.message == "You must provide the Content-Length HTTP header."


@pytest.mark.parametrize("mode", ["UNSIGNED-PAYLOAD", SIGNED])
def test_a_body_over_the_limit(mode: str) -> None:
    assert plan(mode, limit=11).length == 11
    error = plan_refused(mode, limit=10)
    assert (error.code, error.status) == ("EntityTooLarge", 400)
    assert error.message == "Your proposed upload exceeds the maximum allowed size"
    assert error.detail == {"ProposedSize": "11", "MaxSizeAllowed": "10"}


@pytest.mark.parametrize("value", ["", "x", MD5[:-1], MD5.replace("=", ""), base64.b64encode(b"x" * 15).decode(), "é"])
def test_an_invalid_content_md5(value: str) -> None:
    error = plan_refused(Content_MD5=value)
    assert (error.code, error.status) == ("InvalidDigest", 400)
    assert error.message == "The Content-MD5 you specified was invalid."
    assert error.detail == {"Content-MD5": value}


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_a_declared_checksum(algorithm: str) -> None:
    value = checksum(algorithm)
    planned = plan(**{checksums.header_name(algorithm): value, "x-amz-sdk-checksum-algorithm": algorithm})
    assert planned.declared == {algorithm: value}
    assert planned.algorithm == algorithm


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
@pytest.mark.parametrize("value", ["", "AAAA", "!", "AAAAAA"])
def test_a_declared_checksum_that_is_none(algorithm: str, value: str) -> None:
    name = checksums.header_name(algorithm)
    error = plan_refused(**{name: value})
    assert (error.code, error.status, error.message) == ("InvalidRequest", 400, f"Value for {name} header is invalid.")


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        (
            {"x-amz-checksum-crc32": checksum("CRC32"), "x-amz-checksum-sha1": checksum("SHA1")},
            "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.",
        ),
        ({"x-amz-checksum-crc16": "AAA="}, "The algorithm type you specified in x-amz-checksum- header is invalid."),
        (
            {"x-amz-sdk-checksum-algorithm": "CRC32"},
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers "
            "were found.",
        ),
        ({"x-amz-sdk-checksum-algorithm": "CRC16"}, "Value for x-amz-sdk-checksum-algorithm header is invalid."),
        (
            {"x-amz-sdk-checksum-algorithm": "SHA1", "x-amz-checksum-crc32": checksum("CRC32")},
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        (
            {"x-amz-trailer": "x-amz-checksum-crc32"},
            "The value specified in the x-amz-trailer header is not supported",
        ),
    ],
)
def test_contradictory_checksum_headers(headers: dict[str, str], message: str) -> None:
    error = plan_refused(**headers)
    assert (error.code, error.status, error.message) == ("InvalidRequest", 400, message)


def test_two_values_of_one_checksum_are_refused() -> None:
    fields = CIMultiDict({"Content-Length": "11", "x-amz-checksum-crc32": checksum("CRC32")})
    fields.add("x-amz-checksum-crc32", checksum("CRC32"))
    with pytest.raises(AwsError) as caught:
        payload.plan(Request("PUT", "/b/k", "", fields), verified("UNSIGNED-PAYLOAD"), limit=LIMIT)
    assert caught.value.code == "InvalidRequest"


def test_headers_about_checksums_that_are_no_values() -> None:
    planned = plan(x_amz_checksum_algorithm="CRC32", x_amz_checksum_type="FULL_OBJECT", x_amz_checksum_mode="ENABLED")
    assert planned.declared == {}
    assert planned.algorithm == "CRC64NVME"


def test_the_sdk_names_algorithms_in_any_case() -> None:
    assert plan(x_amz_checksum_crc32=checksum("CRC32"), x_amz_sdk_checksum_algorithm="crc32").algorithm == "CRC32"


@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_an_announced_trailer(mode: str) -> None:
    planned = plan(mode, x_amz_trailer=" X-Amz-Checksum-Sha256 ", x_amz_sdk_checksum_algorithm="SHA256")
    assert (planned.trailer, planned.algorithm, planned.declared) == ("SHA256", "SHA256", {})


@pytest.mark.parametrize(
    "value", ["", "x-amz-meta-a", "x-amz-checksum-crc16", "x-amz-checksum-crc32,x-amz-checksum-sha1"]
)
def test_an_announced_trailer_of_another_kind(value: str) -> None:
    error = plan_refused(UNSIGNED_TRAILER, x_amz_trailer=value)
    assert (error.code, error.message) == (
        "InvalidRequest",
        "The value specified in the x-amz-trailer header is not supported",
    )


def test_a_checksum_in_header_and_trailer() -> None:
    error = plan_refused(UNSIGNED_TRAILER, x_amz_trailer="x-amz-checksum-crc32", x_amz_checksum_crc32=checksum("CRC32"))
    assert (error.code, error.message) == ("InvalidRequest", "Expecting a single x-amz-checksum- header")


def test_a_trailer_of_another_algorithm_than_the_sdk_names() -> None:
    error = plan_refused(UNSIGNED_TRAILER, x_amz_trailer="x-amz-checksum-crc32", x_amz_sdk_checksum_algorithm="SHA1")
    assert error.message == "Value for x-amz-sdk-checksum-algorithm header is invalid."


def test_checksum_headers_that_speak_of_the_object_and_not_of_the_body() -> None:
    fields = CIMultiDict({"Content-Length": "11", "x-amz-checksum-crc32": "AAAAAA==-2"})
    request = Request("POST", "/b/k", "uploadId=u", fields)
    planned = payload.plan(request, verified("UNSIGNED-PAYLOAD"), limit=LIMIT, checksum_of_body=False)
    assert planned.declared == {}
    assert run(planned, DATA)[0] == DATA


def test_anonymous_uploads() -> None:
    fields = CIMultiDict({"Content-Length": "11"})
    assert payload.plan(Request("PUT", "/b/k", "", fields), None, limit=LIMIT).mode == "UNSIGNED-PAYLOAD"
    fields["x-amz-content-sha256"] = SHA256
    hashed = payload.plan(Request("PUT", "/b/k", "", fields), None, limit=LIMIT)
    assert refused(hashed, b"hello_world").code == "XAmzContentSHA256Mismatch"
    fields["x-amz-decoded-content-length"] = "11"
    for mode in (SIGNED, SIGNED_TRAILER, "nonsense"):
        fields["x-amz-content-sha256"] = mode
        with pytest.raises(AwsError) as caught:
            payload.plan(Request("PUT", "/b/k", "", fields), None, limit=LIMIT)
        assert caught.value.status == 400
    fields["x-amz-content-sha256"] = UNSIGNED_TRAILER
    chunked = payload.plan(Request("PUT", "/b/k", "", fields), None, limit=LIMIT)
    assert run(chunked, unsigned_body(DATA))[0] == DATA


def test_no_key_shows() -> None:
    planned = plan(SIGNED)
    assert planned.signing is not None
    assert repr(KEY) not in repr(planned)
    assert KEY.hex() not in repr(planned)


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (None, None),
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("aws-chunked, gzip, br", "gzip,br"),
        ("aws-chunked,", None),
        ("gzip", "gzip"),
        ("gzip, br", "gzip, br"),
        ("", ""),
    ],
)
def test_the_content_encoding_that_is_stored(sent: str | None, stored: str | None) -> None:
    assert payload.stored_content_encoding(sent) == stored


# The body


def crc32_trailer() -> str:
    return f"x-amz-checksum-crc32:{checksum('CRC32')}"


WAYS: dict[str, tuple[Callable[[], Payload], bytes]] = {
    "unsigned": (plan, DATA),
    "hashed": (lambda: plan(SHA256), DATA),
    "everything": (lambda: plan(SHA256, Content_MD5=MD5, x_amz_checksum_sha256=checksum("SHA256")), DATA),
    "chunked, signed": (lambda: plan(SIGNED, x_amz_checksum_crc32c=checksum("CRC32C")), signed_body(DATA)),
    "chunked, signed trailer": (
        lambda: plan(SIGNED_TRAILER, x_amz_trailer="x-amz-checksum-crc32"),
        signed_body(DATA, crc32_trailer()),
    ),
    "chunked, unsigned trailer": (
        lambda: plan(UNSIGNED_TRAILER, x_amz_trailer="x-amz-checksum-crc32", Content_MD5=MD5),
        unsigned_body(DATA, crc32_trailer()),
    ),
}
each_way = pytest.mark.parametrize(("make", "body"), WAYS.values(), ids=WAYS.keys())


@each_way
def test_the_stored_checksum_and_the_md5(make: Callable[[], Payload], body: bytes) -> None:
    planned = make()
    out, verifier = run(planned, body, want_md5=True)
    assert out == DATA
    assert verifier.checksums == {planned.algorithm: checksum(planned.algorithm)}
    assert verifier.md5 == hashlib.md5(DATA).digest()


@each_way
@given(data=st.data())
def test_any_chunking_gives_the_same(make: Callable[[], Payload], body: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=6))
    pieces = [body[a:b] for a, b in itertools.pairwise([0, *sorted(cuts), len(body)])]
    out, verifier = run(make(), *pieces)
    assert out == DATA
    assert verifier.checksums == run(make(), body)[1].checksums


@each_way
def test_byte_by_byte(make: Callable[[], Payload], body: bytes) -> None:
    assert run(make(), *(body[i : i + 1] for i in range(len(body))))[0] == DATA


@each_way
def test_every_truncation_is_refused(make: Callable[[], Payload], body: bytes) -> None:
    for end in range(len(body)):
        assert refused(make(), body[:end]).code in {"IncompleteBody", "MalformedTrailerError"}


@each_way
def test_trailing_data_is_refused(make: Callable[[], Payload], body: bytes) -> None:
    assert refused(make(), body + b"x").code == "IncompleteBody"
    assert refused(make(), body, b"x").code == "IncompleteBody"


@pytest.mark.parametrize("way", [name for name in WAYS if name != "unsigned"])
def test_every_changed_byte_of_the_payload_is_refused(way: str) -> None:
    make, body = WAYS[way]
    start = body.index(DATA)
    for place in range(start, start + len(DATA)):
        changed = bytearray(body)
        changed[place] ^= 1
        assert refused(make(), bytes(changed)).code in {
            "XAmzContentSHA256Mismatch",
            "SignatureDoesNotMatch",
            "BadDigest",
        }


def test_a_body_of_another_length_tells_both() -> None:
    error = refused(plan(), DATA[:-1])
    assert error.message == "You did not provide the number of bytes specified by the Content-Length HTTP header"
    assert error.detail == {"NumberBytesExpected": "11", "NumberBytesProvided": "10"}


def test_a_wrong_signed_hash() -> None:
    wrong = "0" * 64
    error = refused(plan(wrong), DATA)
    assert (error.code, error.status) == ("XAmzContentSHA256Mismatch", 400)
    assert error.message == "The provided 'x-amz-content-sha256' header does not match what was computed."
    assert error.detail == {"ClientComputedContentSHA256": wrong, "S3ComputedContentSHA256": SHA256}


def test_a_signed_hash_in_upper_case() -> None:
    assert run(plan(SHA256.upper()), DATA)[0] == DATA


def test_a_wrong_content_md5() -> None:
    wrong = base64.b64encode(bytes(16)).decode()
    error = refused(plan(Content_MD5=wrong), DATA)
    assert (error.code, error.status) == ("BadDigest", 400)
    assert error.message == "The Content-MD5 you specified did not match what we received."
    assert error.detail == {"ExpectedDigest": wrong, "CalculatedDigest": MD5}


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
def test_a_wrong_checksum_in_a_header(algorithm: str) -> None:
    error = refused(plan(**{checksums.header_name(algorithm): checksum(algorithm, b"other")}), DATA)
    assert (error.code, error.status) == ("BadDigest", 400)
    assert error.message == f"The {algorithm} you specified did not match the calculated checksum."


@pytest.mark.parametrize("algorithm", checksums.ALGORITHMS)
@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_a_checksum_in_a_trailer(algorithm: str, mode: str) -> None:
    name = checksums.header_name(algorithm)
    make = signed_body if mode == SIGNED_TRAILER else unsigned_body
    planned = plan(mode, x_amz_trailer=name)
    assert run(planned, make(DATA, f"{name}:{checksum(algorithm)}"))[1].checksums == {algorithm: checksum(algorithm)}
    error = refused(planned, make(DATA, f"{name}:{checksum(algorithm, b'other')}"))
    assert (error.code, error.message) == (
        "BadDigest",
        f"The {algorithm} you specified did not match the calculated checksum.",
    )
    error = refused(planned, make(DATA, f"{name}:nonsense"))
    assert (error.code, error.message) == ("InvalidRequest", f"Value for {name} trailing header is invalid.")


def test_a_trailer_that_was_announced_and_does_not_come() -> None:
    planned = plan(UNSIGNED_TRAILER, x_amz_trailer="x-amz-checksum-crc32")
    assert refused(planned, unsigned_body(DATA)).code == "MalformedTrailerError"
    assert refused(plan(UNSIGNED_TRAILER), unsigned_body(DATA, crc32_trailer())).code == "MalformedTrailerError"


def test_an_empty_body() -> None:
    empty = hashlib.sha256(b"").hexdigest()
    assert run(plan(empty, size=0))[1].checksums == {"CRC64NVME": "AAAAAAAAAAA="}
    assert run(plan(UNSIGNED_TRAILER, size=0), unsigned_body(b""))[0] == b""


def test_each_digest_is_computed_once_and_only_if_needed() -> None:
    assert set(plan().verifier(want_md5=False)._hashers) == {"CRC64NVME"}
    assert set(plan(SHA256).verifier(want_md5=False)._hashers) == {"CRC64NVME", "SHA256"}
    both = plan(SHA256, x_amz_checksum_sha256=checksum("SHA256"), Content_MD5=MD5).verifier(want_md5=True)
    assert set(both._hashers) == {"SHA256", "MD5"}
    assert set(plan(SIGNED).verifier(want_md5=False)._hashers) == {"CRC64NVME"}


def test_a_plan_serves_more_than_one_attempt() -> None:
    planned = plan(SIGNED)
    for _ in range(2):
        assert run(planned, signed_body(DATA))[0] == DATA
