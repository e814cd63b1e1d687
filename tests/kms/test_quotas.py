"""Request quotas and resource quotas."""

import itertools
import random
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kms import quotas
from proxy.kms.errors import KmsError
from proxy.kms.providers.embedded import EmbeddedKeyProvider
from proxy.kms.quota_stores.sqlite import SqliteQuotaStore
from proxy.kms.quotas import SLOTS, MemoryQuotaStore, QuotaStore, RequestQuotas
from proxy.kms.resource_quotas import ResourceQuotas
from tests.fakes import FakeClock
from tests.kms.harness import ACCOUNT, ADMIN, REGION, THROUGH_S3, Kms, KmsFault, user

MESSAGE = "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
OPERATIONS = botocore.session.get_session().get_service_model("kms").operation_names

SCOPES = itertools.count()

MakeStore = Callable[[], QuotaStore]


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MakeStore]:
    """Makes stores that share their counts, one for each worker."""
    stores: list[QuotaStore] = []
    memory = MemoryQuotaStore()

    def make() -> QuotaStore:
        stores.append(memory if request.param == "memory" else SqliteQuotaStore(tmp_path / "quotas.db"))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def admitted(each: RequestQuotas, operation: str = "Decrypt", *, account: str = ACCOUNT, region: str = REGION) -> bool:
    try:
        each.charge(account, region, operation, {})
    except KmsError as error:
        if (error.code, error.message, error.status) != ("ThrottlingException", MESSAGE, 400):
            raise
        return False
    return True


# The groups


