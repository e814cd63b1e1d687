"""Single objects: put, read in every way, tagged, deleted."""

import base64
import hashlib
import zlib

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.e2e.differential.asks import Ask, Text
from tests.e2e.differential.comparing import etag_pair, version_pair
from tests.e2e.differential.world import Target, World, any_names, names, pick, picks, sizes, targets

_NEVER = '"0123456789abcdef0123456789abcdef"'

_HEADERS = {
    "Content-Type": "text/x-test; charset=utf-8",
    "Cache-Control": "max-age=60, private",
    "Content-Disposition": 'attachment; filename="a b.txt"',
    "Content-Encoding": "gzip",
    "Content-Language": "de, en",
    "Expires": "Mon, 03 Feb 2031 04:05:06 GMT",
    "x-amz-meta-colour": "blue",
    "x-amz-meta-with-dash": "a, b;  c",
    "x-amz-tagging": "a=b&c%20d=e%2Bf",
}
header_sets = st.sets(st.sampled_from(sorted(_HEADERS)), max_size=3)

conditions = st.sampled_from(["", "", "", "", "current", "stale", "any", "never", "list"])
"""What If-Match or If-None-Match of a read names."""

write_conditions = st.sampled_from(["", "", "", "", "match current", "match stale", "match never", "none any"])
"""A write has one of those that AWS documents."""

_EDGES = (0, 1, 2, 99, 100, 65_479, 65_480, 65_481, 131_000, 199_999, 200_000, 10**12)
_edges = st.sampled_from(_EDGES)
ranges = st.one_of(
    st.builds("bytes={}-{}".format, _edges, _edges),
    st.builds("bytes={}-".format, _edges),
    st.builds("bytes=-{}".format, _edges),
    st.sampled_from(["bytes=5-2", "bytes=x-y", "bytes=0-1,3-4", "items=0-1", "bytes=", "bytes=-"]),
)
maybe_range = st.one_of(st.none(), st.none(), ranges)
checks = st.sampled_from(["", "", "", "md5", "crc32", "sha256", "wrong md5", "wrong crc32", "bad md5"])


def chosen(headers: set[str]) -> dict[str, Text]:
    return {name: _HEADERS[name] for name in sorted(headers)}


def digest(check: str, data: bytes) -> dict[str, Text]:
    """The header for a digest of the body: a right one, a wrong one or one that is none."""
    of = b"another body" if check.startswith("wrong") else data
    if check == "bad md5":
        return {"Content-MD5": "bm90IGFuIG1kNQ=="}
    if check.endswith("md5"):
        return {"Content-MD5": base64.b64encode(hashlib.md5(of).digest()).decode()}
    if check.endswith("crc32"):
        return {"x-amz-checksum-crc32": base64.b64encode(zlib.crc32(of).to_bytes(4, "big")).decode()}
    if check == "sha256":
        return {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(of).digest()).decode()}
    return {}


