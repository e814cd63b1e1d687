"""Objects under SSE-C over a store in memory: who can read them, what answers say, and what the store is shown."""

import base64
import hashlib
import zlib
from dataclasses import replace

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.envelope import header as envelope_header
from proxy.envelope import keys as envelope_keys
from proxy.envelope import v1
from proxy.envelope.errors import EnvelopeError
from proxy.envelope.header import KEY_NAME, Mode
from proxy.kms.errors import KmsError
from proxy.s3.encryption import customer_keys
from proxy.s3.encryption.customer_keys import CustomerKey
from proxy.s3.encryption.data_keys import open_table_key
from proxy.s3.gateway import Target
from proxy.s3.operation import Operation
from proxy.s3.operations.complete_multipart_upload import complete_multipart_upload
from proxy.s3.operations.copy_object import copy_object
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.get_object_attributes import get_object_attributes
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.multipart_uploads import create_multipart_upload
from proxy.s3.operations.put_object import put_object
from proxy.s3.operations.upload_part import upload_part
from proxy.s3.operations.upload_part_copy import upload_part_copy
from proxy.s3.state.ports import EncryptionRule
from tests.s3.object_store import World, make_world

BODY = bytes(range(256)) * 1024
NEEDED = (
    "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve "
    "the object."
)
WRONG = "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key."
NOT_NEEDED = "The encryption parameters are not applicable to this object."
INITIATE = (
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
    "encryption parameters."
)


def customer(key: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.md5(key).digest()).decode()
    prefix = "x-amz-server-side-encryption-customer-"
    return {
        f"{prefix}algorithm": "AES256",
        f"{prefix}key": base64.b64encode(key).decode(),
        f"{prefix}key-MD5": digest,
    }


MINE, OTHER = customer(b"m" * 32), customer(b"o" * 32)
ANSWERED = {name: value for name, value in MINE.items() if not name.endswith("-key")}


def crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


async def secure_world(rule: EncryptionRule | None = None) -> World:
    return replace(await make_world(rule=rule), secure=True)


async def refused(
    world: World, operation: Operation, query: str = "", *, body: bytes = b"", **headers: str
) -> AwsError:
    with pytest.raises(AwsError) as error:
        await world.do(operation, query, body=body, **headers)
    return error.value


@pytest.mark.parametrize("size", [0, 1, len(BODY), 2 * 1024 * 1024])
async def test_with_the_key_it_is_an_object_like_any_other(size: int) -> None:
    world, body = await secure_world(EncryptionRule("aws:kms")), (BODY * 8)[:size]
    put = await world.do(put_object, body=body, **MINE)
    for answer in (put, await world.do(get_object, **MINE), await world.do(head_object, **MINE)):
        shown = {name: value for name, value in answer.headers.items() if "server-side" in name}
        assert shown == ANSWERED
        assert answer.headers["ETag"] == put.headers["ETag"]
    assert put.headers["ETag"].endswith('-0"')
    assert (await world.do(get_object, **MINE)).body == body
    if size > 10:
        piece = await world.do(get_object, Range="bytes=5-9", **MINE)
        assert (piece.status, piece.body) == (206, body[5:10])
    checked = await world.do(head_object, x_amz_checksum_mode="ENABLED", **MINE)
    assert checked.headers["x-amz-checksum-crc64nvme"] == put.headers["x-amz-checksum-crc64nvme"]


@pytest.mark.parametrize("operation", [get_object, head_object])
async def test_without_it_there_is_none(operation: Operation) -> None:
    world = await secure_world()
    await world.do(put_object, body=BODY, **MINE)
    for headers in ({}, {"Range": "bytes=0-1"}, {"x_amz_checksum_mode": "ENABLED"}):
        error = await refused(world, operation, **headers)
        assert (error.status, error.code, error.message) == (400, "InvalidRequest", NEEDED)
    error = await refused(world, operation, **OTHER)
    assert (error.status, error.code, error.message) == (403, "AccessDenied", WRONG)


def conditions(etag: str, prefix: str = "") -> list[dict[str, str]]:
    """One that an object with this ETag does not meet by If-None-Match, and one by If-Match."""
    return [{f"{prefix}If-None-Match": etag}, {f"{prefix}If-Match": '"00"'}]


@pytest.mark.parametrize("operation", [get_object, head_object])
@pytest.mark.parametrize("query", ["", "versionId=v1"])
async def test_who_has_not_the_key_is_not_told_whether_a_condition_holds(operation: Operation, query: str) -> None:
    world = await secure_world()
    etag = (await world.do(put_object, body=BODY, **MINE)).headers["ETag"]
    world.stored.version_id = "v1" if query else None
    for headers in conditions(etag):
        error = await refused(world, operation, query, **headers)
        assert (error.status, error.code, error.message) == (400, "InvalidRequest", NEEDED)
        error = await refused(world, operation, query, **headers, **OTHER)
        assert (error.status, error.code, error.message) == (403, "AccessDenied", WRONG)
    assert (await world.do(operation, query, **{"If-None-Match": etag}, **MINE)).status == 304
    assert (await refused(world, operation, query, **{"If-Match": '"00"'}, **MINE)).status == 412


