"""Which key encrypts an object: the bucket's rule, the request's headers, and what the answers tell of it."""

import base64
import json
from typing import Any

import pytest

from proxy.envelope import header as envelope_header
from tests.e2e.samples import (
    MIB,
    body,
    exists,
    key_id,
    kms,
    new_bucket,
    new_key,
    new_kms_key,
    refused,
    s3,
    set_rule,
    shared_bucket,
    upload,
)
from tests.e2e.stores import REGION, Endpoint
from tests.e2e.wire import Wire

KMS = {"ServerSideEncryption": "aws:kms"}
CONTEXT = {"department": "Finanz-ü", "aws": "x y"}
PLAIN_HTTP = (
    "Requests specifying Server Side Encryption with Customer provided keys must be made over a secure connection."
)
NOT_KMS = "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms"


def encoded(context: Any) -> str:
    return base64.b64encode(json.dumps(context, ensure_ascii=False).encode()).decode()


def managed_key(endpoint: Endpoint) -> str:
    """The ARN of aws/s3."""
    return str(kms(endpoint).describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"])


# The bucket's rule.


def test_a_bucket_without_a_rule_has_sse_s3(endpoint: Endpoint) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint)
    rules = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules == [
        {
            "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
            "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
            "BucketKeyEnabled": False,
        }
    ]
    put = client.put_object(Bucket=bucket, Key="a", Body=b"hello")
    head = client.head_object(Bucket=bucket, Key="a")
    for answer in (put, head):
        assert answer["ServerSideEncryption"] == "AES256"
        assert {"SSEKMSKeyId", "SSEKMSEncryptionContext", "BucketKeyEnabled"}.isdisjoint(answer)


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias arn"])
def test_a_rule_is_kept_as_configured_and_the_answers_name_the_arn(endpoint: Endpoint, form: str) -> None:
    client, arn = s3(endpoint), new_kms_key(endpoint)
    alias = f"alias/{new_key().replace('/', '-')}"
    kms(endpoint).create_alias(AliasName=alias, TargetKeyId=arn)
    named = {"id": key_id(arn), "arn": arn, "alias": alias, "alias arn": f"{arn.rpartition(':')[0]}:{alias}"}[form]
    bucket = new_bucket(endpoint, "aws:kms", named)
    rule = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule == {
        "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": named},
        "BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]},
        "BucketKeyEnabled": False,
    }
    put = client.put_object(Bucket=bucket, Key="a", Body=b"hello")
    got = client.get_object(Bucket=bucket, Key="a")
    head = client.head_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == b"hello"
    for answer in (put, got, head):
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", arn)
        assert "BucketKeyEnabled" not in answer


def test_what_the_request_says_goes_before_the_rule(endpoint: Endpoint) -> None:
    client, one, two = s3(endpoint), new_kms_key(endpoint), new_kms_key(endpoint)
    bucket = new_bucket(endpoint, "aws:kms", one)
    assert client.put_object(Bucket=bucket, Key="a", Body=b"x")["SSEKMSKeyId"] == one
    assert client.put_object(Bucket=bucket, Key="b", Body=b"x", **KMS, SSEKMSKeyId=two)["SSEKMSKeyId"] == two
    plain = client.put_object(Bucket=bucket, Key="c", Body=b"x", ServerSideEncryption="AES256")
    assert plain["ServerSideEncryption"] == "AES256"
    # A request that asks for aws:kms without a key gets AWS's own, whatever the rule's key is.
    assert client.put_object(Bucket=bucket, Key="d", Body=b"x", **KMS)["SSEKMSKeyId"] == managed_key(endpoint)


def test_changing_a_rule_changes_new_objects_only(endpoint: Endpoint) -> None:
    client, one, two = s3(endpoint), new_kms_key(endpoint), new_kms_key(endpoint)
    bucket = new_bucket(endpoint, "aws:kms", one)
    client.put_object(Bucket=bucket, Key="old", Body=b"old")
    set_rule(endpoint, bucket, "aws:kms", two)
    client.put_object(Bucket=bucket, Key="new", Body=b"new")
    answer = client.delete_bucket_encryption(Bucket=bucket)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    client.put_object(Bucket=bucket, Key="newest", Body=b"newest")
    heads = {key: client.head_object(Bucket=bucket, Key=key) for key in ("old", "new", "newest")}
    assert [heads[key].get("SSEKMSKeyId") for key in heads] == [one, two, None]
    assert all(client.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode() for key in heads)


