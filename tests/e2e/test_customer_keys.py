"""SSE-C with boto3 and the aws CLI, over https: blocked until a bucket says otherwise, and no use without the key."""

import base64
import hashlib
import secrets
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

from proxy.envelope import header as envelope_header
from proxy.envelope.header import KEY_NAME, Mode
from tests.e2e import test_post_forms as post_forms
from tests.e2e.samples import MIB, body, exists, new_bucket, new_key, refused, s3
from tests.e2e.stores import Endpoint
from tests.e2e.test_store_view import files_with
from tests.e2e.wire import Wire

MINE: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"m" * 32}
OTHER: dict[str, Any] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"o" * 32}
MD5 = base64.b64encode(hashlib.md5(b"m" * 32).digest()).decode()
NEEDED = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve "
    "the object."
)
WRONG = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."

_BUCKETS: dict[str, str] = {}


def unblock(endpoint: Endpoint, bucket: str, *, blocked: bool = False) -> None:
    rule = {"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C" if blocked else "NONE"]}}
    s3(endpoint).put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def open_bucket(endpoint: Endpoint) -> str:
    """A bucket that takes SSE-C, which tests with keys of their own share."""
    if endpoint.url not in _BUCKETS:
        _BUCKETS[endpoint.url] = new_bucket(endpoint)
        unblock(endpoint, _BUCKETS[endpoint.url])
    return _BUCKETS[endpoint.url]


def status_of(error: pytest.ExceptionInfo[ClientError]) -> int:
    return int(error.value.response["ResponseMetadata"]["HTTPStatusCode"])


def test_a_new_bucket_blocks_it_until_it_is_unblocked(tls_endpoint: Endpoint) -> None:
    client, bucket = s3(tls_endpoint), new_bucket(tls_endpoint)

    def blocked() -> Any:
        rule = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
        return rule["BlockedEncryptionTypes"]["EncryptionType"]

    assert blocked() == ["SSE-C"]
    with refused(403, "AccessDenied") as error:
        client.put_object(Bucket=bucket, Key="a", Body=b"x", **MINE)
    assert (
        "this bucket has blocked upload requests that specify Server Side Encryption with Customer" in error["Message"]
    )
    with refused(403, "AccessDenied"):
        client.create_multipart_upload(Bucket=bucket, Key="a", **MINE)
    assert not exists(tls_endpoint, bucket, "a")
    unblock(tls_endpoint, bucket)
    assert blocked() == ["NONE"]
    client.put_object(Bucket=bucket, Key="a", Body=b"x", **MINE)
    unblock(tls_endpoint, bucket, blocked=True)
    with refused(403, "AccessDenied"):
        client.put_object(Bucket=bucket, Key="b", Body=b"x", **MINE)
    assert client.get_object(Bucket=bucket, Key="a", **MINE)["Body"].read() == b"x"
    assert client.delete_object(Bucket=bucket, Key="a")["ResponseMetadata"]["HTTPStatusCode"] == 204


@pytest.mark.parametrize("size", [0, 10, 2 * MIB])
def test_an_object_for_whoever_has_its_key(tls_endpoint: Endpoint, size: int) -> None:
    client, bucket, key = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    put = client.put_object(Bucket=bucket, Key=key, Body=body(size), **MINE)
    got = client.get_object(Bucket=bucket, Key=key, **MINE)
    head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED", **MINE)
    assert got["Body"].read() == body(size)
    assert (head["ContentLength"], head["ChecksumCRC32"]) == (size, put["ChecksumCRC32"])
    for answer in (put, got, head):
        assert (answer["SSECustomerAlgorithm"], answer["SSECustomerKeyMD5"]) == ("AES256", MD5)
        assert {"ServerSideEncryption", "SSEKMSKeyId"}.isdisjoint(answer)
        assert answer["ETag"] == put["ETag"]
    assert put["ETag"] != f'"{hashlib.md5(body(size)).hexdigest()}"'
    (listed,) = client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
    assert (listed["Size"], listed["ETag"]) == (size, put["ETag"])
    with refused(400, "InvalidRequest", NEEDED):
        client.get_object(Bucket=bucket, Key=key)
    with refused(403, "AccessDenied", WRONG):
        client.get_object(Bucket=bucket, Key=key, **OTHER)
    for keys, status in (({}, 400), (OTHER, 403)):
        with pytest.raises(ClientError) as error:
            client.head_object(Bucket=bucket, Key=key, **keys)
        assert status_of(error) == status
    if size > 100:
        piece = client.get_object(Bucket=bucket, Key=key, Range="bytes=70000-70099", **MINE)
        assert (piece["Body"].read(), piece["ContentRange"]) == (body(size)[70_000:70_100], f"bytes 70000-70099/{size}")


