"""Copies: of objects and of parts, whole and in ranges, with conditions, of versions, onto themselves."""

from urllib.parse import quote

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.e2e.differential.asks import Ask, Pair, Text
from tests.e2e.differential.comparing import etag_pair, version_pair
from tests.e2e.differential.multipart_rules import MultipartRules, part_numbers
from tests.e2e.differential.object_rules import chosen, conditions, header_sets
from tests.e2e.differential.world import NAMES, Target, names, pick, picks, targets

ranges = st.sampled_from(["", "", "bytes=0-0", "bytes=0-65479", "bytes=1-65480", "bytes=99-131000", "bytes=0-9999999"])
real_names = names.filter(lambda name: not name.endswith("/"))


class CopyRules(MultipartRules):
    @rule(
        what=targets,
        to=real_names,
        version=st.one_of(st.none(), st.none(), picks),
        if_match=conditions,
        if_none_match=conditions,
        replace=st.one_of(st.none(), st.none(), header_sets),
        tags=st.sampled_from(["", "", "COPY", "REPLACE"]),
        itself=st.sampled_from([False] * 5 + [True]),
    )
    def copy(
        self,
        what: Target,
        to: str,
        version: int | None,
        if_match: str,
        if_none_match: str,
        replace: set[str] | None,
        tags: str,
        itself: bool,
    ) -> None:
        if self.over:
            return
        source, headers = self.source(what, version)
        key = source if itself else self.key(to)
        if not itself:  # which of two faults is told is not documented
            headers |= self.source_conditions(source, if_match, if_none_match)
        if replace is not None:
            headers |= {"x-amz-metadata-directive": "REPLACE", **chosen(replace - {"x-amz-tagging"})}
        if tags:
            headers["x-amz-tagging-directive"] = tags
            if tags == "REPLACE":
                headers["x-amz-tagging"] = "new=tag"
        ask = Ask("CopyObject", "PUT", key, headers=headers, changes=True)
        direct, proxy = self.send(ask)
        if direct.status == proxy.status == 200:
            self.wrote(key, etag_pair(direct, proxy), version_pair(direct, proxy))

    @rule(
        which=picks,
        what=targets,
        number=part_numbers,
        version=st.one_of(st.none(), st.none(), picks),
        wanted=ranges,
        if_match=conditions,
    )
    def copy_part(self, which: int, what: Target, number: int, version: int | None, wanted: str, if_match: str) -> None:
        upload = pick(self.uploads, which)
        if self.over or upload is None:
            return
        source, headers = self.source(what, version)
        if wanted:
            headers["x-amz-copy-source-range"] = wanted
        else:  # which of two faults is told is not documented
            headers |= self.source_conditions(source, if_match, "")
        query: list[tuple[str, Text]] = [("partNumber", str(number)), ("uploadId", upload.id)]
        direct, proxy = self.send(Ask("UploadPartCopy", "PUT", upload.key, query, headers, changes=True))
        if direct.status == proxy.status == 200:
            upload.parts[number] = etag_pair(direct, proxy)
            upload.sizes[number] = 0

    def source(self, what: Target, version: int | None) -> tuple[str, dict[str, Text]]:
        """The key of a source, and the header that names it."""
        found = None if version is None else pick(self.versions, version)
        key = self.target(what) if found is None else found[0]
        if key.endswith("/"):
            key = self.key(NAMES[0])
            found = None
        place = Pair(self.sides.direct.bucket, self.sides.proxy.bucket)
        named: list[str | Pair] = [place, f"/{quote(key)}"]
        if found is not None:
            named += ["?versionId=", found[1]]
        return key, {"x-amz-copy-source": tuple(named)}

    def source_conditions(self, key: str, if_match: str, if_none_match: str) -> dict[str, Text]:
        found = {
            "x-amz-copy-source-if-match": self.condition(key, if_match),
            "x-amz-copy-source-if-none-match": self.condition(key, if_none_match),
        }
        return {name: value for name, value in found.items() if value is not None}
