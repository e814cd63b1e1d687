"""Which documents are policies, and what is read from them."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.aws.policy_conditions import Quantifier
from proxy.aws.policy_document import InvalidPrincipal, MalformedPolicy, parse_identity, parse_resource
from tests.aws.policies import ACCOUNT, document, statement

USER = f"arn:aws:iam::{ACCOUNT}:user/bob"


def no_keys(key: str, quantifier: Quantifier | None) -> str | None:
    return f"bad key {key} {quantifier and quantifier.value}" if key.startswith("bad:") else None


def refused(text: Any, check: Any = None) -> str:
    parse = parse_resource if "Principal" in str(text) else parse_identity
    with pytest.raises(MalformedPolicy) as caught:
        parse(text if isinstance(text, str) else json.dumps(text), check)
    return str(caught.value)


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ("", "Not valid JSON"),
        ("{", "Not valid JSON"),
        ("[" * 100_000, "Not valid JSON"),
        ("[]", "A policy is a JSON object"),
        ("{}", "Missing required field Statement"),
        ('{"Statement": [], "Statement": []}', "A field stands twice in one object"),
        ({"Statement": []}, "Statement is empty or not a list"),
        ({"Statement": "x"}, "Statement is empty or not a list"),
        ({"Statement": ["x"]}, "A statement is a JSON object"),
        ({"Statement": [statement()], "Name": "x"}, "Unknown field Name"),
        ({"Statement": [statement()], "Version": "2011-10-17"}, "Invalid policy version"),
        ({"Statement": [statement()], "Id": 1}, "Invalid Id"),
        (document(statement(Sid="a"), statement(Sid="b"), statement(Sid="a")),
         "Statement IDs (SID) in a single policy must be unique."),
    ],
)  # fmt: skip
def test_documents_that_are_no_policies(whole: Any, message: str) -> None:
    assert refused(whole) == message


def without(name: str, **others: Any) -> dict[str, Any]:
    made = statement(**others)
    del made[name]
    return made


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (without("Effect"), "Missing required field Effect"),
        (statement("allow"), "Invalid Effect"),
        (statement("Permit"), "Invalid Effect"),
        (without("Action"), "Missing required field Action"),
        (without("Resource"), "Missing required field Resource"),
        (statement(NotAction="s3:*"), "Action and NotAction stand in one statement"),
        (statement(NotResource="*"), "Resource and NotResource stand in one statement"),
        (statement(action=[]), "Invalid Action"),
        (statement(action=""), "Invalid Action"),
        (statement(action=1), "Invalid Action"),
        (statement(action="GetObject"), "Invalid Action GetObject"),
        (statement(action="s3:Get Object"), "Invalid Action s3:Get Object"),
        (statement(action="${aws:username}:x"), "Invalid Action ${aws:username}:x"),
        (statement(resource=[]), "Invalid Resource"),
        (statement(resource="bucket/*"), "Invalid Resource bucket/*"),
        (statement(resource="arn:aws:s3:::${aws:username"), "Invalid Resource arn:aws:s3:::${aws:username"),
        (statement(Sid=1), "Invalid Sid"),
        (statement(Extra=1), "Unknown field Extra"),
        (statement(Condition=[]), "Invalid Condition"),
        (statement(Condition={"StringEquals": "x"}), "Invalid Condition"),
        (statement(Condition={"StringEquals": {"a:b": None}}), "Invalid Condition"),
        (statement(Condition={"StringEquals": {"a:b": []}}), "Invalid Condition"),
        (statement(Condition={"StringEquals": {"a:b": {"c": "d"}}}), "Invalid Condition"),
        (statement(Condition={"NumericEquals": {"a:b": "x"}}), "Invalid value of a:b for the operator NumericEquals"),
        (statement(Principal="*"), None),
        (statement(NotPrincipal="*"), None),
    ],
)
def test_statements_that_are_none(one: dict[str, Any], message: str | None) -> None:
    with pytest.raises(MalformedPolicy) as caught:
        parse_identity(document(one))
    assert str(caught.value) == (message or "Policy document should not specify a principal.")


@pytest.mark.parametrize(
    "principal",
    [
        "bob",
        USER,
        [],
        {},
        {"AWS": []},
        {"AWS": ""},
        {"AWS": "bob"},
        {"AWS": "1111"},
        {"AWS": ["*", "arn:aws:s3:::bucket"]},
        {"AWS": f"arn:aws:iam::{ACCOUNT}:user/*"},
        {"AWS": "AIDAEXAMPLE"},
        {"Users": USER},
        {"Service": "s3"},
        {"Service": "*"},
    ],
)
def test_principals_that_are_none(principal: Any) -> None:
    for name in ("Principal", "NotPrincipal"):
        with pytest.raises(InvalidPrincipal):
            parse_resource(document(statement(**{name: principal})))


def test_a_resource_policy_names_its_principals_once() -> None:
    assert refused(document(statement(Principal="*", NotPrincipal="*"))).startswith("Principal and NotPrincipal")
    with pytest.raises(MalformedPolicy, match="Missing required field Principal"):
        parse_resource(document(statement()))


@pytest.mark.parametrize(
    "principal",
    ["*", {"AWS": "*"}, {"AWS": [USER, ACCOUNT]}, {"Service": "s3.amazonaws.com"}, {"CanonicalUser": "a" * 64},
     {"Federated": "accounts.google.com", "AWS": USER}],
)  # fmt: skip
def test_principals_of_all_kinds(principal: Any) -> None:
    assert len(parse_resource(document(statement(Principal=principal))).statements) == 1


def test_one_statement_needs_no_list() -> None:
    assert len(parse_identity({"Statement": statement()}).statements) == 1
    assert len(parse_identity(json.dumps(document(statement(), statement("Deny")))).statements) == 2


def test_what_is_checked_of_conditions() -> None:
    def condition(operator: str, key: str = "a:b") -> dict[str, Any]:
        return document(statement(Condition={operator: {key: "true"}}))

    assert refused(condition("StringSounds"), no_keys) == "Invalid Condition type : StringSounds"
    assert refused(condition("Bool", "BAD:key"), no_keys) == "bad key bad:key None"
    assert refused(condition("ForAllValues:StringLike", "bad:x"), no_keys) == "bad key bad:x ForAllValues"
    (parsed,) = parse_identity(condition("StringSounds")).statements
    assert not parsed.conditions[0].known
    (parsed,) = parse_identity(condition("Bool", "Bad:Key"), lambda *_: None).statements
    assert parsed.keys == {"bad:key"}


def test_values_that_are_not_texts() -> None:
    condition = {"Bool": {"a:b": True}, "NumericEquals": {"a:c": [1, 2.5]}}
    (parsed,) = parse_identity(document(statement(Condition=condition))).statements
    by_key = {each.key: each for each in parsed.conditions}
    assert by_key["a:b"].holds(lambda _: ("true",)) is True
    assert by_key["a:c"].holds(lambda _: ("2.5",)) is True


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["*", "Allow", USER]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "Version",
                        "Statement",
                        "Effect",
                        "Action",
                        "Resource",
                        "Principal",
                        "Condition",
                        "AWS",
                        "Bool",
                        "x:y",
                    ]
                ),
                inner,
                max_size=5,
            )
        ),
        max_leaves=12,
    )
)
def test_anything_is_a_policy_or_malformed(value: Any) -> None:
    for parse in (parse_identity, parse_resource):
        for check in (None, no_keys):
            with contextlib.suppress(MalformedPolicy):
                parse(json.dumps(value), check)
