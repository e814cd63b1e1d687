"""Multipart uploads: begun, parts sent and sent again, completed with gaps and wrongly, listed, aborted."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.e2e.differential.asks import Ask, Pair, Text
from tests.e2e.differential.comparing import element, etag_pair, version_pair
from tests.e2e.differential.object_rules import ObjectRules, checks, chosen, digest, header_sets
from tests.e2e.differential.world import Upload, names, pick, picks
from tests.e2e.samples import MIB

_BIG = 5 * MIB
part_numbers = st.sampled_from([1, 1, 2, 3, 10_000])


class MultipartRules(ObjectRules):
    @rule(name=names.filter(lambda name: not name.endswith("/")), headers=header_sets)
    def begin_upload(self, name: str, headers: set[str]) -> None:
        if self.over:
            return
        key = self.key(name)
        ask = Ask("CreateMultipartUpload", "POST", key, [("uploads", "")], chosen(headers), changes=True)
        direct, proxy = self.send(ask)
        if direct.status == proxy.status == 200:
            found = Pair(element(direct, "UploadId") or "", element(proxy, "UploadId") or "")
            self.uploads.append(Upload(key, found))

    @rule(
        which=picks,
        number=part_numbers,
        size=st.sampled_from([0, 1, 65_480, 131_001, 1_100_000, _BIG]),
        check=checks,
        ended=st.sampled_from([False] * 7 + [True]),
    )
    def send_part(self, which: int, number: int, size: int, check: str, ended: bool) -> None:
        upload = pick(self.ended if ended else self.uploads, which)
        if self.over or upload is None:
            return
        data = self.content(size)
        query: list[tuple[str, Text]] = [("partNumber", str(number)), ("uploadId", upload.id)]
        ask = Ask("UploadPart", "PUT", upload.key, query, digest(check, data), data, changes=True)
        direct, proxy = self.send(ask)
        if direct.status == proxy.status == 200:
            upload.parts[number] = etag_pair(direct, proxy)
            upload.sizes[number] = size

    @rule(which=picks, several=st.booleans())
    def list_parts(self, which: int, several: bool) -> None:
        upload = pick(self.uploads, which)
        if self.over or upload is None:
            return
        query: list[tuple[str, Text]] = [("uploadId", upload.id)]
        if several:
            query.append(("max-parts", "1"))
        self.send(Ask("ListParts", "GET", upload.key, query))

    @rule(
        which=picks,
        leave_out=st.one_of(st.none(), st.none(), picks),
        fault=st.sampled_from([""] * 8 + ["order", "etag", "missing", "empty"]),
    )
    def complete(self, which: int, leave_out: int | None, fault: str) -> None:
        upload = pick(self.uploads, which)
        if self.over or upload is None:
            return
        numbers = sorted(upload.parts)
        if leave_out is not None and len(numbers) > 1:
            del numbers[leave_out % len(numbers)]
        parts = [(number, upload.parts[number]) for number in numbers]
        never = Pair('"0123456789abcdef0123456789abcdef"', '"0123456789abcdef0123456789abcdef-0"')
        if any(upload.sizes[number] < _BIG for number in numbers[:-1]):
            fault = ""  # which of two faults is told is not documented
        if fault == "order":
            parts.reverse()
        elif fault == "etag" and parts:
            parts[-1] = (parts[-1][0], never)
        elif fault == "missing":
            parts.append((9_999 if 10_000 not in numbers else 4, never))
            parts.sort(key=lambda part: part[0])
        elif fault == "empty":
            parts = []
        pieces: list[str | Pair] = ["<CompleteMultipartUpload>"]
        for number, etag in parts:
            pieces += [f"<Part><PartNumber>{number}</PartNumber><ETag>", etag, "</ETag></Part>"]
        body = (*pieces, "</CompleteMultipartUpload>")
        query: list[tuple[str, Text]] = [("uploadId", upload.id)]
        direct, proxy = self.send(Ask("CompleteMultipartUpload", "POST", upload.key, query, body=body, changes=True))
        if direct.status == proxy.status == 200 and direct.code == proxy.code is None:
            self.uploads.remove(upload)
            self.ended.append(upload)
            self.wrote(upload.key, etag_pair(direct, proxy), version_pair(direct, proxy))

    @rule(which=picks, again=st.sampled_from([False, False, False, True]))
    def abort(self, which: int, again: bool) -> None:
        upload = pick(self.ended if again else self.uploads, which)
        if self.over or upload is None:
            return
        query: list[tuple[str, Text]] = [("uploadId", upload.id)]
        self.send(Ask("AbortMultipartUpload", "DELETE", upload.key, query, changes=True))
        if not again:
            self.uploads.remove(upload)
            self.ended.append(upload)
