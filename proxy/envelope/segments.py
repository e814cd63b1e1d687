"""Streams of segments: the transforms that seal and open the bytes of an object. See FORMAT.md, section 3."""

from proxy.stream import Buffer


class Sealer:
    """Turns the plaintext of a single PUT or of a part into what is stored. A Transform.

    The last segment leaves in ``finalize`` only.
    """

    salt: bytes
    """Of this stream; the first sixteen bytes are a single PUT's object id and a part's attempt id."""
    stored_size: int
    """The size of the whole output."""

    def update(self, data: Buffer) -> Buffer:
        """Raises ValueError once there is more than was declared."""
        raise NotImplementedError

    def finalize(self) -> Buffer:
        """Raises ValueError if there was less than was declared."""
        raise NotImplementedError


class Opener:
    """Turns stored bytes into plaintext, all of it verified. A Transform.

    ``update`` raises EnvelopeError at the first byte that is not right, ``finalize`` when any is missing.
    """

    length: int
    """The size of the whole output."""

    def update(self, data: Buffer) -> Buffer:
        raise NotImplementedError

    def finalize(self) -> Buffer:
        raise NotImplementedError
