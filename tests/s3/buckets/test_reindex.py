"""Putting objects on record again, and what a rebuilt table of parts is."""

from dataclasses import replace

import pytest

from proxy.aws.message import Request, Response
from proxy.envelope import ranges
from proxy.envelope.errors import EnvelopeError
from proxy.s3.buckets.reindex import UNPROVED, Finding, Outcome, reindex
from proxy.s3.listings.object_listing import Entry, Page, put_right
from proxy.s3.objects.stored import resolve
from proxy.s3.operations.get_object import get_object
from proxy.s3.operations.head_object import head_object
from proxy.s3.operations.put_object import put_object
from proxy.s3.state.ports import EncryptionRule, ObjectRecord
from tests.s3.object_store import StoredObject, World, make_world
from tests.s3.operations.test_customer_keys import MINE, secure_world
from tests.s3.operations.test_multipart import KMS, PARTS, WHOLE, complete, create, send, uploaded
from tests.s3.operations.test_part_numbers import with_checksums

S3, TWO_LAYERS = EncryptionRule(), EncryptionRule("aws:kms:dsse")
MIB = 1024 * 1024


async def found(world: World, prefix: str = "") -> dict[str, Finding]:
    """What is told of each key."""
    findings: list[Finding] = []
    await reindex(world.gateway, world.bucket, prefix, findings.append)
    assert len({finding.key for finding in findings}) == len(findings)
    return {finding.key: finding for finding in findings}


async def record_of(world: World, key: str = "k") -> ObjectRecord:
    (record,) = (await world.gateway.objects.find("b", [key]))[key]
    return record


@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT", None])
async def test_a_rebuilt_table_is_the_one_that_was_lost(kind: str | None) -> None:
    world = (await with_checksums(kind))[0] if kind else await uploaded()
    before = await record_of(world)
    await world.gateway.objects.forget_bucket("b")
    world.store.sent.clear()
    (finding,) = (await found(world)).values()
    assert finding == Finding("b", "k", "", Outcome.REBUILT, UNPROVED)
    assert await record_of(world) == before
    # One to list, one to look, a head and one for each part without and with the key.
    assert len(world.store.sent) == 2 + len(PARTS) + 1 + len(PARTS)
    world.store.sent.clear()
    assert (await world.do(get_object, "partNumber=2")).body == PARTS[4]
    assert len(world.store.sent) == 1
    assert (await found(world))["k"].outcome is Outcome.NOTHING_TO_DO


async def test_a_table_is_rebuilt_at_the_next_read_all_the_same() -> None:
    world, _ = await with_checksums("COMPOSITE")
    before = await record_of(world)
    checksum = (await world.do(head_object, x_amz_checksum_mode="ENABLED")).headers["x-amz-checksum-crc32"]
    await world.gateway.objects.forget_bucket("b")
    head = await world.do(head_object, x_amz_checksum_mode="ENABLED")
    assert head.headers["x-amz-checksum-crc32"] == checksum
    assert await record_of(world) == before


async def test_etags_of_sse_s3_and_the_nature_of_objects_in_a_mixed_bucket() -> None:
    world = await make_world(rule=S3, mixed=True)
    puts = {key: await world.do(put_object, key=key, body=bytes(size)) for key, size in (("a", 5), ("b", 2 * MIB))}
    await world.do(put_object, key="kms", body=b"x", x_amz_server_side_encryption="aws:kms")
    world.store.objects["/b/plain"] = StoredObject(b"plaintext", {})
    world.store.objects["/b/folder/"] = StoredObject(b"", {})
    await world.gateway.objects.forget_bucket("b")
    findings = await found(world)
    assert {key: finding.outcome for key, finding in findings.items()} == {
        "a": Outcome.RECORDED,
        "b": Outcome.RECORDED,
        "kms": Outcome.RECORDED,
        "plain": Outcome.RECORDED,
        "folder/": Outcome.NOTHING_TO_DO,
    }
    world.store.sent.clear()
    stored = world.store.objects
    page = Page(
        [Entry(key, "m", stored[f"/b/{key}"].etag, len(stored[f"/b/{key}"].body), "") for key in puts], (), False
    )
    shown = await put_right(world.gateway, world.bucket, page, resolve)
    assert [entry.etag for entry in shown.entries] == [put.headers["ETag"] for put in puts.values()]
    assert world.store.sent == []
    assert {finding.outcome for finding in (await found(world)).values()} == {Outcome.NOTHING_TO_DO}


async def test_objects_of_two_layers() -> None:
    """A listing can't tell their sizes from what is stored."""
    world = await uploaded(TWO_LAYERS)
    await world.do(put_object, key="single", body=bytes(2 * MIB))
    before = [await record_of(world, key) for key in ("k", "single")]
    await world.gateway.objects.forget_bucket("b")
    assert {key: finding.outcome for key, finding in (await found(world)).items()} == {
        "k": Outcome.REBUILT,
        "single": Outcome.RECORDED,
    }
    assert [await record_of(world, key) for key in ("k", "single")] == before
    assert (await world.do(get_object, "partNumber=2")).body == PARTS[4]


async def test_a_kms_object_needs_no_record() -> None:
    world = await make_world(rule=KMS)
    await world.do(put_object, body=b"x")
    assert (await found(world))["k"].outcome is Outcome.NOTHING_TO_DO


async def test_only_what_is_under_the_prefix() -> None:
    world = await make_world(rule=S3)
    for key in ("a/1", "b/1"):
        await world.do(put_object, key=key, body=b"x")
    assert set(await found(world, "a/")) == {"a/1"}


