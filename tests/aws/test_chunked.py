"""aws-chunked bodies: AWS's documented examples, any chunking, every truncation, every forgery."""

import io
import itertools

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import canonical, checksums
from proxy.aws.chunked import ChunkedDecoder, ChunkSigning
from proxy.aws.errors import AwsError

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
SCOPE = "20130524/us-east-1/s3/aws4_request"
TIMESTAMP = "20130524T000000Z"
KEY = canonical.signing_key(SECRET, "20130524", "us-east-1", "s3")
SIGNING = ChunkSigning(KEY, TIMESTAMP, SCOPE, "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")

# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
DOCUMENTED = (
    b"10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n"
)
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
TRAILER_SIGNING = ChunkSigning(
    KEY, TIMESTAMP, SCOPE, "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"
)
DOCUMENTED_WITH_TRAILER = (
    b"10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n"
    + b"a" * 65536
    + b"\r\n400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n"
    + b"a" * 1024
    + b"\r\n0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n"
    + b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    + b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n"
)


def encode(
    chunks: list[bytes],
    signing: ChunkSigning | None = None,
    trailers: dict[str, str] | None = None,
    *,
    line_feed: bytes = b"",
) -> bytes:
    """A body as a client makes it."""
    previous = signing.seed_signature if signing else ""
    out = []

    def sign(subject: str, hashes: str) -> str:
        assert signing is not None
        text = f"AWS4-HMAC-SHA256-{subject}\n{signing.timestamp}\n{signing.scope}\n{previous}\n{hashes}"
        return canonical.signature(signing.signing_key, text)

    for chunk in [*chunks, b""]:
        line = f"{len(chunk):x}"
        if signing:
            previous = sign("PAYLOAD", f"{canonical.EMPTY_SHA256}\n{digest(chunk)}")
            line += f";chunk-signature={previous}"
        out.append(line.encode() + b"\r\n" + chunk + (b"\r\n" if chunk else b""))
    if trailers is not None:
        block = "".join(f"{name}:{value}\n" for name, value in trailers.items()).encode()
        out.extend(f"{name}:{value}".encode() + line_feed + b"\r\n" for name, value in trailers.items())
        if signing:
            out.append(f"x-amz-trailer-signature:{sign('TRAILER', digest(block))}\r\n".encode())
    return b"".join([*out, b"\r\n"])


def digest(data: bytes) -> str:
    hasher = checksums.new("SHA256")
    hasher.update(data)
    return hasher.digest().hex()


def decode(decoder: ChunkedDecoder, *pieces: bytes | memoryview) -> bytes:
    out = b"".join(bytes(decoder.update(piece)) for piece in pieces)
    return out + bytes(decoder.finalize())


def refused(decoder: ChunkedDecoder, *pieces: bytes) -> AwsError:
    with pytest.raises(AwsError) as caught:
        decode(decoder, *pieces)
    return caught.value


def documented() -> ChunkedDecoder:
    return ChunkedDecoder(66560, signing=SIGNING)


def documented_with_trailer() -> ChunkedDecoder:
    return ChunkedDecoder(66560, signing=TRAILER_SIGNING, trailers=["x-amz-checksum-crc32c"])


TRAILERS = {"x-amz-checksum-crc32": "AAAAAA=="}
SMALL = b"hello world"
MODES = {
    "signed": (encode([SMALL], SIGNING), lambda: ChunkedDecoder(11, signing=SIGNING)),
    "signed with trailer": (
        encode([SMALL], SIGNING, TRAILERS),
        lambda: ChunkedDecoder(11, signing=SIGNING, trailers=list(TRAILERS)),
    ),
    "unsigned with trailer": (encode([SMALL], None, TRAILERS), lambda: ChunkedDecoder(11, trailers=list(TRAILERS))),
    "unsigned, nothing announced": (encode([SMALL], None, {}), lambda: ChunkedDecoder(11, trailers=[])),
}
each_mode = pytest.mark.parametrize(("body", "make"), MODES.values(), ids=MODES.keys())


