"""Upkeep of the key service: what fell due is written down, although nobody uses the key any more.

Nothing depends on its being in time, since every use of a key settles what is due first. It is what erases the material
of keys whose waiting time is over and imported material that has expired, from the store and from memory.

Every worker runs it. The record ``service/upkeep`` holds the time of the next round (milliseconds since the epoch,
JSON); whichever worker moves it on by compare-and-set does the round. What a worker leaves undone that dies in the
middle of one waits for the next round. Each key is settled by one write, and one that somebody else has settled
meanwhile is left alone.
"""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from proxy.kms import model
from proxy.kms.errors import KmsError
from proxy.kms.operation import guarded
from proxy.kms.service import KeyService
from proxy.kms.store import Conflict, Record

logger = logging.getLogger(__name__)

INTERVAL: Final = timedelta(minutes=15)
"""Between two rounds through all keys."""

_LOOK_SECONDS: Final = 60.0
_RECORD_ID: Final = "upkeep"
_PAGE: Final = 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


async def run(service: KeyService) -> None:
    """Looks every minute whether a round is due, until it is cancelled."""
    while True:
        try:
            await upkeep(service)
        except Exception:
            # Whatever it is, a damaged record included: with this task ended, material would not be erased any more.
            logger.exception("the upkeep of the key store has to wait")
        await asyncio.sleep(_LOOK_SECONDS)


async def upkeep(service: KeyService) -> int:
    """Drops deleted material from this process's memory and, where a round is due and no other worker does it, settles
    all keys that need it. Returns their number.

    Raises StoreUnavailable."""
    await service.drop_deleted_material()
    return await _round(service) if await _claim(service) else 0


async def _claim(service: KeyService) -> bool:
    """Whether a round is due and this worker is the one to do it."""
    store, now = service.repository.store, service.now()
    record = await store.get(model.SERVICE, _RECORD_ID) or Record(model.SERVICE, _RECORD_ID, 0, b"0")
    due = _EPOCH + timedelta(milliseconds=json.loads(record.body))
    # A time further off than one round was written under a clock that has been set back since.
    if now < due <= now + INTERVAL:
        return False
    following = (now + INTERVAL - _EPOCH) // timedelta(milliseconds=1)
    try:
        await store.write([Record(record.kind, record.id, record.version, b"%d" % following)])
    except Conflict:
        return False
    return True


async def _round(service: KeyService) -> int:
    settled = 0
    for kind in (model.KEY, model.OWNED_KEY):
        after = ""
        while page := await service.repository.store.scan(kind, "", after, _PAGE):
            settled += [await _settle(service, record) for record in page].count(True)
            after = page[-1].id
            # Requests come first.
            await asyncio.sleep(0)
    return settled


async def _settle(service: KeyService, record: Record) -> bool:
    key = model.key_from(record)
    if key.next_event is None or service.now() < key.next_event:
        return False
    try:
        await guarded(lambda: service.key(key.name), "upkeep:")
    except KmsError:
        # Logged already; the next round tries again.
        return False
    return True
