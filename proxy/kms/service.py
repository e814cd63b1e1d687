"""The key service: keys found, checked and used, for the operations and the in-process provider."""

from collections.abc import Callable
from datetime import datetime

from proxy.kms.root_key import RootKey
from proxy.kms.store import KeyStore


class KeyService:
    """What the operations stand on. ``start`` must have returned before anything else is called."""

    def __init__(
        self, store: KeyStore, root_key: RootKey, clock: Callable[[], datetime], random: Callable[[int], bytes]
    ) -> None:
        """``clock`` gives the time with its zone (UTC); ``random`` gives that many cryptographically random bytes."""
        raise NotImplementedError

    async def start(self) -> None:
        """Checks that the root key is the one that sealed the store, or seals a new store with it.

        Raises WrongRootKey, RootKeyUnusable or StoreUnavailable."""
        raise NotImplementedError
