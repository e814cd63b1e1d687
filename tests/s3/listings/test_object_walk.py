"""Pages of objects from a store that walks its folders."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.aws import xml_codec
from proxy.aws.message import Request, Response
from proxy.s3.gateway import Target
from proxy.s3.listings import object_walk
from proxy.s3.listings.object_listing import encode_key
from tests.s3.fakes import make_gateway

NAMES = st.lists(st.sampled_from(["a", "a-", "a.", "a.g", "a0", "b", "a b"]), min_size=1, max_size=3).map("/".join)
WALKS = st.tuples(st.sampled_from(["", "a", "a/", "a-"]), st.sampled_from(["", "/", "-", "a"]), st.integers(1, 5))


@dataclass
class FolderStore:
    """Lists keys in the order of its folders' names, and goes on in that order, as SeaweedFS does."""

    keys: Iterable[str]
    sent: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        parameter = request.parameter
        prefix, delimiter, after = (parameter(name) or "" for name in ("prefix", "delimiter", "start-after"))
        shown: dict[str, None] = {}
        for key in sorted(self.keys, key=_place):
            head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            name = prefix + head + behind if behind else key
            # A folder has been passed where its own name has.
            begins = _place(after)[: len(_place(key))] == _place(key)[: len(_place(after))]
            inside = begins and len(_place(key)) > len(_place(after))
            if key.startswith(prefix) and _place(key) > _place(after) and not (after and inside):
                shown[name] = None
        count = int(parameter("max-keys") or 1000)
        names = list(shown)[:count]
        content: dict[str, Any] = {
            "IsTruncated": len(shown) > count,
            "Contents": [_entry(name) for name in names if name in self.keys],
            "CommonPrefixes": [{"Prefix": encode_key(name)} for name in names if name not in self.keys],
        }
        return Response(200, body=xml_codec.render("ListBucketResult", content))

    async def aclose(self) -> None:
        """There is nothing to close."""


def _entry(key: str) -> dict[str, Any]:
    return {"Key": encode_key(key), "LastModified": "2026-11-23T06:00:00Z", "ETag": '"e"', "Size": 56}


def _place(key: str) -> list[bytes]:
    return [part.encode() for part in key.split("/")]


def expected(keys: Iterable[str], prefix: str, delimiter: str) -> list[str]:
    found: dict[str, None] = {}
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            found[prefix + head + behind if behind else key] = None
    return list(found)


async def all_pages(store: FolderStore, prefix: str, delimiter: str, count: int) -> list[str]:
    gateway = make_gateway(store)  # type: ignore[arg-type] - it is an Upstream, all the same
    found: list[str] = []
    after = ""
    while True:
        page = await object_walk.fetch(gateway, Target("bucket"), prefix, delimiter, after, count)
        names = sorted([*(entry.key for entry in page.entries), *page.prefixes], key=str.encode)
        assert 0 < len(names) <= count or not page.truncated
        found += names
        if not page.truncated:
            return found
        after = page.resume


@given(st.sets(NAMES, max_size=14), WALKS, st.integers(4, 20))
@settings(max_examples=300)
async def test_pages_together_are_the_listing(keys: set[str], walk: tuple[str, str, int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_walk, "_MOST", most)
        assert await all_pages(FolderStore(keys), *walk) == expected(keys, *walk[:2])


async def test_a_listing_that_is_one_page_is_one_request_and_sorted() -> None:
    store = FolderStore({"a/b", "a-1", "a0"})
    assert await all_pages(store, "", "", 1000) == ["a-1", "a/b", "a0"]
    assert len(store.sent) == 1


async def test_a_flat_bucket_costs_a_request_for_each_page() -> None:
    store = FolderStore({f"k{number:03}" for number in range(100)})
    assert len(await all_pages(store, "", "", 10)) == 100
    pages = [request for request in store.sent if request.parameter("max-keys") == "10"]
    assert len(pages) == 10
    # And a look, after each page, at a folder of the last key's name.
    assert len(store.sent) == 19
