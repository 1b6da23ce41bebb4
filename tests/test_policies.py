"""The evaluation of policies that other tests rely on agrees with IAM's rules."""

from __future__ import annotations

from typing import Any

import pytest

from policies import Call, allows, call_of

READ = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::lake/raw/*"}
LIST = {
    "Effect": "Allow",
    "Action": ["s3:ListBucket"],
    "Resource": ["arn:aws:s3:::lake"],
    "Condition": {"StringLike": {"s3:prefix": "raw/*"}},
}
DENY = {"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::lake/raw/secret?"}


def _policy(*statements: dict[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (Call("s3:GetObject", "arn:aws:s3:::lake/raw/a/b"), True),
        (Call("s3:getobject", "arn:aws:s3:::lake/raw/a"), True),
        (Call("s3:GetObject", "arn:aws:s3:::lake/RAW/a"), False),
        (Call("s3:GetObject", "arn:aws:s3:::lake/raw"), False),
        (Call("s3:GetObjectVersion", "arn:aws:s3:::lake/raw/a"), False),
        (Call("s3:PutObject", "arn:aws:s3:::lake/raw/a"), False),
        (Call("s3:GetObject", "arn:aws:s3:::lake/raw/secrets"), False),
        (Call("s3:GetObject", "arn:aws:s3:::lake/raw/secret"), True),
        (Call("s3:ListBucket", "arn:aws:s3:::lake", {"s3:prefix": "raw/a/"}), True),
        (Call("s3:ListBucket", "arn:aws:s3:::lake", {"s3:prefix": ""}), False),
        (Call("s3:ListBucket", "arn:aws:s3:::lake"), False),
        (Call("s3:ListBucket", "arn:aws:s3:::lakes", {"s3:prefix": "raw/a/"}), False),
    ],
)
def test_a_call_is_allowed_where_a_statement_says_so_and_none_denies(
    call: Call, *, allowed: bool
) -> None:
    assert allows([_policy(READ, LIST, DENY)], call) == allowed
    assert allows([_policy(DENY), _policy(LIST), _policy(READ)], call) == allowed
    assert not allows([], call)


@pytest.mark.parametrize(
    "unknown",
    [
        {**READ, "NotResource": "x"},
        {**READ, "Effect": "Perhaps"},
    ],
)
def test_what_is_not_known_is_no_yes(unknown: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        allows([_policy(unknown)], Call("s3:GetObject", "arn:aws:s3:::lake/raw/a"))
    operator = {**READ, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}
    with pytest.raises(KeyError):
        allows([_policy(operator)], Call("s3:GetObject", "arn:aws:s3:::lake/raw/a"))


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("GET", "/lake/raw/a%20b", Call("s3:GetObject", "arn:aws:s3:::lake/raw/a b")),
        ("PUT", "/lake/raw/a", Call("s3:PutObject", "arn:aws:s3:::lake/raw/a")),
        (
            "GET",
            "/lake?list-type=2&delimiter=%2F&prefix=raw%2Fa%2F",
            Call("s3:ListBucket", "arn:aws:s3:::lake", {"s3:prefix": "raw/a/"}),
        ),
    ],
)
def test_a_request_is_the_call_it_makes(method: str, path: str, call: Call) -> None:
    url = f"http://127.0.0.1:5000{path}"
    assert call_of({"headers": {}, "method": method, "url": url}) == call


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/lake/raw/a?acl"),
        ("PUT", "/lake?policy"),
        ("POST", "/lake/raw/a"),
        ("DELETE", "/lake"),
    ],
)
def test_a_request_that_no_run_makes_is_an_error(method: str, path: str) -> None:
    with pytest.raises((AssertionError, KeyError)):
        call_of({"headers": {}, "method": method, "url": f"http://127.0.0.1:5000{path}"})
