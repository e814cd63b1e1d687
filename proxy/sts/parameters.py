"""Parameters of the query protocol: read from names such as ``PolicyArns.member.1.arn``, and validated.

Source: https://smithy.io/2.0/aws/protocols/aws-query-protocol.html
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from proxy.aws.json_codec import Integer, ListOf, Shape, String, Structure, Values
from proxy.sts import errors

_ARN_TEXT: Final = r"[\u0009\u000A\u000D\u0020-\u007E\u0085\u00A0-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]+"
_NUMBER: Final = re.compile(r"-?[0-9]{1,10}")

ARN: Final = String(20, 2048, _ARN_TEXT)
POLICY: Final = String(1, None, r"[\u0009\u000A\u000D\u0020-\u00FF]+")
ROLE_SESSION_NAME: Final = String(2, 64, r"[a-zA-Z0-9_+=,.@-]*")
EXTERNAL_ID: Final = String(2, 1224, r"[a-zA-Z0-9_+=,.@:\/-]*")
SERIAL_NUMBER: Final = String(9, 256, r"[a-zA-Z0-9_+=/:,.@-]*")
TOKEN_CODE: Final = String(6, 6, r"[\d]*")
SOURCE_IDENTITY: Final = String(2, 64, r"[a-zA-Z0-9_+=,.@-]*")
ROLE_DURATION: Final = Integer(900, 43_200)
DURATION: Final = Integer(900, 129_600)
POLICY_ARNS: Final = ListOf(Structure({"arn": ARN}))
TAG_KEY: Final = String(1, 128)
TAG_KEYS: Final = ListOf(TAG_KEY, 0, 50)
TAGS: Final = ListOf(Structure({"Key": TAG_KEY, "Value": String(0, 256)}, ("Key", "Value")), 0, 50)


def read(shape: Structure, parameters: Mapping[str, str]) -> Values:
    """The input of an operation.

    Raises:
        AwsError: ValidationError with every broken constraint, or MalformedInput.
    """
    document = {}
    for name, member in shape.members.items():
        value = _value(member, name, parameters)
        if value is not None:
            document[name] = value
    faults: list[str] = []
    values = shape.decode(document, "", faults)
    if faults:
        noun = "error" if len(faults) == 1 else "errors"
        raise errors.validation(f"{len(faults)} validation {noun} detected: {'; '.join(faults)}")
    return values


def _value(shape: Shape, name: str, parameters: Mapping[str, str]) -> Any:
    if isinstance(shape, ListOf):
        return _list(shape, f"{name}.member", parameters)
    if isinstance(shape, Structure):
        members = {member: _value(inner, f"{name}.{member}", parameters) for member, inner in shape.members.items()}
        given = {member: value for member, value in members.items() if value is not None}
        return given or None
    text = parameters.get(name)
    if text is not None and isinstance(shape, Integer):
        if not _NUMBER.fullmatch(text):
            raise errors.malformed_input()
        return int(text)
    return text


def _list(shape: ListOf, name: str, parameters: Mapping[str, str]) -> list[Any] | None:
    """Members 1, 2, … until one is missing; one more than the most there may be is enough to refuse the list."""
    most = shape.max if shape.max is not None else 100
    members: list[Any] = []
    while len(members) <= most:
        value = _value(shape.member, f"{name}.{len(members) + 1}", parameters)
        if value is None:
            break
        members.append(value)
    return members or None
