import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws import json_codec
from proxy.aws.errors import AwsError
from proxy.aws.json_codec import Blob, Boolean, Integer, ListOf, MapOf, String, Structure, Timestamp

SHAPE = Structure(
    {
        "KeyId": String(1, 5, "^[a-z]+$"),
        "Kind": String(enum=("ONE", "TWO")),
        "Plaintext": Blob(1, 4),
        "Limit": Integer(1, 10),
        "DryRun": Boolean(),
        "ValidTo": Timestamp(),
        "Tags": ListOf(Structure({"TagKey": String(1), "TagValue": String()}, ("TagKey",)), 0, 2),
        "Names": ListOf(String(enum=("a", "b"))),
        "Context": MapOf(String(0, 3)),
    },
    ("KeyId",),
)


def decode(**members: Any) -> json_codec.Values:
    return json_codec.decode(SHAPE, json.dumps({"KeyId": "a"} | members).encode())


def refused(body: bytes) -> tuple[str, str | None]:
    with pytest.raises(AwsError) as caught:
        json_codec.decode(SHAPE, body)
    assert caught.value.status == 400
    return caught.value.code, caught.value.message


def fault(**members: Any) -> str:
    code, message = refused(json.dumps({"KeyId": "a"} | members).encode())
    assert code == "ValidationException"
    prefix = "1 validation error detected: "
    assert message is not None
    assert message.startswith(prefix)
    return message.removeprefix(prefix)


def test_values_are_pythons_own() -> None:
    assert decode(
        Kind="ONE",
        Plaintext="AP8=",
        Limit=3,
        DryRun=False,
        ValidTo=1.5,
        Tags=[{"TagKey": "k", "TagValue": ""}],
        Names=["b"],
        Context={"": "ü"},
        Unknown=[{}],
    ) == {
        "KeyId": "a",
        "Kind": "ONE",
        "Plaintext": b"\x00\xff",
        "Limit": 3,
        "DryRun": False,
        "ValidTo": datetime(1970, 1, 1, 0, 0, 1, 500_000, UTC),
        "Tags": [{"TagKey": "k", "TagValue": ""}],
        "Names": ["b"],
        "Context": {"": "ü"},
    }


def test_null_is_absent_and_an_empty_body_an_empty_structure() -> None:
    assert decode(Kind=None, Tags=None) == {"KeyId": "a"}
    assert json_codec.decode(Structure({}), b"") == {}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"KeyId": None}, "Value null at 'keyId' failed to satisfy constraint: Member must not be null"),
        (
            {"KeyId": "abcdef"},
            "Value 'abcdef' at 'keyId' failed to satisfy constraint: Member must have length less than or equal to 5",
        ),
        (
            {"KeyId": "A"},
            "Value 'A' at 'keyId' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-z]+$",
        ),
        (
            {"KeyId": "a\n"},
            "Value 'a\n' at 'keyId' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: ^[a-z]+$",
        ),
        (
            {"Kind": "THREE"},
            "Value 'THREE' at 'kind' failed to satisfy constraint: Member must satisfy enum value set: [ONE, TWO]",
        ),
        (
            {"Plaintext": ""},
            "Value at 'plaintext' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        (
            {"Plaintext": "c2VjcmV0"},
            "Value at 'plaintext' failed to satisfy constraint: Member must have length less than or equal to 4",
        ),
        (
            {"Limit": 0},
            "Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ),
        (
            {"Limit": 11},
            "Value '11' at 'limit' failed to satisfy constraint: Member must have value less than or equal to 10",
        ),
        (
            {"Tags": [{"TagKey": "a"}, {}]},
            "Value null at 'tags.2.member.tagKey' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"Names": ["a", "c"]},
            "Value 'c' at 'names.2.member' failed to satisfy constraint: Member must satisfy enum value set: [a, b]",
        ),
        (
            {"Names": [None]},
            "Value null at 'names.1.member' failed to satisfy constraint: Member must not be null",
        ),
        (
            {"Context": {"k": "long"}},
            "Value 'long' at 'context.k.member' failed to satisfy constraint: "
            "Member must have length less than or equal to 3",
        ),
    ],
)
def test_broken_constraints_in_the_words_of_aws(members: dict[str, Any], expected: str) -> None:
    assert fault(**members) == expected


