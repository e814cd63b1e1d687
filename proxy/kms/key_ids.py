"""What a KeyId names: a key id, key ARN, alias name or alias ARN.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id
"""

import re
from dataclasses import dataclass
from typing import Final

from proxy.aws import arn
from proxy.aws.credentials import CallOrigin
from proxy.kms import errors
from proxy.kms.model import KeyName

ALIAS_PREFIX: Final = "alias/"
RESERVED_PREFIX: Final = "alias/aws/"

_KEY_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|mrk-[0-9a-f]{32}")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")


@dataclass(frozen=True)
class AliasName:
    """Identifies an alias."""

    account: str
    region: str
    name: str
    """With ``alias/``."""


def parse(key_id: str, origin: CallOrigin) -> KeyName | AliasName:
    """What ``key_id`` names for this call; ids and alias names are of the caller's account and the call's Region.

    Raises:
        KmsError: NotFoundException; it has no such form, or names another Region.
    """
    if arn.is_arn(key_id):
        return _parse_arn(key_id, origin)
    if key_id.startswith(ALIAS_PREFIX):
        return AliasName(origin.caller.account, origin.region, key_id)
    if not _KEY_ID.fullmatch(key_id):
        raise errors.invalid_key_id(key_id)
    return KeyName(origin.caller.account, origin.region, key_id)


def _parse_arn(text: str, origin: CallOrigin) -> KeyName | AliasName:
    try:
        parsed = arn.parse(text)
    except ValueError:
        raise errors.invalid_arn(text) from None
    if parsed.service != "kms" or not _ACCOUNT.fullmatch(parsed.account):
        raise errors.invalid_arn(text)
    if parsed.region != origin.region:
        raise errors.invalid_arn(parsed.region)
    if parsed.resource_type == "alias" and parsed.resource_id:
        return AliasName(parsed.account, parsed.region, parsed.resource)
    if parsed.resource_type != "key":
        raise errors.invalid_arn(text)
    if not _KEY_ID.fullmatch(parsed.resource_id):
        raise errors.invalid_key_id(parsed.resource_id)
    return KeyName(parsed.account, parsed.region, parsed.resource_id)
