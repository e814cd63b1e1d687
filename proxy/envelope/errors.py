"""The errors of the envelope. Their messages hold no secret and no plaintext."""


class EnvelopeError(Exception):
    """What lies in the bucket is damaged, was tampered with, belongs elsewhere, or the key is not its key."""


class UnknownVersion(EnvelopeError):
    """The object was written by a later version of the format than this program knows."""
