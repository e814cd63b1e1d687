import asyncio
import base64
import os
import stat
from pathlib import Path

import pytest

from proxy.kms.errors import RootKeyUnusable, WrongRootKey
from proxy.kms.root_keys import file
from proxy.kms.root_keys.file import LocalRootKey
from tests.fakes import FakeRandom

KEY = bytes(range(32))


async def test_what_is_wrapped_comes_back_with_the_same_associated_data_only() -> None:
    root_key = LocalRootKey(KEY, FakeRandom())
    wrapped = await root_key.wrap(b"material", b"place")
    assert b"material" not in wrapped
    assert await root_key.unwrap(wrapped, b"place") == b"material"
    assert await root_key.wrap(b"material", b"place") != wrapped
    other = LocalRootKey(bytes(32), FakeRandom())
    for key, data, place in (
        (root_key, wrapped, b"elsewhere"),
        (other, wrapped, b"place"),
        (root_key, wrapped[:-1], b"place"),
        (root_key, wrapped[:10], b"place"),
        (root_key, b"", b"place"),
        (root_key, b"\x02" + wrapped[1:], b"place"),
    ):
        with pytest.raises(WrongRootKey):
            await key.unwrap(data, place)


def test_a_key_file_is_made_for_its_owner_alone_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    before = os.umask(0)
    try:
        key = file.create(path, FakeRandom())
    finally:
        os.umask(before)
    assert len(key) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert base64.b64decode(path.read_bytes()) == key
    assert file.load(path) == key
    assert file.create(path, FakeRandom("another")) == key
    assert [each.name for each in tmp_path.iterdir()] == ["root.key"]


async def test_of_many_that_make_the_file_at_once_all_have_one_key(tmp_path: Path) -> None:
    path = tmp_path / "root.key"
    keys = await asyncio.gather(*(asyncio.to_thread(file.create, path, FakeRandom(str(number))) for number in range(8)))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644, 0o777])
def test_a_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "root.key"
    file.create(path, FakeRandom())
    path.chmod(mode)
    with pytest.raises(RootKeyUnusable, match=f"has mode {mode:04o}; run: chmod 600"):
        file.load(path)
    with pytest.raises(RootKeyUnusable):
        file.create(path, FakeRandom())


@pytest.mark.parametrize("text", ["", "AAAA", base64.b64encode(bytes(31)).decode(), "ü" * 44, "!" * 44])
def test_what_is_no_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "root.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(RootKeyUnusable) as caught:
        file.load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(RootKeyUnusable) as caught:
        file.parse(text)
    assert not text or text not in str(caught.value)


def test_files_that_cannot_be_read_or_made(tmp_path: Path) -> None:
    with pytest.raises(RootKeyUnusable, match="No such file"):
        file.load(tmp_path / "missing")
    with pytest.raises(RootKeyUnusable, match="not a regular file"):
        file.load(tmp_path)
    with pytest.raises(RootKeyUnusable, match="cannot be made"):
        file.create(tmp_path / "missing" / "root.key", FakeRandom())


def test_a_key_from_the_environment_may_end_in_a_newline() -> None:
    assert file.parse(base64.b64encode(KEY).decode() + "\n") == KEY
