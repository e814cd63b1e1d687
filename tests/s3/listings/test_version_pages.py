"""Pages of versions, from a store in the order of keys and from one that walks its folders."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.s3.gateway import Target
from proxy.s3.listings import version_pages, version_walk
from proxy.s3.listings.object_listing import past_prefix
from proxy.s3.listings.version_listing import Item
from proxy.s3.listings.version_pages import Wanted
from proxy.s3.upstream.port import UpstreamError
from tests.s3.fakes import make_gateway
from tests.s3.version_stores import Kept, VersionStore

NAMES = st.lists(st.sampled_from(["a", "a-", "a.", "a.g", "a.v", "a0", "b", "a b"]), min_size=1, max_size=3).map(
    "/".join
)
IDS = st.lists(st.sampled_from(["9", "8", "7", "6", "null"]), min_size=1, max_size=5, unique=True)
BUCKETS = st.dictionaries(NAMES, IDS.map(lambda ids: [Kept(version_id) for version_id in ids]), max_size=12)
WALKS = st.tuples(
    st.sampled_from(["", "a", "a/", "a-", "a.", "a.v"]), st.sampled_from(["", "/", "-", "a"]), st.integers(1, 5)
)


def keys(versions: Mapping[str, list[str]]) -> dict[str, list[Kept]]:
    return {key: [Kept(version_id) for version_id in ids] for key, ids in versions.items()}


def expected(versions: Mapping[str, list[Kept]], prefix: str, delimiter: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key in sorted(versions, key=str.encode):
        if key.startswith(prefix):
            head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            rows = [(prefix + head + behind, "")] if behind else [(key, kept.version_id) for kept in versions[key]]
            found += [row for row in rows if row not in found[-1:]]
    return found


async def all_pages(
    store: VersionStore, prefix: str, delimiter: str, count: int, **profile: Any
) -> list[tuple[str, str]]:
    gateway = make_gateway(store, **profile)  # type: ignore[arg-type] - it is an Upstream, all the same
    fetch = version_walk.fetch if store.by_folder else version_pages.fetch
    found: list[Item] = []
    marker, version = "", ""
    while True:
        page = await fetch(gateway, Target("bucket"), Wanted(prefix, delimiter, marker, version, count))
        assert len(page.items) <= count
        found += page.items
        if not page.truncated:
            return [(item.name, item.version_id) for item in found]
        last = page.last
        marker, version = (last.name, last.version_id) if last.version else (past_prefix(last.name), "")


@given(BUCKETS, WALKS)
async def test_pages_in_the_order_of_keys(versions: dict[str, list[Kept]], walk: tuple[str, str, int]) -> None:
    prefix, delimiter, _ = walk
    assert await all_pages(VersionStore(versions), *walk) == expected(versions, prefix, delimiter)


@given(BUCKETS, WALKS, st.integers(4, 30))
@example(keys({"a": ["9", "8"], "a-": ["9"], "a.": ["9", "8", "null"], "a/a": ["9"]}), ("", "", 1), 4).via(
    "a version without an id, cut off behind those of a shorter key"
)
@example(keys({"a": ["9", "8", "7", "6", "null"]}), ("", "", 1), 4).via("cut off behind those of its own key")
@example(keys({"a": ["9", "8", "7", "6"], "a.": ["null"]}), ("a.", "", 1), 4).via("cut off where only it is asked for")
@settings(max_examples=200)
async def test_pages_of_a_store_that_walks_its_folders(
    versions: dict[str, list[Kept]], walk: tuple[str, str, int], most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version_walk, "_MOST", most)
        try:
            found = await all_pages(VersionStore(versions, by_folder=True), *walk)
        except UpstreamError:
            # A key with as many versions as a page, among others that the store comes to first. It says so.
            assert most <= max(
                sum(len(kept) for key, kept in versions.items() if key.startswith(name)) for name in versions
            )
        else:
            assert found == expected(versions, *walk[:2])


async def test_a_bucket_that_fits_in_a_page_is_asked_for_once() -> None:
    store = VersionStore({f"k{number}": [Kept("1")] for number in range(50)}, by_folder=True)
    page = await version_walk.fetch(make_gateway(store), Target("bucket"), Wanted("", "", "", "", 1000))  # type: ignore[arg-type]
    assert (len(page.items), page.truncated, len(store.sent)) == (50, False, 1)


@pytest.mark.parametrize("by_folder", [False, True])
@pytest.mark.parametrize("encodes", [False, True])
async def test_what_is_the_stores_own_is_not_shown(by_folder: bool, encodes: bool) -> None:
    """Nor does a page of nothing else end the listing."""
    names = ["a+ é", ".uploads/1", ".uploads/2", ".uploads/3", "b"]
    store = VersionStore({name: [Kept("1")] for name in names}, by_folder, encodes)
    assert await all_pages(store, "", "", 1, unfit_keys=re.compile(r"^\.uploads/")) == [("a+ é", "1"), ("b", "1")]
