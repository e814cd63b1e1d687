"""Versions: kept, suspended, deleted one by one."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.e2e.differential.asks import Ask
from tests.e2e.differential.comparing import version_pair
from tests.e2e.differential.object_rules import escaped
from tests.e2e.differential.world import Target, World, pick, picks, targets


class VersionRules(World):
    @rule(what=targets)
    def delete_leaving_a_marker(self, what: Target) -> None:
        if self.over:
            return
        key = self.target(what)
        direct, proxy = self.send(Ask("DeleteObject", "DELETE", key, changes=True))
        self.etags[key].clear()
        marker = version_pair(direct, proxy)
        if marker is not None and marker.direct != "null":
            self.versions.append((key, marker))

    @rule(which=picks)
    def delete_version(self, which: int) -> None:
        found = pick(self.versions, which)
        if self.over or found is None:
            return
        key, version = found
        self.send(Ask("DeleteObjectVersion", "DELETE", key, [("versionId", version)], changes=True))
        self.versions.remove(found)
        self.etags[key].clear()

    @rule(what=targets)
    def delete_null_version(self, what: Target) -> None:
        if self.over:
            return
        key = self.target(what)
        self.send(Ask("DeleteObjectVersion", "DELETE", key, [("versionId", "null")], changes=True))
        self.etags[key].clear()

    @rule(status=st.sampled_from(["Enabled", "Suspended"]))
    def keep_versions(self, status: str) -> None:
        """Enabled or suspended, and back at the example's end. In buckets that keep none, nothing is changed."""
        if not self.over and self.versioned:
            self.set_versioning(status)

    def teardown(self) -> None:
        if self.suspended:
            self.set_versioning("Enabled")

    def set_versioning(self, status: str) -> None:
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        self.sides.send(Ask("PutBucketVersioning", "PUT", None, [("versioning", "")], body=body))
        self.suspended = status == "Suspended"

    @rule(which=picks, quiet=st.booleans())
    def delete_versions_at_once(self, which: int, quiet: bool) -> None:
        found = pick(self.versions, which)
        if self.over or found is None:
            return
        key, version = found
        rows = f"<Delete><Object><Key>{escaped(key)}</Key><VersionId>"
        body = (rows, version, f"</VersionId></Object><Quiet>{str(quiet).lower()}</Quiet></Delete>")
        self.send(Ask("DeleteObjects", "POST", None, [("delete", "")], body=body, changes=True))
        self.versions.remove(found)
        self.etags[key].clear()
