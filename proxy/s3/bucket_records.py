"""Changing a bucket's record, where another request may be changing it, too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from proxy.s3.errors import no_such_bucket
from proxy.s3.gateway import Call, Gateway
from proxy.s3.state import BucketRecord


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
            raise no_such_bucket(found.name)
        found = now
