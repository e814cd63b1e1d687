from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.gateway import Gateway, Target
from proxy.s3.operations.bucket_encryption import (
    Change,
    delete_bucket_encryption,
    get_bucket_encryption,
    parse_rules,
    put_bucket_encryption,
)
from proxy.s3.state.ports import BucketRecord, EncryptionRule
from tests.s3.fakes import ACCOUNT, OTHER_ACCOUNT, FakeUpstream, make_call, make_gateway

RECORD = BucketRecord("bucket", ACCOUNT, "eu-west-1", datetime(2026, 11, 23, 6, tzinfo=UTC))
TARGET = Target("bucket")
KMS: dict[str, Any] = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "alias/Mine"}


def _document(*rules: dict[str, Any]) -> bytes:
    return xml_codec.render("ServerSideEncryptionConfiguration", {"Rule": list(rules)})


def _rule(by_default: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"ApplyServerSideEncryptionByDefault": by_default, **more}


async def _put(gateway: Gateway, body: bytes, record: BucketRecord = RECORD) -> Response:
    return await put_bucket_encryption.run(gateway, make_call("PUT", TARGET, "encryption", body=body, record=record))


async def _get(gateway: Gateway) -> dict[str, Any]:
    record = await gateway.buckets.get("bucket")
    answer = await get_bucket_encryption.run(gateway, make_call("GET", TARGET, "encryption", record=record))
    assert isinstance(answer.body, bytes)
    content: dict[str, Any] = xml_codec.parse(answer.body, "ServerSideEncryptionConfiguration")["Rule"]
    return content


async def test_a_bucket_without_a_rule_has_aes256() -> None:
    gateway = make_gateway()
    await gateway.buckets.put(RECORD)
    by_default = {"SSEAlgorithm": "AES256"}
    assert await _get(gateway) == {
        "ApplyServerSideEncryptionByDefault": by_default,
        "BlockedEncryptionTypes": {"EncryptionType": "NONE"},
        "BucketKeyEnabled": "false",
    }


async def test_a_rule_is_kept_here_as_it_was_configured_and_the_store_never_hears_of_it() -> None:
    gateway = make_gateway()
    await gateway.buckets.put(RECORD)
    assert (await _put(gateway, _document(_rule(KMS, BucketKeyEnabled=True)))).status == 200
    assert await _get(gateway) == {
        "ApplyServerSideEncryptionByDefault": KMS,
        "BlockedEncryptionTypes": {"EncryptionType": "NONE"},
        "BucketKeyEnabled": "true",
    }
    call = make_call("DELETE", TARGET, "encryption", record=await gateway.buckets.get("bucket"))
    assert (await delete_bucket_encryption.run(gateway, call)).status == 204
    assert await gateway.buckets.get("bucket") == RECORD
    assert isinstance(gateway.upstream, FakeUpstream)
    assert gateway.upstream.sent == []


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (_rule({"SSEAlgorithm": "AES256"}), EncryptionRule()),
        (_rule({"SSEAlgorithm": "aws:kms"}), EncryptionRule("aws:kms")),
        (_rule({**KMS, "SSEAlgorithm": "aws:kms:dsse"}), EncryptionRule("aws:kms:dsse", "alias/Mine")),
        (_rule(KMS), EncryptionRule("aws:kms", "alias/Mine")),
        (_rule(KMS, BucketKeyEnabled="TRUE"), EncryptionRule("aws:kms", "alias/Mine", True)),
        (_rule(KMS, BucketKeyEnabled=False), EncryptionRule("aws:kms", "alias/Mine", False)),
        (_rule({"SSEAlgorithm": "AES256", "KMSMasterKeyID": ""}), EncryptionRule()),
    ],
)
def test_rules_that_are_taken(rule: dict[str, Any], expected: EncryptionRule) -> None:
    assert parse_rules(_document(rule)) == Change(expected, None)
    blocked = _document({**rule, "BlockedEncryptionTypes": {"EncryptionType": "SSE-C"}})
    assert parse_rules(blocked) == Change(expected, True)
    unblocked = _document({**rule, "BlockedEncryptionTypes": {"EncryptionType": "NONE"}})
    assert parse_rules(unblocked) == Change(expected, False)


