"""Who is calling: principals, their access keys, and where a call came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from proxy.values import value_class


@dataclass(frozen=True)
class Caller:
    """An authenticated principal.

    ``policies`` are the IAM policy documents attached to it, as parsed JSON; without any, it may do nothing but what
    resource policies and grants give it.
    """

    account: str
    """Twelve digits."""
    arn: str
    user_id: str
    """What STS calls UserId, such as ``AIDA…``."""
    access_key_id: str
    policies: tuple[Mapping[str, Any], ...] = ()
    session: "Session | None" = None
    """Set for temporary credentials."""
    store: "StoreCredentials | None" = field(default=None, repr=False)
    """What the store behind is asked with on this principal's behalf. None: the proxy's own credentials."""

    @property
    def anonymous(self) -> bool:
        """Whether nobody has signed the request."""
        return not self.arn


@dataclass(frozen=True)
class StoreCredentials:
    """Credentials at the store behind the proxy."""

    access_key_id: str
    secret: str = field(repr=False)


ANONYMOUS: Final = Caller("", "", "anonymous", "")
"""Who has not signed a request: of no account, named by no policy but as anybody."""


@dataclass(frozen=True)
class Session:
    """What temporary credentials add to a principal."""

    issued: datetime
    expires: datetime
    role_arn: str | None = None
    """Of an assumed role: ``arn:aws:iam::<account>:role/<name>``; the caller's own ARN is then
    ``arn:aws:sts::<account>:assumed-role/<name>/<session name>``. None for GetSessionToken."""
    policies: tuple[Mapping[str, Any], ...] = ()
    """Session policies: what they do not allow, the session may not do, whatever the principal may."""


@dataclass(frozen=True)
class AccessKey:
    """A long-term access key and the principal it stands for."""

    id: str
    secret: str = field(repr=False)
    caller: Caller


class InvalidSessionToken(Exception):
    """A session token was not made here or not for this access key, or whom it stands for is no longer there."""


class ExpiredSessionToken(Exception):
    """A session token's time is over, or its role's sessions of that time were revoked."""


class CredentialSource(Protocol):
    """Where access keys are looked up."""

    def find(self, access_key_id: str) -> AccessKey | None:
        """The long-term access key with this id, or None."""
        ...

    def find_temporary(self, access_key_id: str, token: str, now: datetime) -> AccessKey:
        """The temporary access key that a session token belongs to.

        Raises InvalidSessionToken or ExpiredSessionToken."""
        ...


@value_class
class CallOrigin:
    """Where a call to the key service comes from; policies, grants and audit look at it."""

    caller: Caller
    region: str
    """The Region that the call acts in."""
    via_service: str | None = None
    """Such as ``s3.eu-west-1.amazonaws.com`` when a service calls on the principal's behalf."""
    source_address: str = ""
    user_agent: str = ""
    secure_transport: bool = False
    request_id: str = ""
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The members of the request by AWS's names, for the conditions of policies; they may be secret."""
