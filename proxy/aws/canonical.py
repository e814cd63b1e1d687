"""The canonical request of Signature Version 4, and the keys and strings that are signed.

A received request is brought to the form that its signer must have used: path and query are decoded and encoded
again, so one whose raw form is not canonical (``%2f``, ``+``, unencoded characters) verifies as on AWS. The very
parameters that operations see are the ones that are signed.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from proxy.aws.message import Headers, decode_percent

ALGORITHM: Final = "AWS4-HMAC-SHA256"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()

_CANONICAL_PATH = re.compile(r"/[A-Za-z0-9\-._~/]*", re.ASCII)
_UNRESERVED = re.compile(r"[A-Za-z0-9\-._~]*", re.ASCII)
_BLANKS = re.compile(r"[ \t]+")
_SIGNING_KEYS = 1024
_SHA256 = SHA256()


def uri_encode(text: str, safe: str = "") -> str:
    """Percent-encodes all bytes of the UTF-8 form but RFC 3986's unreserved characters and those in ``safe``."""
    return quote(text.encode("utf-8", "surrogateescape"), safe=safe)


def s3_uri(path: str) -> str:
    """The canonical URI of an S3 request: the decoded path encoded once, never normalised."""
    if _CANONICAL_PATH.fullmatch(path):
        return path
    return uri_encode(decode_percent(path), "/") or "/"


def normalized_uri(path: str) -> str:
    """The canonical URI of every other service: dot segments and repeated slashes removed, encoded twice."""
    if path in {"/", ""}:
        return "/"
    kept: list[str] = []
    segments = uri_encode(decode_percent(path), "/").split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    trailing = "/" if kept and not segments[-1] else ""
    return quote("/" + "/".join(kept) + trailing, safe="/~")


def canonical_query(parameters: Sequence[tuple[str, str]]) -> str:
    """The canonical query of decoded parameters: encoded, then sorted by encoded name and value."""
    if not parameters:
        return ""
    plain = _UNRESERVED.fullmatch
    encoded = [
        (name if plain(name) else uri_encode(name), value if plain(value) else uri_encode(value))
        for name, value in parameters
    ]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])


def canonical_value(value: str) -> str:
    """A header's value without blanks around it and with runs of blanks made one space."""
    value = value.strip(" \t")
    return _BLANKS.sub(" ", value) if "  " in value or "\t" in value else value


def canonical_headers(headers: Headers, names: Iterable[str]) -> str:
    """One line per name, in the order given. A header that is not there counts as an empty one."""
    lines: list[str] = []
    for name in names:
        values = headers.getall(name, ())
        value = canonical_value(values[0]) if len(values) == 1 else ",".join(map(canonical_value, values))
        lines.append(f"{name.lower()}:{value}\n")
    return "".join(lines)


def canonical_request(
    method: str, uri: str, query: str, headers: Headers, signed_headers: str, payload_hash: str
) -> bytes:
    """The canonical request; ``signed_headers`` is the ``;``-separated list as it stands in the signature."""
    block = canonical_headers(headers, signed_headers.split(";"))
    text = f"{method}\n{uri}\n{query}\n{block}\n{signed_headers}\n{payload_hash}"
    return text.encode("utf-8", "surrogateescape")


def string_to_sign(timestamp: str, scope: str, request: bytes) -> str:
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request).hexdigest()}"


@lru_cache(maxsize=_SIGNING_KEYS)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The key of a day, Region and service. Cached, as it serves all requests of a day; a new secret has new keys."""
    key = hmac.digest(f"AWS4{secret}".encode(), date.encode(), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def signature(key: bytes, text: str) -> str:
    """The hexadecimal signature of a string to sign."""
    mac = _mac(key).copy()
    mac.update(text.encode("utf-8", "surrogateescape"))
    return mac.finalize().hex()


@lru_cache(maxsize=_SIGNING_KEYS)
def _mac(key: bytes) -> HMAC:
    """An HMAC that has taken in the key, to be copied: a third of the cost of beginning anew."""
    return HMAC(key, _SHA256)


def signatures_equal(one: str, other: str) -> bool:
    """Constant-time comparison; either may hold any characters."""
    return hmac.compare_digest(one.encode("utf-8", "surrogateescape"), other.encode("utf-8", "surrogateescape"))
