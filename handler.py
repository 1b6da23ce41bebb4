"""The AWS Lambda function, and the same run by hand: ``python handler.py [EVENT.json]``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import logs
from ingest import settings as settings_module
from ingest.errors import CredentialsRefused, EventError, IngestError, SettingsError
from ingest.event import parse_event
from ingest.pacing import Deadline
from ingest.pipeline import RunReport, new_run_id, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.settings import Settings

logger = logging.getLogger("ingest")

_LANDING_S = 20.0
"""Kept back of Lambda's time for landing: two small uploads, with room for the store's retries."""

_LONGEST_S = 840.0
"""Seconds for TMDB where nobody sets a limit; a run takes less than one, or twelve with details."""


def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's, or None
    """Run the ingest that ``event`` asks for; see ``ingest.event`` for what it may be.

    Returns ``{"statusCode": 200, "body": JSON}`` when every dataset landed, was skipped or was
    planned. Raises ``IngestError`` otherwise, after the others have landed, so that Lambda
    retries the event and its alarms see it.
    """
    settings = settings_module.load()
    logs.configure(settings, getattr(context, "aws_request_id", None))
    report = _ingest(event, settings, _seconds_for_tmdb(context))
    body = report.as_json()
    logger.log(
        logging.ERROR if report.failed else logging.INFO, report.message, extra={"report": body}
    )
    report.raise_for_failures()
    return {"statusCode": 200, "body": json.dumps(body, ensure_ascii=False)}


def _ingest(event: object, settings: Settings, seconds: float) -> RunReport:
    request = parse_event(event)
    if not settings.has_tmdb_credentials:
        raise SettingsError(
            "TMDB_ACCESS_TOKEN is not set; it should be a v4 access token of TMDB "
            "(or TMDB_API_KEY a v3 key)"
        )
    return run(request, settings, Deadline(seconds), new_run_id())


def _seconds_for_tmdb(context: Any) -> float:  # noqa: ANN401 - Lambda's, or None
    """Return the time Lambda leaves for TMDB: what remains, less what landing needs."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return _LONGEST_S
    seconds = float(remaining()) / 1000
    return seconds - min(_LANDING_S, seconds / 3)


def main(arguments: list[str]) -> int:
    """Run once on this machine, with ``.env``; return the exit code.

    0 where all landed, 1 where a dataset failed, 2 for a wrong setting or event, 3 for refused
    credentials, 130 when interrupted.
    """
    from dotenv import load_dotenv  # noqa: PLC0415 - Lambda has no .env and need not load it

    try:
        load_dotenv(Path(".env"))
        settings = settings_module.load()
        logs.configure(settings, None)
        event = _read_event(arguments)
        with _tmdb_or_stand_in(settings) as settings:
            report = _ingest(event, settings, _LONGEST_S)
        print(_table(report))
        report.raise_for_failures()
    except IngestError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if error.exit_code in _TOLD_BY_EXIT_CODE else IngestError.exit_code
    except KeyboardInterrupt:
        print("interrupted: a dataset without a line 'landed' did not land", file=sys.stderr)
        sys.stderr.flush()
        # Not sys.exit: it would wait for answers of TMDB that nobody wants any more.
        os._exit(130)
    return 0


_TOLD_BY_EXIT_CODE = frozenset({SettingsError.exit_code, CredentialsRefused.exit_code})


def _read_event(arguments: list[str]) -> object:
    """Return the event in the file that is named as the only argument, or ``{}``."""
    if not arguments:
        return {}
    if len(arguments) > 1 or arguments[0].startswith("-"):
        raise EventError("usage: python handler.py [EVENT.json]")
    try:
        return json.loads(Path(arguments[0]).read_bytes())
    except OSError as error:
        reason = error.strerror
    except ValueError as error:
        reason = f"it is not JSON: {error}"
    raise EventError(f"cannot read the event {arguments[0]}: {reason}")


@contextlib.contextmanager
def _tmdb_or_stand_in(settings: Settings) -> Iterator[Settings]:
    """Yield ``settings`` as they are, or for the bundled stand-in where TMDB has no credentials."""
    if settings.has_tmdb_credentials:
        yield settings
        return
    from ingest.sandbox import SANDBOX_TOKEN, Sandbox  # noqa: PLC0415 - not part of a real run

    with Sandbox() as sandbox:
        logger.warning(
            "No TMDB credentials (TMDB_ACCESS_TOKEN or TMDB_API_KEY): using the bundled stand-in "
            "of TMDB at %s, with invented titles",
            sandbox.base_url,
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
