"""The parts that the store has of an upload under way, as its ListParts tells.

Most stores have the last attempt at a part that they took; SeaweedFS keeps and lists all of them, and makes an object
of whichever is named.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

from proxy.aws.message import Request
from proxy.s3.forwarding import expect, parse_answer, render_query
from proxy.s3.gateway import Gateway, Target
from proxy.s3.upstream.port import UpstreamError


class StoredParts:
    """One listing of an upload's parts."""

    def __init__(self, gateway: Gateway, target: Target, upload_id: str) -> None:
        self._gateway = gateway
        self._target = target
        self._upload_id = upload_id
        self.storage_class = "STANDARD"
        """Known once something was asked for."""

    async def after(self, marker: int, page: int) -> AsyncGenerator[tuple[int, Mapping[str, str]], None]:
        """Part numbers above ``marker`` in order, each with the attempts that are there: upstream ETag, with its
        quotes, to LastModified. The store is asked for ``page`` rows at a time, 1 to 1,000.

        Raises:
            AwsError, UpstreamError: the store refuses or fails.
        """
        truncated = True
        while truncated:
            found, truncated = await self._page(marker, page)
            if truncated and len(found) > 1:
                # More attempts at the last of them may follow; they would be passed over.
                del found[max(found)]
            for number in sorted(found):
                yield number, found[number]
            if truncated and not found:
                raise UpstreamError("the store's list of parts does not go on")
            marker = max(found, default=marker)

    async def _page(self, marker: int, page: int) -> tuple[dict[int, dict[str, str]], bool]:
        query = [("max-parts", str(page)), ("part-number-marker", str(marker)), ("uploadId", self._upload_id)]
        answer = await self._gateway.upstream.send(Request("GET", self._target.path, render_query(query)))
        listed: Mapping[str, Any] = parse_answer(
            await expect(answer, self._target, 200), "ListPartsResult", lists=["Part"]
        )
        self.storage_class = listed.get("StorageClass") or "STANDARD"
        found: dict[int, dict[str, str]] = {}
        try:
            for row in listed.get("Part", []):
                etag = row["ETag"].strip('"')
                found.setdefault(int(row["PartNumber"]), {})[f'"{etag}"'] = row["LastModified"]
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise UpstreamError("the store's list of parts can't be read") from error
        return found, listed.get("IsTruncated") == "true"
