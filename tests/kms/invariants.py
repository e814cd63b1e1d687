"""What holds in a key store at any moment, whatever was done to it and whoever was killed in the middle."""

from collections import defaultdict

from proxy.kms import material, model
from proxy.kms.model import KmsKey
from proxy.kms.root_key import RootKey
from proxy.kms.store import KeyStore


async def check_store(store: KeyStore, root_key: RootKey) -> None:
    """Related keys agree on all that they share; each backing key's material is there exactly where it should be, and
    opens; aliases and grants are of keys that there are."""
    keys = [model.key_from(record) for record in await store.scan("key")]
    families: dict[tuple[str, str], list[KmsKey]] = defaultdict(list)
    for key in keys:
        families[key.name.account, key.name.id].append(key)
    for family in families.values():
        _check_family(family)
    wanted = {
        model.material_record_id(key.name, backing.ordinal): (key, backing)
        for key in keys
        for backing in key.backing_keys
        if backing.present
    }
    records = {record.id: record for record in await store.scan("material")}
    assert records.keys() == wanted.keys()
    for id, (key, backing) in wanted.items():
        plaintext = await root_key.unwrap(records[id].body, material.associated_data(key.name, backing.ordinal))
        assert material.material_id(key.name, plaintext) == backing.material_id
    names = {key.name for key in keys}
    for record in await store.scan("alias"):
        alias = model.alias_from(record)
        assert model.KeyName(alias.account, alias.region, alias.target) in names
    for record in await store.scan("grant"):
        assert model.grant_from(record).key in names


def _check_family(family: list[KmsKey]) -> None:
    for key in family:
        assert {name.region for name in key.related_names} == {each.name.region for each in family}
        assert [backing.ordinal for backing in key.backing_keys] == sorted({b.ordinal for b in key.backing_keys})
    first = family[0]
    for key in family:
        for name in (
            "primary_region",
            "replica_regions",
            "current",
            "rotation_period",
            "next_rotation",
            "spec",
            "usage",
        ):
            assert getattr(key, name) == getattr(first, name), name
        shared = [(each.ordinal, each.material_id, each.rotated, each.rotation) for each in key.backing_keys]
        assert shared == [(each.ordinal, each.material_id, each.rotated, each.rotation) for each in first.backing_keys]
