"""Memory for the bytes of bodies on their way: not cleared first, and used again once nobody looks at it any more.

A new buffer's pages are cleared by the system when they are first written to, and a ``bytearray`` is cleared by Python:
either costs about a quarter of what encrypting the same bytes does. So blocks of one size are kept. The last view of
a block that goes away, whoever has it, gives the block back: no consumer has to say that it is done.
"""

from collections.abc import Sequence
from typing import Any, Final

from cffi import FFI  # type: ignore[import-untyped]

from proxy.stream import Buffer

BLOCK: Final = 9 * 64 * 1024 + 256
"""Bytes of a block that is kept: what is read at a time, sealed, with a segment that had been waiting and a frame."""
_KEPT: Final = 32
"""Blocks that are kept at most while nobody uses them."""

_ffi: Final = FFI()
_buffer: Final = _ffi.buffer
_bytes: Final = _ffi.typeof("unsigned char[]")
_address: Final = _ffi.typeof("void *")
_fresh: Final = _ffi.new_allocator(should_clear_after_alloc=False)
_blocks: Final[dict[Any, Any]] = {}
"""Every block there is, by its address."""
_unused: Final[list[Any]] = []
"""The addresses of those that nobody uses."""


def _take(size: int) -> Any:  # noqa: ARG001 - all have the same
    if _unused:
        return _unused.pop()
    block = _fresh(_bytes, BLOCK)
    address = _ffi.cast(_address, block)
    _blocks[address] = block
    return address


def _give_back(address: Any) -> None:
    if len(_unused) < _KEPT:
        _unused.append(address)
    else:
        del _blocks[address]


_kept: Final = _ffi.new_allocator(_take, _give_back, should_clear_after_alloc=False)


def new_buffer(size: int) -> memoryview:
    """A buffer of ``size`` bytes with undefined content, perhaps another body's: no more of it may be handed out than
    was written."""
    return memoryview(_buffer((_kept if BLOCK // 2 < size <= BLOCK else _fresh)(_bytes, size)))


def joined(pieces: Sequence[Buffer]) -> memoryview:
    """Buffers one after the other in a new one."""
    whole, end = new_buffer(sum(map(len, pieces))), 0
    for piece in pieces:
        start, end = end, end + len(piece)
        whole[start:end] = piece
    return whole
