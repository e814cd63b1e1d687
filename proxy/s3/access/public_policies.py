"""Whether a bucket policy is public: it is, unless each Allow is for fixed principals or under a condition that only
fixed values meet.

Source: "The meaning of public" in
https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
"""

import ipaddress
from collections.abc import Mapping
from typing import Any, Final

_LIMITING: Final = frozenset(
    {
        "aws:principalaccount",
        "aws:principalarn",
        "aws:principalorgid",
        "aws:sourceaccount",
        "aws:sourcearn",
        "aws:sourceowner",
        "aws:sourcevpc",
        "aws:sourcevpce",
        "aws:userid",
        "s3:dataaccesspointaccount",
        "s3:dataaccesspointarn",
        "s3:x-amz-server-side-encryption-aws-kms-key-id",
    }
)
"""Condition keys that keep the public out, where their values are fixed."""

_OPERATORS: Final = frozenset(
    {"StringEquals", "StringEqualsIgnoreCase", "StringLike", "ArnEquals", "ArnLike", "ForAnyValue:StringEquals"}
)
_ACCESS_POINTS: Final = "s3:dataaccesspointarn"
"""The one key whose value may have a wildcard, in place of the access point's name."""

_WIDEST: Final = {4: 8, 6: 32}
"""The shortest prefix of addresses that is not public, by IP version; private ranges aside."""


def is_public(document: Mapping[str, Any]) -> bool:
    """``document`` is a bucket policy that has been found valid."""
    statements = document["Statement"]
    return any(
        statement["Effect"] == "Allow" and _is_for_everyone(statement) and not _is_limited(statement)
        for statement in (statements if isinstance(statements, list) else [statements])
    )


def _is_for_everyone(statement: Mapping[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True
    principal = statement["Principal"]
    return principal == "*" or "*" in _texts(principal.get("AWS", []))


def _is_limited(statement: Mapping[str, Any]) -> bool:
    return any(
        _keeps_out(operator, key.lower(), _texts(values))
        for operator, keys in statement.get("Condition", {}).items()
        for key, values in keys.items()
    )


def _keeps_out(operator: str, key: str, values: list[str]) -> bool:
    if operator == "IpAddress" and key == "aws:sourceip":
        return all(map(_is_narrow, values))
    if operator not in _OPERATORS or key not in _LIMITING:
        return False
    return all(_is_fixed(value, key, with_wildcards="Like" in operator or operator == "ArnEquals") for value in values)


def _is_fixed(value: str, key: str, *, with_wildcards: bool) -> bool:
    """``with_wildcards``: whether the operator takes ``*`` and ``?`` for any characters."""
    if "${" in value:
        return False
    if not with_wildcards:
        return True
    if key == _ACCESS_POINTS:
        value = value.partition(":accesspoint/")[0]
    return "*" not in value and "?" not in value


def _is_narrow(cidr: str) -> bool:
    network = ipaddress.ip_network(cidr, strict=False)
    return network.is_private or network.prefixlen >= _WIDEST[network.version]


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value])]
