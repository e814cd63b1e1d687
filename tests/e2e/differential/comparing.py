"""Compares two answers to one request in everything but what encryption must change.

ETags differ, but each of the proxy's stands for one of the store's, wherever it is shown; version ids and upload ids
likewise, in both directions. Request ids, owners, messages in prose and where an answer was made are left out, and
times are compared loosely, for the same is written to the two sides one after the other.
"""

import xml.etree.ElementTree as ET
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import unquote_plus

from tests.e2e.differential.asks import Ask, Pair
from tests.e2e.wire import Answer

_SECONDS = 30.0
"""How far two times of the same may lie apart."""

_OBJECT_HEADERS = (
    "Content-Type",
    "Content-Range",
    "Accept-Ranges",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Expires",
)
_CHANGED_BY_ENCRYPTION = ("x-amz-server-side-encryption", "x-amz-request-id", "x-amz-id-2", "x-amz-bucket-region")
_LEFT_OUT = {"Owner", "Initiator", "Message", "RequestId", "HostId", "Name", "Bucket", "BucketName", "Resource"}
_LEFT_OUT |= {"Location", "Region", "ChecksumAlgorithm", "ChecksumType", "Server"}
_KEYS = {"Key", "Prefix", "Delimiter", "Marker", "NextMarker", "StartAfter", "KeyMarker", "NextKeyMarker"}
"""What ``encoding-type=url`` encodes, a space as + or %20."""
_OF_OBJECTS = {"Size", "ETag", "StorageClass"}
_TIMES = {"LastModified", "Initiated"}
_TOKENS = {"ContinuationToken", "NextContinuationToken"}
_VERSIONS = {"VersionId", "DeleteMarkerVersionId", "NextVersionIdMarker", "VersionIdMarker"}
_UPLOADS = {"UploadId", "UploadIdMarker", "NextUploadIdMarker"}


@dataclass(frozen=True)
class Difference:
    """One thing in which two answers differ."""

    what: str
    """``status``, ``code``, ``body``, ``header NAME``, ``element PATH``."""
    direct: Any
    """What the store says: of a status, it and the code; of an element, the texts of all of its path."""
    proxy: Any

    def __str__(self) -> str:
        return f"{self.what}: the store says {self.direct!r}, the proxy {self.proxy!r}"


@dataclass
class Books:
    """Which of the proxy's names stands for which of the store's."""

    etags: dict[str, str] = field(default_factory=dict)
    """The store's by the proxy's. Two of the proxy's may stand for one: the same bytes are encrypted anew each time."""
    ids: dict[str, str] = field(default_factory=dict)
    _ids_back: dict[str, str] = field(default_factory=dict)

    def wrote(self, direct: str, proxy: str) -> bool:
        """Takes down the ETags of what was written; False if the proxy's stands for another of the store's."""
        return self.etags.setdefault(proxy, direct) == direct

    def etag(self, direct: str, proxy: str) -> bool:
        """Whether the two name the same, which was written before."""
        # SeaweedFS lists a folder without an ETag, once all versions of what was in it are gone.
        return self.etags.get(proxy) == direct or direct == proxy == '""'

    def id(self, direct: str, proxy: str) -> bool:
        if "null" in (direct, proxy):
            return direct == proxy
        return self.ids.setdefault(proxy, direct) == direct and self._ids_back.setdefault(direct, proxy) == proxy


def compare(ask: Ask, direct: Answer, proxy: Answer, books: Books) -> list[Difference]:
    """What differs."""
    if direct.status != proxy.status:
        return [Difference("status", (direct.status, direct.code), (proxy.status, proxy.code))]
    if direct.status >= 400:
        return [] if direct.code == proxy.code else [Difference("code", direct.code, proxy.code)]
    return [*_headers(ask, direct, proxy, books), *_bodies(ask, direct, proxy, books)]


def _headers(ask: Ask, direct: Answer, proxy: Answer, books: Books) -> Iterator[Difference]:
    ours, theirs = proxy.headers, direct.headers
    names = {name.lower(): name for name in _OBJECT_HEADERS if _is_object(ask) and direct.status != 304}
    for answer in (direct, proxy):
        names |= {name.lower(): name for name in answer.headers if name.lower().startswith("x-amz-")}
    same_etag = books.wrote if ask.method in {"PUT", "POST"} else books.etag
    for lower, name in names.items():
        if lower.startswith(_CHANGED_BY_ENCRYPTION):
            continue
        was, now = theirs[name], ours[name]
        if lower.endswith("version-id") and was and now:
            if not books.id(was, now):
                yield Difference(f"header {lower}", was, now)
        elif was != now:
            yield Difference(f"header {lower}", was, now)
    was, now = theirs["ETag"], ours["ETag"]
    if (was is None) != (now is None) or (was and now and not same_etag(_quoted(was), now)):
        yield Difference("header etag", was, now)
    was, now = theirs["Last-Modified"], ours["Last-Modified"]
    if (was is None) != (now is None) or (was and now and not _close(was, now)):
        yield Difference("header last-modified", was, now)
    if ask.method == "HEAD" and theirs["Content-Length"] != ours["Content-Length"]:
        yield Difference("header content-length", theirs["Content-Length"], ours["Content-Length"])


