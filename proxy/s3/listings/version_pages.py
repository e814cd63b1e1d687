"""Which versions a page of ListObjectVersions has: asked of the store so that none is skipped and none shown twice.

A page is continued after the last version of the one before, or past all keys under its last common prefix, and never
with markers that the store makes: MinIO's carry things of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from proxy.s3.forwarding import expect, upstream_request
from proxy.s3.gateway import Gateway, Target
from proxy.s3.listings.object_listing import marker_for, past_prefix
from proxy.s3.listings.version_listing import Item, VersionPage, read_versions


@dataclass(frozen=True)
class Wanted:
    """What a page is to have."""

    prefix: str
    delimiter: str
    key_marker: str
    """It has what comes after this name."""
    version_marker: str
    """Not empty: it has, before that, what comes after this version of ``key_marker`` itself."""
    count: int
    """1 to 1,000."""

    def has(self, gateway: Gateway, item: Item) -> bool:
        """Whether the client is to see it: it is under the prefix, and nothing of the store's own."""
        return item.name.startswith(self.prefix) and gateway.settings.store.fits(item.name)

    def grouped(self, item: Item) -> Item:
        """The item, or its common prefix."""
        if not self.delimiter:
            return item
        head, delimiter, _ = item.name[len(self.prefix) :].partition(self.delimiter)
        return Item(f"{self.prefix}{head}{delimiter}", None) if delimiter else item


async def ask(gateway: Gateway, target: Target, wanted: Wanted) -> VersionPage:
    """What the store answers.

    Raises:
        AwsError: the store's refusal.
        UpstreamError: its answer can't be read.
    """
    marker = marker_for(gateway, wanted.prefix, wanted.key_marker)
    return await ask_as_said(
        gateway, target, replace(wanted, key_marker=marker, version_marker=wanted.version_marker if marker else "")
    )


async def ask_as_said(gateway: Gateway, target: Target, wanted: Wanted) -> VersionPage:
    """``ask``, with the markers as they stand: for a store that takes one which comes before the prefix.

    Raises:
        AwsError, UpstreamError: as from ``ask``.
    """
    query = {"versions": "", "encoding-type": "url", "max-keys": str(wanted.count)}
    named = {
        "prefix": wanted.prefix,
        "delimiter": wanted.delimiter,
        "key-marker": wanted.key_marker,
        "version-id-marker": wanted.version_marker,
    }
    query |= {name: value for name, value in named.items() if value}
    answer = await gateway.upstream.send(upstream_request("GET", target, query=query))
    return read_versions(await expect(answer, target, 200))


async def fetch(gateway: Gateway, target: Target, wanted: Wanted) -> VersionPage:
    """The page of a store that keeps to the order of keys, with the store's sizes and ETags.

    Raises:
        AwsError, UpstreamError: as from ``ask``.
    """
    page = await ask(gateway, target, wanted)
    items = _shown(gateway, page.items, wanted)
    while page.truncated and not items:
        # Whatever the store had on that page was its own.
        wanted = _after(page.last, wanted)
        page = await ask(gateway, target, wanted)
        items = _shown(gateway, page.items, wanted)
    return VersionPage(items, page.truncated)


def _after(last: Item, wanted: Wanted) -> Wanted:
    if last.version is None:
        return replace(wanted, key_marker=past_prefix(last.name), version_marker="")
    return replace(wanted, key_marker=last.name, version_marker=last.version_id)


def _shown(gateway: Gateway, items: Sequence[Item], wanted: Wanted) -> list[Item]:
    found: list[Item] = []
    for item in items:
        shown = wanted.grouped(item)
        if wanted.has(gateway, item) and (shown.version is not None or shown not in found[-1:]):
            found.append(shown)
    return found