def test_faults_are_gathered() -> None:
    code, message = refused(b'{"Limit": 0, "Kind": "x"}')
    assert code == "ValidationException"
    assert message is not None
    assert message.startswith("3 validation errors detected: Value null at 'keyId'")
    assert message.count("; ") == 2


def test_a_list_that_is_too_long_is_one_fault() -> None:
    found = fault(Tags=[{"TagKey": "a"}] * 3)
    assert found.endswith("at 'tags' failed to satisfy constraint: Member must have length less than or equal to 2")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"KeyId": 1}, "NUMBER_VALUE cannot be converted to String"),
        ({"KeyId": True}, "TRUE_VALUE cannot be converted to String"),
        ({"KeyId": {}}, "Start of structure or map found where not expected."),
        ({"KeyId": []}, "Start of list found where not expected"),
        ({"Limit": "1"}, "STRING_VALUE cannot be converted to Integer"),
        ({"Limit": 1.5}, "NUMBER_VALUE cannot be converted to Integer"),
        ({"Limit": True}, "TRUE_VALUE cannot be converted to Integer"),
        ({"DryRun": "true"}, "STRING_VALUE cannot be converted to Boolean"),
        ({"DryRun": 0}, "NUMBER_VALUE cannot be converted to Boolean"),
        ({"ValidTo": "2026-01-01"}, "STRING_VALUE cannot be converted to Timestamp"),
        ({"ValidTo": 1e300}, "A timestamp is out of range."),
        ({"Plaintext": "?"}, "Invalid Base64 in a blob."),
        ({"Plaintext": "A"}, "Invalid Base64 in a blob."),
        ({"Plaintext": "ü"}, "Invalid Base64 in a blob."),
        ({"Tags": "a"}, "Unexpected field type"),
        ({"Tags": {}}, "Start of structure or map found where not expected."),
        ({"Context": []}, "Start of list found where not expected"),
        ({"Context": "a"}, "Unexpected field type"),
        ({"Context": {"a": 1}}, "NUMBER_VALUE cannot be converted to String"),
        ({"Tags": ["a"]}, "Unexpected field type"),
        ({"KeyId": "\ud800"}, "Text holds an unpaired surrogate."),
        ({"Context": {"\ud800": ""}}, "Text holds an unpaired surrogate."),
    ],
)
def test_wrong_types(members: dict[str, Any], message: str) -> None:
    assert refused(json.dumps({"KeyId": "a"} | members).encode()) == ("SerializationException", message)


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b'{"Limit": NaN}', b"[" * 100_000, b'{"Limit": ' + b"9" * 5000 + b"}", b"{} {}"]
)
def test_what_is_not_json(body: bytes) -> None:
    assert refused(body) == ("SerializationException", "The request is not well-formed JSON.")


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'"a"'])
def test_what_is_no_structure(body: bytes) -> None:
    assert refused(body)[0] == "SerializationException"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def outcome(body: bytes) -> str:
    """The code of the refusal, or ``decoded``."""
    try:
        values = json_codec.decode(SHAPE, body)
    except AwsError as error:
        return error.code
    return "decoded" if 1 <= len(values["KeyId"]) <= 5 else "decoded what breaks a constraint"


OUTCOMES = ("decoded", "SerializationException", "ValidationException")


@given(st.dictionaries(st.sampled_from(sorted(SHAPE.members)), json_values))
def test_any_json_is_decoded_or_refused(document: dict[str, Any]) -> None:
    assert outcome(json.dumps(document).encode()) in OUTCOMES


@given(st.binary())
def test_any_bytes_are_decoded_or_refused(body: bytes) -> None:
    assert outcome(body) in OUTCOMES


def test_output() -> None:
    encoded = json_codec.encode(
        {"B": b"\x00\xff", "T": datetime(2026, 11, 23, 6, 7, 8, 123456, UTC), "L": ["ü", None, True], "N": {"a": 1}}
    )
    assert encoded == b'{"B":"AP8=","T":1795414028.123,"L":["\\u00fc",null,true],"N":{"a":1}}'
    with pytest.raises(TypeError):
        json_codec.encode({"x": object()})


def test_a_required_member_must_be_a_member() -> None:
    with pytest.raises(ValueError, match="not a member"):
        Structure({}, ("KeyId",))
