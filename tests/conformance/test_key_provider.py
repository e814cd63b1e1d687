"""One suite for every implementation of the port KeyProvider: the embedded key service, and AWS KMS, which here is the
same key service behind HTTP."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import pytest

from proxy.aws.credentials import Session
from proxy.kms.errors import KmsError
from proxy.kms.provider import S3_OWNED_KEY, KeyProvider
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from tests.kms import aws_endpoint
from tests.kms.harness import ACCOUNT, ADMIN, REGION, Kms, user

BUCKET = {"aws:s3:arn": "arn:aws:s3:::bucket"}
OBJECT = {"aws:s3:arn": "arn:aws:s3:::bucket/key", "department": "ö"}


@dataclass
class Subject:
    """An implementation, and the key service behind it."""

    keys: KeyProvider
    kms: Kms

    async def refused(self, call: object) -> KmsError:
        with pytest.raises(KmsError) as refused:
            await call  # type: ignore[misc]
        return refused.value


@pytest.fixture(params=["embedded", "aws"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    kms = await Kms().start()
    if request.param == "embedded":
        keys = EmbeddedKeyProvider(kms.service)
        yield Subject(keys, kms)
        await keys.aclose()
        return
    owned = await kms.key(Description="behind SSE-S3")
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(aws_endpoint.listening(aws_endpoint.aws(kms, [])))
        yield Subject(await stack.enter_async_context(aws_endpoint.provider(url, owned)), kms)


def arn(key_id: str) -> str:
    return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"


async def test_data_keys_are_fresh_and_come_back(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = [await subject.keys.generate_data_key(ADMIN, key_id, OBJECT) for _ in range(3)]
    assert [len(each.plaintext) for each in made] == [32] * 3
    assert len({each.plaintext for each in made}) == len({each.wrapped for each in made}) == 3
    assert {each.key_arn for each in made} == {arn(key_id)}
    for each in made:
        assert each.plaintext not in each.wrapped
        assert await subject.keys.decrypt(ADMIN, each.key_arn, each.wrapped, OBJECT) == each.plaintext


async def test_a_data_key_shows_in_no_representation(subject: Subject) -> None:
    made = await subject.keys.generate_data_key(ADMIN, await subject.kms.key(), OBJECT)
    assert repr(made.plaintext)[2:-1] not in repr(made)
    assert "secret" not in repr(subject.keys).lower()


@pytest.mark.parametrize("form", ["{id}", "{arn}", "alias/mine", "arn:aws:kms:{region}:{account}:alias/mine"])
async def test_a_key_is_found_by_each_of_its_names(subject: Subject, form: str) -> None:
    key_id = await subject.kms.key()
    await subject.kms.call("CreateAlias", AliasName="alias/mine", TargetKeyId=key_id)
    name = form.format(id=key_id, arn=arn(key_id), region=REGION, account=ACCOUNT)
    made = await subject.keys.generate_data_key(ADMIN, name, OBJECT)
    assert made.key_arn == arn(key_id)
    described = await subject.keys.describe_key(ADMIN, name)
    assert described.arn == arn(key_id)
    assert (described.account, described.state) == (ACCOUNT, "Enabled")
    assert (described.usage, described.spec, described.manager) == ("ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", "CUSTOMER")


@pytest.mark.parametrize(
    "context",
    [
        {},
        BUCKET,
        {**OBJECT, "more": ""},
        {**OBJECT, "department": "o"},
        {"AWS:s3:arn": OBJECT["aws:s3:arn"], "department": "ö"},
    ],
)
async def test_another_encryption_context_opens_nothing(subject: Subject, context: dict[str, str]) -> None:
    made = await subject.keys.generate_data_key(ADMIN, await subject.kms.key(), OBJECT)
    refused = await subject.refused(subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, context))
    assert (refused.code, refused.message, refused.status) == ("InvalidCiphertextException", None, 400)


async def test_the_order_of_an_encryption_context_does_not_count(subject: Subject) -> None:
    made = await subject.keys.generate_data_key(ADMIN, await subject.kms.key(), OBJECT)
    turned = dict(reversed(OBJECT.items()))
    assert await subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, turned) == made.plaintext


async def test_another_key_opens_nothing(subject: Subject) -> None:
    key_id, other = await subject.kms.key(), await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    refused = await subject.refused(subject.keys.decrypt(ADMIN, arn(other), made.wrapped, OBJECT))
    assert (refused.code, refused.status) == ("IncorrectKeyException", 400)


@pytest.mark.parametrize("garbage", [b"x", b"\x00" * 184, bytes(range(99))])
async def test_garbage_is_an_invalid_ciphertext(subject: Subject, garbage: bytes) -> None:
    refused = await subject.refused(subject.keys.decrypt(ADMIN, arn(await subject.kms.key()), garbage, OBJECT))
    assert (refused.code, refused.status) == ("InvalidCiphertextException", 400)


async def test_every_byte_of_a_wrapped_key_counts(subject: Subject) -> None:
    made = await subject.keys.generate_data_key(ADMIN, await subject.kms.key(), OBJECT)
    for position in range(0, len(made.wrapped), 7):
        changed = bytearray(made.wrapped)
        changed[position] ^= 1
        refused = await subject.refused(subject.keys.decrypt(ADMIN, made.key_arn, bytes(changed), OBJECT))
        assert refused.code in ("InvalidCiphertextException", "AccessDeniedException", "IncorrectKeyException")


async def test_a_disabled_key_is_refused_at_the_next_call(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    await subject.kms.call("DisableKey", KeyId=key_id)
    for call in (
        subject.keys.generate_data_key(ADMIN, key_id, OBJECT),
        subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, OBJECT),
        subject.keys.re_encrypt(ADMIN, made.wrapped, made.key_arn, OBJECT, key_id, BUCKET),
    ):
        refused = await subject.refused(call)
        assert (refused.code, refused.message) == ("DisabledException", f"{arn(key_id)} is disabled.")
    assert (await subject.keys.describe_key(ADMIN, key_id)).state == "Disabled"
    await subject.kms.call("EnableKey", KeyId=key_id)
    assert await subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, OBJECT) == made.plaintext


async def test_a_key_that_waits_for_its_deletion_is_refused(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    await subject.kms.call("ScheduleKeyDeletion", KeyId=key_id, PendingWindowInDays=7)
    refused = await subject.refused(subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, OBJECT))
    assert (refused.code, refused.message) == ("KMSInvalidStateException", f"{arn(key_id)} is pending deletion.")


async def test_keys_that_are_not_there(subject: Subject) -> None:
    missing = "00000000-0000-4000-8000-00000000beef"
    refused = await subject.refused(subject.keys.generate_data_key(ADMIN, missing, OBJECT))
    assert (refused.code, refused.message) == ("NotFoundException", f"Key '{arn(missing)}' does not exist")
    refused = await subject.refused(subject.keys.generate_data_key(ADMIN, "alias/missing", OBJECT))
    assert refused.code == "NotFoundException"
    elsewhere = arn(missing).replace(REGION, "eu-west-1")
    refused = await subject.refused(subject.keys.generate_data_key(ADMIN, elsewhere, OBJECT))
    assert (refused.code, refused.message) == ("NotFoundException", "Invalid arn eu-west-1")


async def test_a_key_that_does_not_encrypt_is_refused(subject: Subject) -> None:
    key_id = await subject.kms.key(KeyUsage="GENERATE_VERIFY_MAC", KeySpec="HMAC_256")
    refused = await subject.refused(subject.keys.generate_data_key(ADMIN, key_id, OBJECT))
    assert refused.code == "InvalidKeyUsageException"


async def test_a_rotated_key_opens_what_it_made_before(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    await subject.kms.call("RotateKeyOnDemand", KeyId=key_id)
    later = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    for each in (made, later):
        assert await subject.keys.decrypt(ADMIN, arn(key_id), each.wrapped, OBJECT) == each.plaintext


async def test_a_data_key_moves_to_another_key_and_context(subject: Subject) -> None:
    key_id, other = await subject.kms.key(), await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    named, wrapped = await subject.keys.re_encrypt(ADMIN, made.wrapped, arn(key_id), OBJECT, other, BUCKET)
    assert named == arn(other)
    assert await subject.keys.decrypt(ADMIN, named, wrapped, BUCKET) == made.plaintext
    refused = await subject.refused(subject.keys.decrypt(ADMIN, named, wrapped, OBJECT))
    assert refused.code == "InvalidCiphertextException"
    refused = await subject.refused(
        subject.keys.re_encrypt(ADMIN, made.wrapped, arn(key_id), BUCKET, arn(other), BUCKET)
    )
    assert refused.code == "InvalidCiphertextException"
    refused = await subject.refused(
        subject.keys.re_encrypt(ADMIN, made.wrapped, arn(other), OBJECT, arn(other), OBJECT)
    )
    assert refused.code == "IncorrectKeyException"


async def test_the_key_behind_sse_s3_needs_nobodys_leave(subject: Subject) -> None:
    nobody = user("nobody")
    made = await subject.keys.generate_data_key(nobody, S3_OWNED_KEY, OBJECT)
    assert await subject.keys.decrypt(nobody, S3_OWNED_KEY, made.wrapped, OBJECT) == made.plaintext
    assert (await subject.keys.describe_key(nobody, S3_OWNED_KEY)).arn == made.key_arn
    key_id = await subject.kms.key()
    own = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    refused = await subject.refused(subject.keys.decrypt(nobody, S3_OWNED_KEY, own.wrapped, OBJECT))
    assert refused.code in ("IncorrectKeyException", "AccessDeniedException")
    moved, wrapped = await subject.keys.re_encrypt(ADMIN, made.wrapped, S3_OWNED_KEY, OBJECT, key_id, OBJECT)
    assert moved == arn(key_id)
    assert await subject.keys.decrypt(ADMIN, moved, wrapped, OBJECT) == made.plaintext


ACTIONS = ("kms:GenerateDataKey", "kms:Decrypt", "kms:ReEncryptFrom", "kms:ReEncryptTo", "kms:DescribeKey")


@pytest.mark.parametrize("missing", ACTIONS)
@pytest.mark.parametrize("how", ["not allowed", "denied"])
async def test_the_callers_own_policies_have_to_allow_each_action(subject: Subject, missing: str, how: str) -> None:
    key_id = await subject.kms.key()
    if how == "denied":
        caller, reason = user("u", *ACTIONS, deny=[missing]), "with an explicit deny in an identity-based policy"
    else:
        caller = user("u", *[action for action in ACTIONS if action != missing])
        reason = f"because no identity-based policy allows the {missing} action"
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    calls = {
        "kms:GenerateDataKey": subject.keys.generate_data_key(caller, key_id, OBJECT),
        "kms:Decrypt": subject.keys.decrypt(caller, made.key_arn, made.wrapped, OBJECT),
        "kms:ReEncryptFrom": subject.keys.re_encrypt(caller, made.wrapped, made.key_arn, OBJECT, key_id, BUCKET),
        "kms:DescribeKey": subject.keys.describe_key(caller, key_id),
    }
    calls["kms:ReEncryptTo"] = subject.keys.re_encrypt(caller, made.wrapped, made.key_arn, OBJECT, key_id, BUCKET)
    refused = await subject.refused(calls.pop(missing))
    assert (refused.code, refused.status) == ("AccessDeniedException", 400)
    assert refused.message == (
        f"User: {caller.caller.arn} is not authorized to perform: {missing} on resource: {arn(key_id)} {reason}"
    )
    for action, call in calls.items():
        if action.startswith("kms:ReEncrypt") and missing.startswith("kms:ReEncrypt"):
            call.close()  # type: ignore[attr-defined]
        else:
            assert await call


async def test_conditions_of_the_callers_policies_see_the_request(subject: Subject) -> None:
    key_id = await subject.kms.key()
    conditions = {
        "StringEquals": {"kms:EncryptionContext:department": "ö", "kms:KeySpec": "SYMMETRIC_DEFAULT"},
        "StringLike": {"kms:ViaService": "s3.*.amazonaws.com"},
    }
    document = {"Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*", "Condition": conditions}]}
    caller = replace(user("u").caller, policies=({"Version": "2012-10-17", **document},))
    through_s3 = replace(user("u"), caller=caller, via_service=f"s3.{REGION}.amazonaws.com")
    made = await subject.keys.generate_data_key(through_s3, key_id, OBJECT)
    assert await subject.keys.decrypt(through_s3, made.key_arn, made.wrapped, OBJECT) == made.plaintext
    for origin, context in ((through_s3, BUCKET), (replace(through_s3, via_service=None), OBJECT)):
        refused = await subject.refused(subject.keys.generate_data_key(origin, key_id, context))
        assert refused.code == "AccessDeniedException"


async def test_a_session_may_do_no_more_than_its_policies_say(subject: Subject) -> None:
    key_id = await subject.kms.key()
    only = ({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "*"}]},)
    clock = subject.kms.clock.now
    session = Session(clock, clock, policies=only)
    limited = replace(ADMIN, caller=replace(ADMIN.caller, session=session))
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    assert await subject.keys.decrypt(limited, made.key_arn, made.wrapped, OBJECT) == made.plaintext
    refused = await subject.refused(subject.keys.generate_data_key(limited, key_id, OBJECT))
    assert refused.code == "AccessDeniedException"
    assert refused.message is not None
    assert refused.message.endswith("because no session policy allows the kms:GenerateDataKey action")


async def test_many_calls_at_once(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = await asyncio.gather(*(subject.keys.generate_data_key(ADMIN, key_id, OBJECT) for _ in range(30)))
    opened = await asyncio.gather(*(subject.keys.decrypt(ADMIN, each.key_arn, each.wrapped, OBJECT) for each in made))
    assert opened == [each.plaintext for each in made]


@pytest.mark.parametrize("key_id", ["", "a b", "x" * 3000, "arn:aws:s3:::bucket", "alias/"])
async def test_names_that_are_none_are_the_clients_fault(subject: Subject, key_id: str) -> None:
    refused = await subject.refused(subject.keys.generate_data_key(ADMIN, key_id, OBJECT))
    assert refused.status == 400
    assert refused.code in ("NotFoundException", "ValidationException", "InvalidArnException")


async def test_the_stamp_stays_while_nothing_changes(subject: Subject) -> None:
    key_id = await subject.kms.key()
    made = await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
    before = subject.keys.stamp()
    assert before is not None
    for _ in range(3):
        await subject.keys.generate_data_key(ADMIN, key_id, OBJECT)
        await subject.keys.decrypt(ADMIN, made.key_arn, made.wrapped, OBJECT)
        assert subject.keys.stamp() == before
