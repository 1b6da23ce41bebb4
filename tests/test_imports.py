"""What a run loads: cold starts are paid for in imports."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING

import pytest

from runs import COMMITTED, objects, program, variables
from support import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.sandbox import Sandbox
    from support import S3Server

LOADED = "import json, sys; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"


@pytest.fixture(scope="module")
def unwanted() -> frozenset[str]:
    """boto3, and every module of a development tool of ours that no real part of ours needs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    tools = {_name(line) for line in project["dependency-groups"]["dev"]}
    parts = {_name(line) for line in project["project"]["dependencies"]}
    found = {
        module
        for module, distributions in packages_distributions().items()
        if {_name(each) for each in distributions} & (tools - parts)
    }
    assert {"pytest", "moto", "responses", "hypothesis", "mypy", "ruff", "xdist"} <= found
    return frozenset(found | {"boto3", "botocore", "s3transfer", "werkzeug", "flask"})


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace("_", "-")


def _loaded(environ: dict[str, str], code: str) -> set[str]:
    done = program(environ, "-c", f"{code}\n{LOADED}")
    assert done.code == 0, done.err
    return set(json.loads(done.out.splitlines()[-1]))


def test_import_handler_loads_neither_boto3_nor_development_tools(unwanted: frozenset[str]) -> None:
    loaded = _loaded({}, "import handler")
    assert "handler" in loaded
    assert loaded & unwanted == set()


def test_whole_run_loads_neither_boto3_nor_development_tools(
    stand_in: Callable[..., Sandbox], rclone_server: S3Server, unwanted: frozenset[str]
) -> None:
    bucket = rclone_server.new_bucket()
    environ = variables(stand_in(), **rclone_server.environment(bucket))
    event = "{'scheduled_time': '2026-11-20T06:00:00Z'}"
    loaded = _loaded(environ, f"import handler; handler.lambda_handler({event}, None)")
    assert objects(rclone_server, bucket).keys() == COMMITTED
    assert loaded & unwanted == set()


def test_a_run_with_credentials_of_tmdb_does_not_load_the_stand_in(
    stand_in: Callable[..., Sandbox],
) -> None:
    report_loaded = "import sys; print('ingest.sandbox' in sys.modules)"
    code = f"import handler; code = handler.main([]); {report_loaded}"
    done = program(variables(stand_in()), "-c", code)
    assert done.out.splitlines()[-1] == "False", done.err
