"""Taking buckets that the store already has on record: whose they are, and whether plaintext may be in them."""

from collections.abc import Sequence
from datetime import datetime

from proxy.aws.message import Request
from proxy.aws.xml_codec import read_elements
from proxy.s3.forwarding import expect
from proxy.s3.gateway import Target
from proxy.s3.state.ports import BucketRecord, BucketRegistry, EncryptionRule
from proxy.s3.upstream.port import Upstream


async def adopt_buckets(
    upstream: Upstream,
    registry: BucketRegistry,
    names: Sequence[str] | None,
    *,
    mixed: bool,
    account: str,
    region: str,
    now: datetime,
    block_customer_keys: bool = True,
) -> list[str]:
    """Records the buckets that are not on record yet (all of the store for None) and returns their names.

    Raises:
        ValueError: a named bucket is not in the store.
        AwsError: the store refuses to list its buckets.
        UpstreamError: it could not be reached.
    """
    there = await buckets_in(upstream)
    missing = sorted(set(names or ()) - set(there))
    if missing:
        raise ValueError(f"not in the store: {', '.join(missing)}")
    adopted: list[str] = []
    for name in names if names is not None else there:
        rule = EncryptionRule(blocks_customer_keys=block_customer_keys)
        record = BucketRecord(name, account, region, now, rule, mixed=mixed)
        if await registry.replace(None, record):
            adopted.append(name)
    return adopted


async def buckets_in(upstream: Upstream) -> list[str]:
    """The names of all buckets that the store has.

    Raises:
        AwsError, UpstreamError: as ``adopt_buckets``.
    """
    found: list[str] = []

    def end(name: str, text: str) -> None:
        if name == "Name":
            found.append(text)

    answer = await upstream.send(Request("GET", "/"))
    read_elements(await expect(answer, Target(), 200), end)
    return found
