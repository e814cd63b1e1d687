"""What the key store says of its root keys: which one seals, which ones did before, and how one takes another's place.

The record ``service``/``root-key`` is JSON. Every sealed record but those of the first releases begins with the id of
the root key that sealed it::

    0   1   2
    1   8   id of the root key
    9   n   what that root key made of the plaintext; the associated data is bytes 0 to 8 and then the caller's

The first releases stored bare what the root key made, which begins with another byte.
"""

import base64
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from proxy.kms import model
from proxy.kms.store import Record

RECORD_ID: Final = "root-key"
HEADER_SIZE: Final = 9

_FORMAT: Final = b"\x02"


@dataclass(frozen=True)
class RootKeyVersion:
    """One root key in the row of those that a key store has had."""

    version: int
    """From 1, counted up by each rotation."""
    id: str
    since: datetime
    """When it began to seal."""


@dataclass(frozen=True)
class Handover:
    """There from the beginning of a root key rotation until the new root key is the configured one: whoever has one of
    the two keys gets the other, so that processes need not be restarted and a rotation can be taken up with either."""

    source: str
    """The id of the root key that sealed before."""
    target: str
    """The id of the one that seals now."""
    target_under_source: bytes
    source_under_target: bytes
    complete: bool = False
    """Whether every record is known to open under the new root key alone."""


@dataclass(frozen=True)
class RootKeyState:
    """All of it. ``record_version`` is that of the record which it was read from, 0 for a new one."""

    versions: tuple[RootKeyVersion, ...]
    """The last one seals."""
    handover: Handover | None = None
    record_version: int = 0

    @property
    def current(self) -> RootKeyVersion:
        return self.versions[-1]

    def version_of(self, id: str) -> RootKeyVersion | None:
        """The version that a root key is or was."""
        return next((version for version in self.versions if version.id == id), None)

    def rotated(self, handover: Handover, now: datetime) -> "RootKeyState":
        """With a new root key that seals from now on."""
        version = RootKeyVersion(self.current.version + 1, handover.target, now)
        return replace(self, versions=(*self.versions, version), handover=handover)


def header(id: str) -> bytes:
    """The first bytes of what the root key of this id seals."""
    return _FORMAT + bytes.fromhex(id)


def service_label(record_id: str) -> bytes:
    """What a sealed record of kind ``service`` is bound to, but for the first there was, the service's own secret."""
    return b"service record v1\x00" + record_id.encode()


def sealed_under(body: bytes) -> str | None:
    """The id of the root key that sealed a record's body; None when the body does not say so, being another format or
    no sealed one."""
    if body[:1] != _FORMAT or len(body) < HEADER_SIZE:
        return None
    return body[1:HEADER_SIZE].hex()


def to_record(state: RootKeyState) -> Record:
    document: dict[str, object] = {
        "versions": [
            {"version": each.version, "id": each.id, "since": each.since.isoformat()} for each in state.versions
        ]
    }
    if state.handover is not None:
        document["handover"] = {
            "source": state.handover.source,
            "target": state.handover.target,
            "target_under_source": base64.b64encode(state.handover.target_under_source).decode(),
            "source_under_target": base64.b64encode(state.handover.source_under_target).decode(),
            "complete": state.handover.complete,
        }
    return Record(model.SERVICE, RECORD_ID, state.record_version, json.dumps(document).encode())


def from_record(record: Record) -> RootKeyState:
    document = json.loads(record.body)
    versions = tuple(
        RootKeyVersion(each["version"], each["id"], datetime.fromisoformat(each["since"]))
        for each in document["versions"]
    )
    handover = document.get("handover")
    if handover is not None:
        handover = Handover(
            handover["source"],
            handover["target"],
            base64.b64decode(handover["target_under_source"]),
            base64.b64decode(handover["source_under_target"]),
            handover["complete"],
        )
    return RootKeyState(versions, handover, record.version)