class ObjectRules(World):
    @rule(name=names, size=sizes, headers=header_sets, check=checks, condition=write_conditions)
    def put(self, name: str, size: int, headers: set[str], check: str, condition: str) -> None:
        if self.over:
            return
        key, data = self.key(name), self.content(0 if name.endswith("/") else size)
        # Which of two faults is told is not documented, so a request has one.
        extra = self.written_if(key, condition) if condition else digest(check, data)
        ask = Ask("PutObject", "PUT", key, headers={**chosen(headers), **extra}, body=data, changes=True)
        direct, proxy = self.send(ask)
        if direct.status == proxy.status == 200:
            self.wrote(key, etag_pair(direct, proxy), version_pair(direct, proxy))

    @rule(
        what=targets,
        wanted=maybe_range,
        if_match=conditions,
        if_none_match=conditions,
        version=st.one_of(st.none(), st.none(), picks),
        part=st.one_of(st.none(), st.none(), st.none(), st.none(), st.sampled_from(["1", "2", "3", "10000"])),
        head=st.booleans(),
    )
    def read(
        self,
        what: Target,
        wanted: str | None,
        if_match: str,
        if_none_match: str,
        version: int | None,
        part: str | None,
        head: bool,
    ) -> None:
        if self.over:
            return
        key = self.target(what)
        query: list[tuple[str, Text]] = []
        found = None if version is None else pick(self.versions, version)
        if found is not None:
            key = found[0]
            query.append(("versionId", found[1]))
        headers = {
            name: value
            for name, condition in (("If-Match", if_match), ("If-None-Match", if_none_match))
            if (value := self.condition(key, condition)) is not None
        }
        if part is not None:
            query.append(("partNumber", part))
            headers.clear()  # which of two faults is told is not documented
        elif wanted is not None:
            headers["Range"] = wanted
        self.send(Ask("HeadObject" if head else "GetObject", "HEAD" if head else "GET", key, query, headers))

    @rule(what=targets, override=st.sampled_from(["content-type", "cache-control", "content-language"]))
    def read_with_other_headers(self, what: Target, override: str) -> None:
        if self.over:
            return
        self.send(Ask("GetObject", "GET", self.target(what), [(f"response-{override}", "other, value")]))

    @rule(what=targets, several=st.booleans())
    def attributes(self, what: Target, several: bool) -> None:
        if self.over:
            return
        wanted = "ETag,ObjectSize,StorageClass" + (",ObjectParts" if several else "")
        headers: dict[str, Text] = {"x-amz-object-attributes": wanted}
        self.send(Ask("GetObjectAttributes", "GET", self.target(what), [("attributes", "")], headers))

    @rule(what=targets)
    def delete(self, what: Target) -> None:
        if self.over:
            return
        key = self.target(what)
        self.send(Ask("DeleteObject", "DELETE", key, changes=True))
        self.etags[key].clear()

    @rule(several=st.lists(any_names, min_size=1, max_size=4, unique=True), quiet=st.booleans())
    def delete_several(self, several: list[str], quiet: bool) -> None:
        if self.over:
            return
        keys = [self.key(name) for name in several]
        rows = "".join(f"<Object><Key>{escaped(key)}</Key></Object>" for key in keys)
        body = f"<Delete>{rows}<Quiet>{str(quiet).lower()}</Quiet></Delete>".encode()
        self.send(Ask("DeleteObjects", "POST", None, [("delete", "")], body=body, changes=True))
        for key in keys:
            self.etags[key].clear()

    @rule(what=targets, method=st.sampled_from(["GET", "GET", "PUT", "DELETE"]), count=st.integers(0, 2))
    def tagging(self, what: Target, method: str, count: int) -> None:
        if self.over:
            return
        tags = "".join(f"<Tag><Key>k{n}</Key><Value>v &amp; {n}</Value></Tag>" for n in range(count))
        body = f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode() if method == "PUT" else b""
        operation = {"GET": "GetObjectTagging", "PUT": "PutObjectTagging", "DELETE": "DeleteObjectTagging"}[method]
        headers = digest("md5", body) if body else {}
        changes = method != "GET"
        self.send(Ask(operation, method, self.target(what), [("tagging", "")], headers, body, changes=changes))

    def written_if(self, key: str, condition: str) -> dict[str, Text]:
        """The conditional header of a write; none where it would name an ETag that is not there."""
        kind, _, what = condition.partition(" ")
        value = self.condition(key, what)
        if value is None:
            return {}
        return {"If-Match" if kind == "match" else "If-None-Match": value}

    def condition(self, key: str, what: str) -> Text | None:
        current = self.etags[key][-1] if self.etags[key] else None
        if what == "any":
            return "*"
        if what == "never":
            return _NEVER
        if what == "current":
            return current
        if what == "stale":
            return self.stale(key)
        if what == "list" and current is not None:
            return (f"{_NEVER}, ", current)
        return None


def escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
