"""AWS's global condition keys: which there are, and their values in a request.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from proxy.aws import policy_principals
from proxy.aws.credentials import CallOrigin
from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_patterns import Values

PREFIX: Final = "aws:"

OVERLY_PERMISSIVE: Final = (
    "OverlyPermissiveCondition: Using the ForAllValues set operator with a single-valued condition key matches "
    "requests without the specified {0} or with an unspecified {0}. To fix, remove ForAllValues."
)

Tags = Mapping[str, str]


@dataclass(frozen=True)
class Circumstances:
    """What global condition keys speak of."""

    origin: CallOrigin
    clock: Callable[[], datetime]
    resource_account: str | None = None
    """The owner of the resource; None where there is no resource."""
    resource_tags: Tags | None = None
    """None: this service does not know them."""
    request_tags: Tags | None = None
    """Tags that the request sets. None: this service does not know them."""
    user_agent: str | None = None
    referer: str | None = None
    headers_known: bool = False
    """Whether ``user_agent`` and ``referer`` say what the request has."""


def flag(value: bool) -> Values:
    return ("true",) if value else ("false",)


def optional(value: str | None) -> Values:
    return (value,) if value else ()


def tag(tags: Tags | None, name: str) -> Values | None:
    """The values of the tags with a name, given in lower case: the names of condition keys have no case."""
    if tags is None:
        return None
    return tuple(value for key, value in tags.items() if key.lower() == name)


def timestamp(time: datetime) -> str:
    """A time as AWS writes it in a request's context."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _principal_arn(it: Circumstances) -> Values:
    """Of a role's session, the role's. Absent from anonymous requests."""
    if it.origin.caller.anonymous:
        return ()
    names = policy_principals.names(it.origin.caller)
    return tuple(names - {it.origin.caller.arn}) or (it.origin.caller.arn,)


def _principal_type(it: Circumstances) -> Values:
    caller = it.origin.caller
    if caller.anonymous:
        return ("Anonymous",)
    if policy_principals.is_root(caller):
        return ("Account",)
    if ":assumed-role/" in caller.arn:
        return ("AssumedRole",)
    return ("FederatedUser",) if ":federated-user/" in caller.arn else ("User",)


def _user_name(it: Circumstances) -> Values:
    """The last part of an IAM user's path; nobody else has a user name."""
    _, is_user, path = it.origin.caller.arn.partition(":user/")
    return (path.rpartition("/")[2],) if is_user else ()


def _user_id(it: Circumstances) -> Values:
    return optional(it.origin.caller.user_id)


def _token_issue_time(it: Circumstances) -> Values:
    session = it.origin.caller.session
    return (timestamp(session.issued),) if session is not None else ()


def _via(it: Circumstances) -> Values:
    """``s3.amazonaws.com`` of ``s3.eu-west-1.amazonaws.com``."""
    service = it.origin.via_service
    return (f"{service.partition('.')[0]}.amazonaws.com",) if service else ()


def _header(value: Callable[[Circumstances], str | None]) -> Callable[[Circumstances], Values | None]:
    return lambda it: optional(value(it)) if it.headers_known else None


_KEYS: Final[Mapping[str, Callable[[Circumstances], Values | None]]] = {
    "aws:calledvia": _via,
    "aws:calledviafirst": _via,
    "aws:calledvialast": _via,
    "aws:currenttime": lambda it: (timestamp(it.clock()),),
    "aws:epochtime": lambda it: (str(int(it.clock().timestamp())),),
    "aws:multifactorauthpresent": lambda it: flag(False) if it.origin.caller.session is not None else (),
    "aws:principalaccount": lambda it: optional(it.origin.caller.account),
    "aws:principalarn": _principal_arn,
    "aws:principalisawsservice": lambda _: flag(False),
    "aws:principaltype": _principal_type,
    "aws:referer": _header(lambda it: it.referer),
    "aws:requestedregion": lambda it: (it.origin.region,),
    "aws:resourceaccount": lambda it: optional(it.resource_account),
    "aws:securetransport": lambda it: flag(it.origin.secure_transport),
    "aws:sourceip": lambda it: optional(it.origin.source_address),
    "aws:tagkeys": lambda it: None if it.request_tags is None else tuple(it.request_tags),
    "aws:tokenissuetime": _token_issue_time,
    "aws:useragent": _header(lambda it: it.user_agent),
    "aws:userid": _user_id,
    "aws:username": _user_name,
    "aws:viaawsservice": lambda it: flag(it.origin.via_service is not None),
}

_ABSENT: Final = frozenset(
    f"aws:{name}"
    for name in (
        "assumedroot",
        "chatbotsourcearn",
        "ec2instancesourceprivateipv4",
        "ec2instancesourcevpc",
        "federatedprovider",
        "multifactorauthage",
        "principalorgid",
        "principalorgpaths",
        "principalservicename",
        "principalservicenameslist",
        "resourceorgid",
        "resourceorgpaths",
        "sourceaccount",
        "sourcearn",
        "sourceidentity",
        "sourceorgid",
        "sourceorgpaths",
        "sourcevpc",
        "sourcevpcarn",
        "sourcevpce",
        "vpceaccount",
        "vpceorgid",
        "vpceorgpaths",
        "vpcsourceip",
    )
)
"""Keys that no request here has: there are no organizations, no VPCs, no federation and no service principals."""

_REQUEST_TAG: Final = "aws:requesttag/"
_RESOURCE_TAG: Final = "aws:resourcetag/"
_PRINCIPAL_TAG: Final = "aws:principaltag/"


def values(key: str, it: Circumstances) -> Values | None:
    """The values of a global condition key, given in lower case. None: this service cannot tell."""
    found = _KEYS.get(key)
    if found is not None:
        return found(it)
    if key.startswith(_REQUEST_TAG):
        return tag(it.request_tags, key.removeprefix(_REQUEST_TAG))
    if key.startswith(_RESOURCE_TAG):
        return tag(it.resource_tags, key.removeprefix(_RESOURCE_TAG))
    # Principals have no tags here.
    return () if key in _ABSENT or key.startswith(_PRINCIPAL_TAG) else None


def fault(key: str, quantifier: Quantifier | None) -> str | None:
    """What is wrong with naming a global condition key under a set operator; None for nothing."""
    prefix = next((each for each in (_REQUEST_TAG, _RESOURCE_TAG, _PRINCIPAL_TAG) if key.startswith(each)), None)
    if prefix is None:
        return None if key in _KEYS or key in _ABSENT else f"Invalid condition key {key}"
    if key == prefix:
        return f"Invalid condition key {key}"
    if prefix == _REQUEST_TAG and quantifier is Quantifier.FOR_ALL_VALUES:
        return OVERLY_PERMISSIVE.format("tag")
    return None
