"""Uses of keys that are known to be allowed: the short way for them, and that they are forgotten with every change."""

from dataclasses import replace
from typing import Any

import pytest

from proxy.aws.credentials import CallOrigin
from proxy.kms import known_uses
from proxy.kms.errors import KmsError
from proxy.kms.provider import AWS_MANAGED_S3_KEY, S3_OWNED_KEY, DataKey
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.quotas import MemoryQuotaStore, RequestQuotas
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, THROUGH_S3, Kms, user
from tests.kms.test_audit_events import Heard

CONTEXT = {"aws:s3:arn": "arn:aws:s3:::bucket/key"}
OTHER = {"aws:s3:arn": "arn:aws:s3:::bucket/other"}


class Uses:
    """A key service behind a provider, which tells whether a call took the short way."""

    def __init__(self, **options: Any) -> None:
        self.heard = Heard()
        self.kms = Kms(audit=self.heard, **options)
        self.provider = EmbeddedKeyProvider(self.kms.service)

    async def generate(self, key_id: str, origin: CallOrigin = THROUGH_S3) -> DataKey:
        return await self.provider.generate_data_key(origin, key_id, CONTEXT)

    async def open(self, made: DataKey, origin: CallOrigin = THROUGH_S3, context: dict[str, str] = CONTEXT) -> bytes:
        return await self.provider.decrypt(origin, name_of(made), made.wrapped, context)

    def is_known(self, made: DataKey, origin: CallOrigin = THROUGH_S3) -> bool:
        return self.provider._known.find(origin, "Decrypt", name_of(made), made.wrapped[:27]) is not None


def name_of(made: DataKey) -> str:
    """How S3 names the key of an object when it opens it."""
    return S3_OWNED_KEY if ":000000000000:" in made.key_arn else made.key_arn


@pytest.fixture
async def uses() -> Uses:
    found = Uses()
    await found.kms.start()
    return found


async def code_of(call: Any) -> str:
    with pytest.raises(KmsError) as caught:
        await call
    return caught.value.code


async def known(uses: Uses, key_id: str, origin: CallOrigin = THROUGH_S3) -> DataKey:
    """A data key of a key whose uses are known."""
    await uses.generate(key_id, origin)
    made = await uses.generate(key_id, origin)
    for _ in range(3):
        assert await uses.open(made, origin) == made.plaintext
    assert uses.is_known(made, origin)
    return made


@pytest.mark.parametrize("name", [AWS_MANAGED_S3_KEY, S3_OWNED_KEY, "key"])
async def test_the_short_way_does_and_records_what_the_long_one_does(uses: Uses, name: str) -> None:
    key_id = await uses.kms.key() if name == "key" else name
    await uses.generate(key_id)  # makes aws/s3, after which nothing is known
    uses.heard.events.clear()
    made = [await uses.generate(key_id) for _ in range(3)]
    assert len({each.plaintext for each in made} | {each.wrapped for each in made}) == 6
    for each in (made[0], made[1], made[0], made[2]):
        assert await uses.open(each) == each.plaintext
    assert uses.is_known(made[0])
    assert await code_of(uses.open(made[0], context=OTHER)) == "InvalidCiphertextException"
    uses.provider._known = known_uses.KnownUses(uses.kms.service)
    assert await code_of(uses.open(made[0], context=OTHER)) == "InvalidCiphertextException"
    events = [{**event, "eventID": ""} for event in uses.heard.events]
    if name == S3_OWNED_KEY:
        assert events == []  # nobody pays or answers for it
        return
    assert len(events) == 9
    assert events[0] == events[1] == events[2]
    assert events[3] == events[4] == events[5] == events[6]
    assert events[7] == events[8]
    assert events[7]["errorCode"] == "InvalidCiphertextException"
    arn = made[0].key_arn
    assert [event["resources"][0]["ARN"] for event in events] == [arn] * 9
    assert events[0]["requestParameters"] == {"keyId": key_id, "keySpec": "AES_256", "encryptionContext": CONTEXT}
    used = await uses.kms.call("GetKeyLastUsage", KeyId=arn)
    assert used["KeyLastUsage"]["Operation"] == "Decrypt"


async def test_changes_of_the_key_count_at_the_next_call(uses: Uses) -> None:
    key_id = await uses.kms.key()
    made = await known(uses, key_id)
    await uses.kms.call("DisableKey", KeyId=key_id)
    assert await code_of(uses.open(made)) == "DisabledException"
    assert await code_of(uses.generate(key_id)) == "DisabledException"
    await uses.kms.call("EnableKey", KeyId=key_id)
    assert await uses.open(made) == made.plaintext

    made = await known(uses, key_id)
    await uses.kms.call("RotateKeyOnDemand", KeyId=key_id)
    newer = await uses.generate(key_id)
    assert newer.wrapped[:27] != made.wrapped[:27]
    assert (await uses.open(made), await uses.open(newer)) == (made.plaintext, newer.plaintext)

    made = await known(uses, key_id)
    admin = {"Effect": "Allow", "Principal": {"AWS": ADMIN.caller.arn}, "Action": "kms:Put*", "Resource": "*"}
    policy = f'{{"Version": "2012-10-17", "Statement": [{admin!r}]}}'.replace("'", '"')
    await uses.kms.call("PutKeyPolicy", KeyId=key_id, PolicyName="default", Policy=policy)
    assert await code_of(uses.open(made)) == "AccessDeniedException"


