"""Listings: every form of them, and page by page."""

from urllib.parse import unquote_plus

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.e2e.differential.asks import Ask, Text
from tests.e2e.differential.comparing import elements
from tests.e2e.differential.world import World
from tests.e2e.wire import Answer

prefixes = st.sampled_from(
    ["", "", "d", "dir", "dir/", "dir/s", "uploads/", "a", "a b+c", "ü/", "<", "none", "marker/"]
)
delimiters = st.sampled_from(["", "/", "/", "/", "-", "ir", " "])
counts = st.sampled_from([1, 2, 3, 5])


class ListingRules(World):
    @rule(
        prefix=prefixes,
        delimiter=delimiters,
        count=st.one_of(st.none(), st.integers(0, 5)),
        after=st.sampled_from(["", "", "a", "b", "dir", "dir/", "zz"]),
        url=st.booleans(),
        version=st.sampled_from(["1", "2", "2"]),
    )
    def list_objects(self, prefix: str, delimiter: str, count: int | None, after: str, url: bool, version: str) -> None:
        if self.over:
            return
        query = self.query(prefix, delimiter, version=version, url=url)
        if after:
            query.append(("start-after" if version == "2" else "marker", self.prefix + after))
        if count is not None:
            query.append(("max-keys", str(count)))
        operation = "ListObjectsV2" if version == "2" else "ListObjects"
        self.send(Ask(operation, "GET", None, query))

    @rule(prefix=prefixes, delimiter=delimiters, count=st.one_of(st.none(), counts), url=st.booleans())
    def list_versions(self, prefix: str, delimiter: str, count: int | None, url: bool) -> None:
        if self.over:
            return
        query = [("versions", ""), *self.query(prefix, delimiter, version="1", url=url)]
        if count is not None:
            query.append(("max-keys", str(count)))
        self.send(Ask("ListObjectVersions", "GET", None, query))

    @rule(prefix=prefixes, delimiter=delimiters, url=st.booleans())
    def list_uploads(self, prefix: str, delimiter: str, url: bool) -> None:
        if self.over:
            return
        query = [("uploads", ""), *self.query(prefix, delimiter, version="1", url=url)]
        self.send(Ask("ListMultipartUploads", "GET", None, query))

    @rule(prefix=prefixes, delimiter=delimiters, count=counts, version=st.sampled_from(["1", "2"]))
    def page_by_page(self, prefix: str, delimiter: str, count: int, version: str) -> None:
        """The proxy's pages, one after the other, are the listing in one page, and each but the last is full."""
        if self.over:
            return
        query = self.query(prefix, delimiter, version=version, url=True)
        _, whole = self.send(Ask("ListObjectsV2" if version == "2" else "ListObjects", "GET", None, query))
        expected, seen = rows(whole), []
        more: list[tuple[str, Text]] = []
        for _ in range(len(expected) + 1):
            page = self.sides.proxy.send(Ask("page", "GET", None, [*query, ("max-keys", str(count)), *more]))
            assert page.status == 200, page.body
            found = elements(page.body)
            seen += rows(page)
            if found["/ListBucketResult/IsTruncated"] != ["true"]:
                break
            assert len(rows(page)) == count
            if version == "2":
                more = [("continuation-token", found["/ListBucketResult/NextContinuationToken"][0])]
            else:
                last = found.get("/ListBucketResult/NextMarker") or rows(page)[-1:]
                more = [("marker", unquote_plus(last[0]))]
        assert sorted(seen) == sorted(expected), f"{query} in pages of {count}: {seen} instead of {expected}"

    @rule(prefix=prefixes, delimiter=st.sampled_from(["", "/"]), count=counts)
    def versions_page_by_page(self, prefix: str, delimiter: str, count: int) -> None:
        """The same of versions."""
        if self.over:
            return
        query = [("versions", ""), *self.query(prefix, delimiter, version="1", url=True)]
        _, whole = self.send(Ask("ListObjectVersions", "GET", None, query))
        expected, seen = version_rows(whole), []
        more: list[tuple[str, Text]] = []
        for _ in range(len(expected) + 1):
            page = self.sides.proxy.send(Ask("page", "GET", None, [*query, ("max-keys", str(count)), *more]))
            assert page.status == 200, page.body
            found = elements(page.body)
            seen += version_rows(page)
            if found["/ListVersionsResult/IsTruncated"] != ["true"]:
                break
            assert len(version_rows(page)) == count
            more = [("key-marker", unquote_plus(found["/ListVersionsResult/NextKeyMarker"][0]))]
            if "/ListVersionsResult/NextVersionIdMarker" in found:
                more.append(("version-id-marker", found["/ListVersionsResult/NextVersionIdMarker"][0]))
        assert sorted(seen) == sorted(expected), f"{query} in pages of {count}: {seen} instead of {expected}"

    def query(self, prefix: str, delimiter: str, *, version: str, url: bool) -> list[tuple[str, Text]]:
        query: list[tuple[str, Text]] = [("prefix", self.prefix + prefix)]
        if version == "2":
            query.append(("list-type", "2"))
        if delimiter:
            query.append(("delimiter", delimiter))
        if url:
            query.append(("encoding-type", "url"))
        return query


def rows(answer: Answer) -> list[str]:
    """The common prefixes and keys of a page, still encoded."""
    found = elements(answer.body)
    keys = found.get("/ListBucketResult/Contents/Key", [])
    return [*found.get("/ListBucketResult/CommonPrefixes/Prefix", []), *keys]


def version_rows(answer: Answer) -> list[tuple[str, str]]:
    """The common prefixes, and keys and ids of versions, of a page."""
    found = elements(answer.body)
    entries = ("/ListVersionsResult/Entry/Key", "/ListVersionsResult/Entry/VersionId")
    versions = zip(*(found.get(path, []) for path in entries), strict=True)
    return [*((prefix, "") for prefix in found.get("/ListVersionsResult/CommonPrefixes/Prefix", [])), *versions]
