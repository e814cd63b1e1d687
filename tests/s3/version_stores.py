"""A store in memory that lists versions: in the order of keys, as AWS does, or folder by folder, as SeaweedFS does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from proxy.aws import xml_codec
from proxy.aws.message import Request, Response
from proxy.s3.listings.object_listing import encode_key


class Kept(NamedTuple):
    """One version of a key."""

    version_id: str
    size: int = 56
    etag: str = '"00000000000000000000000000000001"'
    marker: bool = False


@dataclass
class VersionStore:
    """Versions by key, the newest first. ``sent`` is what was asked."""

    versions: Mapping[str, list[Kept]]
    by_folder: bool = False
    encodes: bool = True
    sent: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        parameter = request.parameter
        wanted = [parameter(name) or "" for name in ("prefix", "delimiter", "key-marker", "version-id-marker")]
        count = int(parameter("max-keys") or 1000)
        gather = self._walked if self.by_folder else self._in_order
        found = list(gather(*wanted, count + 1))
        rows = sorted(dict.fromkeys(found), key=lambda row: (row[0].encode(), row[1] == "null" and self.by_folder))
        return Response(200, body=self._render(rows[:count], truncated=len(rows) > count))

    async def aclose(self) -> None:
        """There is nothing to close."""

    def _in_order(
        self, prefix: str, delimiter: str, marker: str, version: str, limit: int
    ) -> Iterator[tuple[str, str]]:
        shown: dict[tuple[str, str], None] = {}
        for key in sorted(self.versions, key=str.encode):
            if not key.startswith(prefix) or key < marker or (key == marker and not version):
                continue
            head, behind, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            rows = [(prefix + head + behind, "")] if behind else [(key, kept.version_id) for kept in self.versions[key]]
            if key == marker and (key, version) in rows:
                rows = rows[rows.index((key, version)) + 1 :]
            shown |= dict.fromkeys(rows)
            if len(shown) >= limit:
                break
        yield from list(shown)[:limit]

    def _walked(self, prefix: str, delimiter: str, marker: str, version: str, limit: int) -> Iterator[tuple[str, str]]:
        """As far as SeaweedFS gets until it has enough; see ``proxy.s3.listings.version_walk``."""
        entries: list[tuple[list[str], str, str]] = []
        for key, versions in self.versions.items():
            *folders, name = key.split("/")
            for kept in versions:
                file = name if kept.version_id == "null" else f"{name}.versions"
                entries.append(([*folders, file], key, kept.version_id))
        shown: dict[tuple[str, str], None] = {}
        for path, key, version_id in sorted(entries, key=lambda entry: [name.encode() for name in entry[0]]):
            place = "/".join(path)
            if len(shown) >= limit or (marker and marker.split("/") < path < prefix.split("/")):
                # It takes what is not under the prefix for what comes after it.
                break
            if not place.startswith(prefix) or key < marker or self._passes_over(path, marker):
                continue
            # The version without an id counts as the oldest.
            ids = sorted((kept.version_id for kept in self.versions[key]), key=lambda own: own == "null")
            if key == marker and not (version and ids.index(version_id) > ids.index(version)):
                continue
            head, behind, _ = place[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if behind and prefix + head + behind <= marker:
                continue
            shown[(prefix + head + behind, "") if behind else (key, version_id)] = None
        yield from shown

    @staticmethod
    def _passes_over(path: list[str], marker: str) -> bool:
        for name, own in zip(marker.split("/"), path[:-1], strict=False):
            if name != own:
                return name.startswith(own)
        return False

    def _render(self, rows: list[tuple[str, str]], *, truncated: bool) -> bytes:
        encode = encode_key if self.encodes else str
        content: dict[str, Any] = {"IsTruncated": truncated, "Version": [], "DeleteMarker": [], "CommonPrefixes": []}
        for name, version_id in rows:
            if not version_id:
                content["CommonPrefixes"].append({"Prefix": encode(name)})
                continue
            place, kept = next(
                (place, kept) for place, kept in enumerate(self.versions[name]) if kept.version_id == version_id
            )
            members = {"Key": encode(name), "VersionId": version_id, "IsLatest": place == 0, "Owner": {"ID": "theirs"}}
            # The newest is said to be the youngest, though SeaweedFS tells them out of order.
            members["LastModified"] = f"2026-11-23T06:{59 - place:02d}:00Z"
            if kept.marker:
                content["DeleteMarker"].append(members)
            else:
                content["Version"].append({**members, "ETag": kept.etag, "Size": kept.size})
        content["EncodingType"] = "url" if self.encodes else None
        return xml_codec.render("ListVersionsResult", content)