async def test_an_alias_that_moves(uses: Uses) -> None:
    first, second = await uses.kms.key(), await uses.kms.key()
    await uses.kms.call("CreateAlias", AliasName="alias/a", TargetKeyId=first)
    assert (await known(uses, "alias/a")).key_arn.endswith(first)
    await uses.kms.call("UpdateAlias", AliasName="alias/a", TargetKeyId=second)
    assert (await uses.generate("alias/a")).key_arn.endswith(second)


async def test_each_caller_service_and_region_has_its_own(uses: Uses) -> None:
    made = await known(uses, await uses.kms.key())
    reader = user("reader", "kms:Decrypt")
    assert not uses.is_known(made, reader)
    assert await uses.open(made, reader) == made.plaintext
    assert uses.is_known(made, reader)
    assert await code_of(uses.generate(made.key_arn, reader)) == "AccessDeniedException"
    assert await code_of(uses.open(made, user("nobody"))) == "AccessDeniedException"
    assert await code_of(uses.open(made, replace(THROUGH_S3, region="us-west-2"))) == "AccessDeniedException"
    # A caller of the same name after a reload of the configuration.
    assert await code_of(uses.open(made, user("reader", "kms:Encrypt"))) == "AccessDeniedException"
    # aws/s3 may be used by way of S3 only.
    managed = await known(uses, AWS_MANAGED_S3_KEY)
    assert await code_of(uses.open(managed, ADMIN)) == "AccessDeniedException"
    assert await code_of(uses.open(managed, replace(THROUGH_S3, via_service="ec2.x"))) == "AccessDeniedException"


async def test_what_depends_on_the_request_is_not_remembered(uses: Uses) -> None:
    key_id = await uses.kms.key()
    made = await uses.generate(key_id)
    await uses.kms.call(
        "CreateGrant",
        KeyId=key_id,
        GranteePrincipal=f"arn:aws:iam::{ACCOUNT}:user/granted",
        Operations=["Decrypt"],
        Constraints={"EncryptionContextSubset": CONTEXT},
    )
    granted = user("granted")
    condition = {"StringEquals": {"kms:EncryptionContext:aws:s3:arn": CONTEXT["aws:s3:arn"]}}
    statement = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*", "Condition": condition}
    conditioned = replace(ADMIN, caller=replace(ADMIN.caller, policies=({"Statement": [statement]},)))
    second = await uses.provider.generate_data_key(THROUGH_S3, key_id, OTHER)
    for origin in (granted, conditioned):
        for _ in range(2):
            assert await uses.open(made, origin) == made.plaintext
        assert not uses.is_known(made, origin)
        assert await code_of(uses.open(second, origin, OTHER)) == "AccessDeniedException"


async def test_time_and_quotas_count() -> None:
    clock = FakeClock()
    quotas = RequestQuotas(MemoryQuotaStore(), clock, rates={"cryptographic_symmetric": 8})
    uses = Uses(clock=clock, request_quotas=quotas)
    await uses.kms.start()
    made = await known(uses, await uses.kms.key())
    for _ in range(3):
        await uses.open(made)
    uses.heard.events.clear()
    assert await code_of(uses.open(made)) == "ThrottlingException"
    assert [event["errorCode"] for event in uses.heard.events] == ["ThrottlingException"]
    clock.advance(seconds=2)

    await uses.kms.call("EnableKeyRotation", KeyId=made.key_arn)
    made = await known(uses, made.key_arn)
    clock.advance(days=366)
    newer = await uses.generate(made.key_arn)
    assert newer.wrapped[:27] != made.wrapped[:27]


async def test_what_cannot_be_recorded_is_not_answered(uses: Uses) -> None:
    made = await known(uses, await uses.kms.key())
    uses.heard.broken = True
    assert await code_of(uses.open(made)) == "DependencyTimeoutException"
    assert await code_of(uses.generate(made.key_arn)) == "DependencyTimeoutException"


async def test_material_that_was_deleted_is_not_kept(uses: Uses, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await known(uses, await uses.kms.key())
    name = next(iter(uses.kms.service.ring.held))[0]
    assert name.region == REGION
    for held in uses.kms.service.ring.held:
        uses.kms.service.ring.drop(*held)
    assert not uses.is_known(made)
    assert await uses.open(made) == made.plaintext
    monkeypatch.setattr(known_uses, "_MOST", 1)
    await known(uses, await uses.kms.key())
    assert len(uses.provider._known._found) == 1
