"""Limit and Marker of the List operations."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from proxy.aws.json_codec import Values
from proxy.kms import errors

T = TypeVar("T")


def start_after(request: Values) -> str:
    """The place that the request's Marker stands for, ``""`` without one.

    Raises:
        KmsError: InvalidMarkerException.
    """
    marker = request.get("Marker")
    if marker is None:
        return ""
    try:
        return base64.b64decode(marker, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.invalid_marker() from None


def answer(name: str, entries: Sequence[Any], next_place: str | None) -> Values:
    """A page: the entries, and where the next page starts when there is one."""
    if next_place is None:
        return {name: list(entries), "Truncated": False}
    marker = base64.urlsafe_b64encode(next_place.encode()).decode("ascii")
    return {name: list(entries), "NextMarker": marker, "Truncated": True}


def page(items: Sequence[T], place: Callable[[T], str], request: Values, limit: int) -> tuple[Sequence[T], str | None]:
    """One page of a short list whose items are in the order of their places.

    ``limit`` counts where the request has no Limit. Raises KmsError (InvalidMarkerException).
    """
    after = start_after(request)
    left = [item for item in items if place(item) > after] if after else items
    size = request.get("Limit", limit)
    shown = left[:size]
    return shown, place(shown[-1]) if len(left) > size else None
