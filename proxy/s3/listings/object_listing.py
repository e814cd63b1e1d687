"""Pages of a listing: read from the store's answer, each object's size and ETag put right, rendered for the client.

A page costs one look-up in the object index. Only an object that neither its record nor its size and ETag explain is
asked for by itself, and what can't be explained even so is shown as it lies in the store: a damaged object must not
hide the others.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import quote_plus, unquote_plus

from proxy.aws.xml_codec import DECLARATION, NAMESPACE, XmlError, escape, read_elements
from proxy.envelope.ranges import plaintext_size
from proxy.s3.gateway import Gateway
from proxy.s3.objects import etag as etags
from proxy.s3.state.ports import BucketRecord, ObjectRecord
from proxy.s3.upstream.port import UpstreamError

logger = logging.getLogger(__name__)

Resolve = Callable[[Gateway, BucketRecord, str, str], Awaitable[ObjectRecord | None]]
"""Finds out what one object is by asking the store for it, and puts it on record; None if it is gone or damaged. The
last argument names its version, ``""`` for the current one."""

_RESOLVED_AT_ONCE: Final = 16
_GREATEST_CHARACTER: Final = "\U0010ffff"


class Entry(NamedTuple):
    """One object of a page. A named tuple: a page has a thousand, and they are made twice."""

    key: str
    modified: str
    """As the store gives it, ISO 8601."""
    etag: str
    size: int
    storage_class: str
    version_id: str = ""
    """``""`` in a listing of objects; there it is the current version."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page: in the store's words when it was read, in the client's when it has been put right."""

    entries: Sequence[Entry]
    prefixes: Sequence[str]
    truncated: bool

    @property
    def last(self) -> str:
        """The key or common prefix that comes last."""
        return max(self._ends, key=order_of, default="")

    @property
    def resume(self) -> str:
        """What the next page starts after: the last key, or the end of all keys under the last common prefix."""
        last = self.last
        is_prefix = bool(self.prefixes) and last == self.prefixes[-1]
        return past_prefix(last) if is_prefix else last

    @property
    def _ends(self) -> list[str]:
        return [*(entry.key for entry in self.entries[-1:]), *self.prefixes[-1:]]


def past_prefix(prefix: str) -> str:
    """What comes after every key that starts with ``prefix``, for a store that would show the prefix again when told
    to start after it."""
    return f"{prefix}{_GREATEST_CHARACTER}"


def marker_for(gateway: Gateway, prefix: str, after: str) -> str:
    """What the store is told to go on after, among the names under ``prefix``; ``""`` to begin with the first."""
    if after.startswith(prefix):
        return f"{after}{gateway.settings.store.marker_suffix}" if after else ""
    # MinIO knows no marker without the prefix; its suffix makes one of another order.
    return after if order_of(after) > order_of(prefix) else ""


def read_page(document: bytes) -> Page:
    """A page of ListObjectsV2, asked for with ``encoding-type=url``.

    Raises:
        UpstreamError: it is no such page.
    """
    reader = _PageReader()
    try:
        read_elements(document, reader.end)
    except (XmlError, KeyError, ValueError) as error:
        raise UpstreamError("the store's listing can't be read") from error
    if not reader.ended:
        raise UpstreamError("the store's answer is no listing")
    if reader.truncated and not reader.entries and not reader.prefixes:
        raise UpstreamError("the store's listing has an empty page that is not the last")
    return Page(reader.entries, reader.prefixes, reader.truncated)


