"""Changing a bucket's record, where another request may be changing it, too."""

from dataclasses import replace
from typing import Any

from proxy.s3.errors import no_such_bucket
from proxy.s3.gateway import Call, Gateway


async def change_record(gateway: Gateway, call: Call, **changes: Any) -> None:
    """Changes these fields in the record of the bucket that the caller was authorized for, and of no other that has
    got its name.

    Raises:
        AwsError: NoSuchBucket, where it is gone.
    """
    found = call.record
    while not await gateway.buckets.replace(found, replace(found, **changes)):
        now = await gateway.buckets.get(found.name)
        if now is None or (now.account, now.created) != (found.account, found.created):
            raise no_such_bucket(found.name)
        found = now
