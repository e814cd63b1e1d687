"""Port Audit: where the events of the key service go, and the record that CloudTrail makes of a call.

Source: https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol

from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.errors import AwsError

Event = Mapping[str, Any]
"""A record as CloudTrail has them; a JSON object without secrets."""

Lazy = Callable[[], Event]
"""Makes an event of what does not change any more; it is called once, later."""

_EVENT_VERSION: Final = "1.11"


class AuditUnavailable(Exception):
    """Events can't be kept any more (disk full, file gone), so nothing that has to be recorded may be answered."""


class Audit(Protocol):
    """A log of events, one after the other."""

    def record(self, event: Event | Lazy) -> None:
        """Takes an event. It does no input or output and raises nothing; an event counts when ``settle`` returns."""
        ...

    async def settle(self) -> None:
        """Returns when all that was recorded so far is as safe as the settings ask for: in the file, or in memory.

        Raises AuditUnavailable."""
        ...


class Call(NamedTuple):
    """What a record says of one call, beside who made it."""

    source: str
    """Such as ``kms.amazonaws.com``."""
    name: str
    read_only: bool
    request: Mapping[str, Any] | None
    """requestParameters, with nothing secret in it."""
    response: Mapping[str, Any] | None = None
    """responseElements; CloudTrail has them for calls that change something."""
    resources: Sequence[tuple[str, str]] = ()
    """ARNs and types of resources (``AWS::KMS::Key``)."""
    error: AwsError | None = None


def record_of(call: Call, origin: CallOrigin, now: datetime, event_id: bytes) -> dict[str, Any]:
    """The record of a call. ``now`` is in UTC; ``event_id`` is 16 random bytes."""
    account = origin.caller.account
    resources = []
    is_foreign = False
    for arn, kind in call.resources:
        owner = arn.split(":", 5)[4]
        is_foreign = is_foreign or owner != account
        resources.append({"accountId": owner, "type": kind, "ARN": arn})
    event: dict[str, Any] = {
        "eventVersion": _EVENT_VERSION,
        "userIdentity": _identity(origin.caller, origin.via_service),
        "eventTime": now.isoformat()[:19] + "Z",
        "eventSource": call.source,
        "eventName": call.name,
        "awsRegion": origin.region,
        "sourceIPAddress": origin.source_address,
        "userAgent": origin.user_agent,
        "requestParameters": call.request,
        "responseElements": call.response,
        "requestID": origin.request_id,
        "eventID": _uuid(event_id),
        "readOnly": call.read_only,
        "resources": resources,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account,
        "eventCategory": "Management",
    }
    if call.error is not None:
        event["errorCode"] = _ERROR_CODES.get(call.error.code, call.error.code)
        event["errorMessage"] = _error_message(call.error)
    if is_foreign:
        # CloudTrail's two copies, one for each account, share it; here the one copy is for both.
        event["sharedEventID"] = _uuid(event_id[8:] + event_id[:8])
    return event


def _uuid(random: bytes) -> str:
    """A random UUID (version 4)."""
    digits = random.hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


_ERROR_CODES: Final = {"AccessDeniedException": "AccessDenied"}
"""Where CloudTrail's code is another than the one in the answer."""


def _error_message(error: AwsError) -> str | None:
    """Without the values that a failed validation quotes: they may be secrets in the wrong place."""
    message = error.message
    if message is not None and error.code in ("ValidationException", "ValidationError") and " detected: " in message:
        return message.partition(":")[0]
    return message


_identities: dict[tuple[int, str | None], tuple[Caller, dict[str, Any]]] = {}
"""By the caller's identity; it is kept, so its id stays its own."""
_MAX_IDENTITIES: Final = 1024


def _identity(caller: Caller, via_service: str | None) -> dict[str, Any]:
    known = _identities.get((id(caller), via_service))
    if known is None:
        if len(_identities) >= _MAX_IDENTITIES:
            _identities.clear()
        known = _identities[id(caller), via_service] = (caller, _new_identity(caller, via_service))
    return known[1]


def _new_identity(caller: Caller, via_service: str | None) -> dict[str, Any]:
    """https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html"""
    session = caller.session
    is_role = session is not None and session.role_arn is not None
    is_root = not is_role and caller.arn.endswith(":root")
    identity: dict[str, Any] = {
        "type": "AssumedRole" if is_role else "Root" if is_root else "IAMUser",
        "principalId": caller.user_id,
        "arn": caller.arn,
        "accountId": caller.account,
        "accessKeyId": caller.access_key_id,
    }
    if not is_role and not is_root:
        identity["userName"] = caller.arn.rpartition("/")[2]
    if session is not None:
        context: dict[str, Any] = {
            "attributes": {"creationDate": f"{session.issued:%Y-%m-%dT%H:%M:%SZ}", "mfaAuthenticated": "false"}
        }
        if session.role_arn is not None:
            context["sessionIssuer"] = {
                "type": "Role",
                "principalId": caller.user_id.partition(":")[0],
                "arn": session.role_arn,
                "accountId": caller.account,
                "userName": session.role_arn.rpartition("/")[2],
            }
        identity["sessionContext"] = context
    if via_service is not None:
        identity["invokedBy"] = via_service.partition(".")[0] + ".amazonaws.com"
    return identity


def time_text(time: datetime) -> str:
    """A time among parameters, as CloudTrail writes it: ``Nov 23, 2026, 6:00:00 AM``."""
    time = time.astimezone(UTC)
    hour = time.hour % 12 or 12
    half = "AM" if time.hour < 12 else "PM"
    return f"{_MONTHS[time.month - 1]} {time.day}, {time.year}, {hour}:{time:%M:%S} {half}"


_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
