"""Pages of ListObjectVersions: read from the store's answer, put right like any other listing, rendered for the client.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from proxy.aws.xml_codec import DECLARATION, NAMESPACE, XmlError, escape, read_elements
from proxy.s3.gateway import Gateway
from proxy.s3.listings.object_listing import Entry, Resolve, decode_key, encode_key, explained, milliseconds, order_of
from proxy.s3.state.ports import BucketRecord
from proxy.s3.upstream.port import UpstreamError


class Version(NamedTuple):
    """One version of an object, or a delete marker."""

    entry: Entry
    latest: bool
    marker: bool
    """Whether it is a delete marker: then size, ETag and storage class mean nothing."""


class Item(NamedTuple):
    """What one place of a page is about."""

    name: str
    """The key, or the common prefix."""
    version: Version | None
    """None for a common prefix."""

    @property
    def version_id(self) -> str:
        return self.version.entry.version_id if self.version else ""


@dataclass(frozen=True, slots=True)
class VersionPage:
    """Versions and common prefixes, by the bytes of their names; of one key, the newest first."""

    items: Sequence[Item]
    truncated: bool

    @property
    def last(self) -> Item:
        return self.items[-1]


def in_order(items: Iterable[Item]) -> list[Item]:
    """Sorted by name. The versions of a key stay as they are."""
    return sorted(items, key=lambda item: order_of(item.name))


def read_versions(document: bytes) -> VersionPage:
    """A page as the store tells it, asked for with ``encoding-type=url``, which it may leave out of account.

    Raises:
        UpstreamError: it is no such page.
    """
    reader = _VersionReader()
    try:
        read_elements(document, reader.end)
    except (XmlError, KeyError, ValueError) as error:
        raise UpstreamError("the store's list of versions can't be read") from error
    if not reader.ended:
        raise UpstreamError("the store's answer is no list of versions")
    if reader.truncated and not reader.items:
        raise UpstreamError("the store's list of versions has an empty page that is not the last")
    items = reader.items
    if reader.encoded:
        items = [_decoded(item) for item in items]
    return VersionPage(in_order(items), reader.truncated)


class _VersionReader:
    """Takes the elements of a page as they end, each with its text."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.truncated = False
        self.encoded = False
        self.ended = False
        self._members: dict[str, str] = {}

    def end(self, name: str, text: str) -> None:
        if name in ("Version", "DeleteMarker"):
            self._members, members = {}, self._members
            self.items.append(_version(members, marker=name == "DeleteMarker"))
        elif name == "CommonPrefixes":
            self.items.append(Item(self._members["Prefix"], None))
        elif name == "IsTruncated":
            self.truncated = text == "true"
        elif name == "EncodingType":
            # It may stand behind the names that it is about.
            self.encoded = text == "url"
        elif name == "ListVersionsResult":
            self.ended = True
        else:
            self._members[name] = text


def _version(members: dict[str, str], *, marker: bool) -> Item:
    etag = members.get("ETag", "").strip('"')
    entry = Entry(
        members["Key"],
        members["LastModified"],
        f'"{etag}"',
        0 if marker else int(members["Size"]),
        members.get("StorageClass") or "STANDARD",
        members.get("VersionId") or "null",
    )
    return Item(entry.key, Version(entry, members["IsLatest"] == "true", marker))


def _decoded(item: Item) -> Item:
    name = decode_key(item.name)
    if item.version is None or name == item.name:
        return Item(name, item.version)
    version = item.version
    return Item(name, version._replace(entry=version.entry._replace(key=name)))


async def put_right(gateway: Gateway, bucket: BucketRecord, page: VersionPage, resolve: Resolve) -> VersionPage:
    """The page with the sizes and ETags that clients see. It costs one look-up in the object index."""
    objects = [index for index, item in enumerate(page.items) if item.version is not None and not item.version.marker]
    asked = [version.entry for index in objects if (version := page.items[index].version)]
    items = list(page.items)
    for index, entry in zip(objects, await explained(gateway, bucket, asked, resolve), strict=True):
        version = items[index].version
        if version is not None:
            items[index] = Item(entry.key, version._replace(entry=entry))
    return replace(page, items=items)


def render_versions(head: Sequence[tuple[str, str | None]], page: VersionPage, *, url: bool, owner: str) -> bytes:
    """The document: ``head``'s members in order (None: left out), then those of the page. ``owner`` is a canonical user
    id, ``url`` whether names are percent-encoded."""
    encode = encode_key if url else str
    owned = f"<Owner><ID>{owner}</ID></Owner>"
    pieces = [DECLARATION, f'<ListVersionsResult xmlns="{NAMESPACE}">']
    pieces += [f"<{name}>{escape(text)}</{name}>" for name, text in head if text is not None]
    pieces.append(f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>")
    pieces += [_rendered(item.version, encode(item.name), owned) for item in page.items if item.version is not None]
    pieces += [
        f"<CommonPrefixes><Prefix>{escape(encode(item.name))}</Prefix></CommonPrefixes>"
        for item in page.items
        if item.version is None
    ]
    pieces.append("</ListVersionsResult>")
    return "".join(pieces).encode("utf-8", "surrogateescape")


def _rendered(version: Version, key: str, owned: str) -> str:
    entry = version.entry
    head = (
        f"<Key>{escape(key)}</Key><VersionId>{escape(entry.version_id)}</VersionId>"
        f"<IsLatest>{'true' if version.latest else 'false'}</IsLatest>"
        f"<LastModified>{escape(milliseconds(entry.modified))}</LastModified>"
    )
    if version.marker:
        return f"<DeleteMarker>{head}{owned}</DeleteMarker>"
    return (
        f"<Version>{head}<ETag>&quot;{escape(entry.etag[1:-1])}&quot;</ETag><Size>{entry.size}</Size>"
        f"<StorageClass>{escape(entry.storage_class)}</StorageClass>{owned}</Version>"
    )
