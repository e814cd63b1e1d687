"""What a request's head says, checked beyond what the parser checks: pure functions over its parts."""

from multidict import CIMultiDict

from proxy.aws.message import Headers

Refusal = tuple[int, str]
"""An HTTP status and a reason, for ``malformed``."""

_LONGEST_LENGTH = 18
"""Decimal digits of Content-Length. 2**64 - 1 means "none" to the parser, and something else to others."""


def refusal(method: str, target: str, version: tuple[int, int], headers: Headers) -> Refusal | None:
    """Why a request can't be served, or None.

    The parser has refused what is no HTTP: folded and nameless fields, bare line ends, two lengths, a length beside a
    transfer coding. Here goes what one peer of ours might read otherwise than another (RFC 9112, sections 3.2, 6.1
    and 6.3; RFC 9110, section 10.1.1).
    """
    if version not in {(1, 0), (1, 1)}:
        return 505, "HTTP versions other than 1.1 and 1.0 are not supported."
    if method == "CONNECT":
        return 405, "The specified method is not allowed against this resource."
    if "#" in target or (not target.startswith("/") and not _is_absolute(target)):
        return 400, "The request target is not valid."
    coding = headers.get("Transfer-Encoding")
    if coding is not None and (coding.lower() != "chunked" or version == (1, 0)):
        return 501, "This transfer coding is not implemented."
    if len(headers.get("Content-Length", "")) > _LONGEST_LENGTH:
        return 400, "The Content-Length is not valid."
    if version == (1, 1) and headers.get("Expect", "100-continue").lower() != "100-continue":
        return 417, "Only the expectation 100-continue can be met."
    return None


def expects_continue(version: tuple[int, int], headers: Headers) -> bool:
    """Whether the client waits for 100 (Continue) before it sends the body. HTTP/1.0 does not know it."""
    return version == (1, 1) and "Expect" in headers


def _is_absolute(target: str) -> bool:
    scheme, separator, rest = target.partition("://")
    authority = rest.partition("?")[0].partition("/")[0]
    return scheme.lower() in {"http", "https"} and bool(separator and authority) and "@" not in authority


def origin_form(target: str, headers: Headers) -> tuple[str, str, Headers]:
    """Path and query of a request target, raw, and the headers.

    The authority of an absolute target replaces Host (RFC 9112, section 3.2.2).
    """
    if not target.startswith("/"):
        rest = target.partition("://")[2]
        ends = [at for at in (rest.find("/"), rest.find("?")) if at >= 0]
        end = min(ends, default=len(rest))
        headers = CIMultiDict(headers)
        headers["Host"] = rest[:end]
        target = rest[end:]
        if not target.startswith("/"):
            target = "/" + target
    path, _, query = target.partition("?")
    return path, query, headers