class _PageReader:
    """Takes the elements of a page as they end, each with its text."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.prefixes: list[str] = []
        self.truncated = False
        self.ended = False
        self._members: dict[str, str] = {}

    def end(self, name: str, text: str) -> None:
        if name == "Contents":
            self._members, members = {}, self._members
            etag = members["ETag"]
            self.entries.append(
                Entry(
                    decode_key(members["Key"]),
                    members["LastModified"],
                    etag if etag[:1] == '"' else f'"{etag}"',
                    int(members["Size"]),
                    members.get("StorageClass") or "STANDARD",
                )
            )
        elif name == "CommonPrefixes":
            self.prefixes.append(decode_key(self._members["Prefix"]))
        elif name == "IsTruncated":
            self.truncated = text == "true"
        elif name == "ListBucketResult":
            self.ended = True
        else:
            self._members[name] = text


def decode_key(text: str) -> str:
    """The inverse of ``encode_key``."""
    return unquote_plus(text, errors="surrogateescape") if "%" in text or "+" in text else text


async def put_right(gateway: Gateway, bucket: BucketRecord, page: Page, resolve: Resolve) -> Page:
    """The page with the sizes and ETags that clients see."""
    return Page(await explained(gateway, bucket, page.entries, resolve), page.prefixes, page.truncated)


async def explained(
    gateway: Gateway, bucket: BucketRecord, entries: Sequence[Entry], resolve: Resolve
) -> Sequence[Entry]:
    """The entries, up to 1,000, with the sizes and ETags that clients see."""
    records = await gateway.objects.find(bucket.name, [entry.key for entry in entries])
    shown = [_explain(bucket, entry, records.get(entry.key, ())) for entry in entries]
    open_questions = [index for index, entry in enumerate(shown) if entry is None]
    if open_questions:
        limit = asyncio.Semaphore(_RESOLVED_AT_ONCE)
        answers = await asyncio.gather(
            *(_resolved(gateway, bucket, entries[index], resolve, limit) for index in open_questions)
        )
        for index, entry in zip(open_questions, answers, strict=True):
            shown[index] = entry
    return [entry for entry in shown if entry is not None]


def _explain(bucket: BucketRecord, entry: Entry, records: Sequence[ObjectRecord]) -> Entry | None:
    """The entry as clients see it, or None if only the object itself can tell."""
    if entry.size == 0 and entry.key.endswith("/"):
        return entry
    uncompleted = False
    for record in records:
        if record.upstream_etag == entry.etag:
            return _shown(entry, record.size, etags.to_client(entry.etag, record))
        uncompleted = uncompleted or record.upstream_etag is None
    if uncompleted or bucket.mixed or etags.is_multipart(entry.etag):
        return None
    try:
        return _shown(entry, plaintext_size(entry.size), etags.to_client(entry.etag))
    except ValueError:
        return None


async def _resolved(
    gateway: Gateway, bucket: BucketRecord, entry: Entry, resolve: Resolve, limit: asyncio.Semaphore
) -> Entry:
    async with limit:
        try:
            record = await resolve(gateway, bucket, entry.key, entry.version_id)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one object, the others are to be listed
            logger.warning("an object of %s can't be explained in a listing: %s", bucket.name, type(error).__name__)
            return entry
    if record is None:
        return entry
    # Where the object has been replaced meanwhile, size and ETag are at least those of one object.
    return _shown(entry, record.size, etags.to_client(record.upstream_etag or entry.etag, record))


def _shown(entry: Entry, size: int, etag: str) -> Entry:
    return Entry(entry.key, entry.modified, etag, size, entry.storage_class, entry.version_id)


def render(
    head: Sequence[tuple[str, str | None]], page: Page, *, url: bool, owner: str | None, key_count: bool
) -> bytes:
    """The document: ``head``'s members in order (None: left out; text as it is to stand there), then those of the
    page. ``owner`` is a canonical user id, ``url`` whether keys are percent-encoded."""
    encode = encode_key if url else str
    owned = f"<Owner><ID>{owner}</ID></Owner>" if owner else ""
    pieces = [DECLARATION, f'<ListBucketResult xmlns="{NAMESPACE}">']
    pieces += [f"<{name}>{escape(text)}</{name}>" for name, text in head if text is not None]
    if key_count:
        pieces.append(f"<KeyCount>{len(page.entries) + len(page.prefixes)}</KeyCount>")
    pieces.append(f"<IsTruncated>{'true' if page.truncated else 'false'}</IsTruncated>")
    for key, modified, etag, size, storage_class, _ in page.entries:
        pieces.append(
            f"<Contents><Key>{escape(encode(key))}</Key><LastModified>{escape(milliseconds(modified))}</LastModified>"
            f"<ETag>&quot;{escape(etag[1:-1])}&quot;</ETag><Size>{size}</Size>{owned}"
            f"<StorageClass>{escape(storage_class)}</StorageClass></Contents>"
        )
    pieces += [
        f"<CommonPrefixes><Prefix>{escape(encode(prefix))}</Prefix></CommonPrefixes>" for prefix in page.prefixes
    ]
    pieces.append("</ListBucketResult>")
    return "".join(pieces).encode("utf-8", "surrogateescape")


def encode_key(text: str) -> str:
    """``encoding-type=url`` as AWS does it: a space becomes ``+``, a slash and ``*`` stay."""
    return quote_plus(text, safe="/*-_.", errors="surrogateescape")


def milliseconds(moment: str) -> str:
    """``2026-11-23T06:50:18Z`` as AWS writes it, ``2026-11-23T06:50:18.000Z``."""
    return f"{moment[:-1]}.000Z" if len(moment) == 20 and moment.endswith("Z") else moment


def order_of(text: str) -> bytes:
    """What keys are sorted by: their bytes."""
    return text.encode("utf-8", "surrogateescape")
