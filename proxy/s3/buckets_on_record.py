"""Buckets that requests name: found on record, or refused."""

from proxy.aws.message import Request
from proxy.s3 import errors
from proxy.s3.gateway import Gateway, Target
from proxy.s3.state import BucketRecord


async def bucket_on_record(gateway: Gateway, name: str) -> BucketRecord:
    """The record of a bucket.

    A bucket without a record does not exist, or has never been adopted; what it must not do is be served.

    Raises:
        AwsError: NoSuchBucket, InvalidBucketName, or ServiceUnavailable for one that was never adopted.
    """
    record = await gateway.buckets.get(name)
    if record is not None:
        return record
    answer = await gateway.upstream.send(Request("HEAD", Target(name).path))
    await answer.aclose()
    if answer.status == 404:
        raise errors.no_such_bucket(name)
    if answer.status in (200, 403):
        raise errors.not_adopted(name)
    if answer.status in (400, 405):
        raise errors.invalid_bucket_name(name)
    raise errors.service_unavailable()
