"""Pages of ListObjectVersions from a store that lists its folders one after the other: SeaweedFS.

SeaweedFS 4.48 keeps the versions of ``KEY`` in a folder ``KEY.versions``, walks its folders in the order of their own
names and stops when it has gathered a page, which it then sorts. So when it stops in the folder ``a``, it has not been
to ``a-1``, ``a.gz`` or ``a`` itself, which come before ``a/``; and when it goes on after ``a-1``, it passes over the
folder ``a``. What it tells of the rest is right, and complete on a page that is the last.

Therefore it is asked for as much as it gives, 1,000. Where that is not all, the level of folders is listed by itself
(``delimiter=/``): a page of it lacks nothing before the name that it has come to, but the keys which that name begins
with. Folders that the first page had whole are taken from it, others are walked in turn.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import Final

from proxy.s3.gateway import Gateway, Target
from proxy.s3.listings.object_listing import marker_for, order_of, past_prefix
from proxy.s3.listings.version_listing import Item, VersionPage, in_order
from proxy.s3.listings.version_pages import Wanted, ask, ask_as_said
from proxy.s3.upstream.port import UpstreamError

_MOST: Final = 1000
_FOLDER: Final = ".versions"


async def fetch(gateway: Gateway, target: Target, wanted: Wanted) -> VersionPage:
    """The page, with the store's sizes and ETags.

    Raises:
        AwsError, UpstreamError: as from ``version_pages.ask``.
    """
    walk = _Walk(gateway, target, wanted)
    items: list[Item] = []
    if wanted.version_marker:
        items += _behind(await walk.versions_of(wanted.key_marker), wanted.version_marker)
    after: str | None = wanted.key_marker
    while after is not None and len(items) <= wanted.count:
        source = walk.level if wanted.delimiter == "/" else walk.everything
        start, after = after, None
        async for item in source(wanted.prefix, start):
            items.append(wanted.grouped(item))
            if items[-1].version is None and wanted.delimiter != "/":
                # The rest of the group need not be looked at.
                after = past_prefix(items[-1].name)
            if after is not None or len(items) > wanted.count:
                break
    return VersionPage(items[: wanted.count], len(items) > wanted.count)


async def versions_of(gateway: Gateway, target: Target, key: str) -> list[Item]:
    """All versions of one key, the newest first.

    Raises:
        AwsError, UpstreamError: as from ``version_pages.ask``.
    """
    return await _Walk(gateway, Target(target.bucket), Wanted(key, "", "", "", _MOST)).versions_of(key)


@dataclass(frozen=True)
class _Walk:
    gateway: Gateway
    target: Target
    wanted: Wanted

    async def everything(self, prefix: str, after: str) -> AsyncGenerator[Item, None]:
        """Every version of every key under ``prefix`` and after ``after``, in order."""
        page = await self._page(prefix, "", after)
        passed = await self._passed(prefix, after, deep=True)
        if not page.truncated and not passed:
            for item in page.items:
                yield item
            return
        begun = _folder_of(prefix, after)
        if begun is not None:
            async for item in self.everything(begun, after):
                yield item
        whole = _whole_folders(prefix, page)
        async for item in self.level(prefix, after):
            if item.version is not None:
                yield item
            elif item.name in whole:
                for inside in whole[item.name]:
                    yield inside
            else:
                inner = after if after.startswith(item.name) else ""
                async for inside in self.everything(item.name, inner):
                    yield inside

    async def level(self, prefix: str, after: str) -> AsyncGenerator[Item, None]:
        """The versions of the keys under ``prefix`` without another ``/``, and the folders beside them, in order."""
        while True:
            page = await self._page(prefix, "/", after)
            passed = [Item(folder, None) for folder in await self._passed(prefix, after)]
            if not page.truncated:
                for item in in_order([*page.items, *passed]):
                    yield item
                return
            reached = _reached(prefix, page.items)
            bound = order_of(f"{prefix}{reached}")
            doubtful = [key for key in _beginnings(prefix, reached) if order_of(key) > order_of(after)]
            known = [item for item in [*page.items, *passed] if item.name not in doubtful]
            items = [item for item in known if order_of(item.name) < bound]
            for key in doubtful:
                items += await self.versions_of(key)
            if not items:
                raise UpstreamError("the store's list of versions does not go on")
            for item in in_order(items):
                yield item
            after = max((item.name for item in items), key=order_of)

    async def _passed(self, prefix: str, after: str, *, deep: bool = False) -> list[str]:
        """The folders, on the level under ``prefix`` or (``deep``) on any, that the store passes over when it goes on
        after ``after``, though what is in them comes after it: for ``a-1``, ``a/``."""
        if not after.startswith(prefix):
            return []
        rest = after[len(prefix) :] if deep else after[len(prefix) :].partition("/")[0]
        names = [f"{prefix}{rest[:end]}" for end in range(len(rest)) if " " <= rest[end] < "/"]
        folders = [f"{name}/" for name in names if name and not name.endswith("/")]
        pages = await asyncio.gather(
            *(ask(self.gateway, self.target, Wanted(folder, "", "", "", 1)) for folder in folders)
        )
        return [
            folder
            for folder, page in zip(folders, pages, strict=True)
            if any(item.name.startswith(folder) for item in page.items)
        ]

    async def versions_of(self, key: str) -> list[Item]:
        """All versions of one key, the newest first."""
        page = await ask(self.gateway, self.target, Wanted(f"{key}{_FOLDER}", "", "", "", _MOST))
        found = _of_key(key, page.items)
        # Of its folder the key itself is the first that is come to, and the first in the order of keys.
        more = page.truncated and page.last.name == key
        while more:
            ids = [item.version_id for item in page.items if item.name == key and item.version_id != "null"]
            if not ids:
                raise UpstreamError("the store's list of versions does not go on")
            page = await ask(self.gateway, self.target, Wanted(key, "", key, ids[-1], _MOST))
            found |= _of_key(key, page.items)
            more = page.truncated
        # The version without an id may lie beside the folder. It is the first that is come to, and on a page that
        # begins behind the versions with an id, and behind shorter keys, it is the first in the order of keys, too.
        ids = [version_id for version_id in found if version_id != "null"]
        beside = Wanted(key, "", key, ids[-1], _MOST) if ids else Wanted(key, "", _past_shorter(key), "", _MOST)
        found |= _of_key(key, (await ask_as_said(self.gateway, self.target, beside)).items)
        return _by_age(found.values())

    async def _page(self, prefix: str, delimiter: str, after: str) -> VersionPage:
        """What the store tells, without what the client is not to see."""
        start = marker_for(self.gateway, prefix, after) or _past_shorter(prefix)
        page = await ask_as_said(self.gateway, self.target, Wanted(prefix, delimiter, start, "", _MOST))
        items = [
            Item(f"{prefix}{item.name[len(prefix) :].partition('/')[0]}/", None)
            if delimiter and "/" in item.name[len(prefix) :]
            else item
            for item in page.items
            if self.wanted.has(self.gateway, item) and order_of(item.name) > order_of(after)
        ]
        if page.truncated and not items:
            raise UpstreamError("the store's list of versions does not go on")
        return VersionPage(_once(items), page.truncated)


def _whole_folders(prefix: str, page: VersionPage) -> dict[str, list[Item]]:
    """The folders on the level under ``prefix`` that a page has whole, with what is in them. It lacks, at its end in
    the order of keys, what did not fit; and it has not gone into folders after the one that it has come to."""
    found: dict[str, list[Item]] = {}
    for item in page.items:
        name, below, _ = item.name[len(prefix) :].partition("/")
        if below:
            found.setdefault(f"{prefix}{name}/", []).append(item)
    if not page.truncated:
        return found
    reached = order_of(_reached(prefix, page.items))
    return {
        folder: inside
        for folder, inside in found.items()
        if order_of(folder[len(prefix) : -1]) < reached and not page.last.name.startswith(folder)
    }


def _once(items: Iterable[Item]) -> list[Item]:
    """Without repeated folders; the versions of each key in their order."""
    found: list[Item] = []
    of_key: list[Item] = []
    for item in items:
        if of_key and of_key[0].name != item.name:
            found += _by_age(of_key)
            of_key = []
        if item.version is not None:
            of_key.append(item)
        elif item not in found[-1:]:
            found.append(item)
    return found + _by_age(of_key)


def _of_key(key: str, items: Iterable[Item]) -> dict[str, Item]:
    return {item.version_id: item for item in items if item.name == key and item.version is not None}


def _by_age(versions: Iterable[Item]) -> list[Item]:
    """The store has the version without an id behind the others, wherever it belongs."""

    def modified(item: Item) -> str:
        return item.version.entry.modified if item.version else ""

    by_age = sorted(versions, key=modified, reverse=True)
    return sorted(by_age, key=lambda item: not (item.version and item.version.latest))


def _behind(versions: list[Item], marker: str) -> list[Item]:
    """The versions after the one that a page ended with. Where it has been deleted meanwhile, all of them: whoever
    deletes what a page has shown has deleted those before it, too."""
    ids = [item.version_id for item in versions]
    return versions[ids.index(marker) + 1 :] if marker in ids else versions


def _reached(prefix: str, items: Iterable[Item]) -> str:
    """The name, in the folder that ``prefix`` names or begins to name, that the store has come to at least."""
    names = []
    for item in items:
        name, below, _ = item.name[len(prefix) :].partition("/")
        with_id = item.version is not None and item.version_id != "null"
        names.append(f"{name}{_FOLDER}" if with_id and not below else name)
    return max(names, key=order_of)


def _beginnings(prefix: str, reached: str) -> list[str]:
    """The keys whose folder of versions comes after, or is, the one that the store has come to."""
    rests = ((reached[:end], reached[end:]) for end in range(len(reached)))
    return [f"{prefix}{name}" for name, rest in rests if rest <= _FOLDER and prefix + name]


def _past_shorter(prefix: str) -> str:
    """A marker behind the keys that do not begin with ``prefix`` though their folders of versions do: for ``a.v`` the
    key ``a``. ``""`` where there can be none. Nothing lies between it and the prefix: there the store would stop."""
    if not any(prefix.endswith(_FOLDER[:end]) for end in range(1, len(_FOLDER) + 1)):
        return ""
    return past_prefix(f"{prefix[:-1]}{chr(ord(prefix[-1]) - 1)}")


def _folder_of(prefix: str, after: str) -> str | None:
    """The folder, on the level under ``prefix``, that ``after`` lies in."""
    name, below, rest = after[len(prefix) :].partition("/") if after.startswith(prefix) else ("", "", "")
    return f"{prefix}{name}/" if below and past_prefix("") != rest else None
