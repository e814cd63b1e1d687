"""UpdateObjectEncryption over a store in memory."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Request, Response
from proxy.envelope import header as headers
from proxy.envelope.header import Header
from proxy.kms.provider import AWS_MANAGED_S3_KEY
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.update_object_encryption import update_object_encryption
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.state.ports import EncryptionRule
from tests.s3.fakes import OTHER_ACCOUNT
from tests.s3.object_store import COPY_SOURCE, ObjectStore, StoredObject, World, make_world

S3, KMS = EncryptionRule(), EncryptionRule("aws:kms")
BODY = bytes(range(256)) * 400


async def world_with(rule: EncryptionRule, body: bytes = BODY, **sent: str) -> tuple[World, str]:
    """A world with an object under ``k``, and the ARN of a key."""
    world = await make_world(rule=rule)
    await world.do(put_object, body=body, **sent)
    call = world.call(put_object)
    key = await world.gateway.keys.describe_key(call.origin, AWS_MANAGED_S3_KEY) if rule is KMS else None
    made = key.arn if key else (await world.gateway.keys.generate_data_key(call.origin, AWS_MANAGED_S3_KEY, {})).key_arn
    world.store.sent.clear()
    return world, made


def document(key_arn: str, bucket_key: str | None = None) -> bytes:
    return xml_codec.render("ObjectEncryption", {"SSE-KMS": {"KMSKeyArn": key_arn, "BucketKeyEnabled": bucket_key}})


def header_of(world: World) -> Header:
    found = headers.decode(world.stored.headers)
    assert found is not None
    return found


async def refused(attempt: Any) -> AwsError:
    with pytest.raises(AwsError) as caught:
        await attempt
    return caught.value


@pytest.mark.parametrize("bucket_key", [None, "true", "false"])
@pytest.mark.parametrize("rule", [S3, KMS], ids=["SSE-S3", "key"])
async def test_only_the_wrap_changes(rule: EncryptionRule, bucket_key: str | None) -> None:
    kept = {"x_amz_meta_a": "b", "Cache_Control": "max-age=1", "x_amz_tagging": "t=1", "x_amz_storage_class": "X"}
    world, key_arn = await world_with(rule, **kept)
    before, stored, head = header_of(world), world.stored, await world.do(head_object)
    answer = await world.do(update_object_encryption, "encryption", body=document(key_arn, bucket_key))
    assert (answer.status, answer.body) == (200, b"")
    after = header_of(world)
    assert (after.mode, after.key_arn, after.salt) == ("aws:kms", key_arn, before.salt)
    assert (after.bucket_wrapped_key is not None) is (bucket_key == "true")
    assert world.stored.body == stored.body
    client = {name: value for name, value in stored.headers.items() if "sse-proxy" not in name}
    assert {name: value for name, value in world.stored.headers.items() if "sse-proxy" not in name} == client
    got = await world.do(get_object)
    assert (got.body, got.headers["ETag"]) == (BODY, head.headers["ETag"])
    assert (await world.do(head_object)).headers["ETag"] == head.headers["ETag"]


async def test_a_multipart_object_keeps_its_parts() -> None:
    world, key_arn = await world_with(KMS)
    created = (await world.do(create_multipart_upload, "uploads")).body
    assert isinstance(created, bytes)
    upload_id = xml_codec.parse(created, "InitiateMultipartUploadResult")["UploadId"]
    bodies = [b"x" * 5 * 1024 * 1024, b"the end"]
    rows = []
    for number, body in enumerate(bodies, 1):
        sent = await world.do(upload_part, f"partNumber={number}&uploadId={upload_id}", body=body)
        rows.append({"PartNumber": number, "ETag": sent.headers["ETag"]})
    whole = xml_codec.render("CompleteMultipartUpload", {"Part": rows})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=whole)
    etag = (await world.do(head_object)).headers["ETag"]
    await world.do(update_object_encryption, "encryption", body=document(key_arn, "true"))
    part = await world.do(get_object, "partNumber=2")
    assert (part.body, part.headers["ETag"], part.headers["x-amz-mp-parts-count"]) == (b"the end", etag, "2")
    assert part.headers["x-amz-server-side-encryption-bucket-key-enabled"] == "true"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"<x/>", "MalformedXML", "well-formed"),
        (b"", "MalformedXML", "well-formed"),
        (b"<ObjectEncryption/>", "InvalidRequest", "require a valid new encryption type"),
        (b"<ObjectEncryption><SSE-S3/></ObjectEncryption>", "InvalidRequest", "require a valid new encryption type"),
        (b"<ObjectEncryption><SSE-C/></ObjectEncryption>", "InvalidRequest", "to DSSE-KMS or SSE-C"),
        (b"<ObjectEncryption><SSE-KMS/></ObjectEncryption>", "InvalidRequest", "require an AWS KMS key"),
        (document("alias/a"), "InvalidRequest", "require a valid AWS KMS key"),
        (document("arn:aws:kms:eu-west-1:111122223333:alias/a"), "InvalidRequest", "require a valid AWS KMS key"),
        (document("arn:aws:kms:eu-west-1:111122223333:key/a", "yes"), "InvalidRequest", "BucketKeyEnabled"),
        (document(f"arn:aws:kms:eu-west-1:{OTHER_ACCOUNT}:key/a"), "AccessDenied", "owned by the same account"),
    ],
)
async def test_what_is_asked_for_wrongly(body: bytes, code: str, words: str) -> None:
    world, _ = await world_with(S3)
    error = await refused(world.do(update_object_encryption, "encryption", body=body))
    assert error.code == code
    assert words in (error.message or "")
    assert header_of(world).mode == "AES256"


async def test_objects_that_it_cannot_change() -> None:
    world, key_arn = await world_with(S3)
    body = document(key_arn)
    assert (await refused(world.do(update_object_encryption, "encryption", key="none", body=body))).code == "NoSuchKey"
    world = replace(world, bucket=replace(world.bucket, mixed=True))
    world.store.objects["/b/plain"] = StoredObject(b"plain", {})
    error = await refused(world.do(update_object_encryption, "encryption", key="plain", body=body))
    assert "unencrypted source objects" in (error.message or "")


@dataclass
class TellingStore(ObjectStore):
    """Tells more of an object than it was given, such as locks and versions."""

    told: Mapping[str, str] | None = None
    of_version: Mapping[str, str] | None = None

    async def send(self, request: Request) -> Response:
        sent = CIMultiDict(request.headers)
        if COPY_SOURCE in sent:
            sent[COPY_SOURCE] = sent[COPY_SOURCE].partition("?")[0]
        answer = await super().send(replace(request, query="", headers=sent))
        named = request.parameter("versionId") is not None
        answer.headers.update((self.of_version if named else self.told) or {})  # type: ignore[union-attr]
        return answer


MODE, UNTIL, HOLD = (f"x-amz-object-lock-{name}" for name in ("mode", "retain-until-date", "legal-hold"))


@pytest.mark.parametrize(
    ("told", "refused_"),
    [
        ({HOLD: "ON"}, True),
        ({HOLD: "OFF"}, False),
        ({MODE: "GOVERNANCE", UNTIL: "2027-01-01T00:00:00Z"}, True),
        (
            {MODE: "GOVERNANCE", UNTIL: "2026-01-01T00:00:00Z"},
            False,
        ),
        ({MODE: "COMPLIANCE", UNTIL: "some day"}, True),
    ],
)
async def test_locked_objects_stay_as_they_are(told: dict[str, str], refused_: bool) -> None:
    world, key_arn = await world_with(S3)
    store = TellingStore(objects=world.store.objects, told=told)
    world = replace(world, store=store, gateway=replace(world.gateway, upstream=store))
    attempt = world.do(update_object_encryption, "encryption", body=document(key_arn))
    if refused_:
        error = await refused(attempt)
        assert (error.code, "S3 Object Lock" in (error.message or "")) == ("AccessDenied", True)
        assert header_of(world).mode == "AES256"
    else:
        await attempt
        assert header_of(world).mode == "aws:kms"


@pytest.mark.parametrize("current", ["v1", "v2"])
async def test_a_version_that_is_not_the_current_one(current: str) -> None:
    world, key_arn = await world_with(S3)
    told = {"x-amz-version-id": current}
    store = TellingStore(objects=world.store.objects, told=told, of_version={"x-amz-version-id": "v1"})
    world = replace(world, store=store, gateway=replace(world.gateway, upstream=store))
    attempt = world.do(update_object_encryption, "encryption&versionId=v1", body=document(key_arn))
    if current == "v1":
        assert (await attempt).status == 200
    else:
        assert (await refused(attempt)).status == 501
        assert header_of(world).mode == "AES256"
