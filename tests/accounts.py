"""Functions of one account: their package, TMDB and the bucket that they have in common."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.sandbox import SANDBOX_TOKEN
from runs import objects, variables
from runtime_api import COMMAND, Function, copy_runtime, lambda_environment
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from ingest.sandbox import Sandbox
    from runtime_api import Outcome
    from support import S3Server


def built(root: Path) -> Path:
    """Return the directory below ``root`` with the package and AWS's runtime client.

    The package is made as ``sam build`` makes it, for this machine and Python, by the first of the
    tests' workers that asks for it.
    """
    home = root / "function"
    with (root / "function.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not home.is_dir():
            unfinished = root / "function.unfinished"
            _build(unfinished / "task")
            copy_runtime(unfinished / "runtime")
            unfinished.rename(home)
    return home


def _build(target: Path) -> None:
    machine = platform.machine().replace("aarch64", "arm64")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    arguments = [f"ARTIFACTS_DIR={target}", f"ARCHITECTURE={machine}", f"PYTHON_VERSION={python}"]
    subprocess.run(
        ["make", "-C", REPOSITORY, "build-IngestFunction", *arguments],
        env={name: os.environ[name] for name in os.environ if "MAKE" not in name},
        check=True,
    )


class Account:
    """What functions have in common."""

    def __init__(self, home: Path, sandbox: Sandbox, server: S3Server, stack: ExitStack) -> None:
        self.package, self.runtime = home / "task", home / "runtime"
        self.sandbox = sandbox
        self.server = server
        self.bucket = server.new_bucket()
        self.secrets = (SANDBOX_TOKEN, server.access_key.secret_access_key)
        self._stack = stack

    def environment(self, **more: str) -> dict[str, str]:
        role = self.server.environment(self.bucket)
        del role["REGION_NAME"]  # Lambda's own AWS_REGION has to do
        return {
            **lambda_environment(self.package, self.runtime),
            **variables(self.sandbox, **{**role, **more}),
        }

    def function(self, command: Sequence[str] = COMMAND, **more: str) -> Function:
        """Start a new execution environment, which lasts as long as the test."""
        environment = self.environment(**more)
        function = Function(command, environment, self.package, scratch=Path.cwd())
        return self._stack.enter_context(function)

    def lake(self) -> dict[str, bytes]:
        return objects(self.server, self.bucket)


def body(outcome: Outcome) -> dict[str, Any]:
    """The body of a response."""
    assert outcome.kind == "response", outcome
    assert outcome.payload["statusCode"] == 200
    told: dict[str, Any] = json.loads(outcome.payload["body"])
    return told


def lines(outcome: Outcome) -> list[dict[str, Any]]:
    """The log lines of an invocation, each a JSON object: so CloudWatch can search in them."""
    parsed = [json.loads(line) for line in outcome.log.splitlines()]
    assert all(isinstance(line, dict) for line in parsed)
    return parsed