async def test_what_is_blocked_changes_only_where_a_document_speaks_of_it() -> None:
    gateway = make_gateway()
    before = EncryptionRule("aws:kms", "alias/Mine", bucket_key_enabled=True, blocks_customer_keys=True)
    await gateway.buckets.put(replace(RECORD, encryption=before))

    async def rule_after(document: bytes) -> EncryptionRule:
        record = await gateway.buckets.get("bucket")
        assert record is not None
        await _put(gateway, document, record)
        changed = await gateway.buckets.get("bucket")
        assert changed is not None
        return changed.encryption

    unblock = _document({"BlockedEncryptionTypes": {"EncryptionType": "NONE"}})
    block = _document({"BlockedEncryptionTypes": {"EncryptionType": "SSE-C"}})
    assert await rule_after(unblock) == replace(before, blocks_customer_keys=False)
    assert await rule_after(_document(_rule({"SSEAlgorithm": "AES256"}))) == EncryptionRule()
    assert await rule_after(block) == EncryptionRule(blocks_customer_keys=True)
    assert await rule_after(_document(_rule(KMS))) == EncryptionRule("aws:kms", "alias/Mine", blocks_customer_keys=True)
    assert (await _get(gateway))["BlockedEncryptionTypes"] == {"EncryptionType": "SSE-C"}
    call = make_call("DELETE", TARGET, "encryption", record=await gateway.buckets.get("bucket"))
    await delete_bucket_encryption.run(gateway, call)
    record = await gateway.buckets.get("bucket")
    assert record is not None
    assert record.encryption == EncryptionRule(blocks_customer_keys=True)


@pytest.mark.parametrize(
    ("document", "code", "status"),
    [
        (b"", "MalformedXML", 400),
        (b"<Other/>", "MalformedXML", 400),
        (_document(), "MalformedXML", 400),
        (_document(_rule(KMS), _rule(KMS)), "MalformedXML", 400),
        (_document({"BucketKeyEnabled": True}), "MalformedXML", 400),
        (_document(_rule({})), "MalformedXML", 400),
        (_document(_rule({"KMSMasterKeyID": "x"})), "MalformedXML", 400),
        (_document(_rule({"SSEAlgorithm": "aes256"})), "MalformedXML", 400),
        (_document(_rule({"SSEAlgorithm": ""})), "MalformedXML", 400),
        (_document(_rule({"SSEAlgorithm": ["AES256", "aws:kms"]})), "MalformedXML", 400),
        (_document(_rule(KMS, Unknown="x")), "MalformedXML", 400),
        (_document(_rule(KMS, BucketKeyEnabled="yes")), "MalformedXML", 400),
        (_document(_rule(KMS, BlockedEncryptionTypes={"EncryptionType": "ALL"})), "MalformedXML", 400),
        (_document(_rule(KMS, BlockedEncryptionTypes={"Other": "NONE"})), "MalformedXML", 400),
        (_document(_rule(KMS, BlockedEncryptionTypes="NONE")), "MalformedXML", 400),
        (_document(_rule(KMS, BlockedEncryptionTypes={"EncryptionType": ["NONE", "SSE-C"]})), "MalformedXML", 400),
        (_document(_rule({"SSEAlgorithm": "AES256", "KMSMasterKeyID": "x"})), "InvalidArgument", 400),
    ],
)
async def test_rules_that_are_refused_change_nothing(document: bytes, code: str, status: int) -> None:
    gateway = make_gateway()
    await gateway.buckets.put(RECORD)
    with pytest.raises(AwsError) as caught:
        await _put(gateway, document)
    assert (caught.value.code, caught.value.status) == (code, status)
    assert await gateway.buckets.get("bucket") == RECORD


def test_a_key_for_aes256_is_refused_in_awss_words() -> None:
    with pytest.raises(AwsError) as caught:
        parse_rules(_document(_rule({"SSEAlgorithm": "AES256", "KMSMasterKeyID": "x"})))
    assert caught.value.message == (
        "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
    )


async def test_a_rule_set_meanwhile_is_replaced_and_nothing_else_of_the_record() -> None:
    gateway = make_gateway()
    await gateway.buckets.put(replace(RECORD, mixed=True, encryption=EncryptionRule("aws:kms")))
    await _put(gateway, _document(_rule(KMS)), RECORD)
    rule = EncryptionRule("aws:kms", "alias/Mine")
    assert await gateway.buckets.get("bucket") == replace(RECORD, mixed=True, encryption=rule)


async def test_a_bucket_that_changed_hands_meanwhile_is_left_alone() -> None:
    gateway = make_gateway()
    theirs = replace(RECORD, account=OTHER_ACCOUNT)
    for there in (theirs, None):
        await gateway.buckets.remove("bucket")
        if there:
            await gateway.buckets.put(there)
        with pytest.raises(AwsError, match="NoSuchBucket"):
            await _put(gateway, _document(_rule(KMS)))
        assert await gateway.buckets.get("bucket") == there
