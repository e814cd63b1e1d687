"""AssumeRole, GetSessionToken and GetCallerIdentity.

Source: https://docs.aws.amazon.com/STS/latest/APIReference/API_Operations.html
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from proxy.aws import policy, policy_keys
from proxy.aws.arn import parse as parse_arn
from proxy.aws.credentials import Caller, CallOrigin
from proxy.aws.errors import AwsError
from proxy.aws.json_codec import Structure, Values
from proxy.aws.policy import Decision, MalformedPolicy, Question
from proxy.aws.policy_keys import Circumstances
from proxy.kms.audit import Audit, AuditUnavailable, Call, record_of
from proxy.kms.errors import RootKeyUnusable
from proxy.kms.store import StoreUnavailable
from proxy.sts import credentials, errors, parameters, tokens, trust
from proxy.sts.principals import DEFAULT_SESSION_DURATION, MANAGED_POLICIES, Principals, Role
from proxy.sts.session_keys import SessionKeys
from proxy.sts.tokens import Credentials, Grant, PackedPolicyTooLarge

SOURCE: Final = "sts.amazonaws.com"
VERSION: Final = "2011-06-15"

_USER_SESSION_DURATION: Final = 43_200
_ROOT_SESSION_DURATION: Final = 3600
_CHAINED_SESSION_DURATION: Final = 3600
_RANDOM: Final = 34

_NO_MFA: Final = (
    "MultiFactorAuthentication failed, unable to validate MFA code.  Please verify your MFA serial number is valid "
    "and associated with this user."
)

Function = Callable[["StsService", CallOrigin, Values], Awaitable[Values]]


@dataclass(frozen=True)
class Operation:
    """An operation of STS: the shape of its input, and what it does."""

    input: Structure
    function: Function
    in_user_sessions: bool
    """Whether credentials from GetSessionToken may call it."""


class StsService:
    """The security token service of one process."""

    def __init__(
        self,
        principals: Principals,
        keys: SessionKeys,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        audit: Audit | None = None,
    ) -> None:
        self._principals = principals
        self._keys = keys
        self._clock = clock
        self._random = random
        self._audit = audit

    async def call(self, origin: CallOrigin, given: Mapping[str, str]) -> tuple[str, Values]:
        """Answers a request by its parameters: the operation's name, and the members of its result.

        Raises:
            AwsError: with STS's code, message and status.
        """
        name, version = given.get("Action"), given.get("Version", "")
        if name is None:
            raise errors.missing_action()
        operation = OPERATIONS.get(name)
        if operation is None or version != VERSION:
            raise errors.invalid_action(name, version)
        request: Values | None = None
        try:
            request = parameters.read(operation.input, given)
            session = origin.caller.session
            if session is not None and session.role_arn is None and not operation.in_user_sessions:
                raise errors.access_denied(f"Cannot call {name} with session credentials")
            answer = await operation.function(self, origin, request)
        except AwsError as error:
            await self._record(origin, name, request, None, error)
            raise
        except (StoreUnavailable, RootKeyUnusable):
            await self._record(origin, name, request, None, errors.unavailable())
            raise errors.unavailable() from None
        await self._record(origin, name, request, answer, None)
        return name, answer

    async def assume_role(self, origin: CallOrigin, request: Values) -> Values:
        _refuse_unsupported(origin.caller, request)
        role = self._role(origin, request)
        duration = _role_duration(origin.caller, role, request.get("DurationSeconds"))
        session_policy = _session_policy(request)
        arns = _policy_arns(request)
        now = self._now()
        grant = Grant(
            role.arn,
            now,
            now + timedelta(seconds=duration),
            request["RoleSessionName"],
            session_policy,
            arns,
        )
        issued = await self._issue(grant)
        session = credentials.session_of(role, grant, issued.access_key_id)
        answer: Values = {
            "Credentials": _members(issued, grant),
            "AssumedRoleUser": {"AssumedRoleId": session.user_id, "Arn": session.arn},
        }
        if issued.packed_policy_size is not None:
            answer["PackedPolicySize"] = issued.packed_policy_size
        return answer

    async def get_session_token(self, origin: CallOrigin, request: Values) -> Values:
        caller = origin.caller
        if caller.session is not None or self._principals.user(caller.arn) is None:
            raise errors.access_denied("Cannot call GetSessionToken with session credentials")
        if "SerialNumber" in request or "TokenCode" in request:
            raise errors.access_denied(_NO_MFA)
        is_root = caller.arn.endswith(":root")
        duration = request.get("DurationSeconds", _ROOT_SESSION_DURATION if is_root else _USER_SESSION_DURATION)
        if is_root:
            # AWS shortens what the root asks for beyond an hour.
            duration = min(duration, _ROOT_SESSION_DURATION)
        now = self._now()
        grant = Grant(caller.arn, now, now + timedelta(seconds=duration))
        return {"Credentials": _members(await self._issue(grant), grant)}

    async def get_caller_identity(self, origin: CallOrigin, _request: Values) -> Values:
        caller = origin.caller
        return {"Arn": caller.arn, "UserId": caller.user_id, "Account": caller.account}

    def _now(self) -> datetime:
        """In whole seconds, as tokens have them."""
        return self._clock().replace(microsecond=0)

    async def _issue(self, grant: Grant) -> Credentials:
        await self._keys.refresh()
        try:
            return tokens.issue(grant, self._keys.current, self._random(_RANDOM))
        except PackedPolicyTooLarge as error:
            raise errors.packed_policy_too_large(error.size) from None

    def _role(self, origin: CallOrigin, request: Values) -> Role:
        """The role to be assumed, by somebody who may. A role that is not there looks like one that is refused."""
        arn, caller = request["RoleArn"], origin.caller
        _check_role_arn(arn)
        if caller.arn.endswith(":root"):
            raise errors.access_denied("Roles may not be assumed by root accounts.")
        role = self._principals.role(arn)
        question = Question(caller, "sts:AssumeRole", arn, self._lookup(origin, role, request))
        denied = f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {arn}"
        if role is None:
            raise errors.access_denied(denied)
        try:
            trusted = trust.parse(role.trust_policy)
        except MalformedPolicy:
            raise errors.access_denied(denied) from None
        answer = policy.decide(question, role.account, trusted, resource_must_allow=True)
        if answer.decision is Decision.EXPLICITLY_DENIED:
            raise errors.access_denied(f"{denied} {answer.reason('sts:AssumeRole')}")
        if not answer.allowed:
            raise errors.access_denied(denied)
        return role

    def _lookup(self, origin: CallOrigin, role: Role | None, request: Values) -> Callable[[str], Any]:
        """The values of condition keys in a call of AssumeRole."""
        there = Circumstances(
            origin,
            self._clock,
            resource_account=role.account if role is not None else None,
            resource_tags={},
            request_tags={},
            user_agent=origin.user_agent,
            headers_known=bool(origin.user_agent),
        )
        own = {
            "sts:externalid": request.get("ExternalId"),
            "sts:rolesessionname": request["RoleSessionName"],
            "sts:durationseconds": str(request.get("DurationSeconds", DEFAULT_SESSION_DURATION)),
            "sts:sourceidentity": None,
            "sts:transitivetagkeys": None,
        }

        def find(key: str) -> tuple[str, ...] | None:
            if key in own:
                return policy_keys.optional(own[key])
            return policy_keys.values(key, there)

        return find

    async def _record(
        self, origin: CallOrigin, name: str, request: Values | None, answer: Values | None, error: AwsError | None
    ) -> None:
        if self._audit is None:
            return
        shown = {member[0].lower() + member[1:]: value for member, value in (request or {}).items()}
        shown.pop("tokenCode", None)
        resources = []
        if error is None and name == "AssumeRole" and request is not None:
            resources = [(request["RoleArn"], "AWS::IAM::Role")]
        call = Call(SOURCE, name, True, shown or None, _response_elements(answer), resources, error)
        try:
            self._audit.record(partial(record_of, call, origin, self._clock(), self._random(16)))
            await self._audit.settle()
        except AuditUnavailable:
            raise errors.unavailable() from None


def _response_elements(answer: Values | None) -> dict[str, Any] | None:
    """What CloudTrail shows of the answer: the credentials without their secrets."""
    if answer is None or "Credentials" not in answer:
        return None
    given = answer["Credentials"]
    elements: dict[str, Any] = {
        "credentials": {"accessKeyId": given["AccessKeyId"], "expiration": given["Expiration"]},
    }
    if "AssumedRoleUser" in answer:
        user = answer["AssumedRoleUser"]
        elements["assumedRoleUser"] = {"assumedRoleId": user["AssumedRoleId"], "arn": user["Arn"]}
    if "PackedPolicySize" in answer:
        elements["packedPolicySize"] = answer["PackedPolicySize"]
    return elements


def _members(issued: Credentials, grant: Grant) -> Values:
    return {
        "AccessKeyId": issued.access_key_id,
        "SecretAccessKey": issued.secret_access_key,
        "SessionToken": issued.session_token,
        "Expiration": f"{grant.expires:%Y-%m-%dT%H:%M:%SZ}",
    }


def _check_role_arn(text: str) -> None:
    try:
        parsed = parse_arn(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.service != "iam" or parsed.resource_type != "role" or not parsed.resource_id:
        raise errors.validation(f"{text} is invalid")


def _refuse_unsupported(caller: Caller, request: Values) -> None:
    """Session tags and source identities, as AWS refuses them to whom no policy allows to set them, and MFA."""
    for member, action in (
        ("Tags", "sts:TagSession"),
        ("TransitiveTagKeys", "sts:TagSession"),
        ("SourceIdentity", "sts:SetSourceIdentity"),
    ):
        if request.get(member):
            raise errors.access_denied(
                f"User: {caller.arn} is not authorized to perform: {action} on resource: {request['RoleArn']}"
            )
    if "SerialNumber" in request or "TokenCode" in request:
        raise errors.access_denied(_NO_MFA)


def _role_duration(caller: Caller, role: Role, wanted: int | None) -> int:
    chained = caller.session is not None and caller.session.role_arn is not None
    if wanted is None:
        return DEFAULT_SESSION_DURATION
    if chained and wanted > _CHAINED_SESSION_DURATION:
        raise errors.validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        )
    if wanted > role.max_session_duration:
        raise errors.validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return wanted


def _session_policy(request: Values) -> Mapping[str, Any] | None:
    if "Policy" not in request:
        return None
    text: str = request["Policy"]
    try:
        policy.parse_identity(text, lambda _key, _quantifier: None)
    except MalformedPolicy as error:
        raise errors.malformed_policy(str(error)) from None
    document: Mapping[str, Any] = json.loads(text)
    return document


def _policy_arns(request: Values) -> tuple[str, ...]:
    arns = tuple(each.get("arn", "") for each in request.get("PolicyArns", ()))
    if len(arns) > _MAX_POLICY_ARNS:
        raise errors.validation(f"The number of policy ARNs exceeds the limit of {_MAX_POLICY_ARNS}.")
    for arn in arns:
        if not arn.startswith("arn:aws:iam::") or ":policy/" not in arn:
            raise errors.validation(f"{arn} is invalid")
        if arn not in MANAGED_POLICIES:
            raise errors.malformed_policy(f"Policy {arn} does not exist or is not attachable.")
    return arns


_MAX_POLICY_ARNS: Final = 10

OPERATIONS: Final[Mapping[str, Operation]] = {
    "AssumeRole": Operation(
        Structure(
            {
                "RoleArn": parameters.ARN,
                "RoleSessionName": parameters.ROLE_SESSION_NAME,
                "PolicyArns": parameters.POLICY_ARNS,
                "Policy": parameters.POLICY,
                "DurationSeconds": parameters.ROLE_DURATION,
                "Tags": parameters.TAGS,
                "TransitiveTagKeys": parameters.TAG_KEYS,
                "ExternalId": parameters.EXTERNAL_ID,
                "SerialNumber": parameters.SERIAL_NUMBER,
                "TokenCode": parameters.TOKEN_CODE,
                "SourceIdentity": parameters.SOURCE_IDENTITY,
            },
            ("RoleArn", "RoleSessionName"),
        ),
        StsService.assume_role,
        in_user_sessions=True,
    ),
    "GetSessionToken": Operation(
        Structure(
            {
                "DurationSeconds": parameters.DURATION,
                "SerialNumber": parameters.SERIAL_NUMBER,
                "TokenCode": parameters.TOKEN_CODE,
            }
        ),
        StsService.get_session_token,
        in_user_sessions=False,
    ),
    "GetCallerIdentity": Operation(Structure({}), StsService.get_caller_identity, in_user_sessions=True),
}
"""The operations that there are; the others of AWS's STS are answered as unknown ones."""
