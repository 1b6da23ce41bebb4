"""What CloudFormation makes of a template before any service hears of it.

Parameters, rules, conditions and intrinsic functions: as many as template.yaml has.
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any
from unittest import mock

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TEMPLATE = REPOSITORY / "template.yaml"
CODE = {"Bucket": "code-of-the-function", "Key": "function.zip"}
"""Where `sam package` would have put the built function; it puts definitions there, too."""

PSEUDO = {
    "AWS::Region": "us-east-1",
    "AWS::AccountId": "123456789012",
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
}
_NOTHING = object()


class _NoManagedPolicies:
    """SAM asks for AWS's managed policies by name; the template names none."""

    def load(self) -> dict[str, str]:
        return {}


@cache
def _read() -> tuple[Any, Any]:
    text = TEMPLATE.read_text(encoding="utf-8")
    source, packaged = yaml_parse(text), yaml_parse(text)
    for resource in packaged["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = CODE
        elif resource["Type"] == "AWS::Serverless::StateMachine":
            path = resource["Properties"]["DefinitionUri"]
            resource["Properties"]["DefinitionUri"] = {"Bucket": CODE["Bucket"], "Key": path}
    with mock.patch.dict(os.environ, {"AWS_DEFAULT_REGION": PSEUDO["AWS::Region"]}):
        return source, transform(packaged, {}, _NoManagedPolicies())


def source() -> dict[str, Any]:
    """template.yaml as it is written, its tags as functions. Shared: not to be changed."""
    return _read()[0]


def transformed() -> dict[str, Any]:
    """What AWS SAM makes of template.yaml. Shared: not to be changed."""
    return _read()[1]


class Evaluation:
    """The transformed template for some parameters.

    A resource is known by its logical id in angle brackets, until ``ids`` and ``attribute`` know
    better.
    """

    def __init__(
        self,
        parameters: Mapping[str, str],
        *,
        stack: str = "tmdb-ingest",
        ids: Mapping[str, str] | None = None,
        attribute: Callable[[str, str], str] = lambda name, of: f"<{name}.{of}>",
    ) -> None:
        self.template = transformed()
        defaults = {
            name: str(parameter["Default"])
            for name, parameter in self.template["Parameters"].items()
        }
        assert parameters.keys() <= defaults.keys()
        self.parameters = {**defaults, **parameters}
        self._values = {**PSEUDO, "AWS::StackName": stack, **self.parameters}
        self._ids = ids or {}
        self._attribute = attribute

    def resources(self, kind: str | None = None) -> dict[str, dict[str, Any]]:
        """The properties of each resource that there is, or of this type, by its logical id."""
        return {
            name: self.value(resource.get("Properties", {}))
            for name, resource in self.template["Resources"].items()
            if self._is_there(resource) and kind in {None, resource["Type"]}
        }

    def outputs(self) -> dict[str, Any]:
        return {
            name: self.value(output["Value"])
            for name, output in self.template["Outputs"].items()
            if self._is_there(output)
        }

    def refusals(self) -> list[str]:
        """What CloudFormation says before it does anything: the assertions that do not hold."""
        return [
            assertion["AssertDescription"]
            for rule in self.template["Rules"].values()
            if self.value(rule.get("RuleCondition", True))
            for assertion in rule["Assertions"]
            if not self.value(assertion["Assert"])
        ]

    def value(self, node: Any) -> Any:
        """``node`` with every function carried out."""
        if isinstance(node, list):
            values = [self.value(each) for each in node]
            return [value for value in values if value is not _NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(name, argument)] = node.items()
            if name == "Condition" and isinstance(argument, str):
                return self._condition(argument)
            if name == "Ref" or name.startswith("Fn::"):
                return getattr(self, "_" + name.removeprefix("Fn::").lower())(argument)
        values = {name: self.value(each) for name, each in node.items()}
        return {name: value for name, value in values.items() if value is not _NOTHING}

    def _is_there(self, part: Mapping[str, Any]) -> bool:
        return "Condition" not in part or self._condition(part["Condition"])

    def _condition(self, name: str) -> bool:
        return bool(self.value(self.template["Conditions"][name]))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NOTHING
        if name in self._values:
            return self._values[name]
        assert self._is_there(self.template["Resources"][name]), f"{name} is not there"
        return self._ids.get(name, f"<{name}>")

    def _getatt(self, argument: list[str]) -> str:
        name, _, attribute = ".".join(argument).partition(".")
        assert self._is_there(self.template["Resources"][name]), f"{name} is not there"
        return self._attribute(name, attribute)

    def _sub(self, argument: Any) -> str:
        text, more = argument if isinstance(argument, list) else (argument, {})
        known = {name: self.value(value) for name, value in more.items()}

        def filled(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in known:
                return str(known[name])
            return str(self._getatt([name]) if "." in name else self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", filled, text)

    def _if(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.value(then if self._condition(condition) else otherwise)

    def _join(self, argument: list[Any]) -> str:
        between, parts = argument
        joined: str = between.join(self.value(parts))
        return joined

    def _split(self, argument: list[Any]) -> list[str]:
        between, text = argument
        parts: list[str] = self.value(text).split(between)
        return parts

    def _findinmap(self, argument: list[Any]) -> Any:
        name, first, second = self.value(argument)
        return self.template["Mappings"][name][first][second]

    def _equals(self, argument: list[Any]) -> bool:
        one, other = self.value(argument)
        return bool(one == other)

    def _not(self, argument: list[Any]) -> bool:
        return not self.value(argument[0])

    def _and(self, argument: list[Any]) -> bool:
        return all(self.value(argument))

    def _or(self, argument: list[Any]) -> bool:
        return any(self.value(argument))
