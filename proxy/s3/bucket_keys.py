"""S3 Bucket Keys: the key service is asked for one key, which then wraps the data keys of many objects.

A bucket key is kept for a caller, a bucket, a KMS key and an encryption context, for a time and a number of uses; the
same holds of one that was unwrapped to read. While it is kept there is no call to the key service, so no permission on
the KMS key is asked for, nothing is recorded and nothing counts against a quota, as on AWS. It is kept no longer than
what the key service answers stays the same: when a key's state, policy, grants or alias may have changed, in whatever
process, the next request asks again. A key service elsewhere does not tell of changes; there the time alone counts.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-key.html
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.aws.credentials import Caller, CallOrigin
from proxy.kms.provider import DataKey, EncryptionContext, KeyProvider

LIFETIME: Final = 300.0
"""Seconds; AWS says of its own but that it is "a time-limited period"."""
USES: Final = 10_000
_MOST: Final = 4096
"""Keys of one process; beyond them, the oldest goes."""

_Place = tuple[object, ...]


@dataclass
class _Kept:
    value: Any = field(repr=False)
    caller: Caller
    until: float
    left: int


class BucketKeys:
    """The bucket keys of one process, in memory only."""

    def __init__(
        self, lifetime: float = LIFETIME, uses: int = USES, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``lifetime`` in seconds; with 0, nothing is kept. ``clock`` never goes back."""
        self._lifetime = lifetime
        self._uses = uses
        self._clock = clock
        self._kept: dict[_Place, _Kept] = {}
        self._stamp: object = None
        self._locks: dict[_Place, asyncio.Lock] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def generate(self, keys: KeyProvider, origin: CallOrigin, key_id: str, context: EncryptionContext) -> DataKey:
        """The bucket key for new objects; ``context`` names the bucket.

        Raises:
            KmsError: the key service refuses or fails.
        """
        place = ("new", key_id, *_of(origin), *sorted(context.items()))
        made: DataKey = await self._get(
            keys, place, origin.caller, lambda: keys.generate_data_key(origin, key_id, context)
        )
        return made

    async def decrypt(
        self, keys: KeyProvider, origin: CallOrigin, key_id: str, wrapped: bytes, context: EncryptionContext
    ) -> bytes:
        """The bucket key of existing objects, unwrapped.

        Raises:
            KmsError: the key service refuses or fails.
        """
        place = (wrapped, key_id, *_of(origin), *sorted(context.items()))
        opened: bytes = await self._get(
            keys, place, origin.caller, lambda: keys.decrypt(origin, key_id, wrapped, context)
        )
        return opened

    def clear(self) -> None:
        """Forgets all of them."""
        self._kept.clear()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    async def _get(self, keys: KeyProvider, place: _Place, caller: Caller, make: Callable[[], Awaitable[Any]]) -> Any:
        if self._lifetime <= 0:
            return await make()
        found = self._find(keys, place, caller)
        if found is not None:
            return found.value
        # Requests that come at once ask once.
        lock = self._locks.setdefault(place, asyncio.Lock())
        try:
            async with lock:
                found = self._find(keys, place, caller)
                if found is not None:
                    return found.value
                stamp = self._stamp
                value = await make()
                self._keep(place, caller, value, stamp)
                return value
        finally:
            if not lock.locked():
                self._locks.pop(place, None)

    def _find(self, keys: KeyProvider, place: _Place, caller: Caller) -> _Kept | None:
        """What is kept and may be used once more; that use is counted."""
        stamp = keys.stamp()
        if stamp is None or stamp != self._stamp:
            self._kept.clear()
            self._stamp = stamp
            return None
        found = self._kept.get(place)
        # A caller whose policies have changed is another one.
        if found is None or found.left <= 0 or found.until <= self._clock() or found.caller != caller:
            return None
        found.left -= 1
        return found

    def _keep(self, place: _Place, caller: Caller, value: Any, stamp: object) -> None:
        """``stamp`` is that from before the call: what has changed meanwhile may have come too late for it."""
        if stamp is None or stamp != self._stamp:
            return
        self._kept.pop(place, None)
        if len(self._kept) >= _MOST:
            del self._kept[next(iter(self._kept))]
        self._kept[place] = _Kept(value, caller, self._clock() + self._lifetime, self._uses - 1)
        if self._sweeper is None:
            self._sweep_later()

    def _sweep_later(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(self._lifetime, self._sweep)

    def _sweep(self) -> None:
        """Drops what nobody has asked for since its time was over: no key stays in memory for want of requests."""
        now = self._clock()
        self._kept = {place: kept for place, kept in self._kept.items() if kept.until > now}
        self._sweeper = None
        if self._kept:
            self._sweep_later()


def _of(origin: CallOrigin) -> tuple[object, ...]:
    """Whose key it is, and from where: policies look at both."""
    caller = origin.caller
    return caller.access_key_id, caller.arn, origin.region, origin.source_address, origin.secure_transport
