"""What is on record of the versions of a key, and what becomes of it when some are gone."""

from dataclasses import replace

import pytest
from multidict import CIMultiDict

from proxy.envelope import header as envelope_header
from proxy.envelope.errors import EnvelopeError
from proxy.s3.gateway import Target
from proxy.s3.objects.records import drop_versions, is_about, of_version, records_of, versions_of, with_version
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.put_object import put_object
from proxy.s3.state.ports import EncryptionRule, ObjectRecord
from tests.fakes import FakeClock
from tests.s3.object_store import StoredObject, make_world

ROW = ObjectRecord("b", "k", b"i" * 16, '"e"', 10, None, b"", FakeClock()())


@pytest.mark.parametrize(
    ("known", "told", "joined"),
    [
        (None, None, None),
        ("v1", None, None),
        (None, "null", None),
        (None, "v1", "null v1"),
        ("v1", "v1", "v1"),
        ("v1", "v2", "v1 v2"),
        ("v1 v2", "null", "v1 v2 null"),
    ],
)
def test_a_record_of_one_more_version(known: str | None, told: str | None, joined: str | None) -> None:
    answer = CIMultiDict({} if told is None else {"x-amz-version-id": told})
    record = replace(ROW, version_id=with_version(replace(ROW, version_id=known), answer))
    assert record.version_id == joined
    assert is_about(record, answer)
    assert of_version([record], told or "null") == [record]


async def test_it_stays_for_those_that_are_left() -> None:
    gateway, target = (await make_world()).gateway, Target("b", "k")
    await gateway.objects.put(replace(ROW, version_id="v1 v2 null"))
    for named, left in ((["v1"], [["v2", "null"]]), (["v3", "v2"], [["null"]]), (["null"], [])):
        await drop_versions(gateway, await records_of(gateway, target), named)
        assert [versions_of(row) for row in await records_of(gateway, target)] == left


async def test_of_two_versions_with_one_record_neither_may_become_plaintext() -> None:
    world = await make_world(rule=EncryptionRule("aws:kms"), mixed=True)
    await world.do(put_object, body=b"secret")
    (record,) = await records_of(world.gateway, Target("b", "k"))
    await world.gateway.objects.put(replace(record, version_id="v1 v2"))
    world.store.objects["/b/k"] = StoredObject(b"forged", {}, version_id="v0")
    assert (await world.do(head_object, "versionId=v0")).headers["Content-Length"] == "6"
    for version_id in ("v1", "v2"):
        world.stored.version_id = version_id
        with pytest.raises(EnvelopeError):
            await world.do(head_object, f"versionId={version_id}")


async def test_a_record_of_another_version_in_another_mode_tells_no_etag() -> None:
    """The first of two copies of an object under SSE-S3 is under a KMS key, and has no record."""
    world = await make_world(rule=EncryptionRule("aws:kms"))
    put = await world.do(put_object, body=b"body")
    world.stored.version_id = "v1"
    header = envelope_header.decode(world.stored.headers)
    assert header is not None
    row = replace(ROW, object_id=header.object_id, upstream_etag=world.stored.etag, etag='"md5"', version_id="v2")
    await world.gateway.objects.put(row)
    assert (await world.do(head_object)).headers["ETag"] == put.headers["ETag"]
    world.stored.version_id = "v2"
    assert (await world.do(head_object)).headers["ETag"] == '"md5"'
