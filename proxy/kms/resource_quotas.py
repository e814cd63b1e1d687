"""Quotas on how much there may be: keys of an account in a Region, aliases and grants of a key.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxy.kms import errors, model
from proxy.kms.model import KmsKey

if TYPE_CHECKING:
    from proxy.kms.service import KeyService


@dataclass(frozen=True)
class ResourceQuotas:
    """AWS's defaults."""

    keys: int = 100_000
    """Per account and Region, in any state."""
    aliases_per_key: int = 50
    grants_per_key: int = 50_000


class KeyCount:
    """Knows how many keys there are without counting them each time.

    Keys are counted anew after a quarter of what was left has been made here, so that far from the quota it hardly
    ever happens, and near to it every time; up to four processes that make keys at once can't pass it together."""

    def __init__(self) -> None:
        self._free: dict[tuple[str, str], int] = {}

    async def check(self, service: "KeyService", account: str, region: str, quota: int) -> None:
        """Refuses one key more than the quota allows. Raises KmsError (LimitExceededException)."""
        place = (account, region)
        free = self._free.get(place, 0)
        if free <= 0:
            left = quota - len(await service.repository.scan_all(model.KEY, f"{account}/{region}/"))
            if left <= 0:
                raise errors.limit_exceeded(f"The account has reached its limit of {quota} KMS keys in this Region.")
            free = left // 4
        self._free[place] = free - 1


async def check_aliases(service: "KeyService", key: KmsKey, quota: int) -> None:
    """Refuses one alias more on a key than the quota allows. Raises KmsError (LimitExceededException)."""
    if len(await service.repository.aliases_of(key.name)) >= quota:
        raise errors.limit_exceeded(f"The key {key.arn} has reached its limit of {quota} aliases.")
