"""What IAM would say: identity policies, evaluated as IAM does as far as template.yaml goes.

Everything is denied that no statement allows, and everything that a statement denies. A condition
operator, a statement element or a policy version that is not known here is an error, never a yes.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_KNOWN = {"Sid", "Effect", "Action", "Resource", "Condition"}


@dataclass(frozen=True)
class Call:
    """One action on one resource, with the condition keys that the service makes of the request."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict, hash=False)


def allows(policies: Iterable[Mapping[str, Any]], call: Call) -> bool:
    """Whether a role with these policy documents may make the call."""
    effects = set()
    for policy in policies:
        assert policy["Version"] == "2012-10-17"
        for statement in listed(policy["Statement"]):
            assert statement.keys() <= _KNOWN, statement
            if _applies(statement, call):
                effects.add(statement["Effect"])
    assert effects <= {"Allow", "Deny"}
    return effects == {"Allow"}


def _applies(statement: Mapping[str, Any], call: Call) -> bool:
    return (
        # Names of services and actions have no case; resources and values do.
        any(_like(each.lower(), call.action.lower()) for each in listed(statement["Action"]))
        and any(_like(each, call.resource) for each in listed(statement["Resource"]))
        and all(
            _holds(operator, key, listed(expected), call.context)
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
        )
    )


def _holds(operator: str, key: str, expected: list[str], context: Mapping[str, str]) -> bool:
    """Whether a condition holds; where the request has no such key, none of these does."""
    compare = {"StringEquals": str.__eq__, "StringLike": _like}[operator]
    return key in context and any(compare(each, context[key]) for each in expected)


def _like(pattern: str, text: str) -> bool:
    """Whether ``text`` is like ``pattern``, in which * is anything and ? one character."""
    parts = [
        {"*": ".*", "?": "."}.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern)
    ]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None


def listed(value: Any) -> list[Any]:
    """``value``, which may stand alone in a policy where it is the only one of its list."""
    return value if isinstance(value, list) else [value]


def call_of(request: Mapping[str, Any]) -> Call:
    """The call that a service takes a request for, as moto recorded it. Only of those of a run."""
    target = request["headers"].get("X-Amz-Target", "")
    if target:
        return _call_with_a_body(target, json.loads(b64decode(request["body"])))
    return _s3_call(request["method"], request["url"])


def _call_with_a_body(target: str, body: Mapping[str, str]) -> Call:
    if target == "secretsmanager.GetSecretValue":
        return Call("secretsmanager:GetSecretValue", body["SecretId"])
    assert target == "AmazonSSM.GetParameter"
    where = "arn:aws:ssm:us-east-1:123456789012"
    return Call("ssm:GetParameter", f"{where}:parameter{body['Name']}")


def _s3_call(method: str, url: str) -> Call:
    parts = urlsplit(url)
    bucket, _, key = parts.path.lstrip("/").partition("/")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    arn = f"arn:aws:s3:::{unquote(bucket)}"
    if key:
        assert query == {}, f"{method} {url} is no plain read or write of an object"
        of_method = {"GET": "s3:GetObject", "PUT": "s3:PutObject", "DELETE": "s3:DeleteObject"}
        return Call(of_method[method], f"{arn}/{unquote(key)}")
    assert method == "GET", f"{method} {url} is of the bucket"
    assert query["list-type"] == "2"
    return Call("s3:ListBucket", arn, {"s3:prefix": query["prefix"]})