def test_the_documented_seed_signature() -> None:
    names = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
    request = (
        "PUT\n/examplebucket/chunkObject.txt\n\ncontent-encoding:aws-chunked\ncontent-length:66824\n"
        "host:s3.amazonaws.com\nx-amz-content-sha256:STREAMING-AWS4-HMAC-SHA256-PAYLOAD\nx-amz-date:20130524T000000Z\n"
        f"x-amz-decoded-content-length:66560\nx-amz-storage-class:REDUCED_REDUNDANCY\n\n{names}x-amz-storage-class\n"
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    )
    text = canonical.string_to_sign(TIMESTAMP, SCOPE, request.encode())
    assert canonical.signature(KEY, text) == SIGNING.seed_signature
    assert len(DOCUMENTED) == 66824


def test_the_documented_examples() -> None:
    assert decode(documented(), DOCUMENTED) == b"a" * 66560
    decoder = documented_with_trailer()
    assert decode(decoder, DOCUMENTED_WITH_TRAILER) == b"a" * 66560
    assert decoder.trailers == {"x-amz-checksum-crc32c": "sOO8/Q=="}
    assert encode([b"a" * 65536, b"a" * 1024], SIGNING) == DOCUMENTED
    trailers = {"x-amz-checksum-crc32c": "sOO8/Q=="}
    assert encode([b"a" * 65536, b"a" * 1024], TRAILER_SIGNING, trailers) == DOCUMENTED_WITH_TRAILER


@pytest.mark.parametrize("size", [1, 2, 7, 255, 256, 257, 4096, 65535])
def test_the_documented_examples_in_pieces(size: int) -> None:
    def cut(body: bytes) -> list[bytes]:
        return [body[i : i + size] for i in range(0, len(body), size)]

    assert decode(documented(), *cut(DOCUMENTED)) == b"a" * 66560
    assert decode(documented_with_trailer(), *cut(DOCUMENTED_WITH_TRAILER)) == b"a" * 66560


@each_mode
@given(data=st.data())
def test_any_chunking_gives_the_same(body: bytes, make, data: st.DataObject) -> None:  # type: ignore[no-untyped-def]
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    edges = [0, *sorted(cuts), len(body)]
    pieces = [body[a:b] for a, b in itertools.pairwise(edges)]
    decoder, whole = make(), make()
    assert decode(decoder, *pieces) == decode(whole, memoryview(body)) == SMALL
    assert decoder.trailers == whole.trailers


@each_mode
def test_byte_by_byte(body: bytes, make) -> None:  # type: ignore[no-untyped-def]
    assert decode(make(), *(body[i : i + 1] for i in range(len(body)))) == SMALL


@each_mode
def test_every_truncation_is_refused(body: bytes, make) -> None:  # type: ignore[no-untyped-def]
    for end in range(len(body)):
        assert refused(make(), body[:end]).code in {"IncompleteBody", "MalformedTrailerError"}


@each_mode
@pytest.mark.parametrize("more", [b"x", b"\r\n", b"0\r\n\r\n", b"\0" * 300])
def test_trailing_data_is_refused(body: bytes, make, more: bytes) -> None:  # type: ignore[no-untyped-def]
    assert refused(make(), body + more).code == "IncompleteBody"
    assert refused(make(), body, more).code == "IncompleteBody"


@pytest.mark.parametrize("mode", ["signed", "signed with trailer"])
def test_no_bit_of_a_signed_body_can_be_flipped(mode: str) -> None:
    body, make = MODES[mode]
    for place in range(len(body)):
        for bit in (0x01, 0x80):
            changed = bytearray(body)
            changed[place] ^= bit
            if changed.lower() == body.lower():
                continue
            refused(make(), bytes(changed))


@pytest.mark.parametrize("body", [DOCUMENTED, encode([b"a" * 65536, b"a" * 1024], SIGNING)])
def test_a_forged_chunk_is_refused_at_its_end(body: bytes) -> None:
    forged = bytearray(body)
    forged[100] ^= 1
    end = body.index(b"\r\n400;")
    error = refused(documented(), bytes(forged[:end]))
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert error.detail["StringToSign"].startswith("AWS4-HMAC-SHA256-PAYLOAD\n20130524T000000Z\n")