async def test_damage_is_told_and_stops_nothing() -> None:
    world = await uploaded(S3)
    good = world.stored
    body = good.body
    one, four = (ranges.part_stored_size(len(PARTS[number])) for number in (1, 4))
    flipped = bytearray(body)
    flipped[one - 1] ^= 1
    damaged = {
        "cut": body[:-1],
        "swapped": body[one : one + four] + body[:one] + body[one + four :],
        "footer": bytes(flipped),
        "empty": b"",
        "short": body[:50],
        "garbage": bytes(500),
    }
    for what, content in damaged.items():
        world.stored.body = content
        await world.gateway.objects.forget_bucket("b")
        finding = (await found(world))["k"]
        assert (finding.outcome, bool(finding.text)) == (Outcome.DAMAGED, True), what
    good.body = body
    world.store.objects["/b/bare"] = StoredObject(b"plaintext", {})
    world.store.objects["/b/header"] = StoredObject(body, {**good.headers, "x-amz-meta-sse-proxy-key": "AQ"})
    world.store.objects["/b/moved"] = StoredObject(body, good.headers, good.etag)
    findings = await found(world)
    assert findings.pop("k").outcome is Outcome.REBUILT
    assert {key: finding.outcome for key, finding in findings.items()} == dict.fromkeys(
        ("bare", "header", "moved"), Outcome.DAMAGED
    )


async def test_a_genuine_table_that_does_not_fit_is_damage_of_the_object() -> None:
    """A store that has lost the last part must not be believed because the state could be made to fit."""
    world = await uploaded()
    before = await record_of(world)
    world.stored.body = world.stored.body[: -ranges.part_stored_size(len(PARTS[9]))]
    assert (await found(world))["k"].outcome is Outcome.DAMAGED
    assert await record_of(world) == before


async def test_a_table_that_no_completion_has_confirmed_is_not_made_anew() -> None:
    """The process ended when the store had made the object: the table proves what one that is rebuilt does not."""
    world = await uploaded()
    before = await record_of(world)
    await world.gateway.objects.put(replace(before, upstream_etag=None, etag=None))
    finding = (await found(world))["k"]
    assert (finding.outcome, finding.text) == (Outcome.RECORDED, "")
    assert await record_of(world) == before


async def test_a_table_that_is_not_genuine_is_made_anew() -> None:
    world = await uploaded()
    before = await record_of(world)
    for altered in (before.parts[:-1] + b"x", before.parts[:-40], b"nonsense"):
        await world.gateway.objects.put(replace(before, parts=altered))
        with pytest.raises(EnvelopeError):
            await world.do(get_object)
        finding = (await found(world))["k"]
        assert (finding.outcome, finding.text) == (
            Outcome.REBUILT,
            f"the one on record was not genuine; {UNPROVED}",
        )
        assert await record_of(world) == before
    assert (await world.do(get_object)).body == WHOLE


async def test_an_object_whose_key_cannot_be_used() -> None:
    world = await uploaded()
    size = len(WHOLE)
    await world.gateway.objects.forget_bucket("b")
    world.bucket = replace(world.bucket, account="999999999999")
    finding = (await found(world))["k"]
    assert finding.outcome is Outcome.LOCKED
    # Listings are right all the same.
    record = await record_of(world)
    assert (record.size, record.parts) == (size, b"")


async def test_an_object_under_a_customers_key_waits_for_its_next_read() -> None:
    world = await secure_world()
    upload_id = await create(world, **MINE)
    await complete(world, upload_id, {1: await send(world, upload_id, 1, b"body", **MINE)}, **MINE)
    before = await record_of(world)
    await world.gateway.objects.forget_bucket("b")
    assert (await found(world))["k"].outcome is Outcome.LOCKED
    assert (await world.do(get_object, **MINE)).body == b"body"
    assert await record_of(world) == before


async def test_an_object_that_is_gone_or_cannot_be_read() -> None:
    world = await make_world(rule=S3)
    for key in ("gone", "refused", "there"):
        await world.do(put_object, key=key, body=b"x")
    send_to = world.store.send

    async def answer(request: Request) -> Response:
        if request.method == "HEAD" and request.path.endswith("gone"):
            return Response(404)
        if request.method == "HEAD" and request.path.endswith("refused"):
            return Response(500)
        return await send_to(request)

    world.store.send = answer  # type: ignore[method-assign]
    outcomes = {key: finding.outcome for key, finding in (await found(world)).items()}
    assert outcomes == {"gone": Outcome.GONE, "refused": Outcome.FAILED, "there": Outcome.NOTHING_TO_DO}


async def test_two_layers_are_put_on_record_with_their_size() -> None:
    world = await make_world(rule=EncryptionRule("aws:kms:dsse"))
    await world.do(put_object, body=b"x" * 70_000)
    upload_id = await create(world)
    etags = {number: await send(world, upload_id, number, PARTS[number]) for number in PARTS}
    before = (await world.gateway.objects.find("b", ["k"]))["k"]
    await world.gateway.objects.forget_bucket("b")
    (finding,) = (await found(world)).values()
    assert finding.outcome is Outcome.RECORDED
    (record,) = (await world.gateway.objects.find("b", ["k"]))["k"]
    assert (record.size, record.layers, record.etag) == (70_000, 2, None)
    assert (record.size, record.layers, record.object_id) == (before[0].size, before[0].layers, before[0].object_id)
    await complete(world, upload_id, dict(sorted(etags.items())))
    table = (await record_of(world)).parts
    await world.gateway.objects.forget_bucket("b")
    assert (await found(world))["k"] == Finding("b", "k", "", Outcome.REBUILT, UNPROVED)
    again = await record_of(world)
    assert (again.parts, again.layers) == (table, 2)
    assert (await world.do(get_object)).body == WHOLE
