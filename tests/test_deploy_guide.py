"""``docs/deploy.md`` names what there is: of the template, of the code, and of the command."""

from __future__ import annotations

import inspect
import re

import click
import pytest

from cloudformation import Evaluation, transformed
from ingest import errors
from ingest.cli.group import cli
from ingest.metrics import NAMESPACE
from support import REPOSITORY

GUIDE = (REPOSITORY / "docs" / "deploy.md").read_text(encoding="utf-8")
CODE = re.findall(r"```\w*\n(.*?)```", GUIDE, re.DOTALL)
SPANS = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL))
METRICS = set(re.findall(r'MetricName=\\"(\w+)', (REPOSITORY / "template.yaml").read_text()))
OTHERS = {NAMESPACE, "Variables"}
"""Of metrics, and of a section of the template."""


def test_names_are_of_the_template_or_the_code() -> None:
    template = transformed()
    known = {name for part in ("Parameters", "Resources", "Outputs") for name in template[part]}
    known |= METRICS | OTHERS | {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    named = {span for span in SPANS if re.fullmatch(r"([A-Z][a-z0-9]+)+", span)}
    assert {"TmdbSecretArn", "MoviesMissing", "IngestRoleName", "TornRuns", "RunFailed"} <= named
    assert named - known == set()
    queried = {name for code in CODE for name in re.findall(r"OutputKey=='(\w+)'", code)}
    assert queried <= template["Outputs"].keys()


def test_every_alarm_is_explained() -> None:
    alarms = Evaluation({}).resources("AWS::CloudWatch::Alarm")
    rows = [line.split("|")[1] for line in GUIDE.splitlines() if line.startswith("| `")]
    assert alarms.keys() <= {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_the_schedule_is_called_so() -> None:
    (schedule,) = Evaluation({}).resources("AWS::Scheduler::Schedule").values()
    assert re.findall(r"get-schedule --group-name \S+ --name (\S+?)`", GUIDE) == [schedule["Name"]]


@pytest.mark.parametrize(
    "line", [line for code in CODE for line in re.findall(r"\bingest [a-z]+ [^#\n|]*", code)]
)
def test_commands_and_their_options_exist(line: str) -> None:
    _, name, *words = line.split()
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    options = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_sections_that_are_linked_to_are_there() -> None:
    titles = re.findall(r"^## (.+)$", GUIDE, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([a-z0-9-]+)\)", GUIDE)) == anchors
