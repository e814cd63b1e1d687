"""GetBucketEncryption, PutBucketEncryption and DeleteBucketEncryption: kept on record here, never sent to the store.

The rule is kept as it was configured. Neither the key nor the caller's right to it is looked at until an object is
put, which is how AWS does it.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html
"""

from typing import Any, Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.message import Response
from proxy.s3.bucket_records import change_record
from proxy.s3.documents import read_document
from proxy.s3.errors import invalid_argument, malformed_xml, not_implemented
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, operation
from proxy.s3.state import EncryptionRule

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
            "BucketKeyEnabled": rule.bucket_key_enabled,
        }
    }
    document = xml_codec.render("ServerSideEncryptionConfiguration", content)
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


@operation("PutBucketEncryption", "PUT", Level.BUCKET, "s3:PutEncryptionConfiguration", query=_SUB_RESOURCE)
async def put_bucket_encryption(gateway: Gateway, call: Call) -> Response:
    """Sets the rule that new objects follow."""
    document = await read_document(gateway, call, _MAX_DOCUMENT)
    await change_record(gateway, call, encryption=parse_rule(document))
    return Response(200)


@operation("DeleteBucketEncryption", "DELETE", Level.BUCKET, "s3:PutEncryptionConfiguration", query=_SUB_RESOURCE)
async def delete_bucket_encryption(gateway: Gateway, call: Call) -> Response:
    """Sets the rule back to AES256."""
    await change_record(gateway, call, encryption=EncryptionRule())
    return Response(204)


def parse_rule(document: bytes) -> EncryptionRule:
    """The rule in a ServerSideEncryptionConfiguration.

    Raises:
        AwsError: MalformedXML, InvalidArgument; NotImplemented for double encryption and for blocking a kind.
    """
    try:
        content = xml_codec.parse(document, "ServerSideEncryptionConfiguration", lists=("Rule", "EncryptionType"))
    except xml_codec.XmlError:
        raise malformed_xml() from None
    rules = content.get("Rule", [])
    if len(rules) != 1 or set(content) != {"Rule"}:
        raise malformed_xml()
    rule = _node(rules[0], _RULE_MEMBERS)
    by_default = _node(rule.get("ApplyServerSideEncryptionByDefault"), _DEFAULT_MEMBERS)
    _check_blocked(rule.get("BlockedEncryptionTypes"))
    algorithm, key_id = by_default.get("SSEAlgorithm"), by_default.get("KMSMasterKeyID")
    if algorithm == "aws:kms:dsse":
        raise not_implemented()
    if algorithm not in ("AES256", "aws:kms") or not isinstance(key_id, str | None):
        raise malformed_xml()
    if key_id is not None and algorithm == "AES256":
        message = "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse"
        raise invalid_argument(message, "KMSMasterKeyID", key_id)
    return EncryptionRule(algorithm, key_id, _boolean(rule.get("BucketKeyEnabled")))


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


def _check_blocked(value: Any) -> None:
    """Nothing may be blocked: SSE-C, the one kind that AWS can block, is not served at all."""
    if value is None:
        return
    kinds = _node(value, frozenset({"EncryptionType"})).get("EncryptionType", [])
    if not {"NONE", "SSE-C"}.issuperset(kinds):
        raise malformed_xml()
    if kinds != ["NONE"]:
        raise not_implemented()