@pytest.mark.parametrize("operation", [get_object, head_object])
@pytest.mark.parametrize(
    ("rule", "asked"),
    [
        (EncryptionRule(), 1),
        (EncryptionRule("aws:kms"), 2),
        (EncryptionRule("aws:kms", blocks_customer_keys=True), 1),
    ],
)
async def test_a_condition_on_an_object_that_takes_no_key(
    operation: Operation, rule: EncryptionRule, asked: int
) -> None:
    """The store is asked again for the head of an object only if its ETag may be that of one under SSE-C, and its
    bucket takes those."""
    world = await secure_world(rule)
    etag = (await world.do(put_object, body=BODY)).headers["ETag"]
    for headers in conditions(etag):
        error = await refused(world, operation, **headers, **MINE)
        assert (error.status, error.code, error.message) == (400, "InvalidRequest", NOT_NEEDED)
    before = len(world.store.sent)
    assert (await world.do(operation, **{"If-None-Match": etag})).status == 304
    assert len(world.store.sent) == before + asked
    assert (await refused(world, operation, **{"If-Match": '"00"'})).status == 412


async def test_a_copy_without_the_sources_key_is_not_told_whether_a_condition_holds() -> None:
    world = await secure_world()
    etag = (await world.do(put_object, body=BODY, **MINE)).headers["ETag"]
    upload_id = await create(world)
    prefix = "x-amz-copy-source-"
    mine, other = ({name.replace("x-amz-", prefix): value for name, value in key.items()} for key in (MINE, OTHER))
    for operation, query in ((copy_object, ""), (upload_part_copy, f"partNumber=1&uploadId={upload_id}")):
        for condition in conditions(etag, prefix):
            headers = {"x-amz-copy-source": "b/k", **condition}
            if operation is copy_object:
                headers["x-amz-metadata-directive"] = "REPLACE"
            assert (await refused(world, operation, query, **headers)).message == NEEDED
            assert (await refused(world, operation, query, **headers, **other)).message == WRONG
            assert (await refused(world, operation, query, **headers, **mine)).status == 412


@pytest.mark.parametrize("operation", [get_object, head_object])
@pytest.mark.parametrize("rule", [EncryptionRule(), EncryptionRule("aws:kms")])
async def test_an_object_under_another_encryption_takes_no_key(operation: Operation, rule: EncryptionRule) -> None:
    world = await secure_world(rule)
    await world.do(put_object, body=BODY)
    error = await refused(world, operation, **MINE)
    assert (error.status, error.code, error.message) == (400, "InvalidRequest", NOT_NEEDED)


async def test_an_object_that_is_moved_in_the_store_does_not_open() -> None:
    world = await secure_world()
    await world.do(put_object, body=BODY, **MINE)
    world.store.objects["/b/moved"] = world.stored
    with pytest.raises(AwsError) as error:
        await world.do(get_object, key="moved", **MINE)
    assert error.value.code == "AccessDenied"


async def test_the_key_reaches_neither_the_store_nor_the_state() -> None:
    world = await secure_world()
    await world.do(put_object, body=BODY, **MINE)
    sent = world.store.sent[-1]
    said = repr(list(sent.headers.items())) + repr(world.stored)
    for secret in (MINE["x-amz-server-side-encryption-customer-key"], *ANSWERED.values(), "m" * 8):
        assert secret == "AES256" or secret not in said
    assert not any("server-side" in name.lower() for name in sent.headers)
    assert [name for name in sent.headers if "sse-proxy" in name] == [KEY_NAME]
    header = envelope_header.decode(sent.headers)
    assert header is not None
    assert (header.mode, header.key_arn) == (Mode.CUSTOMER, "")


async def create(world: World, **headers: str) -> str:
    answer = await world.do(create_multipart_upload, "uploads", **headers)
    assert isinstance(answer.body, bytes)
    return str(xml_codec.parse(answer.body, "InitiateMultipartUploadResult")["UploadId"])


async def test_every_part_needs_the_key_that_the_upload_began_with() -> None:
    world = await secure_world()
    upload_id = await create(world, **MINE)
    query = f"partNumber=1&uploadId={upload_id}"
    error = await refused(world, upload_part, query, body=BODY)
    assert (error.status, error.code, error.message) == (400, "InvalidRequest", INITIATE)
    error = await refused(world, upload_part, query, body=BODY, **OTHER)
    assert (error.status, error.code) == (400, "InvalidRequest")
    assert error.message == "The provided encryption parameters did not match the ones used originally."
    part = await world.do(upload_part, query, body=BODY, **MINE)
    assert {name: value for name, value in part.headers.items() if "server-side" in name} == ANSWERED
    document = xml_codec.render("CompleteMultipartUpload", {"Part": [{"PartNumber": 1, "ETag": part.headers["ETag"]}]})
    await world.do(complete_multipart_upload, f"uploadId={upload_id}", body=document, **MINE)
    assert (await world.do(get_object, **MINE)).body == BODY
    assert (await world.do(get_object, Range="bytes=100-200", **MINE)).body == BODY[100:201]
    assert (await world.do(head_object, **MINE)).headers["Content-Length"] == str(len(BODY))
    assert (await refused(world, get_object)).message == NEEDED


