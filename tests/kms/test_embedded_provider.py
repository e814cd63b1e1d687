"""One suite for every implementation of the port KeyProvider."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY, KeyProvider
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.store import KeyStore
from proxy.kms.stores.memory import MemoryKeyStore
from proxy.kms.stores.sqlite import SqliteKeyStore
from tests.kms.harness import ACCOUNT, ADMIN, REGION, THROUGH_S3, Kms, user

CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "größe": "\U0001f600"}
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@dataclass
class Subject:
    """A provider, and the KMS endpoint of the service behind it to make and change keys with."""

    provider: KeyProvider
    kms: Kms

    async def refused(self, key_id: str, origin: object = THROUGH_S3) -> tuple[str, str | None]:
        with pytest.raises(KmsError) as caught:
            await self.provider.generate_data_key(origin, key_id, CONTEXT)  # type: ignore[arg-type]
        return caught.value.code, caught.value.message


@pytest.fixture(params=["embedded-memory", "embedded-sqlite"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    store: KeyStore = MemoryKeyStore() if request.param == "embedded-memory" else SqliteKeyStore(tmp_path / "keys.db")
    kms = await Kms(store).start()
    provider = EmbeddedKeyProvider(kms.service)
    yield Subject(provider, kms)
    await provider.aclose()
    await store.aclose()


async def test_a_data_key_comes_back_by_its_blob(subject: Subject) -> None:
    key = (await subject.kms.call("CreateKey"))["KeyMetadata"]
    await subject.kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=key["KeyId"])
    for name in (key["KeyId"], key["Arn"], "alias/a", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/a"):
        made = await subject.provider.generate_data_key(THROUGH_S3, name, CONTEXT)
        assert (made.key_arn, len(made.plaintext)) == (key["Arn"], 32)
        opened = await subject.provider.decrypt(THROUGH_S3, made.key_arn, made.wrapped, CONTEXT)
        assert opened == made.plaintext
        assert made.plaintext not in made.wrapped
        assert repr(made.plaintext) not in repr(made)


@pytest.mark.parametrize("name", [AWS_MANAGED_S3_KEY, S3_OWNED_KEY])
async def test_the_constants_name_keys_that_make_themselves(subject: Subject, name: str) -> None:
    calls = (subject.provider.generate_data_key(THROUGH_S3, name, CONTEXT) for _ in range(8))
    made = await asyncio.gather(*calls)
    assert len({each.key_arn for each in made}) == 1
    assert len({each.plaintext for each in made}) == 8
    for each in made:
        assert await subject.provider.decrypt(THROUGH_S3, each.key_arn, each.wrapped, CONTEXT) == each.plaintext
        assert await subject.provider.decrypt(THROUGH_S3, name, each.wrapped, CONTEXT) == each.plaintext


async def test_a_wrong_context_key_or_blob(subject: Subject) -> None:
    one, two = (
        (await subject.kms.call("CreateKey"))["KeyMetadata"],
        (await subject.kms.call("CreateKey"))["KeyMetadata"],
    )
    made = await subject.provider.generate_data_key(THROUGH_S3, one["Arn"], CONTEXT)
    damaged = made.wrapped[:-1] + bytes([made.wrapped[-1] ^ 1])
    for key_id, wrapped, context, code in (
        (one["Arn"], made.wrapped, {}, "InvalidCiphertextException"),
        (one["Arn"], damaged, CONTEXT, "InvalidCiphertextException"),
        (one["Arn"], b"", CONTEXT, "InvalidCiphertextException"),
        (two["Arn"], made.wrapped, CONTEXT, "IncorrectKeyException"),
        (S3_OWNED_KEY, made.wrapped, CONTEXT, "IncorrectKeyException"),
    ):
        with pytest.raises(KmsError) as caught:
            await subject.provider.decrypt(THROUGH_S3, key_id, wrapped, context)
        assert caught.value.code == code


async def test_refusals_in_the_words_of_aws(subject: Subject) -> None:
    key = (await subject.kms.call("CreateKey"))["KeyMetadata"]
    arn = key["Arn"]
    assert await subject.refused("fake-key-id") == ("NotFoundException", "Invalid keyId 'fake-key-id'")
    unknown = arn.replace(key["KeyId"], UNKNOWN)
    assert await subject.refused(UNKNOWN) == ("NotFoundException", f"Key '{unknown}' does not exist")
    other_region = arn.replace(REGION, "us-west-2")
    assert await subject.refused(other_region) == ("NotFoundException", "Invalid arn us-west-2")
    code, message = await subject.refused(arn, user("nobody"))
    assert code == "AccessDeniedException"
    assert str(message).endswith("because no identity-based policy allows the kms:GenerateDataKey action")
    await subject.kms.call("DisableKey", KeyId=arn)
    assert await subject.refused(arn) == ("DisabledException", f"{arn} is disabled.")
    await subject.kms.call("ScheduleKeyDeletion", KeyId=arn)
    assert await subject.refused(arn) == ("KMSInvalidStateException", f"{arn} is pending deletion.")
    external = (await subject.kms.call("CreateKey", Origin="EXTERNAL"))["KeyMetadata"]["Arn"]
    assert await subject.refused(external) == ("KMSInvalidStateException", f"{external} is pending import.")


async def test_re_encrypt_between_all_kinds_of_keys(subject: Subject) -> None:
    key = (await subject.kms.call("CreateKey"))["KeyMetadata"]["Arn"]
    made = await subject.provider.generate_data_key(THROUGH_S3, S3_OWNED_KEY, CONTEXT)
    arn, wrapped, context = made.key_arn, made.wrapped, CONTEXT
    for target in (key, AWS_MANAGED_S3_KEY, key, S3_OWNED_KEY):
        new_context = {"to": target}
        arn, wrapped = await subject.provider.re_encrypt(THROUGH_S3, wrapped, arn, context, target, new_context)
        context = new_context
        assert await subject.provider.decrypt(THROUGH_S3, arn, wrapped, context) == made.plaintext
    assert arn == made.key_arn


async def test_describe_key(subject: Subject) -> None:
    key = (await subject.kms.call("CreateKey"))["KeyMetadata"]
    await subject.kms.call("DisableKey", KeyId=key["KeyId"])
    found = await subject.provider.describe_key(THROUGH_S3, key["KeyId"])
    assert (found.arn, found.account, found.state) == (key["Arn"], ACCOUNT, "Disabled")
    assert (found.usage, found.spec, found.manager) == ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "CUSTOMER")
    managed = await subject.provider.describe_key(THROUGH_S3, AWS_MANAGED_S3_KEY)
    assert (managed.state, managed.manager) == ("Enabled", "AWS")
    owned = await subject.provider.describe_key(THROUGH_S3, S3_OWNED_KEY)
    assert (owned.state, owned.manager) == ("Enabled", "AWS")


async def test_a_change_is_seen_by_the_next_call(subject: Subject) -> None:
    key = (await subject.kms.call("CreateKey"))["KeyMetadata"]["Arn"]
    made = await subject.provider.generate_data_key(THROUGH_S3, key, CONTEXT)
    await subject.provider.decrypt(THROUGH_S3, key, made.wrapped, CONTEXT)
    await subject.kms.call("DisableKey", KeyId=key)
    with pytest.raises(KmsError) as caught:
        await subject.provider.decrypt(THROUGH_S3, key, made.wrapped, CONTEXT)
    assert caught.value.code == "DisabledException"
    await subject.kms.call("EnableKey", KeyId=key)
    assert await subject.provider.decrypt(THROUGH_S3, key, made.wrapped, CONTEXT) == made.plaintext


async def test_the_key_of_the_service_shows_nowhere(subject: Subject) -> None:
    made = await subject.provider.generate_data_key(THROUGH_S3, S3_OWNED_KEY, CONTEXT)
    kms = subject.kms
    assert (await kms.call("ListKeys"))["Keys"] == []
    assert (await kms.call("ListAliases"))["Aliases"] == []
    root_of_its_account = user("admin", "kms:*", account=made.key_arn.split(":")[4])
    for origin in (ADMIN, root_of_its_account):
        for operation in ("DescribeKey", "DisableKey", "GetKeyPolicy"):
            for name in (made.key_arn, made.key_arn.rpartition("/")[2]):
                with pytest.raises(Exception, match=r"NotFoundException|AccessDeniedException"):
                    await kms.call(operation, origin, KeyId=name)
        with pytest.raises(Exception, match="AccessDeniedException: The ciphertext refers to"):
            await kms.call("Decrypt", origin, CiphertextBlob=made.wrapped, EncryptionContext=CONTEXT)