def test_every_operation_of_the_model_has_a_quota() -> None:
    named = {
        "KeyPairSpec": "RSA_2048",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    groups = {name: quotas.group_of(name, named) for name in OPERATIONS}
    assert set(groups.values()) <= quotas.GROUPS
    assert all(quotas.default_rate(group, REGION) > 0 for group in groups.values())


@pytest.mark.parametrize(
    ("operation", "request_", "group", "rate"),
    [
        ("Encrypt", {}, quotas.SYMMETRIC, 20_000),
        ("GenerateRandom", {}, quotas.SYMMETRIC, 20_000),
        ("GenerateMac", {"MacAlgorithm": "HMAC_SHA_256"}, quotas.SYMMETRIC, 20_000),
        ("Encrypt", {"EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}, quotas.SYMMETRIC, 20_000),
        ("Decrypt", {"EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}, quotas.RSA, 1000),
        ("ReEncrypt", {"DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_1"}, quotas.RSA, 1000),
        ("ReEncrypt", {}, quotas.SYMMETRIC, 20_000),
        ("Sign", {"SigningAlgorithm": "RSASSA_PSS_SHA_512"}, quotas.RSA, 1000),
        ("Verify", {"SigningAlgorithm": "ECDSA_SHA_256"}, quotas.ECC, 1000),
        ("Sign", {"SigningAlgorithm": "ED25519_SHA_512"}, quotas.ECC, 1000),
        ("Sign", {"SigningAlgorithm": "ML_DSA_SHAKE_256"}, quotas.ML_DSA, 1000),
        ("DeriveSharedSecret", {}, quotas.ECC, 1000),
        ("GenerateDataKeyPair", {"KeyPairSpec": "ECC_NIST_P256"}, "GenerateDataKeyPair_ECC", 100),
        ("GenerateDataKeyPairWithoutPlaintext", {"KeyPairSpec": "RSA_2048"}, "GenerateDataKeyPair_RSA_2048", 20),
        ("GenerateDataKeyPair", {"KeyPairSpec": "RSA_3072"}, "GenerateDataKeyPair_RSA_3072", 4),
        ("GenerateDataKeyPair", {"KeyPairSpec": "RSA_4096"}, "GenerateDataKeyPair_RSA_4096", 1),
        ("DescribeKey", {}, "DescribeKey", 2000),
        ("CreateKey", {}, "CreateKey", 5),
        ("GetParametersForImport", {}, "GetParametersForImport", 1),
    ],
)
def test_groups_and_rates(operation: str, request_: dict[str, Any], group: str, rate: int) -> None:
    assert quotas.group_of(operation, request_) == group
    assert quotas.default_rate(group, REGION) == rate


@pytest.mark.parametrize(("region", "rate"), [("us-east-1", 100_000), ("eu-central-1", 20_000), ("eu-south-1", 10_000)])
def test_the_rate_of_symmetric_cryptography_depends_on_the_region(region: str, rate: int) -> None:
    assert quotas.default_rate(quotas.SYMMETRIC, region) == rate


def test_an_operation_that_aws_does_not_have_is_not_counted() -> None:
    RequestQuotas(MemoryQuotaStore(), FakeClock()).charge(ACCOUNT, REGION, "Unheard", {})


# The rate


def test_a_quota_is_used_up_and_comes_back(make_store: MakeStore) -> None:
    clock = FakeClock()
    each = RequestQuotas(make_store(), clock, rates={quotas.SYMMETRIC: 100})
    assert [admitted(each) for _ in range(120)].count(True) == 100
    clock.advance(milliseconds=500)
    assert not admitted(each)
    clock.advance(milliseconds=499)
    assert not admitted(each)
    clock.advance(milliseconds=20)
    assert [admitted(each) for _ in range(120)].count(True) == 100


def test_operations_of_a_group_share_its_quota() -> None:
    each = RequestQuotas(MemoryQuotaStore(), FakeClock(), rates={quotas.SYMMETRIC: 10})
    assert all(
        admitted(each, name) for name in ("Encrypt", "GenerateDataKey", "GenerateMac", "ReEncrypt", "Decrypt") * 2
    )
    assert not admitted(each, "GenerateRandom")
    assert admitted(each, "DescribeKey")


def test_accounts_and_regions_have_quotas_of_their_own() -> None:
    each = RequestQuotas(MemoryQuotaStore(), FakeClock(), rates={quotas.SYMMETRIC: 1})
    assert admitted(each)
    assert not admitted(each)
    assert admitted(each, region="us-east-1")
    assert admitted(each, account="444455556666")


def test_replicate_key_costs_two_create_key_in_the_other_region() -> None:
    each = RequestQuotas(MemoryQuotaStore(), FakeClock())
    for _ in range(2):
        each.charge(ACCOUNT, REGION, "ReplicateKey", {"ReplicaRegion": "us-east-1"})
    assert [admitted(each, "CreateKey", region="us-east-1") for _ in range(2)] == [True, False]
    assert admitted(each, "CreateKey")


def test_management_operations_may_go_without_a_quota() -> None:
    each = RequestQuotas(MemoryQuotaStore(), FakeClock(), management=False, rates={"CreateAlias": 3})
    assert all(admitted(each, "CreateKey") for _ in range(100))
    assert [admitted(each, "CreateAlias") for _ in range(5)].count(True) == 3
    each = RequestQuotas(MemoryQuotaStore(), FakeClock())
    assert [admitted(each, "CreateKey") for _ in range(10)].count(True) == 5


@pytest.mark.parametrize("limit", [1, 5, 100, 1000, 20_000])
@pytest.mark.parametrize("workers", [1, 2, 8])
def test_workers_share_a_quota_within_five_percent(limit: int, workers: int) -> None:
    """More is asked for than there is, unevenly over time and workers: what is admitted is the quota, in any second."""
    clock, store, chance = FakeClock(), MemoryQuotaStore(), random.Random(f"{limit}/{workers}")
    each = [RequestQuotas(store, clock, workers=workers, rates={quotas.SYMMETRIC: limit}) for _ in range(workers)]
    step, seconds = 5, 3
    times: list[int] = []
    for now in range(0, seconds * 1000, step):
        wanted = max(1, limit * step // 1000) * chance.choice([0, 1, 3, 5])
        for _ in range(wanted):
            if admitted(chance.choice(each)):
                times.append(now)
        clock.advance(milliseconds=step)
    slack = max(1.0, limit * 0.05)
    for start in range(0, (seconds - 1) * 1000, 50):
        count = sum(start <= at < start + 1000 for at in times)
        assert count <= limit + slack
    assert len(times) >= (seconds - 1) * (limit - slack) - slack


def test_far_from_the_limit_the_store_is_hardly_asked(tmp_path: Path) -> None:
    asked = 0

    class Counting(MemoryQuotaStore):
        def lease(self, scope: str, limit: int, wanted: int, slot: int) -> int:
            nonlocal asked
            asked += 1
            return super().lease(scope, limit, wanted, slot)

    clock = FakeClock()
    each = RequestQuotas(Counting(), clock, workers=2)
    for _ in range(5000):
        assert admitted(each)
        clock.advance(milliseconds=1)
    assert asked <= 5000 / 250 + 1
    # Nor when nothing is left: once for each slot of time.
    asked = 0
    each = RequestQuotas(Counting(), clock, rates={quotas.SYMMETRIC: 1})
    for _ in range(1000):
        admitted(each)
    assert asked == 2


# The stores


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteQuotaStore]:
    store = SqliteQuotaStore(tmp_path_factory.mktemp("quotas") / "quotas.db")
    yield store
    store.close()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(-30, 60)), max_size=60), st.integers(1, 100))
def test_both_stores_lease_the_same(
    shared_store: SqliteQuotaStore, requests: list[tuple[int, int]], limit: int
) -> None:
    memory, scope = MemoryQuotaStore(), f"scope {next(SCOPES)}"
    slot = 176_000_000_000
    for wanted, later in requests:
        slot += later
        granted = memory.lease(scope, limit, wanted, slot)
        assert granted == shared_store.lease(scope, limit, wanted, slot)
        assert 0 <= granted <= wanted
    admitted_now = sum(count for at, count in memory._counts.get(scope, ()) if at > slot - SLOTS)
    assert admitted_now <= limit


def test_a_clock_that_is_put_back_locks_nobody_out(make_store: MakeStore) -> None:
    clock = FakeClock()
    each = RequestQuotas(make_store(), clock, rates={quotas.SYMMETRIC: 5})
    assert [admitted(each) for _ in range(7)].count(True) == 5
    clock.advance(hours=-1)
    assert [admitted(each) for _ in range(7)].count(True) == 5


def test_a_spoilt_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "quotas.db"
    path.write_bytes(b"garbage" * 1000)
    store = SqliteQuotaStore(path)
    assert store.lease("scope", 10, 20, 1) == 10
    store.close()
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_a_store_that_is_locked_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = SqliteQuotaStore(tmp_path / "quotas.db")
    other = sqlite3.connect(tmp_path / "quotas.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert store.lease("scope", 10, 20, 1) == 20
    assert "not shared between workers now" in caplog.text
    other.execute("ROLLBACK")
    other.close()
    assert store.lease("scope", 10, 20, 1) == 10
    store.close()


# In the service


async def throttled(kms: Kms, operation: str, **members: Any) -> bool:
    try:
        await kms.call(operation, **members)
    except KmsFault as fault:
        if (fault.code, fault.message, fault.status) != ("ThrottlingException", MESSAGE, 400):
            raise
        return True
    return False


async def test_calls_are_throttled() -> None:
    clock = FakeClock()
    limits = RequestQuotas(MemoryQuotaStore(), clock, rates={quotas.SYMMETRIC: 5})
    kms = await Kms(clock=clock, request_quotas=limits).start()
    key = await kms.key()
    assert [await throttled(kms, "Encrypt", KeyId=key, Plaintext=b"x") for _ in range(7)].count(True) == 2
    assert not await throttled(kms, "DescribeKey", KeyId=key)
    clock.now += timedelta(seconds=2)
    assert not await throttled(kms, "Encrypt", KeyId=key, Plaintext=b"x")


async def test_the_account_of_the_caller_pays() -> None:
    clock = FakeClock()
    limits = RequestQuotas(MemoryQuotaStore(), clock, rates={quotas.SYMMETRIC: 1})
    kms = await Kms(clock=clock, request_quotas=limits).start()
    other = user("other", "kms:*", account="444455556666")
    await kms.call("GenerateRandom", other, NumberOfBytes=8)
    await kms.call("GenerateRandom", ADMIN, NumberOfBytes=8)
    for origin in (other, ADMIN):
        with pytest.raises(KmsFault, match="ThrottlingException"):
            await kms.call("GenerateRandom", origin, NumberOfBytes=8)


async def test_s3_is_throttled_on_behalf_of_its_callers() -> None:
    clock = FakeClock()
    limits = RequestQuotas(MemoryQuotaStore(), clock, rates={quotas.SYMMETRIC: 2})
    kms = await Kms(clock=clock, request_quotas=limits).start()
    key = await kms.key()
    provider = EmbeddedKeyProvider(kms.service)
    made = await provider.generate_data_key(THROUGH_S3, key, {})
    await provider.decrypt(THROUGH_S3, made.key_arn, made.wrapped, {})
    with pytest.raises(KmsError) as caught:
        await provider.decrypt(THROUGH_S3, made.key_arn, made.wrapped, {})
    assert caught.value.code == "ThrottlingException"


async def test_a_request_that_cannot_be_read_costs_nothing() -> None:
    clock = FakeClock()
    limits = RequestQuotas(MemoryQuotaStore(), clock, rates={quotas.SYMMETRIC: 1})
    kms = await Kms(clock=clock, request_quotas=limits).start()
    for _ in range(3):
        with pytest.raises(KmsFault, match="ValidationException"):
            await kms.call("GenerateRandom", NumberOfBytes=0)
    await kms.call("GenerateRandom", NumberOfBytes=8)


# Resources


async def limit_exceeded(kms: Kms, operation: str, **members: Any) -> None:
    with pytest.raises(KmsFault) as caught:
        await kms.call(operation, **members)
    assert (caught.value.code, caught.value.status) == ("LimitExceededException", 400)


async def test_keys_per_account_and_region() -> None:
    kms = await Kms(resource_quotas=ResourceQuotas(keys=10)).start()
    for _ in range(10):
        await kms.key()
    await limit_exceeded(kms, "CreateKey")
    await kms.key(user("admin", "kms:*", region="us-east-1"))
    await kms.key(user("other", "kms:*", account="444455556666"))


async def test_keys_of_two_processes_count_together() -> None:
    one = await Kms(resource_quotas=ResourceQuotas(keys=40)).start()
    other = await Kms(one.store, resource_quotas=ResourceQuotas(keys=40)).start()
    for number in range(40):
        await (one, other)[number % 2].key()
    await limit_exceeded(one, "CreateKey")
    await limit_exceeded(other, "CreateKey")


async def test_aliases_per_key(kms: Kms) -> None:
    key, other = await kms.key(), await kms.key()
    for number in range(50):
        await kms.call("CreateAlias", AliasName=f"alias/{number}", TargetKeyId=key)
    await limit_exceeded(kms, "CreateAlias", AliasName="alias/50", TargetKeyId=key)
    await kms.call("CreateAlias", AliasName="alias/50", TargetKeyId=other)
    await limit_exceeded(kms, "UpdateAlias", AliasName="alias/50", TargetKeyId=key)
    await kms.call("DeleteAlias", AliasName="alias/0")
    await kms.call("UpdateAlias", AliasName="alias/50", TargetKeyId=key)
    await kms.call("UpdateAlias", AliasName="alias/50", TargetKeyId=key)


async def test_grants_per_key() -> None:
    kms = await Kms(resource_quotas=ResourceQuotas(grants_per_key=3)).start()
    key = await kms.key()
    grant = {"KeyId": key, "GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:user/x", "Operations": ["Decrypt"]}
    for _ in range(3):
        await kms.call("CreateGrant", **grant)
    await limit_exceeded(kms, "CreateGrant", **grant)


async def test_the_size_of_a_key_policy(kms: Kms) -> None:
    key = await kms.key()
    policy = (await kms.call("GetKeyPolicy", KeyId=key, PolicyName="default"))["Policy"]
    fits = policy + " " * (32 * 1024 - len(policy))
    await kms.call("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=fits)
    await limit_exceeded(kms, "PutKeyPolicy", KeyId=key, PolicyName="default", Policy=fits + " ")
    await limit_exceeded(kms, "CreateKey", Policy=fits + " ")
