"""The AWS Lambda function, and the same run by hand: ``python handler.py [EVENT.json]``."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

from ingest import logs
from ingest import settings as settings_module
from ingest.errors import EventError
from ingest.pipeline import run_event

logger = logging.getLogger("ingest")

_LANDING_S = 20.0
"""Kept back of Lambda's time for landing: two small uploads, with room for the store's retries."""

_LONGEST_S = 840.0
"""Seconds for TMDB where no context sets a limit."""


def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's, or None
    """Run the ingest that ``event`` asks for; see ``ingest.event`` for what it may be.

    Returns ``{"statusCode": 200, "body": JSON}`` when every dataset landed, was skipped or was
    planned. Raises ``IngestError`` otherwise, after the others have landed, so that Lambda
    retries the event and its alarms see it.
    """
    settings = settings_module.load()
    logs.configure(settings, getattr(context, "aws_request_id", None))
    report = run_event(event, settings, _seconds_for_tmdb(context))
    body = report.as_json()
    logger.log(
        logging.ERROR if report.failed else logging.INFO, report.message, extra={"report": body}
    )
    report.raise_for_failures()
    return {"statusCode": 200, "body": json.dumps(body, ensure_ascii=False)}


def _seconds_for_tmdb(context: Any) -> float:  # noqa: ANN401 - Lambda's, or None
    """Return the time Lambda leaves for TMDB: what remains, less what landing needs."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return _LONGEST_S
    seconds = float(remaining()) / 1000
    return seconds - min(_LANDING_S, seconds / 3)


def main(arguments: list[str]) -> int:
    """Run once on this machine; see ``ingest.here`` for the exit codes."""
    from ingest.here import run_here  # noqa: PLC0415 - no part of the function

    return run_here(lambda: _read_event(arguments))


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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
