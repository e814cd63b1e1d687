"""How an account is named in S3's answers."""

from functools import lru_cache
from hashlib import sha256


@lru_cache(maxsize=1024)
def canonical_id(account: str) -> str:
    """The canonical user id of an account: 64 hexadecimal digits, always the same ones, that do not tell its number."""
    return sha256(b"sse-kms-proxy canonical user id of " + account.encode()).hexdigest()
