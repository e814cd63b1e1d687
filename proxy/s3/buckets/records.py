"""The record of a bucket: found, or refused; and changed, where another request may be changing it, too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proxy.aws.message import Request
from proxy.s3 import errors
from proxy.s3.gateway import Call, Gateway, Target
from proxy.s3.state.ports import BucketRecord


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


async def change_record(gateway: Gateway, call: Call, **changes: Any) -> None:
    """Changes these fields in the record of the bucket that the caller was authorized for.

    Raises:
        AwsError: NoSuchBucket, where it is gone.
    """
    await update_record(gateway, call, lambda record: replace(record, **changes))


async def update_record(gateway: Gateway, call: Call, change: Callable[[BucketRecord], BucketRecord]) -> None:
    """Makes of the record of the bucket that the caller was authorized for, and of no other that has got its name, what
    ``change`` makes of it; it is asked again where another request was first.

    Raises:
        AwsError: NoSuchBucket, where it is gone.
    """
    found = call.record
    while not await gateway.buckets.replace(found, change(found)):
        now = await gateway.buckets.get(found.name)
        if now is None or (now.account, now.created) != (found.account, found.created):
            raise errors.no_such_bucket(found.name)
        found = now