def test_chunks_cannot_change_places_or_requests() -> None:
    one, two = b"1" * 8192, b"2" * 8192
    body = encode([one, two], SIGNING)
    line = len(b"2000;chunk-signature=") + 64 + 2
    first, second, rest = body[: line + 8194], body[line + 8194 : 2 * (line + 8194)], body[2 * (line + 8194) :]

    def make() -> ChunkedDecoder:
        return ChunkedDecoder(16384, signing=SIGNING)

    assert decode(make(), first, second, rest) == one + two
    assert refused(make(), second, first, rest).code == "SignatureDoesNotMatch"
    other = ChunkedDecoder(16384, signing=TRAILER_SIGNING)
    assert refused(other, body).code == "SignatureDoesNotMatch"


def test_a_forged_trailer_is_refused() -> None:
    body = encode([SMALL], SIGNING, TRAILERS)
    make = MODES["signed with trailer"][1]
    assert refused(make(), body.replace(b"AAAAAA==", b"AAAAAQ==")).code == "SignatureDoesNotMatch"
    start = body.index(b"x-amz-trailer-signature")
    assert refused(make(), body[:start] + b"\r\n").code == "IncompleteBody"
    wrong = body[: start + 24] + b"0" * 64 + b"\r\n\r\n"
    assert refused(make(), wrong).code == "SignatureDoesNotMatch"


def test_an_unsigned_chunk_in_a_signed_body_is_refused_and_the_reverse() -> None:
    assert refused(ChunkedDecoder(11, signing=SIGNING), encode([SMALL])).code == "IncompleteBody"
    assert refused(ChunkedDecoder(11, trailers=[]), encode([SMALL], SIGNING)).code == "IncompleteBody"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"-1",
        b"+b",
        b"0xb",
        b"b ",
        b" b",
        b"1_0",
        b"g",
        b"1" * 17,
        b";chunk-signature=" + b"0" * 64,
        b"b;a=b",
        b"b\n",
    ],
)
def test_a_malformed_chunk_line_is_refused(line: bytes) -> None:
    assert refused(ChunkedDecoder(11, trailers=[]), line + b"\r\n" + SMALL + b"\r\n0\r\n\r\n").code == "IncompleteBody"


def test_a_chunk_line_without_an_end_is_refused_early() -> None:
    decoder = ChunkedDecoder(11, trailers=[])
    decoder.update(b"0" * 255)
    with pytest.raises(AwsError):
        decoder.update(b"0")


def test_a_chunk_must_end_with_crlf() -> None:
    for end in (b"", b"\n", b"\r", b"xx"):
        error = refused(ChunkedDecoder(11, trailers=[]), b"b\r\n" + SMALL + end + b"0\r\n\r\n")
        assert error.code == "IncompleteBody"


@pytest.mark.parametrize("signing", [SIGNING, None])
def test_only_the_last_chunk_may_be_small(signing: ChunkSigning | None) -> None:
    chunks = [b"a" * 8192, b"b" * 8191, b"c"]
    trailers = None if signing else []
    error = refused(ChunkedDecoder(16384, signing=signing, trailers=trailers), encode(chunks, signing))
    assert (error.code, error.status) == ("InvalidChunkSizeError", 400)
    assert error.message == "Only the last chunk is allowed to have a size less than 8192 bytes"
    assert error.detail == {"Chunk": "3", "BadChunkSize": "8191"}
    good = ChunkedDecoder(16383, signing=signing, trailers=trailers)
    assert decode(good, encode(chunks[:2], signing)) == b"a" * 8192 + b"b" * 8191


@pytest.mark.parametrize(("length", "provided"), [(10, 11), (12, 11), (0, 11)])
def test_the_decoded_length_must_be_right(length: int, provided: int) -> None:
    for signing in (SIGNING, None):
        decoder = ChunkedDecoder(length, signing=signing, trailers=None if signing else [])
        error = refused(decoder, encode([SMALL], signing))
        assert (error.code, error.status) == ("IncompleteBody", 400)
        assert error.message == "You did not provide the number of bytes specified by the Content-Length HTTP header"
        assert error.detail == {"NumberBytesExpected": str(length), "NumberBytesProvided": str(provided)}


def test_nothing_beyond_the_decoded_length_is_handed_out() -> None:
    decoder = ChunkedDecoder(10, trailers=[])
    with pytest.raises(AwsError):
        decoder.update(b"ffffffffffffffff\r\n" + b"x" * 100)


def test_an_empty_payload() -> None:
    assert decode(ChunkedDecoder(0, signing=SIGNING), encode([], SIGNING)) == b""
    assert decode(ChunkedDecoder(0, trailers=[]), b"0\r\n\r\n") == b""