def test_the_rule_holds_for_multipart_uploads_and_the_cli(endpoint: Endpoint) -> None:
    arn = new_kms_key(endpoint)
    bucket = new_bucket(endpoint, "aws:kms", arn)
    upload(endpoint, bucket, "multipart", {1: b"x"})
    up = endpoint.aws("s3", "cp", "-", f"s3://{bucket}/cli", input=b"hello")
    assert up.returncode == 0, up.stderr.decode()
    assert {s3(endpoint).head_object(Bucket=bucket, Key=key)["SSEKMSKeyId"] for key in ("multipart", "cli")} == {arn}


RULE = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
BARE_KEY = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"


@pytest.mark.parametrize(
    ("rules", "status", "code", "message"),
    [
        ([], 400, "MalformedXML", None),
        ([RULE, RULE], 400, "MalformedXML", None),
        ([{"BucketKeyEnabled": True}], 400, "MalformedXML", None),
        ([{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "rot13"}}], 400, "MalformedXML", None),
        (
            [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "x"}}],
            400,
            "InvalidArgument",
            BARE_KEY,
        ),
    ],
)
def test_rules_that_are_refused(
    endpoint: Endpoint, rules: list[Any], status: int, code: str, message: str | None
) -> None:
    client, bucket = s3(endpoint), new_bucket(endpoint, "aws:kms", "alias/before")
    with refused(status, code, message):
        client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    kept = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert kept["ApplyServerSideEncryptionByDefault"]["KMSMasterKeyID"] == "alias/before"


@pytest.mark.parametrize("named", ["aws/s3", "no-such-key"])
def test_a_rule_is_not_looked_into_until_an_object_is_put(endpoint: Endpoint, named: str) -> None:
    bucket = new_bucket(endpoint, "aws:kms", named)
    with refused(400, "KMS.NotFoundException", f"Invalid keyId '{named}'"):
        s3(endpoint).put_object(Bucket=bucket, Key="a", Body=b"x")
    assert not exists(endpoint, bucket, "a")


# The request's headers.


@pytest.mark.parametrize("form", ["id", "arn", "alias", "alias arn"])
def test_the_key_in_the_header(endpoint: Endpoint, form: str) -> None:
    client, arn, bucket = s3(endpoint), new_kms_key(endpoint), shared_bucket(endpoint)
    alias = f"alias/{new_key().replace('/', '-')}"
    kms(endpoint).create_alias(AliasName=alias, TargetKeyId=arn)
    named = {"id": key_id(arn), "arn": arn, "alias": alias, "alias arn": f"{arn.rpartition(':')[0]}:{alias}"}[form]
    key = new_key()
    assert client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSKeyId=named)["SSEKMSKeyId"] == arn
    begun = client.create_multipart_upload(Bucket=bucket, Key=f"{key}2", **KMS, SSEKMSKeyId=named)
    assert (begun["ServerSideEncryption"], begun["SSEKMSKeyId"]) == ("aws:kms", arn)
    where = {"Bucket": bucket, "Key": f"{key}2", "UploadId": begun["UploadId"]}
    part = client.upload_part(**where, PartNumber=1, Body=b"y")
    done = client.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    head = client.head_object(Bucket=bucket, Key=f"{key}2")
    for answer in (part, done, head):
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", arn)


