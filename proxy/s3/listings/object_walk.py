"""Pages of ListObjects from a store that lists its folders one after the other: SeaweedFS.

S3 lists keys by their bytes. SeaweedFS 4.48 lists by the names of its folders, so ``a/b`` before ``a-1``, and goes on
from there: after ``a-1`` it has passed the folder ``a``. Its own order is complete, but whoever resumes by S3's repeats
or loses keys.

A page of it is S3's, once sorted, unless it ends amid such neighbours: a folder that it is in, or has been through,
beside names that begin like it and go on with what sorts before ``/``. That is asked for with a request for each level
of the last key and each such character of the marker, and only where a page is not all there is. Then the levels of
folders are listed by themselves (``delimiter=/``), and folders walked in their turn.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from proxy.s3.forwarding import expect, upstream_request
from proxy.s3.gateway import Gateway, Target
from proxy.s3.listings.object_listing import Entry, Page, order_of, past_prefix, read_page
from proxy.s3.upstream.port import UpstreamError

_MOST: Final = 1000
_END: Final = past_prefix("")


class Item(NamedTuple):
    """An object, or a common prefix: then without an entry."""

    name: str
    entry: Entry | None = None


class _Asked(NamedTuple):
    items: Sequence[Item]
    truncated: bool


async def fetch(gateway: Gateway, target: Target, prefix: str, delimiter: str, after: str, count: int) -> Page:
    """The page of at most ``count`` keys and common prefixes after ``after``, in the order of keys.

    Raises:
        AwsError: the store's refusal.
        UpstreamError: its answer can't be read.
    """
    walk = _Walk(gateway, target)
    own = delimiter if delimiter == "/" else ""
    page = await walk.ask(prefix, own, _outside(prefix, after) if own else after, _MOST if delimiter != own else count)
    passed = await walk.passed(prefix, after, deep=not own)
    items = _behind(page.items, after)
    usable = not page.truncated or (bool(items) and delimiter == own and await walk.is_whole(prefix, page.items))
    if usable and not passed:
        found = _grouped(items, prefix, delimiter)
        return _page(found[:count], page.truncated or len(found) > count)
    found = []
    start: str | None = after
    while start is not None and len(found) <= count:
        source = walk.level(prefix, start) if own else walk.everything(prefix, start)
        start = None
        async for item in source:
            found += _grouped([item], prefix, delimiter)
            if found[-1].entry is None and not own:
                # The rest of the group need not be looked at.
                start = past_prefix(found[-1].name)
            if start is not None or len(found) > count:
                break
    return _page(found[:count], len(found) > count)


@dataclass(frozen=True)
class _Walk:
    gateway: Gateway
    target: Target

    async def ask(self, prefix: str, delimiter: str, after: str, count: int) -> _Asked:
        """What the store answers, in the order of keys."""
        named = {"prefix": prefix, "delimiter": delimiter, "start-after": after}
        query = {"list-type": "2", "encoding-type": "url", "max-keys": str(count)}
        query |= {name: value for name, value in named.items() if value}
        answer = await self.gateway.upstream.send(upstream_request("GET", self.target, query=query))
        page = read_page(await expect(answer, self.target, 200))
        items = [*(Item(entry.key, entry) for entry in page.entries), *(Item(name) for name in page.prefixes)]
        return _Asked(_sorted(items), page.truncated)

    async def passed(self, prefix: str, after: str, *, deep: bool) -> list[str]:
        """The folders, on the level under ``prefix`` or (``deep``) on any, that the store passes over when it goes on
        after ``after``, though what is in them comes after it: for ``a-1``, and for ``a``, the folder ``a/``."""
        if not after.startswith(prefix):
            return []
        rest = after[len(prefix) :]
        name, below, _ = rest.partition("/")
        looked_at = rest if deep else name
        ends = [end for end in range(len(looked_at)) if " " <= looked_at[end] < "/"]
        if (deep or not below) and not looked_at.endswith(("/", _END)):
            ends.append(len(looked_at))
        names = [f"{prefix}{looked_at[:end]}" for end in ends]
        return await self._that_exist(name for name in names if name and not name.endswith("/"))

    async def is_whole(self, prefix: str, items: Sequence[Item]) -> bool:
        """Whether there is nothing before the last of the items that is not among them."""
        last = max((item.name for item in items), key=lambda name: (_place(name[len(prefix) :]), name), default="")
        *folders, _ = names = last[len(prefix) :].split("/")
        place, beside = prefix, []
        for level, name in enumerate(names):
            for end in range(len(name)):
                if " " <= name[end] < "/" and any(item.name.startswith(f"{place}{name[:end]}/") for item in items):
                    return False
            if level < len(folders):
                beside.append(f"{place}{name}")
                place = f"{place}{name}/"
        answers = await asyncio.gather(*(self.ask(name, "/", f"{name}/{_END}", 1) for name in beside))
        return not any(
            item.name.startswith(name) and " " <= item.name[len(name) : len(name) + 1] < "/"
            for name, answer in zip(beside, answers, strict=True)
            for item in answer.items
        )

    async def everything(self, prefix: str, after: str) -> AsyncGenerator[Item, None]:
        """Every object under ``prefix`` and after ``after``, in order."""
        page = await self.ask(prefix, "", after, _MOST)
        if not page.truncated and not await self.passed(prefix, after, deep=True):
            for item in _behind(page.items, after):
                yield item
            return
        name, below, rest = after[len(prefix) :].partition("/") if after.startswith(prefix) else ("", "", "")
        if below and rest != _END:
            async for item in self.everything(f"{prefix}{name}/", after):
                yield item
        async for item in self.level(prefix, after):
            if item.entry is not None:
                yield item
                continue
            async for inside in self.everything(item.name, after if after.startswith(item.name) else ""):
                yield inside

    async def level(self, prefix: str, after: str) -> AsyncGenerator[Item, None]:
        """The objects under ``prefix`` without another ``/``, and the folders beside them, in order."""
        start: str | None = _outside(prefix, after)
        while start is not None:
            after, at = max(after, start, key=order_of), start
            page = await self.ask(prefix, "/", at, _MOST)
            passed = await self.passed(prefix, at, deep=False)
            items = _sorted({*page.items, *map(Item, passed)})
            start = None
            if page.truncated:
                # What the store has not come to yet begins with a greater name than the last.
                reached = max((item.name.removesuffix("/") for item in page.items), key=order_of)
                items = [item for item in items if order_of(item.name) <= order_of(reached)]
                if not items:
                    raise UpstreamError("the store's listing does not go on")
                start = past_prefix(items[-1].name) if items[-1].entry is None else items[-1].name
            for item in _behind(items, after):
                yield item

    async def _that_exist(self, names: Iterable[str]) -> list[str]:
        folders = [f"{name}/" for name in names]
        answers = await asyncio.gather(*(self.ask(folder, "", "", 1) for folder in folders))
        return [folder for folder, answer in zip(folders, answers, strict=True) if answer.items]


def _outside(prefix: str, after: str) -> str:
    """A marker for a level of folders: the end of the folder that ``after`` lies in."""
    name, below, _ = after[len(prefix) :].partition("/") if after.startswith(prefix) else ("", "", "")
    return f"{prefix}{name}/{_END}" if below else after


def _behind(items: Iterable[Item], after: str) -> list[Item]:
    """Without what comes before the marker in the order of keys, though after it in the store's."""
    bound = order_of(after)
    return [item for item in items if order_of(item.name) > bound]


def _sorted(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: order_of(item.name))


def _place(name: str) -> list[bytes]:
    """What the store sorts by."""
    return [order_of(part) for part in name.removesuffix("/").split("/")]


def _grouped(items: Iterable[Item], prefix: str, delimiter: str) -> list[Item]:
    if not delimiter:
        return list(items)
    found: dict[str, Item] = {}
    for item in items:
        head, behind, _ = item.name[len(prefix) :].partition(delimiter)
        shown = Item(f"{prefix}{head}{behind}") if behind else item
        found.setdefault(shown.name, shown)
    return list(found.values())


def _page(items: Sequence[Item], truncated: bool) -> Page:
    entries = [item.entry for item in items if item.entry is not None]
    return Page(entries, [item.name for item in items if item.entry is None], truncated)
