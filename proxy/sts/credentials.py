"""All access keys: long-term ones by the configuration, temporary ones by their session tokens."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from proxy.aws.credentials import (
    AccessKey,
    Caller,
    CredentialSource,
    ExpiredSessionToken,
    InvalidSessionToken,
    Session,
)
from proxy.sts import tokens
from proxy.sts.principals import MANAGED_POLICIES, Principals, Role
from proxy.sts.session_keys import SessionKeys
from proxy.sts.tokens import Grant, UnknownSessionKey

_MAX_OPENED: Final = 4096


@dataclass(frozen=True)
class _Opened:
    """A token that was opened, and the configuration that it was held against."""

    key: AccessKey
    expires: datetime
    generation: int


class Credentials(CredentialSource):
    """Opens each token once and keeps what it says; a changed configuration counts at once."""

    def __init__(self, principals: Principals, keys: SessionKeys) -> None:
        self._principals = principals
        self._keys = keys
        self._opened: dict[tuple[str, str], _Opened] = {}
        self.missed_key = False
        """Whether a token named a session key that was not known; ``refresh`` may find it."""

    async def refresh(self) -> None:
        """Takes in new session keys. Raises RootKeyUnusable or StoreUnavailable."""
        self.missed_key = False
        await self._keys.refresh()

    def find(self, access_key_id: str) -> AccessKey | None:
        return self._principals.access_key(access_key_id)

    def find_temporary(self, access_key_id: str, token: str, now: datetime) -> AccessKey:
        place = (access_key_id, token)
        opened = self._opened.get(place)
        if opened is None or opened.generation != self._principals.generation:
            opened = self._open(access_key_id, token)
            if len(self._opened) >= _MAX_OPENED:
                self._opened.clear()
            self._opened[place] = opened
        if now >= opened.expires:
            raise ExpiredSessionToken
        return opened.key

    def _open(self, access_key_id: str, token: str) -> _Opened:
        try:
            grant, secret = tokens.open_token(token, access_key_id, self._keys.known)
        except UnknownSessionKey:
            self.missed_key = True
            raise
        caller = self._caller(grant, access_key_id)
        return _Opened(AccessKey(access_key_id, secret, caller), grant.expires, self._principals.generation)

    def _caller(self, grant: Grant, access_key_id: str) -> Caller:
        if grant.session_name is None:
            user = self._principals.user(grant.principal)
            if user is None:
                raise InvalidSessionToken
            return replace(user, access_key_id=access_key_id, session=Session(grant.issued, grant.expires))
        role = self._principals.role(grant.principal)
        if role is None:
            raise InvalidSessionToken
        if role.not_before is not None and grant.issued < role.not_before:
            raise ExpiredSessionToken
        return session_of(role, grant, access_key_id)


def session_of(role: Role, grant: Grant, access_key_id: str) -> Caller:
    """The caller that a role's session is."""
    name = grant.session_name or ""
    policies: list[Mapping[str, Any]] = [] if grant.policy is None else [grant.policy]
    try:
        policies += [MANAGED_POLICIES[arn] for arn in grant.policy_arns]
    except KeyError:
        raise InvalidSessionToken from None
    return Caller(
        account=role.account,
        arn=f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{name}",
        user_id=f"{role.id}:{name}",
        access_key_id=access_key_id,
        policies=role.policies,
        session=Session(grant.issued, grant.expires, role.arn, tuple(policies)),
        store=role.store,
    )
