"""The function as Lambda has it: a process of its own that is invoked again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from runs import child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

FUNCTION_NAME = "tmdb-ingest"

_LOOP = """
import itertools, json, sys
import handler

class Context:
    function_name = "tmdb-ingest"
    def __init__(self, number):
        self.aws_request_id = f"request-{number}"
    def get_remaining_time_in_millis(self):
        return 60_000

for number, line in zip(itertools.count(1), sys.stdin):
    try:
        answered = handler.lambda_handler(json.loads(line), Context(number))
        answer = {"body": json.loads(answered["body"]) if "body" in answered else answered}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    answer["modules"] = sorted({name.partition(".")[0] for name in sys.modules})
    print("ANSWER", json.dumps(answer), flush=True)
"""


@dataclass(frozen=True)
class Invocation:
    """What came of one event: the answer or the error, and what was printed meanwhile."""

    lines: list[str]
    body: dict[str, Any] | None
    error: str | None
    modules: set[str]

    @property
    def _documents(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [document for document in self._documents if "_aws" not in document]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of CloudWatch's embedded metric format."""
        return [document for document in self._documents if "_aws" in document]

    def measured(self, dataset: str) -> dict[str, float]:
        """The metrics of ``dataset``, of which there is exactly one line."""
        (line,) = (line for line in self.metrics if line.get("dataset") == dataset)
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert set(directive["Dimensions"][0]) == {"dataset", "service"}
        names = [metric["Name"] for metric in directive["Metrics"]]
        return {name: value for name in names for value in line[name]}


class Function:
    """A function with these variables, for as long as the ``with`` block lasts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            env=child_environment({"AWS_LAMBDA_FUNCTION_NAME": FUNCTION_NAME, **environ}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def invoke(self, event: object) -> Invocation:
        """Send ``event``, and return when it has been answered."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps(event), file=self._process.stdin, flush=True)
        lines: list[str] = []
        for line in self._process.stdout:
            if line.startswith("ANSWER "):
                answer = json.loads(line.removeprefix("ANSWER "))
                modules = set(answer["modules"])
                return Invocation(lines, answer.get("body"), answer.get("error"), modules)
            lines.append(line.rstrip("\n"))
        raise AssertionError("\n".join(lines))


def invoked(environ: Mapping[str, str], event: object) -> Invocation:
    """What comes of ``event`` in a function that has just been started."""
    with Function(environ) as function:
        return function.invoke(event)
