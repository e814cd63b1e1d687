"""The body of an object is a Tink streaming ciphertext: Tink opens ours, and we open Tink's."""

import io
from dataclasses import replace
from typing import Any

import pytest
import tink
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from proxy.envelope import keys, parts, ranges, v1
from proxy.envelope.header import Mode
from proxy.envelope.keys import Expander
from proxy.envelope.segments import Expect, Opener, Segments, Stream

SIZES = [0, 1, 65_479, 65_480, 65_481, 131_000, 131_001, 1_048_577]


class Kept(io.BytesIO):
    """Keeps what was written when it is closed, which Tink does."""

    kept = b""

    def close(self) -> None:
        if not self.closed:
            self.kept = self.getvalue()
        super().close()


@pytest.fixture(scope="session")
def tink_primitive(data_key: bytes) -> streaming_aead.StreamingAead:
    """Tink's AES256-GCM-HKDF-SHA256 with segments of 64 KiB and our data key."""
    return primitive(data_key)


def primitive(data_key: bytes) -> streaming_aead.StreamingAead:
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        version=0,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=65_536, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
        ),
        key_value=data_key,
    )
    keyset = tink_pb2.Keyset(primary_key_id=1)
    keyset.key.add(
        key_data=tink_pb2.KeyData(
            type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
            value=key.SerializeToString(),
            key_material_type=tink_pb2.KeyData.SYMMETRIC,
        ),
        status=tink_pb2.ENABLED,
        key_id=1,
        output_prefix_type=tink_pb2.RAW,
    )
    handle = cleartext_keyset_handle.from_keyset(keyset)
    return handle.primitive(streaming_aead.StreamingAead)


def tink_opens(primitive: streaming_aead.StreamingAead, sealed: bytes, associated_data: bytes) -> bytes:
    with primitive.new_decrypting_stream(io.BytesIO(sealed), associated_data) as stream:
        return bytes(stream.read())


@pytest.mark.parametrize("size", SIZES)
def test_tink_opens_a_single_put(
    size: int, tink_primitive: Any, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any
) -> None:
    data = pattern(size)
    header, sealer = v1.seal_single(data_key, wrapping, plaintext_size=size, random=random)
    body = run(sealer, data, range(0, size, 100_000))
    bound = keys.BODY_LABEL + keys.binding(header.object_id, 0, bytes(16), size)
    assert tink_opens(tink_primitive, body[: ranges.stream_size(size)], bound) == data
    if size:
        with pytest.raises((tink.TinkError, OSError)):
            tink_opens(tink_primitive, body[: ranges.stream_size(size)], bound[:-1] + b"!")


@pytest.mark.parametrize("size", [0, 1, 131_001])
def test_tink_opens_a_part(
    size: int, tink_primitive: Any, data_key: bytes, wrapping: Any, random: Any, run: Any, pattern: Any
) -> None:
    header = v1.new_multipart(data_key, wrapping, random=random)
    stored = run(v1.seal_part(v1.unlock(header, data_key), 7, size, random=random), pattern(size))
    frame = parts.parse_frame(stored[:72])
    bound = keys.BODY_LABEL + keys.binding(header.object_id, 7, frame.salt[:16], size)
    assert tink_opens(tink_primitive, stored[32:-128], bound) == pattern(size)


@pytest.mark.parametrize("size", SIZES)
def test_we_open_tinks(size: int, tink_primitive: Any, data_key: bytes, run: Any, pattern: Any) -> None:
    data = pattern(size)
    sink = Kept()
    with tink_primitive.new_encrypting_stream(sink, b"associated data") as writer:
        writer.write(data)
    sealed = sink.kept
    stream = Stream(Expander(data_key, sealed[1:33]), sealed[1:33], sealed[33:40], b"associated data", size)
    opener = Opener([Expect(stream.header), Segments(stream, 0, stream.last)], 0, size)
    assert run(opener, sealed, range(0, len(sealed), 50_000)) == data


@pytest.mark.parametrize("size", SIZES)
def test_tink_opens_both_layers(size: int, wrapping: Any, random: Any, run: Any, pattern: Any) -> None:
    inner_key, outer_key = pattern(32, b"inner"), pattern(32, b"outer")
    two = replace(wrapping, mode=Mode.KMS_DSSE, outer_wrapped_key=b"blob")
    header, sealer = v1.seal_single(inner_key + outer_key, two, plaintext_size=size, random=random)
    body = run(sealer, pattern(size), range(0, size, 100_000))
    bound = keys.binding(header.object_id, 0, bytes(16), size)
    inside = tink_opens(primitive(outer_key), body, b"sse-proxy/1 over" + bound)
    stream = inside[: ranges.stream_size(size)]
    assert tink_opens(primitive(inner_key), stream, b"sse-proxy/1 body" + bound) == pattern(size)
