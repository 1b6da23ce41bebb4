"""A run on this machine, for a person: ``.env``, the stand-in of TMDB, a table, an exit code."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import logs
from ingest import settings as settings_module
from ingest.errors import CredentialsRefused, IngestError, SettingsError
from ingest.event import is_job, parse_event
from ingest.pacing import Deadline
from ingest.pipeline import new_run_id, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ingest.report import RunReport
    from ingest.settings import Settings

_LONGEST_S = 840.0
"""Seconds for TMDB, though nobody limits them here: a run takes one, or twelve with details."""

_TOLD_BY_EXIT_CODE = frozenset({SettingsError.exit_code, CredentialsRefused.exit_code})


def run_here(read_event: Callable[[], object]) -> int:
    """Run what ``read_event`` returns; print what landed, or the error; return the exit code.

    0 where all landed, 1 where a dataset failed, 2 for a wrong setting or event, 3 for refused
    credentials. Ctrl-C ends the process with 130.
    """
    try:
        if not settings_module.in_lambda():
            _load_dot_env()
        settings = settings_module.load()
        logs.configure(in_lambda=settings.in_lambda, level=settings.log_level)
        event = read_event()
        if is_job(event):
            _do_job(event, settings)
            return 0
        request = parse_event(event)
        with tmdb_or_stand_in(settings) as settings:
            report = run(request, settings, Deadline(_LONGEST_S), new_run_id())
        print(_table(report), flush=True)
        report.raise_for_failures()
    except IngestError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if error.exit_code in _TOLD_BY_EXIT_CODE else IngestError.exit_code
    except OSError as error:  # stdout is full, or nobody reads it
        print(f"error: cannot show what became of it: {error.strerror or error}", file=sys.stderr)
        return IngestError.exit_code
    except KeyboardInterrupt:
        print("interrupted: a dataset without a line 'landed' did not land", file=sys.stderr)
        sys.stderr.flush()
        # Not sys.exit: it would wait for answers of TMDB that nobody wants any more.
        os._exit(130)
    return 0


def _do_job(event: Mapping[str, Any], settings: Settings) -> None:
    """Do the job of ``event``, and print its answer."""
    from ingest import jobs  # noqa: PLC0415 - the daily run does none

    with tmdb_or_stand_in(settings) as over:
        answer = jobs.do(event, jobs.Run(over, Deadline(_LONGEST_S), new_run_id()))
    print(json.dumps(answer, ensure_ascii=False, indent=2), flush=True)


def _load_dot_env() -> None:
    from dotenv import load_dotenv  # noqa: PLC0415 - Lambda has no .env and need not load it

    try:
        load_dotenv(Path(".env"))
    except ValueError:
        raise SettingsError(".env is not UTF-8 text") from None


@contextlib.contextmanager
def tmdb_or_stand_in(settings: Settings) -> Iterator[Settings]:
    """Yield ``settings`` as they are, or for the bundled stand-in where TMDB has no credentials."""
    if settings.has_tmdb_credentials:
        yield settings
        return
    from ingest.sandbox import SANDBOX_TOKEN, Sandbox  # noqa: PLC0415 - not part of a real run

    with Sandbox() as sandbox:
        # Not a log line: whatever LOG_LEVEL is, nobody should take these titles for TMDB's.
        print(
            "No TMDB credentials (TMDB_ACCESS_TOKEN or TMDB_API_KEY): using the bundled stand-in "
            f"of TMDB at {sandbox.base_url}, with invented titles",
            file=sys.stderr,
        )
        yield dataclasses.replace(
            settings, tmdb_base_url=sandbox.base_url, tmdb_access_token=SANDBOX_TOKEN
        )


def _table(report: RunReport) -> str:
    """Return what became of each dataset, as aligned text."""
    rows = [("dataset", "status", "records", "bytes", "consistency", "seconds", "key")]
    rows += [
        (
            dataset.name,
            dataset.status,
            str(dataset.records),
            f"{dataset.bytes:,}",
            dataset.consistency or "-",
            f"{dataset.seconds:.2f}",
            dataset.key or "-",
        )
        for dataset in report.datasets
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([f"\n{report.message}", *lines])
