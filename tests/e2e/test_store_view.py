"""What the store sees, and what of it shows through: no plaintext beneath, nothing hidden above."""

import base64
import io
import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tink import cleartext_keyset_handle, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from proxy.envelope import header as envelope_header
from tests.e2e.samples import (
    MIB,
    body,
    exists,
    kms,
    new_bucket,
    new_key,
    new_kms_key,
    refused,
    s3,
    shared_bucket,
    upload,
)
from tests.e2e.stores import Dev, Endpoint, Serve, minio
from tests.e2e.test_key_states import import_material
from tests.e2e.wire import UNSIGNED_TRAILER, Wire, put_chunked

KMS = {"ServerSideEncryption": "aws:kms"}


@pytest.fixture
def own_endpoint(store_name: str, tmp_path: Path) -> Iterator[Endpoint]:
    """An endpoint and a store that keep everything, logs included, under ``tmp_path``."""
    if store_name == "seaweedfs":
        dev = Dev(tmp_path / "proxy")
        try:
            yield dev.start()
        finally:
            dev.close()
        return
    with minio(tmp_path / "minio") as store:
        serve = Serve(tmp_path / "proxy", store, extra='[log]\nlevel = "debug"')
        try:
            yield serve.start()
        finally:
            serve.close()


def forms(secret: bytes) -> set[bytes]:
    """How a secret could stand in a file: as it is, in hexadecimal, in base64 at any alignment."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for shift in range(3):
        coded = base64.b64encode(bytes(shift) + secret)
        # The first and the last characters depend on what stands beside the secret.
        inner = coded[4 if shift else 0 : -4]
        found |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def files_with(folder: Path, secret: bytes, besides: tuple[str, ...] = ()) -> list[str]:
    """The files under a folder that hold a secret, however it is written down."""
    wanted = forms(secret)
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.name in besides or not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if any(content.find(form) >= 0 for form in wanted):
                found.append(str(path.relative_to(folder)))
    return found


def test_nothing_in_the_clear_rests_anywhere(own_endpoint: Endpoint, tmp_path: Path) -> None:
    """Bodies, data keys, imported material, the root key: in no file of the store, the state, the keys or the logs."""
    endpoint, client = own_endpoint, s3(own_endpoint)
    marker = secrets.token_bytes(48)
    bucket, arn = new_bucket(endpoint), new_kms_key(endpoint)
    sses: list[dict[str, Any]] = [
        {},
        {**KMS, "SSEKMSKeyId": arn},
        {**KMS, "SSEKMSKeyId": arn, "BucketKeyEnabled": True},
        {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": arn},
    ]
    for number, sse in enumerate(sses):
        for size in (1, 5_000, 50_000):
            client.put_object(Bucket=bucket, Key=f"{number}-{size}", Body=marker * size, **sse)
        upload(endpoint, bucket, f"{number}-multipart", {1: marker * 120_000, 2: marker}, **sse)
    with Wire(endpoint) as wire:
        for size in (1, 50_000):
            data = marker * size
            put = put_chunked(wire, f"/{bucket}/trailer-{size}", data, UNSIGNED_TRAILER)
            assert put.status == 200
            # What fails may not leave anything either.
            wrong = {"x-amz-checksum-crc32": "AAAAAA=="}
            assert wire.call("PUT", f"/{bucket}/wrong-{size}", headers=wrong, body=data).status == 400
            cut = wire.send(wire.signed("PUT", f"/{bucket}/cut-{size}", payload="UNSIGNED-PAYLOAD"), data, length=9**9)
            assert not cut.status or cut.status == 400
    begun = client.create_multipart_upload(Bucket=bucket, Key="abandoned", **KMS)["UploadId"]
    client.upload_part(Bucket=bucket, Key="abandoned", UploadId=begun, PartNumber=1, Body=marker * 50_000)
    assert client.get_object(Bucket=bucket, Key="1-50000")["Body"].read() == marker * 50_000
    assert (
        client.get_object(Bucket=bucket, Key="2-5000", Range="bytes=100-9999")["Body"].read()
        == ((marker * 5000)[100:10_000])
    )
    material = os.urandom(32)
    import_material(endpoint, new_kms_key(endpoint, Origin="EXTERNAL"), material)
    data_key = data_key_of(endpoint, bucket, "1-5000")
    root_key = base64.b64decode((endpoint.folder / "root.key").read_bytes())

    # What is put beside the proxy is found, so the search finds what there is.
    witness = secrets.token_bytes(48)
    endpoint.store.client().put_object(Bucket=bucket, Key="witness", Body=witness * 5000)
    assert files_with(tmp_path, witness)
    for what in (marker, data_key, material):
        assert files_with(tmp_path, what) == []
    assert files_with(tmp_path, root_key, besides=("root.key",)) == []
    assert endpoint.program.stop() == 0
    for what in (marker, data_key, material):
        assert files_with(tmp_path, what) == []


def data_key_of(endpoint: Endpoint, bucket: str, key: str) -> bytes:
    """The data key of a KMS object, as its owner gets it with the rights to the KMS key."""
    header = stored_header(endpoint, bucket, key)
    context = {**header.context, "aws:s3:arn": f"arn:aws:s3:::{bucket}/{key}"}
    opened = kms(endpoint).decrypt(CiphertextBlob=header.wrapped_key, EncryptionContext=context)
    assert opened["KeyId"] == header.key_arn
    return bytes(opened["Plaintext"])


def stored_header(endpoint: Endpoint, bucket: str, key: str) -> envelope_header.Header:
    stored = endpoint.store.client().head_object(Bucket=bucket, Key=key)
    header = envelope_header.decode(stored["ResponseMetadata"]["HTTPHeaders"])
    assert header is not None
    return header


# Without this program.

LABEL = b"sse-proxy/1 body"


def tink_opens(data_key: bytes, sealed: bytes, associated_data: bytes) -> bytes:
    params = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=65_536, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(params=params, key_value=data_key)
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
    streaming_aead.register()
    primitive = cleartext_keyset_handle.from_keyset(keyset).primitive(streaming_aead.StreamingAead)
    with primitive.new_decrypting_stream(io.BytesIO(sealed), associated_data) as stream:
        opened = stream.read()
    assert isinstance(opened, bytes)
    return opened


@pytest.mark.parametrize("size", [0, 65_481, 200_000, 2 * MIB])
def test_tink_opens_what_lies_in_the_store(endpoint: Endpoint, size: int) -> None:
    """Given the data key, which AWS KMS's own API gives, with nothing of this program but the format's description:
    version, algorithm, object id, part number, attempt and length are the associated data."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(size), **KMS, SSEKMSKeyId=new_kms_key(endpoint))
    stored = endpoint.store.client().get_object(Bucket=bucket, Key=key)
    sealed, coded = stored["Body"].read(), stored["Metadata"]["sse-proxy-key"]
    value = base64.urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
    object_id = value[2:18]
    footer = 128 if size > MIB else 0
    bound = LABEL + bytes([1, 1]) + object_id + bytes(4) + bytes(16) + size.to_bytes(8, "big")
    data_key = data_key_of(endpoint, bucket, key)
    assert tink_opens(data_key, sealed[: len(sealed) - footer], bound) == body(size)


