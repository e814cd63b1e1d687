"""A block is given out again once nobody looks at it, and never before."""

from proxy import buffers
from proxy.buffers import BLOCK, new_buffer


def address(view: memoryview) -> int:
    return int(buffers._ffi.cast("uintptr_t", buffers._ffi.from_buffer(view)))


def test_sizes() -> None:
    for size in (0, 1, BLOCK // 2, BLOCK // 2 + 1, BLOCK, BLOCK + 1):
        view = new_buffer(size)
        assert len(view) == size
        assert not view.readonly
        view[:] = bytes(size)
        assert view == bytes(size)


def test_a_block_is_used_again_once_its_last_view_has_gone() -> None:
    view = new_buffer(BLOCK)
    at = address(view)
    kept = view[1000:2000]
    kept[:] = b"k" * 1000
    del view
    others = [new_buffer(BLOCK) for _ in range(3)]
    for other in others:
        assert address(other) != at
        other[:] = b"o" * BLOCK
    assert kept == b"k" * 1000
    del others, other
    del kept
    found = [new_buffer(BLOCK) for _ in range(4)]
    assert at in {address(each) for each in found}


def test_all_that_are_in_use_are_different_and_only_so_many_are_kept() -> None:
    held = [new_buffer(BLOCK) for _ in range(100)]
    assert len({address(view) for view in held}) == 100
    assert len(buffers._blocks) >= 100
    held.clear()
    assert len(buffers._unused) == len(buffers._blocks) == buffers._KEPT