@pytest.mark.parametrize(
    ("announced", "sent"),
    [
        (["x-amz-checksum-crc32"], b""),
        ([], b"x-amz-checksum-crc32:AAAAAA==\r\n"),
        (["x-amz-checksum-crc32"], b"x-amz-checksum-sha1:AAAAAA==\r\n"),
        (["x-amz-checksum-crc32"], b"x-amz-checksum-crc32=AAAAAA==\r\n"),
        (["x-amz-checksum-crc32"], b":AAAAAA==\r\n"),
        (["x-amz-checksum-crc32"], b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-checksum-crc32:AAAAAA==\r\n"),
        (["x-amz-checksum-crc32"], b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-meta-a:1\r\n"),
        (["x-amz-checksum-crc32"], b"x-amz-checksum-crc32:AAAAAA==\r\nx-amz-trailer-signature:0\r\n"),
    ],
)
def test_a_trailer_other_than_the_announced_one_is_refused(announced: list[str], sent: bytes) -> None:
    error = refused(ChunkedDecoder(11, trailers=announced), b"b\r\n" + SMALL + b"\r\n0\r\n" + sent + b"\r\n")
    assert (error.code, error.status) == ("MalformedTrailerError", 400)


def test_a_mode_without_a_trailer_takes_none() -> None:
    body = encode([SMALL], SIGNING, TRAILERS)
    assert refused(ChunkedDecoder(11, signing=SIGNING), body).code == "IncompleteBody"


def test_trailers_are_bounded() -> None:
    decoder = ChunkedDecoder(0, trailers=["x-amz-checksum-crc32"])
    decoder.update(b"0\r\nx-amz-checksum-crc32:")
    for _ in range(10):
        decoder.update(b"A" * 100)
    with pytest.raises(AwsError):
        decoder.update(b"A" * 100)


def test_trailer_names_in_any_case_and_blanks_around_values() -> None:
    decoder = ChunkedDecoder(11, trailers=["X-Amz-Checksum-Crc32"])
    body = b"B\r\n" + SMALL + b"\r\n0\r\nX-AMZ-CHECKSUM-CRC32 : AAAAAA== \r\n\r\n"
    assert decode(decoder, body) == SMALL
    assert decoder.trailers == {"x-amz-checksum-crc32": "AAAAAA=="}


@pytest.mark.parametrize("signing", [SIGNING, None])
def test_a_trailer_line_may_end_with_a_line_feed_of_its_own(signing: ChunkSigning | None) -> None:
    # As in the documentation's own listing, and as minio-go sends it.
    decoder = ChunkedDecoder(11, signing=signing, trailers=list(TRAILERS))
    assert decode(decoder, encode([SMALL], signing, TRAILERS, line_feed=b"\n")) == SMALL


@given(data=st.binary(max_size=40_000), chunk=st.sampled_from([8192, 10_000, 16_384]))
def test_botocores_bodies(data: bytes, chunk: int) -> None:
    wrapper = AwsChunkedWrapper(io.BytesIO(data), Crc32Checksum, "x-amz-checksum-crc32", chunk)
    decoder = ChunkedDecoder(len(data), trailers=["x-amz-checksum-crc32"])
    assert decode(decoder, *wrapper) == data
    hasher = checksums.new("CRC32")
    hasher.update(data)
    assert decoder.trailers == {"x-amz-checksum-crc32": checksums.encode(hasher.digest())}


def test_several_chunks_are_handed_on_without_a_copy() -> None:
    data = b"2000\r\n" + b"x" * 8192 + b"\r\n2000\r\n" + b"y" * 8192 + b"\r\n0\r\n\r\n"
    decoder = ChunkedDecoder(16384, trailers=[])
    pieces = decoder.scatter(data)
    assert [bytes(piece) for piece in pieces] == [b"x" * 8192, b"y" * 8192]
    assert all(isinstance(piece, memoryview) and piece.obj is data for piece in pieces)
    assert decoder.finalize() == b""


def test_a_large_chunk_is_handed_on_without_a_copy() -> None:
    decoder = ChunkedDecoder(1 << 20, trailers=[])
    decoder.update(b"100000\r\n")
    piece = b"x" * 65536
    ready = decoder.update(piece)
    assert isinstance(ready, memoryview)
    assert ready.obj is piece