def test_tink_opens_the_parts_of_an_upload(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    parts = {3: body(5 * MIB, 1), 8: body(100_000, 2)}
    upload(endpoint, bucket, key, parts, **KMS, SSEKMSKeyId=new_kms_key(endpoint))
    object_id = stored_header(endpoint, bucket, key).object_id
    sealed = endpoint.store.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    data_key = data_key_of(endpoint, bucket, key)
    position = 0
    for number, data in parts.items():
        frame = sealed[position : position + 32]
        assert frame[:4] == b"SPP1"
        assert (int.from_bytes(frame[4:8], "big"), int.from_bytes(frame[8:16], "big")) == (number, len(data))
        segments = 1 if len(data) <= 65_480 else 1 - (65_480 - len(data)) // 65_520
        length = 40 + len(data) + 16 * segments
        bound = LABEL + bytes([1, 1]) + object_id + frame[4:8] + frame[16:32] + frame[8:16]
        assert tink_opens(data_key, sealed[position + 32 : position + 32 + length], bound) == data
        position += 32 + length + 128
    assert position == len(sealed)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"".join(parts.values())


# What is hidden stays hidden.


def test_nothing_hidden_shows_through(endpoint: Endpoint) -> None:
    """Neither the envelope nor the store's own names, in any answer's head or body."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    own = {"Metadata": {"mine": "1"}, "SSEKMSEncryptionContext": base64.b64encode(b'{"a":"b"}').decode()}
    client.put_object(Bucket=bucket, Key=key, Body=b"hello", **KMS, **own)
    upload(endpoint, bucket, f"{key}-multipart", {1: b"hello"}, **KMS, **own)
    beneath = endpoint.store.client().head_object(Bucket=bucket, Key=key)["Metadata"]
    assert {name.partition("-")[0] for name in beneath} == {"mine", "sse"}
    path = f"/{bucket}/{key}"
    with Wire(endpoint) as wire:
        put = wire.call("PUT", f"{path}-again", body=b"hello")
        etag = put.headers["ETag"]
        answers = [
            put,
            *(wire.call(method, f"{path}{end}") for method in ("GET", "HEAD") for end in ("", "-multipart")),
            wire.call("GET", path, headers={"Range": "bytes=1-2", "x-amz-checksum-mode": "ENABLED"}),
            wire.call("GET", f"{path}-again", headers={"If-None-Match": etag}),
            wire.call("GET", path, headers={"If-Match": '"x"'}),
            wire.call("GET", f"{path}-none"),
            wire.call("HEAD", f"{path}-none"),
            wire.call("GET", path, headers={"Range": "bytes=99-"}),
            wire.call("GET", f"/{bucket}", [("prefix", key), ("fetch-owner", "true"), ("metadata", "true")]),
            wire.call("GET", f"/{bucket}", [("list-type", "2"), ("prefix", key), ("metadata", "true")]),
            wire.call("GET", f"/{bucket}", [("list-type", "2"), ("prefix", key), ("extended", "true")]),
            wire.call("HEAD", f"/{bucket}"),
            wire.call("GET", "/"),
            wire.call("GET", f"/{bucket}", [("versioning", "")]),
            wire.call("GET", f"/{bucket}", [("tagging", "")]),
            wire.call("GET", f"/{bucket}", [("cors", "")]),
            wire.call("GET", path, [("tagging", "")]),
            wire.call("DELETE", f"{path}-again"),
            wire.call("GET", "/no-such-bucket-there/x"),
            wire.call("POST", f"{path}-2", [("uploads", "")]),
        ]
    for answer in answers:
        everything = answer.body.lower() + str(answer.headers).lower().encode()
        for hidden in (b"sse-proxy", b"minio", b"seaweed", b"filer", endpoint.store.url[7:].encode()):
            assert hidden not in everything, (answer.status, answer.headers, answer.body)
        assert answer.headers["Server"] == "AmazonS3"
    for answer in answers[1:5]:
        assert [name for name in answer.headers if name.startswith("x-amz-meta-")] == ["x-amz-meta-mine"]


@pytest.mark.parametrize("name", ["sse-proxy-key", "sse-proxy-arn", "sse-proxy-context", "sse-proxy-", "SSE-Proxy-New"])
def test_reserved_metadata_cannot_be_sent(endpoint: Endpoint, name: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    path, header = f"/{bucket}/{key}", f"x-amz-meta-{name}"
    with Wire(endpoint) as wire:
        in_query = wire.presigned("PUT", path, [(header, "x")])
        for answer in (
            wire.call("PUT", path, headers={header: "x"}, body=b"x"),
            wire.call("POST", path, [("uploads", "")], {header: "x"}),
            wire.send(in_query, b"x"),
        ):
            told = (answer.status, answer.code, answer.message)
            assert told == (400, "InvalidArgument", "The metadata name is reserved.")
    with refused(400, "InvalidArgument", "The metadata name is reserved."):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={name: "x"})
    assert not exists(endpoint, bucket, key)


def test_metadata_in_the_query_of_a_signed_request_is_not_metadata(endpoint: Endpoint) -> None:
    """MinIO would take it for some."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    with Wire(endpoint) as wire:
        for name in ("x-amz-meta-foo", "X-Amz-Meta-sse-proxy-arn", "x-amz-storage-class", "x-amz-tagging"):
            wire.call("PUT", f"/{bucket}/{key}", [(name, "bar")], body=b"x")
    for client_ in (client, endpoint.store.client()):
        try:
            head = client_.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "404"  # noqa: PT017 - refusing it is as good
            continue
        assert not {"foo", "Foo"} & set(head["Metadata"])
        assert "bar" not in str(head)
