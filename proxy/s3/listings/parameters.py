"""Parameters that every listing has, read in AWS's words."""

from typing import Final

from proxy.aws.message import Request
from proxy.s3.errors import invalid_argument
from proxy.s3.listings.object_listing import past_prefix
from proxy.s3.numbers import whole_number

_MOST_KEYS: Final = 1000


def wants_url(request: Request) -> bool:
    """Whether the names in the answer are to be percent-encoded.

    Raises:
        AwsError: InvalidArgument, for another encoding than ``url``.
    """
    value = request.parameter("encoding-type")
    if value is None or value == "":
        return False
    if value != "url":
        raise invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", value)
    return True


def max_keys(request: Request) -> int:
    """How many keys and prefixes a page has at most.

    Raises:
        AwsError: InvalidArgument.
    """
    return min(whole_number(request.parameter("max-keys"), "max-keys", _MOST_KEYS, said="maxKeys"), _MOST_KEYS)


def after_marker(marker: str, prefix: str, delimiter: str | None) -> str:
    """What a page starts after. A marker that is a common prefix, as one from an answer may be, stands for all the
    keys under it."""
    if not delimiter or not marker.startswith(prefix):
        return marker
    _, found, rest = marker[len(prefix) :].partition(delimiter)
    return past_prefix(marker) if found and not rest else marker
