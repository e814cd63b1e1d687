"""GetBucketEncryption, PutBucketEncryption and DeleteBucketEncryption: kept on record here, never sent to the store.

The rule is kept as it was configured. Neither the key nor the caller's right to it is looked at until an object is
put, which is how AWS does it. Whether SSE-C is blocked is a part of it that stays as it was where a document does not
speak of it, and a document may speak of nothing else.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/blocking-unblocking-s3-c-encryption-gpb.html
"""

from dataclasses import dataclass, replace
from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.bodies.documents import read_document
from proxy.s3.buckets.records import update_record
from proxy.s3.errors import invalid_argument, malformed_xml
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import BucketRecord, EncryptionRule

NONE: Final = "NONE"
CUSTOMER_KEYS: Final = "SSE-C"

_MAX_DOCUMENT: Final = 64 * 1024
_SUB_RESOURCE: Final = ("encryption",)
_RULE_MEMBERS: Final = frozenset({"ApplyServerSideEncryptionByDefault", "BucketKeyEnabled", "BlockedEncryptionTypes"})
_DEFAULT_MEMBERS: Final = frozenset({"SSEAlgorithm", "KMSMasterKeyID"})


@operation("GetBucketEncryption", "GET", Level.BUCKET, "s3:GetEncryptionConfiguration", query=_SUB_RESOURCE)
async def get_bucket_encryption(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the record is the answer
    """The bucket's rule; a bucket that was given none has AES256, as on AWS since 2023."""
    rule = call.record.encryption
    by_default = {"SSEAlgorithm": rule.algorithm, "KMSMasterKeyID": rule.key_id}
    content = {
        "Rule": {
            "ApplyServerSideEncryptionByDefault": by_default,
            "BlockedEncryptionTypes": {"EncryptionType": CUSTOMER_KEYS if rule.blocks_customer_keys else NONE},
            "BucketKeyEnabled": rule.bucket_key_enabled,
        }
    }
    document = xml_codec.render("ServerSideEncryptionConfiguration", content)
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


@operation("PutBucketEncryption", "PUT", Level.BUCKET, "s3:PutEncryptionConfiguration", query=_SUB_RESOURCE)
async def put_bucket_encryption(gateway: Gateway, call: Call) -> Response:
    """Sets the rule that new objects follow."""
    document = await read_document(gateway, call, _MAX_DOCUMENT)
    change = parse_rules(document)
    await update_record(gateway, call, change.applied_to)
    return Response(200)


@operation("DeleteBucketEncryption", "DELETE", Level.BUCKET, "s3:PutEncryptionConfiguration", query=_SUB_RESOURCE)
async def delete_bucket_encryption(gateway: Gateway, call: Call) -> Response:
    """Sets the rule back to AES256. What is blocked stays blocked."""
    await update_record(gateway, call, Change(EncryptionRule(), None).applied_to)
    return Response(204)


@dataclass(frozen=True)
class Change:
    """What a document changes of a bucket's rule; None: as it was."""

    rule: EncryptionRule | None
    """Without a word on what is blocked."""
    blocks_customer_keys: bool | None

    def applied_to(self, bucket: BucketRecord) -> BucketRecord:
        before, blocks = bucket.encryption, self.blocks_customer_keys
        blocks = before.blocks_customer_keys if blocks is None else blocks
        return replace(bucket, encryption=replace(self.rule or before, blocks_customer_keys=blocks))


def parse_rules(document: bytes) -> Change:
    """What a ServerSideEncryptionConfiguration changes.

    Raises:
        AwsError: MalformedXML, InvalidArgument.
    """
    try:
        content = xml_codec.parse(document, "ServerSideEncryptionConfiguration", lists=("Rule", "EncryptionType"))
    except xml_codec.XmlError:
        raise malformed_xml() from None
    rules = content.get("Rule", [])
    if len(rules) != 1 or set(content) != {"Rule"}:
        raise malformed_xml()
    rule = _node(rules[0], _RULE_MEMBERS)
    blocks = _blocked(rule.get("BlockedEncryptionTypes"))
    if set(rule) == {"BlockedEncryptionTypes"}:
        return Change(None, blocks)
    by_default = _node(rule.get("ApplyServerSideEncryptionByDefault"), _DEFAULT_MEMBERS)
    algorithm, key_id = by_default.get("SSEAlgorithm"), by_default.get("KMSMasterKeyID")
    if algorithm not in ("AES256", "aws:kms", "aws:kms:dsse") or not isinstance(key_id, str | None):
        raise malformed_xml()
    if key_id is not None and algorithm == "AES256":
        message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        raise invalid_argument(message, "KMSMasterKeyID", key_id)
    return Change(EncryptionRule(algorithm, key_id, _boolean(rule.get("BucketKeyEnabled"))), blocks)


def _node(value: Any, members: frozenset[str]) -> dict[str, Any]:
    if not isinstance(value, dict) or not members.issuperset(value):
        raise malformed_xml()
    return value


def _boolean(value: Any) -> bool:
    if value is None:
        return False
    text = value.strip().lower() if isinstance(value, str) else ""
    if text not in ("true", "false", "1", "0"):
        raise malformed_xml()
    return text in ("true", "1")


def _blocked(value: Any) -> bool | None:
    """Whether SSE-C, the one kind that can be, is to be blocked; None where nothing is said of it."""
    if value is None:
        return None
    kinds = _node(value, frozenset({"EncryptionType"})).get("EncryptionType", [])
    if kinds not in ([NONE], [CUSTOMER_KEYS]):
        raise malformed_xml()
    return bool(kinds == [CUSTOMER_KEYS])