def _is_object(ask: Ask) -> bool:
    """Whether the answer is an object, of which the client's headers are part."""
    plain = {"versionId", "partNumber"} | {name for name, _ in ask.query if name.startswith("response-")}
    return ask.key is not None and ask.method in {"GET", "HEAD"} and {name for name, _ in ask.query} <= plain


def _bodies(ask: Ask, direct: Answer, proxy: Answer, books: Books) -> Iterator[Difference]:
    if not proxy.complete or not direct.complete:
        yield Difference("body", direct.complete, proxy.complete)
    elif not proxy.body.startswith(b"<?xml") or not direct.body.startswith(b"<?xml"):
        if direct.body != proxy.body:
            yield Difference("body", _brief(direct.body), _brief(proxy.body))
    else:
        theirs, ours = elements(direct.body), elements(proxy.body)
        encoded = any(path.endswith("/EncodingType") for path in theirs)
        written = ask.method in {"PUT", "POST"}
        for path in sorted(theirs.keys() | ours.keys()):
            was, now, name = theirs.get(path, []), ours.get(path, []), path.rpartition("/")[2]
            if len(was) != len(now) or not all(
                _same(name, one, other, books, encoded=encoded, written=written)
                for one, other in zip(was, now, strict=True)
            ):
                yield Difference(f"element {path}", was, now)


def elements(document: bytes) -> dict[str, list[str]]:
    """The texts of a document's elements by path, in order. An element without text is as good as none."""
    found: dict[str, list[str]] = defaultdict(list)
    _collect(ET.fromstring(document), "", found)
    return dict(found)


def _collect(element: ET.Element, path: str, found: dict[str, list[str]]) -> None:
    name = element.tag.rpartition("}")[2]
    if name in _LEFT_OUT:
        return
    if name in {"Version", "DeleteMarker"} and len(element):
        # They stand in one order among each other.
        found[f"{path}/Entry/kind"].append(name)
        if name == "DeleteMarker":
            # MinIO tells of a marker what only an object has.
            for child in [child for child in element if child.tag.rpartition("}")[2] in _OF_OBJECTS]:
                element.remove(child)
        name = "Entry"
    # MinIO begins the name of one root element in lower case.
    path = f"{path}/{name[:1].upper()}{name[1:]}"
    if not len(element) and element.text:
        found[path].append(element.text)
    for child in element:
        _collect(child, path, found)


def _same(name: str, was: str, now: str, books: Books, *, encoded: bool, written: bool) -> bool:
    if name == "ETag":
        return (books.wrote if written else books.etag)(_quoted(was), _quoted(now))
    if name in _VERSIONS or name in _UPLOADS:
        return books.id(was, now)
    if name in _TOKENS:
        return True
    if name in _KEYS:
        return unquote_plus(was) == unquote_plus(now) if encoded else was == now
    if name in _TIMES:
        return _close(was, now)
    return was == now


def _quoted(etag: str) -> str:
    return etag if etag.startswith('"') else f'"{etag}"'


def _close(was: str, now: str) -> bool:
    return abs((_moment(was) - _moment(now)).total_seconds()) < _SECONDS


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text) if text[:2].isdigit() else parsedate_to_datetime(text)


def _brief(body: bytes) -> str:
    return repr(body) if len(body) < 300 else f"{len(body)} bytes, {body[:30]!r}…"


def etag_pair(direct: Answer, proxy: Answer) -> Pair:
    """The ETags that two answers to a write have in a header or, to a completion or a copy, in their documents."""
    return Pair(_quoted(_etag(direct)), _quoted(_etag(proxy)))


def _etag(answer: Answer) -> str:
    return answer.headers["ETag"] or element(answer, "ETag") or ""


def element(answer: Answer, name: str) -> str | None:
    """The text of the first element of this name."""
    for path, texts in elements(answer.body).items():
        if path.endswith(f"/{name}"):
            return texts[0]
    return None


def version_pair(direct: Answer, proxy: Answer) -> Pair | None:
    was, now = direct.headers["x-amz-version-id"], proxy.headers["x-amz-version-id"]
    return Pair(was, now) if was and now else None
