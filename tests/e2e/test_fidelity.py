"""What a client gives an object beside its bytes, and gets back."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.samples import MIB, body, new_bucket, new_key, refused, s3, shared_bucket, upload
from tests.e2e.stores import REGION, Endpoint
from tests.e2e.wire import UNSIGNED, Wire

FIELDS: dict[str, Any] = {
    "CacheControl": "max-age=1, no-transform",
    "ContentDisposition": 'attachment; filename="a b.txt"',
    "ContentEncoding": "gzip",
    "ContentLanguage": "de, en",
    "ContentType": "text/html; charset=utf-8",
    "Expires": datetime(2030, 1, 1, tzinfo=UTC),
}


def test_system_headers(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"x", **FIELDS)
    upload(endpoint, bucket, f"{key}-parts", {1: b"x"}, **FIELDS)
    for each in (key, f"{key}-parts"):
        for answer in (client.head_object(Bucket=bucket, Key=each), client.get_object(Bucket=bucket, Key=each)):
            told = {name: answer[name] for name in FIELDS if name != "Expires"} | {"Expires": answer["Expires"]}
            assert told == FIELDS
            assert "StorageClass" not in answer


def test_response_overrides(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    client.put_object(Bucket=bucket, Key=key, Body=b"x", **FIELDS)
    overrides = {
        "ResponseCacheControl": "no-store",
        "ResponseContentDisposition": 'inline; filename="ü.txt"',
        "ResponseContentEncoding": "identity",
        "ResponseContentLanguage": "fr",
        "ResponseContentType": "image/png",
        "ResponseExpires": datetime(2031, 1, 1, tzinfo=UTC),
    }
    for call in (client.head_object, client.get_object):
        answer = call(Bucket=bucket, Key=key, **overrides)
        assert (answer["CacheControl"], answer["ContentType"]) == ("no-store", "image/png")
        assert (answer["ContentEncoding"], answer["ContentLanguage"]) == ("identity", "fr")
        assert answer["Expires"] == datetime(2031, 1, 1, tzinfo=UTC)
    part = client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0", ResponseContentType="image/png")
    assert part["ContentType"] == "image/png"


def test_metadata_of_every_kind(endpoint: Endpoint) -> None:
    client, bucket, key = s3(endpoint), shared_bucket(endpoint), new_key()
    metadata = {"plain": "v", "empty": "", "inner": "a  b", "word": "=?UTF-8?Q?=C3=A9?=", "punctuation": "a=b;c,\"d'"}
    client.put_object(Bucket=bucket, Key=key, Body=b"x", Metadata={**metadata, "Mixed-Case": "V"})
    assert client.head_object(Bucket=bucket, Key=key)["Metadata"] == {**metadata, "mixed-case": "V"}
    client.copy_object(Bucket=bucket, Key=f"{key}-copy", CopySource={"Bucket": bucket, "Key": key})
    assert client.head_object(Bucket=bucket, Key=f"{key}-copy")["Metadata"] == {**metadata, "mixed-case": "V"}


@pytest.fixture
def wire(endpoint: Endpoint) -> Iterator[Wire]:
    with Wire(endpoint) as connection:
        yield connection


@pytest.mark.parametrize("value", ["é", "日本 x"])
def test_metadata_that_is_not_ascii_comes_back_as_aws_gives_it_back(endpoint: Endpoint, wire: Wire, value: str) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    head = wire.signed("PUT", f"/{bucket}/{key}", headers={"x-amz-meta-a": value}, payload=UNSIGNED)
    # http.client writes what it takes for ISO 8859-1.
    fields = [(name, text.encode().decode("iso-8859-1")) for name, text in head.headers]
    assert wire.send(replace(head, headers=fields), b"x").status == 200
    word = f"=?UTF-8?B?{base64.b64encode(value.encode()).decode()}?="
    assert s3(endpoint).head_object(Bucket=bucket, Key=key)["Metadata"] == {"a": word}
    assert s3(endpoint).get_object(Bucket=bucket, Key=key)["Metadata"] == {"a": word}


def test_a_redirection_is_refused_where_the_store_drops_it(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    with refused(501, "NotImplemented"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", WebsiteRedirectLocation="/other")
    with refused(501, "NotImplemented"):
        s3(endpoint).create_multipart_upload(Bucket=bucket, Key=key, WebsiteRedirectLocation="/other")


def test_errors_tell_nothing_of_the_store(endpoint: Endpoint) -> None:
    bucket, key = shared_bucket(endpoint), new_key()
    with refused(404, "NoSuchKey") as error:
        s3(endpoint).get_object(Bucket=bucket, Key=key)
    assert error["Key"] == key
    with refused(404, "NoSuchVersion"):
        s3(endpoint).get_object(Bucket=bucket, Key=key, VersionId="6713e91bc812bc764a299b2209f4be4a")
    with refused(400, "InvalidStorageClass"):
        s3(endpoint).put_object(Bucket=bucket, Key=key, Body=b"x", StorageClass="BOGUS")


def test_object_lock(endpoint: Endpoint) -> None:
    """Headers of a write and the bucket's default; what is locked stays, and who may go round governance may."""
    client, bucket = s3(endpoint), f"lock-{new_key('')[:12]}"
    configuration = {"LocationConstraint": REGION}
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration=configuration, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    lock = {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": until}
    data = body(2 * MIB)
    version = client.put_object(Bucket=bucket, Key="k", Body=data, **lock)["VersionId"]
    head = client.head_object(Bucket=bucket, Key="k")
    assert (head["ObjectLockMode"], head["ObjectLockRetainUntilDate"]) == ("GOVERNANCE", until)
    with refused(403, "AccessDenied"):
        client.delete_object(Bucket=bucket, Key="k", VersionId=version)
    objects = {"Objects": [{"Key": "k", "VersionId": version}]}
    (error,) = client.delete_objects(Bucket=bucket, Delete=objects)["Errors"]
    assert error["Code"] == "AccessDenied"
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == data
    client.delete_object(Bucket=bucket, Key="k", VersionId=version, BypassGovernanceRetention=True)
    with refused(404, "NoSuchKey"):
        client.get_object(Bucket=bucket, Key="k")
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    made, _ = upload(endpoint, bucket, "k", {1: b"x"})
    assert client.get_object_retention(Bucket=bucket, Key="k")["Retention"]["Mode"] == "GOVERNANCE"
    with refused(404, "NoSuchObjectLockConfiguration"):
        client.get_object_legal_hold(Bucket=bucket, Key="k")
    bare = new_bucket(endpoint)
    client.put_object(Bucket=bare, Key="k", Body=b"x")
    with refused(404, "ObjectLockConfigurationNotFoundError"):
        client.get_object_lock_configuration(Bucket=bare)
    client.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": "ON"})
    assert client.get_object_legal_hold(Bucket=bucket, Key="k")["LegalHold"]["Status"] == "ON"
    with refused(403, "AccessDenied"):
        client.delete_object(Bucket=bucket, Key="k", VersionId=made["VersionId"], BypassGovernanceRetention=True)
    client.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": "OFF"})
    client.delete_object(Bucket=bucket, Key="k", VersionId=made["VersionId"], BypassGovernanceRetention=True)


def test_sub_resources_of_a_bucket(endpoint: Endpoint, store_name: str) -> None:
    """What a store has goes through; what it takes for the bucket itself harms nothing."""
    client, bucket = s3(endpoint), new_bucket(endpoint)
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    client.delete_bucket_tagging(Bucket=bucket)
    with refused(404, "NoSuchTagSet"):
        client.get_bucket_tagging(Bucket=bucket)
    rule = {"ID": "r", "Filter": {"Prefix": "x/"}, "Status": "Enabled", "Expiration": {"Days": 3}}
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [rule]})
    assert client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [rule]
    client.delete_bucket_lifecycle(Bucket=bucket)
    refusals = {
        "put_bucket_website": {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "i"}}},
        "delete_bucket_website": {},
        "put_bucket_logging": {"BucketLoggingStatus": {}},
        "put_bucket_accelerate_configuration": {"AccelerateConfiguration": {"Status": "Enabled"}},
        "put_bucket_request_payment": {"RequestPaymentConfiguration": {"Payer": "Requester"}},
        "put_bucket_metrics_configuration": {"Id": "i", "MetricsConfiguration": {"Id": "i"}},
        "delete_bucket_metrics_configuration": {"Id": "i"},
        "delete_bucket_inventory_configuration": {"Id": "i"},
    }
    for name, arguments in refusals.items():
        with refused(501, "NotImplemented"):
            getattr(client, name)(Bucket=bucket, **arguments)
    client.head_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="k", Body=b"x")
    restored = (403, "InvalidObjectState") if store_name == "minio" else (501, "NotImplemented")
    with refused(*restored):
        client.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1})
    with refused(405, "MethodNotAllowed"):
        client.select_object_content(
            Bucket=bucket,
            Key="k",
            Expression="SELECT 1",
            ExpressionType="SQL",
            InputSerialization={"CSV": {}},
            OutputSerialization={"CSV": {}},
        )
    assert client.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
