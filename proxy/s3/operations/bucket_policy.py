"""PutBucketPolicy, GetBucketPolicy, DeleteBucketPolicy and GetBucketPolicyStatus: kept on record here and evaluated
here, never sent to the store, which sees one caller only.

Only the bucket's own account may see or change the policy, whatever it says. Its root user always may, so that
``x-amz-confirm-remove-self-bucket-access`` has nothing to confirm: as on AWS, who takes the right to change a policy
from themselves does so.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html and its neighbours
"""

from typing import Final

from multidict import CIMultiDict

from proxy.aws import xml_codec
from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access import bucket_policy
from proxy.s3.access.bucket_policy import policy_of
from proxy.s3.bodies.documents import read_document
from proxy.s3.buckets.records import change_record
from proxy.s3.errors import access_denied, method_not_allowed
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, operation

_MAX_DOCUMENT: Final = 1024 * 1024
"""More than a policy may have: a longer one is PolicyTooLarge, not a request that is too long."""

_SUB_RESOURCE: Final = ("policy",)


@operation("GetBucketPolicy", "GET", Level.BUCKET, "s3:GetBucketPolicy", query=_SUB_RESOURCE)
async def get_bucket_policy(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the record is the answer
    """The document as it was put."""
    _check_account(call)
    if call.record.policy is None:
        raise _no_policy(call)
    return Response(200, CIMultiDict({"Content-Type": "application/json"}), call.record.policy.encode())


@operation("PutBucketPolicy", "PUT", Level.BUCKET, "s3:PutBucketPolicy", query=_SUB_RESOURCE)
async def put_bucket_policy(gateway: Gateway, call: Call) -> Response:
    """Sets the policy; it counts from the next request on."""
    _check_account(call)
    body = await read_document(gateway, call, _MAX_DOCUMENT)
    given = bucket_policy.parse(body, call.record, gateway.principals)
    block = call.record.public_access_block
    if given.public and block is not None and block.block_public_policy:
        raise access_denied(
            f"User: {call.caller.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
            f'"{call.target.arn}" because public policies are prevented by the BlockPublicPolicy setting in S3 Block '
            "Public Access."
        )
    await change_record(gateway, call, policy=body.decode())
    return Response(204)


@operation("DeleteBucketPolicy", "DELETE", Level.BUCKET, "s3:DeleteBucketPolicy", query=_SUB_RESOURCE)
async def delete_bucket_policy(gateway: Gateway, call: Call) -> Response:
    """Takes the policy away; a bucket without one has none after it, too."""
    _check_account(call)
    await change_record(gateway, call, policy=None)
    return Response(204)


@operation("GetBucketPolicyStatus", "GET", Level.BUCKET, "s3:GetBucketPolicyStatus", query=("policyStatus",))
async def get_bucket_policy_status(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the record is the answer
    """Whether the policy is public."""
    found = policy_of(call.record)
    if found is None:
        raise _no_policy(call)
    document = xml_codec.render("PolicyStatus", {"IsPublic": found.public})
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), document)


def _check_account(call: Call) -> None:
    if call.caller.account != call.record.account:
        raise method_not_allowed()


def _no_policy(call: Call) -> AwsError:
    detail = {"BucketName": call.target.bucket}
    return AwsError("NoSuchBucketPolicy", "The bucket policy does not exist", 404, detail=detail)
