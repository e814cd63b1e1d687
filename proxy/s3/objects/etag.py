"""What clients are told of an object's ETag, and what of theirs is told to the store: the one place of translation.

The store's ETag is the MD5 of what lies there, so of ciphertext. Clients take an ETag of 32 hexadecimal digits for the
MD5 of the object, and some report corruption when it is not. Therefore

- a single PUT under SSE-KMS shows the store's ETag with the suffix ``-0``, which no store makes;
- an object under SSE-S3 has the MD5 of its plaintext, as on AWS; its record (``ObjectRecord.etag``) holds it;
- a multipart object and a plaintext object of a mixed bucket show the store's ETag as it is.

An ETag has its quotes here, everywhere.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from proxy.s3.state.ports import ObjectRecord

EMPTY: Final = '"d41d8cd98f00b204e9800998ecf8427e"'
"""The ETag of an object without content, such as a directory marker, which goes up bare."""

NEVER: Final = '"-"'
"""An ETag that no object has."""

_SUFFIX: Final = "-0"
_ITEM = re.compile(r'\s*(?:(?:W/)?"([^"]*)"|([^\s",]+))\s*(?:,|$)')
_MULTIPART = re.compile(r'"[^"-]+-[1-9][0-9]*"')


def is_multipart(etag: str) -> bool:
    """Whether an ETag of the store, or one shown to clients, is that of a multipart object."""
    return _MULTIPART.fullmatch(etag) is not None


def may_need_key(etag: str) -> bool:
    """Whether an ETag shown to clients may be that of an object under SSE-C, which never is an MD5."""
    return "-" in etag


def to_client(upstream_etag: str, record: ObjectRecord | None = None) -> str:
    """What clients see of an encrypted object with this ETag in the store, or of the one that the record is about."""
    if record is not None:
        if record.etag is not None:
            return record.etag
        if not record.object_id:
            return upstream_etag
    if is_multipart(upstream_etag):
        return upstream_etag
    return f'{upstream_etag[:-1]}{_SUFFIX}"'


def parse_list(value: str) -> list[str]:
    """The ETags of an If-Match or If-None-Match header, quoted, without ``W/``; ``["*"]`` for ``*``.

    S3 compares weakly and takes a value without quotes for one with them.

    Raises:
        ValueError: it is none of these.
    """
    if value.strip() == "*":
        return ["*"]
    found: list[str] = []
    position = 0
    while position < len(value):
        match = _ITEM.match(value, position)
        if match is None:
            raise ValueError("not a list of entity tags")
        found.append(f'"{match[1] if match[1] is not None else match[2]}"')
        position = match.end()
    if not found:
        raise ValueError("an empty list of entity tags")
    return found


def to_upstream(value: str, records: Iterable[ObjectRecord], *, key: str = "", mixed: bool = False) -> str:
    """What a client's If-Match or If-None-Match becomes on its way up; ``*`` stays.

    ``records`` are those of the key. A value that no object of this key can have becomes one that never matches, so
    that the store's own ETag of an encrypted object, which no client has been shown, is never hit by accident. In a
    ``mixed`` bucket a plain value may be that of a plaintext object.

    Raises:
        ValueError: not a list of entity tags.
    """
    wanted = parse_list(value)
    if wanted == ["*"]:
        return "*"
    completed = sorted((row for row in records if row.upstream_etag), key=lambda row: row.written, reverse=True)
    found = dict.fromkeys(etag for item in wanted if (etag := _upstream_of(item, completed, key, mixed)))
    return ", ".join(found) or NEVER


def _upstream_of(item: str, records: Sequence[ObjectRecord], key: str, mixed: bool) -> str | None:
    """The store's ETag of the object that shows ``item``. The newest record wins: stores take one value, not several,
    and an older object with the same ETag has been replaced."""
    for record in records:
        if record.upstream_etag and to_client(record.upstream_etag, record) == item:
            return record.upstream_etag
    candidate = _derived(item, key, mixed)
    if candidate is None or any(record.upstream_etag == candidate for record in records):
        # The object with that ETag is on record, and shows another one.
        return None
    return candidate


def _derived(item: str, key: str, mixed: bool) -> str | None:
    """The store's ETag, of an object that is not on record, which would show ``item``."""
    if item.endswith(f'{_SUFFIX}"'):
        return f'{item[: -len(_SUFFIX) - 1]}"'
    if is_multipart(item):
        return item
    if key.endswith("/") and item == EMPTY:
        return item
    return item if mixed else None
