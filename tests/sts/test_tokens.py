"""Session tokens: what goes in comes out, nothing else opens, and none is too long."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.credentials import InvalidSessionToken
from proxy.sts import tokens
from proxy.sts.session_keys import SessionKey
from proxy.sts.tokens import Grant, PackedPolicyTooLarge, UnknownSessionKey
from proxy.xaes import XAES256GCM
from tests.fakes import FakeRandom

ROLE = "arn:aws:iam::111122223333:role/deploy"
NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


def session_key(version: int, seed: int) -> SessionKey:
    return SessionKey(version, XAES256GCM(bytes([seed]) * 32), bytes([seed + 1]) * 32)


KEY = session_key(1, 7)
KEYS = {1: KEY}
GRANT = Grant(ROLE, NOW, NOW + timedelta(hours=1), "session")
RANDOM = FakeRandom("tokens")

NAMES = st.text(st.sampled_from("abcXYZ019_+=,.@-"), min_size=2, max_size=64)
TIMES = st.integers(0, 2**32 - 1).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
GRANTS = st.builds(
    Grant,
    principal=st.sampled_from([ROLE, "arn:aws:iam::111122223333:user/path/alice", "arn:aws:iam::111122223333:root"]),
    issued=TIMES,
    expires=TIMES,
    session_name=st.none() | NAMES,
    policy=st.none()
    | st.dictionaries(st.text(max_size=8), st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=3),
    policy_arns=st.lists(st.sampled_from(["arn:aws:iam::aws:policy/A", "arn:aws:iam::aws:policy/B"]), max_size=3).map(
        tuple
    ),
)


@given(GRANTS)
def test_what_goes_in_comes_out(grant: Grant) -> None:
    issued = tokens.issue(grant, KEY, RANDOM(34))
    assert tokens.open_token(issued.session_token, issued.access_key_id, KEYS) == (grant, issued.secret_access_key)
    assert (issued.packed_policy_size is None) is (grant.policy is None and not grant.policy_arns)
    assert len(issued.session_token) <= tokens.MAX_TOKEN


@given(st.data())
def test_a_token_with_any_bit_changed_does_not_open(data: st.DataObject) -> None:
    issued = tokens.issue(GRANT, KEY, RANDOM(34))
    raw = bytearray(base64.b64decode(issued.session_token))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidSessionToken):
        tokens.open_token(base64.b64encode(raw).decode(), issued.access_key_id, KEYS)


@given(st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
def test_what_is_no_token(text: str) -> None:
    with pytest.raises(InvalidSessionToken):
        tokens.open_token(text, "ASIAIOSFODNN7EXAMPLE", KEYS)


@given(st.text())
def test_a_token_belongs_to_its_access_key(access_key_id: str) -> None:
    issued = tokens.issue(GRANT, KEY, RANDOM(34))
    with pytest.raises(InvalidSessionToken):
        tokens.open_token(issued.session_token, access_key_id, KEYS)


def test_a_token_cut_short_at_every_length() -> None:
    issued = tokens.issue(GRANT, KEY, RANDOM(34))
    for length in range(len(issued.session_token)):
        with pytest.raises(InvalidSessionToken):
            tokens.open_token(issued.session_token[:length], issued.access_key_id, KEYS)


def test_a_token_of_another_session_key() -> None:
    issued = tokens.issue(GRANT, session_key(2, 20), RANDOM(34))
    with pytest.raises(UnknownSessionKey):
        tokens.open_token(issued.session_token, issued.access_key_id, KEYS)
    with pytest.raises(InvalidSessionToken) as caught:
        tokens.open_token(issued.session_token, issued.access_key_id, {2: session_key(2, 21)})
    assert not isinstance(caught.value, UnknownSessionKey)


def test_a_token_longer_than_any_that_is_made_is_not_looked_at() -> None:
    with pytest.raises(InvalidSessionToken):
        tokens.open_token("A" * (tokens.MAX_TOKEN + 4), "ASIAIOSFODNN7EXAMPLE", KEYS)


def test_the_secret_depends_on_the_token_and_is_not_in_it() -> None:
    one, other = tokens.issue(GRANT, KEY, RANDOM(34)), tokens.issue(GRANT, KEY, RANDOM(34))
    assert one.secret_access_key != other.secret_access_key
    assert one.secret_access_key not in repr(one)
    assert one.session_token not in repr(one)


def test_policies_fit_up_to_a_hundred_percent_and_no_further() -> None:
    sizes: list[int | None] = []

    def issue(count: int) -> None:
        resources = [f"arn:aws:s3:::{RANDOM(8).hex()}/*" for _ in range(count)]
        policy = {"Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": resources}]}
        issued = tokens.issue(Grant(ROLE, NOW, NOW, "s" * 64, policy), KEY, RANDOM(34))
        assert len(issued.session_token) <= tokens.MAX_TOKEN
        sizes.append(issued.packed_policy_size)

    with pytest.raises(PackedPolicyTooLarge) as caught:
        list(map(issue, range(1000)))
    assert caught.value.size > 100
    assert sizes[-1] in range(95, 101)
    assert sizes == sorted(sizes)  # type: ignore[type-var]