def test_an_object_under_another_encryption_takes_no_key(tls_endpoint: Endpoint) -> None:
    client, bucket, key = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"x", ServerSideEncryption="aws:kms")
    with refused(400, "InvalidRequest", "The encryption parameters are not applicable to this object."):
        client.get_object(Bucket=bucket, Key=key, **MINE)
    with refused(400, "InvalidArgument"):
        client.put_object(Bucket=bucket, Key=key, Body=b"y", ServerSideEncryption="AES256", **MINE)
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_in_parts_with_boto3s_transfer_manager(tls_endpoint: Endpoint, tmp_path: Path) -> None:
    client, bucket, key = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    data, size = body(11 * MIB), 11 * MIB
    (tmp_path / "up").write_bytes(data)
    parts = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)
    client.upload_file(str(tmp_path / "up"), bucket, key, ExtraArgs=MINE, Config=parts)
    client.download_file(bucket, key, str(tmp_path / "down"), ExtraArgs=MINE, Config=parts)
    assert (tmp_path / "down").read_bytes() == data
    first, last = 5 * MIB - 10, 5 * MIB + 9
    piece = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}", **MINE)
    assert piece["Body"].read() == data[first : last + 1]
    part = client.get_object(Bucket=bucket, Key=key, PartNumber=3, **MINE)
    assert (part["Body"].read(), part["PartsCount"]) == (data[10 * MIB :], 3)
    (listed,) = client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]
    assert listed["Size"] == size
    with refused(400, "InvalidRequest", NEEDED):
        client.get_object(Bucket=bucket, Key=key)
    with refused(403, "AccessDenied", WRONG):
        client.get_object(Bucket=bucket, Key=key, **OTHER)


def test_every_part_comes_under_the_uploads_key(tls_endpoint: Endpoint) -> None:
    client, bucket, key = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    begun = client.create_multipart_upload(Bucket=bucket, Key=key, **MINE)
    assert (begun["SSECustomerAlgorithm"], begun["SSECustomerKeyMD5"]) == ("AES256", MD5)
    where = {"Bucket": bucket, "Key": key, "UploadId": begun["UploadId"]}
    with refused(400, "InvalidRequest"):
        client.upload_part(**where, PartNumber=1, Body=b"x")
    with refused(400, "InvalidRequest", "The provided encryption parameters did not match the ones used originally."):
        client.upload_part(**where, PartNumber=1, Body=b"x", **OTHER)
    assert client.list_parts(**where).get("Parts", []) == []
    part = client.upload_part(**where, PartNumber=1, Body=b"x", **MINE)
    assert part["SSECustomerKeyMD5"] == MD5
    # Without a checksum algorithm, a completion may do without the key.
    client.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert client.get_object(Bucket=bucket, Key=key, **MINE)["Body"].read() == b"x"
    with refused(400, "InvalidRequest", NEEDED):
        client.get_object(Bucket=bucket, Key=key)


def test_the_command_line_client(tls_endpoint: Endpoint, tmp_path: Path) -> None:
    bucket, key = open_bucket(tls_endpoint), new_key()
    (tmp_path / "key").write_bytes(b"m" * 32)
    (tmp_path / "up").write_bytes(body(9 * MIB))
    with_key = ("--sse-c", "AES256", "--sse-c-key", f"fileb://{tmp_path}/key")
    up = tls_endpoint.aws("s3", "cp", f"{tmp_path}/up", f"s3://{bucket}/{key}", *with_key)
    assert up.returncode == 0, up.stderr.decode()
    down = tls_endpoint.aws("s3", "cp", f"s3://{bucket}/{key}", f"{tmp_path}/down", *with_key)
    assert down.returncode == 0, down.stderr.decode()
    assert (tmp_path / "down").read_bytes() == body(9 * MIB)


def test_a_presigned_url(tls_endpoint: Endpoint) -> None:
    client, bucket, key = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"hello", **MINE)
    signer = tls_endpoint.client("s3", signature_version="s3v4")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key, **MINE})
    assert "bW1tbW1t" not in url
    context = ssl.create_default_context(cafile=tls_endpoint.ca_bundle)
    prefix = "x-amz-server-side-encryption-customer-"
    coded = base64.b64encode(b"m" * 32).decode()
    fields = {f"{prefix}algorithm": "AES256", f"{prefix}key": coded, f"{prefix}key-MD5": MD5}
    with urllib.request.urlopen(urllib.request.Request(url, headers=fields), context=context) as answer:
        assert answer.read() == b"hello"
    for headers in ({}, {**fields, f"{prefix}key": base64.b64encode(b"o" * 32).decode()}):
        with pytest.raises(urllib.error.HTTPError) as error:
            urllib.request.urlopen(urllib.request.Request(url, headers=headers), context=context)
        assert error.value.code in (400, 403)
        error.value.close()