async def test_a_completion_needs_the_key_where_there_is_a_checksum_algorithm() -> None:
    for algorithm in (None, "CRC32"):
        world = await secure_world()
        asked = {} if algorithm is None else {"x-amz-checksum-algorithm": algorithm}
        upload_id = await create(world, **MINE, **asked)
        headers = {**MINE, **({} if algorithm is None else {"x-amz-checksum-crc32": crc32(BODY)})}
        part = await world.do(upload_part, f"partNumber=1&uploadId={upload_id}", body=BODY, **headers)
        row = {"PartNumber": 1, "ETag": part.headers["ETag"]}
        if algorithm is not None:
            row["ChecksumCRC32"] = crc32(BODY)
        document = xml_codec.render("CompleteMultipartUpload", {"Part": [row]})
        query = f"uploadId={upload_id}"
        error = await refused(world, complete_multipart_upload, query, body=document, **OTHER)
        assert error.message == "The provided encryption parameters did not match the ones used originally."
        if algorithm is not None:
            error = await refused(world, complete_multipart_upload, query, body=document)
            assert (error.status, error.code, error.message) == (400, "InvalidRequest", INITIATE)
            await world.do(complete_multipart_upload, query, body=document, **MINE)
        else:
            await world.do(complete_multipart_upload, query, body=document)
        assert (await world.do(get_object, **MINE)).body == BODY
        assert (await refused(world, get_object)).message == NEEDED


async def test_what_is_kept_for_a_completion_opens_nothing() -> None:
    world = await secure_world()
    upload_id = await create(world, **MINE)
    upload = await world.gateway.uploads.get(upload_id)
    assert upload is not None
    header = envelope_header.decode(upload.metadata)
    assert header is not None
    call = world.call(put_object)
    kept = await open_table_key(world.gateway, call.origin, call.target, header, upload.sealed_table_key)
    data_key = customer_keys.unwrap(header, CustomerKey(b"m" * 32, ""), call.target.arn)
    assert kept == envelope_keys.table_key(data_key, header.salt)
    with pytest.raises(EnvelopeError):
        v1.unlock(header, kept)
    for place in (Target("b", "k2"), Target("c", "k")):
        with pytest.raises(KmsError, match="InvalidCiphertext"):
            await open_table_key(world.gateway, call.origin, place, header, upload.sealed_table_key)


async def test_a_bucket_that_blocks_it_takes_nothing_new_and_gives_what_it_has() -> None:
    world = await secure_world()
    await world.do(put_object, body=BODY, **MINE)
    upload_id = await create(world, **MINE)
    open_record, wrong = world.bucket, {**MINE, "x-amz-server-side-encryption-customer-key-MD5": "x"}
    world.bucket = replace(open_record, encryption=EncryptionRule(blocks_customer_keys=True))
    for operation, query in (
        (put_object, ""),
        (create_multipart_upload, "uploads"),
        (upload_part, f"partNumber=1&uploadId={upload_id}"),
        (upload_part_copy, f"partNumber=1&uploadId={upload_id}"),
    ):
        copy = {"x-amz-copy-source": "b/k"} if operation is upload_part_copy else {}
        for headers in (MINE, wrong):
            error = await refused(world, operation, query, body=b"" if copy else BODY, **headers, **copy)
            assert (error.status, error.code) == (403, "AccessDenied")
            assert error.message == (
                "User: arn:aws:iam::111122223333:user/tester is not authorized to perform: s3:PutObject on resource: "
                '"arn:aws:s3:::b/k" because this bucket has blocked upload requests that specify Server Side '
                "Encryption with Customer provided keys (SSE-C). Please specify a different server-side encryption type"
            )
    assert (await world.do(get_object, **MINE)).body == BODY
    assert (await world.do(head_object, **MINE)).status == 200
    assert (await world.do(put_object, body=BODY)).status == 200


async def test_attributes_need_the_key_too() -> None:
    world = await secure_world()
    await world.do(put_object, body=BODY, **MINE)
    asked = {"x-amz-object-attributes": "ETag,ObjectSize"}
    assert (await refused(world, get_object_attributes, "attributes", **asked)).message == NEEDED
    assert (await refused(world, get_object_attributes, "attributes", **asked, **OTHER)).message == WRONG
    answer = await world.do(get_object_attributes, "attributes", **asked, **MINE)
    assert isinstance(answer.body, bytes)
    assert f"<ObjectSize>{len(BODY)}</ObjectSize>".encode() in answer.body


async def test_an_upload_without_a_key_takes_none() -> None:
    world = await secure_world()
    upload_id = await create(world)
    error = await refused(world, upload_part, f"partNumber=1&uploadId={upload_id}", body=BODY, **MINE)
    assert (error.status, error.code, error.message) == (400, "InvalidRequest", INITIATE)
