"""GetPublicAccessBlock, PutPublicAccessBlock and DeletePublicAccessBlock: kept on record here, never sent to the store.

``BlockPublicPolicy`` counts when a policy is put, ``RestrictPublicBuckets`` at each request. There are no public ACLs
to be blocked or ignored: a bucket's ACLs are disabled.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.bodies.documents import read_document
from proxy.s3.buckets.records import change_record
from proxy.s3.errors import malformed_xml
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, operation
from proxy.s3.state.ports import PublicAccessBlock

_MAX_DOCUMENT: Final = 64 * 1024
_SUB_RESOURCE: Final = ("publicAccessBlock",)
_ROOT: Final = "PublicAccessBlockConfiguration"
_MEMBERS: Final = {
    "BlockPublicAcls": "block_public_acls",
    "IgnorePublicAcls": "ignore_public_acls",
    "BlockPublicPolicy": "block_public_policy",
    "RestrictPublicBuckets": "restrict_public_buckets",
}


@operation("GetPublicAccessBlock", "GET", Level.BUCKET, "s3:GetBucketPublicAccessBlock", query=_SUB_RESOURCE)
async def get_public_access_block(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the record is the answer
    """The four settings."""
    block = call.record.public_access_block
    if block is None:
        message = "The public access block configuration was not found"
        detail = {"BucketName": call.target.bucket}
        raise AwsError("NoSuchPublicAccessBlockConfiguration", message, 404, detail=detail)
    document = xml_codec.render(_ROOT, {name: getattr(block, member) for name, member in _MEMBERS.items()})
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


@operation("PutPublicAccessBlock", "PUT", Level.BUCKET, "s3:PutBucketPublicAccessBlock", query=_SUB_RESOURCE)
async def put_public_access_block(gateway: Gateway, call: Call) -> Response:
    """Sets all four; what the document leaves out is off."""
    block = parse_block(await read_document(gateway, call, _MAX_DOCUMENT))
    await change_record(gateway, call, public_access_block=block)
    return Response(200)


@operation("DeletePublicAccessBlock", "DELETE", Level.BUCKET, "s3:PutBucketPublicAccessBlock", query=_SUB_RESOURCE)
async def delete_public_access_block(gateway: Gateway, call: Call) -> Response:
    """Takes all four away."""
    await change_record(gateway, call, public_access_block=None)
    return Response(204)


def parse_block(document: bytes) -> PublicAccessBlock:
    """The settings in a PublicAccessBlockConfiguration.

    Raises:
        AwsError: MalformedXML.
    """
    try:
        content = xml_codec.parse(document, _ROOT)
    except xml_codec.XmlError:
        raise malformed_xml() from None
    if not _MEMBERS.keys() >= content.keys():
        raise malformed_xml()
    return PublicAccessBlock(**{member: _boolean(content.get(name)) for name, member in _MEMBERS.items()})


def _boolean(value: object) -> bool:
    text = value.strip().lower() if isinstance(value, str) else "" if value is not None else "false"
    if text not in ("true", "false"):
        raise malformed_xml()
    return text == "true"