def test_a_post_form(tls_endpoint: Endpoint) -> None:
    prefix = "x-amz-server-side-encryption-customer-"
    coded = base64.b64encode(b"m" * 32).decode()
    fields = {f"{prefix}algorithm": "AES256", f"{prefix}key": coded, f"{prefix}key-MD5": MD5}
    blocked, bucket, key = new_bucket(tls_endpoint), open_bucket(tls_endpoint), new_key()
    refusal = post_forms.post(tls_endpoint, blocked, post_forms.presigned(tls_endpoint, blocked, key, **fields), b"x")
    assert refusal.error[:2] == (403, "AccessDenied")
    answer = post_forms.post(tls_endpoint, bucket, post_forms.presigned(tls_endpoint, bucket, key, **fields), b"hello")
    assert (answer.status, answer.headers[f"{prefix}key-md5"]) == (204, MD5), answer.body
    assert s3(tls_endpoint).get_object(Bucket=bucket, Key=key, **MINE)["Body"].read() == b"hello"
    with refused(400, "InvalidRequest", NEEDED):
        s3(tls_endpoint).get_object(Bucket=bucket, Key=key)


def test_the_key_rests_nowhere(tls_endpoint: Endpoint) -> None:
    """Neither it nor its MD5: in no file of the state, the keys or the logs, nor of a store that lies beside them."""
    client, bucket, name = s3(tls_endpoint), open_bucket(tls_endpoint), new_key()
    secret = secrets.token_bytes(32)
    own = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": secret}
    client.put_object(Bucket=bucket, Key=name, Body=b"hello", **own)
    assert client.get_object(Bucket=bucket, Key=name, **own)["Body"].read() == b"hello"
    with pytest.raises(ClientError):
        client.get_object(Bucket=bucket, Key=name, **OTHER)
    with pytest.raises(ClientError):
        client.put_object(Bucket=bucket, Key=name, Body=b"x", **{**own, "SSECustomerAlgorithm": "AES128"})
    begun = client.create_multipart_upload(Bucket=bucket, Key=name, **own)["UploadId"]
    client.upload_part(Bucket=bucket, Key=name, UploadId=begun, PartNumber=1, Body=b"hello", **own)
    witness = secrets.token_hex(16)
    client.put_object(Bucket=bucket, Key=f"{name}/{witness}", Body=b"x", ServerSideEncryption="AES256")
    assert files_with(tls_endpoint.folder, witness.encode())
    for what in (secret, hashlib.md5(secret).digest()):
        assert files_with(tls_endpoint.folder, what) == []


def test_what_the_store_sees(tls_endpoint: Endpoint) -> None:
    client, bucket = s3(tls_endpoint), open_bucket(tls_endpoint)
    store, headers = tls_endpoint.store.client(), []
    for key in (new_key(), new_key()):
        client.put_object(Bucket=bucket, Key=key, Body=b"the same bytes under the same key", **MINE)
        answer = store.get_object(Bucket=bucket, Key=key)
        assert b"same bytes" not in answer["Body"].read()
        fields = answer["ResponseMetadata"]["HTTPHeaders"]
        assert [name for name in fields if "sse-proxy" in name] == [KEY_NAME]
        assert not any("server-side" in name or MD5 in value for name, value in fields.items())
        header = envelope_header.decode(fields)
        assert header is not None
        headers.append(header)
    one, two = headers
    assert one.mode is two.mode is Mode.CUSTOMER
    for each in ("salt", "commitment", "wrapped_key", "record"):
        assert getattr(one, each) != getattr(two, each)


def test_an_object_moved_in_the_store_or_damaged_there_does_not_open(tls_endpoint: Endpoint) -> None:
    client, bucket, key, other = s3(tls_endpoint), open_bucket(tls_endpoint), new_key(), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=body(200_000), **MINE)
    store = tls_endpoint.store.client()
    stored = store.get_object(Bucket=bucket, Key=key)
    data, metadata = stored["Body"].read(), stored["Metadata"]
    store.put_object(Bucket=bucket, Key=other, Body=data, Metadata=metadata)
    with refused(403, "AccessDenied", WRONG):
        client.get_object(Bucket=bucket, Key=other, **MINE)
    damaged = data[:100] + bytes((data[100] ^ 1,)) + data[101:]
    store.put_object(Bucket=bucket, Key=key, Body=damaged, Metadata=metadata)
    with refused(500, "InternalError"):
        client.get_object(Bucket=bucket, Key=key, **MINE)


def test_a_key_never_goes_over_plain_http(endpoint: Endpoint) -> None:
    bucket, key = new_bucket(endpoint), new_key()
    sent = {
        "x-amz-server-side-encryption-customer-algorithm": "AES256",
        "x-amz-server-side-encryption-customer-key": base64.b64encode(b"m" * 32).decode(),
        "x-amz-server-side-encryption-customer-key-MD5": MD5,
    }
    with Wire(endpoint) as wire:
        for method, query in (("PUT", []), ("GET", []), ("POST", [("uploads", "")])):
            got = wire.call(method, f"/{bucket}/{key}", query, sent, b"x" if method == "PUT" else b"")
            assert (got.status, got.code) == (400, "InvalidArgument")
            assert got.message is not None
            assert got.message.endswith("must be made over a secure connection.")
    assert not exists(endpoint, bucket, key)