def test_an_alias_that_moves_takes_new_objects_along_and_no_old_ones(endpoint: Endpoint) -> None:
    client, keys, one, two = s3(endpoint), kms(endpoint), new_kms_key(endpoint), new_kms_key(endpoint)
    alias = f"alias/{new_key().replace('/', '-')}"
    keys.create_alias(AliasName=alias, TargetKeyId=one)
    bucket = new_bucket(endpoint, "aws:kms", alias)
    client.put_object(Bucket=bucket, Key="old", Body=b"old")
    keys.update_alias(AliasName=alias, TargetKeyId=two)
    assert client.put_object(Bucket=bucket, Key="new", Body=b"new")["SSEKMSKeyId"] == two
    got = client.get_object(Bucket=bucket, Key="old")
    assert (got["Body"].read(), got["SSEKMSKeyId"]) == (b"old", one)
    keys.delete_alias(AliasName=alias)
    assert client.get_object(Bucket=bucket, Key="old")["Body"].read() == b"old"
    with refused(400, "KMS.NotFoundException", f"Alias {one.rpartition(':')[0]}:{alias} is not found."):
        client.put_object(Bucket=bucket, Key="newer", Body=b"x")


def test_the_context_is_told_once_kept_and_used(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    arn = new_kms_key(endpoint)
    asked = {**KMS, "SSEKMSKeyId": arn, "SSEKMSEncryptionContext": encoded(CONTEXT)}
    put = client.put_object(Bucket=bucket, Key=key, Body=b"hello", **asked)
    assert json.loads(base64.b64decode(put["SSEKMSEncryptionContext"])) == CONTEXT
    begun = client.create_multipart_upload(Bucket=bucket, Key=f"{key}2", **asked)
    assert json.loads(base64.b64decode(begun["SSEKMSEncryptionContext"])) == CONTEXT
    where = {"Bucket": bucket, "Key": f"{key}2", "UploadId": begun["UploadId"]}
    part = client.upload_part(**where, PartNumber=1, Body=b"hello")
    done = client.complete_multipart_upload(
        **where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert all("SSEKMSEncryptionContext" not in answer for answer in (part, done))
    for each in (key, f"{key}2"):
        got = client.get_object(Bucket=bucket, Key=each)
        assert got["Body"].read() == b"hello"
        head = client.head_object(Bucket=bucket, Key=each)
        assert "SSEKMSEncryptionContext" not in {**got, **head}
        assert (got["Metadata"], head["Metadata"]) == ({}, {})
        # It is part of what the data key is bound to, beside the object's name.
        stored = endpoint.store.client().head_object(Bucket=bucket, Key=each)
        header = envelope_header.decode(stored["ResponseMetadata"]["HTTPHeaders"])
        assert header is not None
        place = {"aws:s3:arn": f"arn:aws:s3:::{bucket}/{each}"}
        opened = kms(endpoint).decrypt(CiphertextBlob=header.wrapped_key, EncryptionContext={**CONTEXT, **place})
        assert (len(opened["Plaintext"]), opened["KeyId"]) == (32, arn)
        for context in (CONTEXT, place, {**CONTEXT, **place, "department": "other"}):
            with refused(400, "InvalidCiphertextException"):
                kms(endpoint).decrypt(CiphertextBlob=header.wrapped_key, EncryptionContext=context)


@pytest.mark.parametrize(
    "value",
    [
        "%%%",
        base64.b64encode(b"not json").decode(),
        encoded(["a"]),
        encoded("a"),
        encoded({"a": 1}),
        encoded({"a": {"b": "c"}}),
        encoded({"a": None}),
        base64.b64encode(b'{"a": "\xff"}').decode(),
        base64.b64encode(b'{"a": "1", "a": "2"}').decode(),
    ],
)
def test_a_bad_context(endpoint: Endpoint, value: str) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    message = (
        "The header 'x-amz-server-side-encryption-context' shall be Base64-encoded UTF-8 string holding JSON which "
        "represents a string-string map"
    )
    with refused(400, "InvalidArgument", message):
        client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSEncryptionContext=value)
    with refused(400, "InvalidArgument", message):
        client.create_multipart_upload(Bucket=bucket, Key=key, **KMS, SSEKMSEncryptionContext=value)
    assert not exists(endpoint, bucket, key)


def test_the_context_cannot_name_another_object(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    other = encoded({"aws:s3:arn": f"arn:aws:s3:::{bucket}/other"})
    with refused(400, "InvalidArgument"):
        client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS, SSEKMSEncryptionContext=other)
    assert not exists(endpoint, bucket, key)


@pytest.mark.parametrize("size", [10, 2 * MIB])
@pytest.mark.parametrize(("rule", "header", "expected"), [(None, True, True), (True, None, True), (True, False, None)])
def test_bucket_keys(
    endpoint: Endpoint, rule: bool | None, header: bool | None, expected: bool | None, size: int
) -> None:
    client, arn = s3(endpoint), new_kms_key(endpoint)
    bucket = new_bucket(endpoint, "aws:kms", arn, bucket_key=rule)
    asked: dict[str, Any] = {} if header is None else {**KMS, "SSEKMSKeyId": arn, "BucketKeyEnabled": header}
    put = client.put_object(Bucket=bucket, Key="a", Body=body(size), **asked)
    got = client.get_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == body(size)
    head = client.head_object(Bucket=bucket, Key="a")
    done, _ = upload(endpoint, bucket, "b", {1: body(size)}, **asked)
    assert client.get_object(Bucket=bucket, Key="b")["Body"].read() == body(size)
    for answer in (put, got, head, done, client.head_object(Bucket=bucket, Key="b")):
        assert (answer.get("BucketKeyEnabled"), answer["SSEKMSKeyId"]) == (expected, arn)
    kept = client.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert kept["BucketKeyEnabled"] is bool(rule)


# AWS's own keys.


def test_the_managed_key_where_none_is_named(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    arn = client.put_object(Bucket=bucket, Key=key, Body=b"x", **KMS)["SSEKMSKeyId"]
    keys = kms(endpoint)
    described = keys.describe_key(KeyId=arn)["KeyMetadata"]
    assert described["KeyManager"] == "AWS"
    assert described["Description"] == "Default key that protects my S3 objects when no other key is defined"
    aliases = [each for each in keys.list_aliases()["Aliases"] if each["AliasName"] == "alias/aws/s3"]
    assert [each["TargetKeyId"] for each in aliases] == [key_id(arn)]
    for call in (
        lambda: keys.disable_key(KeyId=arn),
        lambda: keys.schedule_key_deletion(KeyId=arn),
        lambda: keys.put_key_policy(KeyId=arn, Policy="{}"),
        lambda: keys.create_grant(
            KeyId=arn, GranteePrincipal=f"arn:aws:iam::{endpoint.account}:root", Operations=["Decrypt"]
        ),
        lambda: keys.generate_data_key(KeyId=arn, KeySpec="AES_256"),
        lambda: keys.encrypt(KeyId=arn, Plaintext=b"x"),
    ):
        with refused(400, "AccessDeniedException"):
            call()
    assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_the_key_of_sse_s3_is_nobody_s(endpoint: Endpoint) -> None:
    """It is in no list, and its ARN, as it lies in the store, opens nothing by way of the key service."""
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    pages = kms(endpoint).get_paginator("list_keys")
    before = sorted(each["KeyArn"] for page in pages.paginate() for each in page["Keys"])
    client.put_object(Bucket=bucket, Key=key, Body=b"x")
    listed = sorted(each["KeyArn"] for page in pages.paginate() for each in page["Keys"])
    stored = endpoint.store.client().head_object(Bucket=bucket, Key=key)["Metadata"]
    arn = stored["sse-proxy-arn"]
    assert arn not in listed
    assert set(before) <= set(listed)
    # It is of an account of its own, like other owners' keys.
    with refused(400, "AccessDeniedException"):
        kms(endpoint).describe_key(KeyId=arn)
    with refused(400, "AccessDeniedException"):
        kms(endpoint).generate_data_key(KeyId=arn, KeySpec="AES_256")
    with refused(403, "AccessDenied"):
        client.put_object(Bucket=bucket, Key=f"{key}2", Body=b"x", **KMS, SSEKMSKeyId=arn)
    with refused(400, "NotFoundException"):
        kms(endpoint).describe_key(KeyId=key_id(arn))
    header = envelope_header.decode(
        endpoint.store.client().head_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPHeaders"]
    )
    assert header is not None
    place = {"aws:s3:arn": f"arn:aws:s3:::{bucket}/{key}"}
    message = (
        "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are "
        "not allowed to access."
    )
    with refused(400, "AccessDeniedException", message):
        kms(endpoint).decrypt(CiphertextBlob=header.wrapped_key, EncryptionContext=place)


# Regions.


def test_a_bucket_s_objects_are_in_the_bucket_s_region(endpoint: Endpoint) -> None:
    """Whatever Region the client signs for."""
    oregon = "us-west-2"
    bucket = f"west-{new_key()[:16]}"
    s3(endpoint).create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": oregon})
    assert s3(endpoint).get_bucket_location(Bucket=bucket)["LocationConstraint"] == oregon
    arn = endpoint.client("kms", region=oregon).create_key()["KeyMetadata"]["Arn"]
    assert arn.startswith(f"arn:aws:kms:{oregon}:")
    for region in (oregon, REGION, "eu-west-1"):
        client = endpoint.client("s3", region=region)
        assert client.put_object(Bucket=bucket, Key="a", Body=b"x", **KMS, SSEKMSKeyId=arn)["SSEKMSKeyId"] == arn
        assert client.put_object(Bucket=bucket, Key="b", Body=b"x", **KMS)["SSEKMSKeyId"].split(":")[3] == oregon
        assert client.get_object(Bucket=bucket, Key="a")["Body"].read() == b"x"
    tokyo = new_kms_key(endpoint)
    with refused(400, "KMS.NotFoundException", f"Invalid arn {REGION}"):
        s3(endpoint).put_object(Bucket=bucket, Key="c", Body=b"x", **KMS, SSEKMSKeyId=tokyo)


# Headers that are refused.


@pytest.mark.parametrize(
    ("headers", "status", "code", "message"),
    [
        ({"": "x"}, 400, "InvalidArgument", "The encryption method specified is not supported"),
        ({"": ""}, 400, "InvalidArgument", "The encryption method specified is not supported"),
        ({"": "aws:KMS"}, 400, "InvalidArgument", "The encryption method specified is not supported"),
        ({"": "aws:kms:dsse", "-bucket-key-enabled": "true"}, 400, "InvalidArgument", None),
        ({"-aws-kms-key-id": "x"}, 400, "InvalidArgument", NOT_KMS),
        ({"": "AES256", "-aws-kms-key-id": "x"}, 400, "InvalidArgument", NOT_KMS),
        ({"-context": encoded({"a": "b"})}, 400, "InvalidArgument", NOT_KMS),
        ({"": "aws:kms", "-bucket-key-enabled": "maybe"}, 400, "InvalidArgument", None),
        ({"": "aws:kms", "-aws-kms-key-id": ""}, 400, "KMS.NotFoundException", None),
        ({"-customer-algorithm": "AES256"}, 400, "InvalidArgument", PLAIN_HTTP),
        ({"-customer-key": "x"}, 400, "InvalidArgument", PLAIN_HTTP),
    ],
)
def test_headers_that_are_refused(
    endpoint: Endpoint, headers: dict[str, str], status: int, code: str, message: str | None
) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    sent = {f"x-amz-server-side-encryption{name}": value for name, value in headers.items()}
    with Wire(endpoint) as wire:
        for method, query, data in (("PUT", [], b"x"), ("POST", [("uploads", "")], b"")):
            got = wire.call(method, f"/{bucket}/{key}", query, sent, data)
            assert (got.status, got.code) == (status, code), got.body
            assert message is None or got.message == message
    assert not exists(endpoint, bucket, key)


@pytest.mark.parametrize("name", ["", "-aws-kms-key-id", "-context", "-bucket-key-enabled"])
def test_headers_of_a_write_on_a_read(endpoint: Endpoint, name: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", **KMS)
    with Wire(endpoint) as wire:
        for method in ("GET", "HEAD"):
            got = wire.call(method, f"/{bucket}/{key}", headers={f"x-amz-server-side-encryption{name}": "aws:kms"})
            assert got.status == 400
            assert method == "HEAD" or got.code == "InvalidArgument"
