import base64
import json
from datetime import UTC, datetime

import pytest

from proxy.aws.errors import AwsError
from proxy.aws.form_data import Field, FormHead
from proxy.aws.message import Request
from proxy.s3.bodies.post_form import PostForm, check, fields_of

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def form(*conditions: object, **fields: str) -> PostForm:
    document = {"expiration": "2026-11-29T00:00:00Z", "conditions": conditions}
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    sent = [Field("policy", policy), *(Field(name, value) for name, value in fields.items())]
    head = FormHead(sent, "f", None, 0, b"boundary")
    return PostForm(Request("POST", "/mine"), head, fields_of(head), b"")


def test_a_field_says_nothing_of_the_bucket_that_the_form_is_sent_to() -> None:
    limited = form({"bucket": "mine"}, {"key": "k"}, key="k", bucket="mine")
    check(limited, "mine", NOW)
    with pytest.raises(AwsError) as refused:
        check(limited, "another", NOW)
    assert refused.value.message == 'Invalid according to Policy: Policy Condition failed: ["eq", "$bucket", "mine"]'
