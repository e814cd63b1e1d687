"""GetBucketCors, PutBucketCors and DeleteBucketCors: kept on record here, never sent to the store.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html and its neighbours
"""

from typing import Final

from multidict import CIMultiDict

from proxy.aws.errors import AwsError
from proxy.aws.message import Response
from proxy.s3.access import cors
from proxy.s3.bodies.documents import read_document
from proxy.s3.buckets.records import change_record
from proxy.s3.gateway import Call, Gateway
from proxy.s3.operation import Level, operation

_MAX_DOCUMENT: Final = 64 * 1024
_SUB_RESOURCE: Final = ("cors",)


@operation("GetBucketCors", "GET", Level.BUCKET, "s3:GetBucketCORS", query=_SUB_RESOURCE)
async def get_bucket_cors(gateway: Gateway, call: Call) -> Response:  # noqa: ARG001 - the record is the answer
    """The rules."""
    if call.record.cors is None:
        detail = {"BucketName": call.target.bucket}
        raise AwsError("NoSuchCORSConfiguration", "The CORS configuration does not exist", 404, detail=detail)
    return Response(200, CIMultiDict({"Content-Type": "application/xml"}), call.record.cors)


@operation("PutBucketCors", "PUT", Level.BUCKET, "s3:PutBucketCORS", query=_SUB_RESOURCE)
async def put_bucket_cors(gateway: Gateway, call: Call) -> Response:
    """Sets the rules; they count from the next request on."""
    rules = cors.parse(await read_document(gateway, call, _MAX_DOCUMENT))
    await change_record(gateway, call, cors=cors.render(rules))
    return Response(200)


@operation("DeleteBucketCors", "DELETE", Level.BUCKET, "s3:PutBucketCORS", query=_SUB_RESOURCE)
async def delete_bucket_cors(gateway: Gateway, call: Call) -> Response:
    """Takes the rules away."""
    await change_record(gateway, call, cors=None)
    return Response(204)
