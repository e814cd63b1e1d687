"""The policy of a POST form: the document that says until when, and with which fields, a form may be sent.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html, and recorded answers.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from proxy.aws.errors import AwsError

_EXEMPT: Final = frozenset({"policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"})
"""Fields that no condition has to be about; nor has one for those that begin with ``x-ignore-``."""
_IGNORED: Final = "x-ignore-"
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_EXPIRATION = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?Z")


@dataclass(frozen=True)
class Condition:
    """What a field has to be: ``eq`` or ``starts-with``."""

    operator: str
    field: str
    """In lower case, without ``$``."""
    value: str
    said: str
    """As it is repeated to whoever does not meet it."""

    def holds(self, fields: Mapping[str, str]) -> bool:
        found = fields.get(self.field, "")
        if self.operator == "eq":
            return found == self.value
        # Several content types may be named at once; each must begin so.
        if self.field == "content-type":
            return all(item.strip().startswith(self.value) for item in found.split(","))
        return found.startswith(self.value)


@dataclass(frozen=True)
class PostPolicy:
    """A policy document."""

    expiration: datetime
    conditions: Sequence[Condition]
    lengths: Sequence[tuple[int, int]]
    """The least and the greatest length that the file may have, for each ``content-length-range``."""


def parse(encoded: str) -> PostPolicy:
    """Reads the form's ``policy`` field.

    Raises:
        AwsError: InvalidPolicyDocument.
    """
    try:
        text = base64.b64decode("".join(encoded.split()), validate=True).decode()
        document = json.loads(_ESCAPE.sub(_unescaped, text))
    except (ValueError, binascii.Error, RecursionError):
        raise _invalid("Invalid JSON.") from None
    if not isinstance(document, dict):
        raise _invalid("Invalid JSON.")
    if "expiration" not in document:
        raise _invalid("Policy missing expiration.")
    conditions = document.get("conditions")
    if not isinstance(conditions, list) or not conditions:
        raise _invalid("Policy missing conditions.")
    found: list[Condition] = []
    lengths: list[tuple[int, int]] = []
    for item in conditions:
        if isinstance(item, list) and item and str(item[0]).lower() == "content-length-range":
            lengths.append(_length_range(item))
        else:
            found.append(_condition(item))
    return PostPolicy(_expiration(document["expiration"]), found, lengths)


def check(policy: PostPolicy, fields: Mapping[str, str], now: datetime) -> None:
    """Refuses a form that its policy does not allow. ``fields``: by their names in lower case; the bucket's among them.

    Raises:
        AwsError: AccessDenied.
    """
    if now >= policy.expiration:
        raise _refused("Policy expired.")
    for condition in policy.conditions:
        if not condition.holds(fields):
            raise _refused(f"Policy Condition failed: {condition.said}")
    covered = {condition.field for condition in policy.conditions}
    extra = [name for name in fields if name not in covered and name not in _EXEMPT and not name.startswith(_IGNORED)]
    if extra:
        raise _refused(f"Extra input fields: {', '.join(extra)}")


def check_length(policy: PostPolicy, length: int) -> None:
    """Refuses a file that is too long or too short.

    Raises:
        AwsError: EntityTooLarge, EntityTooSmall.
    """
    for least, greatest in policy.lengths:
        if length > greatest:
            message = "Your proposed upload exceeds the maximum allowed size"
            detail = {"ProposedSize": str(length), "MaxSizeAllowed": str(greatest)}
            raise AwsError("EntityTooLarge", message, 400, detail=detail)
        if length < least:
            message = "Your proposed upload is smaller than the minimum allowed size"
            detail = {"ProposedSize": str(length), "MinSizeAllowed": str(least)}
            raise AwsError("EntityTooSmall", message, 400, detail=detail)


def _unescaped(found: re.Match[str]) -> str:
    r"""JSON has no ``\$``, which AWS asks for, and no ``\v``."""
    return {"$": "$", "v": "\\u000b"}.get(found[1], found[0])


def _condition(item: Any) -> Condition:
    if isinstance(item, dict):
        if len(item) != 1:
            raise _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
        ((name, value),) = item.items()
        operator, field = "eq", f"${name}"
    elif isinstance(item, list) and len(item) == 3 and all(isinstance(part, str) for part in item):
        operator, field, value = item
        operator = operator.lower()
        if operator not in ("eq", "starts-with") or not field.startswith("$"):
            raise _invalid(f"Invalid Condition: {json.dumps(item)}")
    else:
        raise _invalid("Invalid Condition: it must be a Simple-Condition or a list of three strings.")
    if not isinstance(value, str):
        raise _invalid("Invalid Simple-Condition: value must be a string.")
    said = json.dumps([operator, field, value], ensure_ascii=False)
    return Condition(operator, field[1:].lower(), value, said)


def _length_range(item: list[Any]) -> tuple[int, int]:
    bounds = [int(bound) for bound in item[1:] if _is_size(bound)]
    if len(bounds) != 2 or len(item) != 3:
        raise _invalid("Invalid content-length-range: it must have two sizes.")
    return bounds[0], bounds[1]


def _is_size(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() and value.isdigit() and len(value) < 19
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _expiration(value: Any) -> datetime:
    if isinstance(value, str) and _EXPIRATION.fullmatch(value):
        try:
            return datetime.fromisoformat(f"{value[:19]}+00:00").astimezone(UTC)
        except ValueError:
            pass
    raise _invalid(f"Invalid 'expiration' value: '{value}'")


def _invalid(reason: str) -> AwsError:
    return AwsError("InvalidPolicyDocument", f"Invalid Policy: {reason}", 400)


def _refused(reason: str) -> AwsError:
    return AwsError("AccessDenied", f"Invalid according to Policy: {reason}", 403)
