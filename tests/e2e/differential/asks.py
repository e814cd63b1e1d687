"""A request that goes to two sides, the store itself and the proxy before it, each in its own words.

What the sides name differently (ETags, version ids, upload ids, the bucket in a copy's source) stands in a request as
a ``Pair``.
"""

import base64
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.e2e.wire import Answer, Wire

_IDLE_SECONDS = 30.0
"""After which a connection may be about to be closed by the other end."""


@dataclass(frozen=True)
class Pair:
    """What the store calls by one name and the proxy by another."""

    direct: str
    proxy: str


Text = str | Pair | tuple[str | Pair, ...]
"""Text that differs between the sides where it has a Pair."""


def text_for(text: Text, *, direct: bool) -> str:
    if isinstance(text, str):
        return text
    if isinstance(text, Pair):
        return text.direct if direct else text.proxy
    return "".join(text_for(piece, direct=direct) for piece in text)


@dataclass(frozen=True)
class Ask:
    """One request, for either side. ``operation`` names it in messages and in the table of deviations."""

    operation: str
    method: str
    key: str | None = None
    query: Sequence[tuple[str, Text]] = ()
    headers: Mapping[str, Text] = field(default_factory=dict)
    body: bytes | Text = b""
    changes: bool = False
    """Whether what it does to the bucket shows later, so that sides which disagree on it have parted for good."""

    def parameter(self, name: str) -> Text | None:
        return dict(self.query).get(name)


@dataclass
class Side:
    """One of the two: a connection and a bucket."""

    wire: Wire
    bucket: str
    direct: bool
    used: float = 0.0
    """When, on the monotonic clock."""

    def send(self, ask: Ask) -> Answer:
        now = time.monotonic()
        if now - self.used > _IDLE_SECONDS:
            self.wire.close()
        self.used = now
        try:
            return self._send(ask)
        except ConnectionResetError:
            # As SDKs do it where a kept-alive connection has been closed.
            print(f"a connection was reset: {ask.operation}, {'store' if self.direct else 'proxy'}")
            self.wire.close()
            return self._send(ask)

    def _send(self, ask: Ask) -> Answer:
        path = f"/{self.bucket}" if ask.key is None else f"/{self.bucket}/{ask.key}"
        query = [(name, text_for(value, direct=self.direct)) for name, value in ask.query]
        headers = {name: text_for(value, direct=self.direct) for name, value in ask.headers.items()}
        body = ask.body if isinstance(ask.body, bytes) else text_for(ask.body, direct=self.direct).encode()
        if ask.method == "POST" and ask.parameter("delete") is not None:
            headers["Content-MD5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        return self.wire.call(ask.method, path, query, headers, body)


@dataclass(frozen=True)
class Sides:
    """The store with a plain bucket, and the proxy with one that encrypts, on the same store."""

    store: str
    mode: str
    """How the proxy's bucket encrypts: ``aws:kms`` or ``AES256``."""
    direct: Side
    proxy: Side

    def send(self, ask: Ask) -> tuple[Answer, Answer]:
        return self.direct.send(ask), self.proxy.send(ask)
