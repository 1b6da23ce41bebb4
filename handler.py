"""The AWS Lambda function, and the same run by hand: ``python handler.py [EVENT.json]``."""

from __future__ import annotations

import itertools
import json
import logging
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import logs, metrics
from ingest import settings as settings_module
from ingest.errors import Defect, EventError, IngestError
from ingest.event import RunRequest, is_job, parse_event
from ingest.logs import log_keys
from ingest.pacing import Deadline
from ingest.pipeline import new_run_id, run
from ingest.report import DatasetReport
from ingest.tracing import traced_run

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ingest.settings import Settings

logger = logging.getLogger("ingest")

_LANDING_S = 20.0
"""Kept back of Lambda's time for landing: two small uploads, with room for the store's retries."""

_LONGEST_S = 840.0
"""Seconds for TMDB where no context sets a limit."""

_invocations = itertools.count()
"""Counts those of this process: the first one pays for its start."""


def lambda_handler(event: object, context: Any) -> dict[str, Any]:  # noqa: ANN401 - Lambda's, or None
    """Run the ingest, or do the job, that ``event`` asks for.

    See ``ingest.event`` for what the event of a run may be, ``ingest.jobs`` for those of a job and
    for what they answer. A run returns ``{"statusCode": 200, "body": JSON}`` when every dataset
    landed, was skipped or was planned. Raises ``IngestError`` otherwise, after the others have
    landed, so that Lambda retries the event and its alarms see it. In Lambda the metrics are
    printed in either case.
    """
    run_id, request_id = new_run_id(), getattr(context, "aws_request_id", None)
    ids = {"run_id": run_id, "function_request_id": request_id}
    cold_start = next(_invocations) == 0
    if is_job(event):
        return _do_job(event, context, ids, cold_start=cold_start)
    with log_keys(**ids, cold_start=cold_start):
        with _failure_told(RunRequest(), ids):
            settings = _start(context, cold_start=cold_start)
            request = parse_event(event)
        with (
            log_keys(execution_id=request.execution_id, attempt=request.attempt),
            traced_run() if settings.tracing and settings.in_lambda else nullcontext(),
        ):
            with _failure_told(request, ids):
                report = run(request, settings, Deadline(_seconds_for_tmdb(context)), run_id)
            body = report.as_json()
            partition = report.day.isoformat()
            level = logging.ERROR if report.failed else logging.INFO
            logger.log(level, report.message, extra={"report": body, "partition": partition})
            _count(request, report.datasets, {**ids, "partition": partition})
            report.raise_for_failures()
            return {"statusCode": 200, "body": json.dumps(body, ensure_ascii=False)}


def _do_job(
    event: Mapping[str, Any],
    context: Any,  # noqa: ANN401 - Lambda's, or None
    ids: Mapping[str, str | None],
    *,
    cold_start: bool,
) -> dict[str, Any]:
    """Do the job of ``event``, and return its answer as it is."""
    from ingest import jobs  # noqa: PLC0415 - the daily run does none

    def told(datasets: Sequence[DatasetReport]) -> None:
        _count(RunRequest(), datasets, ids)

    with log_keys(**ids, cold_start=cold_start, job=str(event["job"])[:60]):
        # What fails here is no failure of a dataset of the daily run.
        with _failure_told(RunRequest(datasets=()), ids):
            settings = _start(context, cold_start=cold_start)
            with traced_run() if settings.tracing and settings.in_lambda else nullcontext():
                deadline = Deadline(_seconds_for_tmdb(context))
                run_id = str(ids["run_id"])
                answer = jobs.do(event, jobs.Run(settings, deadline, run_id, told))
        logger.info("%s", event["job"], extra={"report": answer})
        return answer


def _start(context: Any, *, cold_start: bool) -> Settings:  # noqa: ANN401 - Lambda's, or None
    """Send the logs where they belong, and return the settings."""
    in_lambda = settings_module.in_lambda()
    # Before the settings are read: what is wrong with them is logged like everything else.
    logs.configure(in_lambda=in_lambda, level="INFO")
    if in_lambda and cold_start and hasattr(context, "function_name"):
        metrics.publish_cold_start(context)
    settings = settings_module.load()
    logs.configure(in_lambda=in_lambda, level=settings.log_level)
    return settings


@contextmanager
def _failure_told(request: RunRequest, ids: Mapping[str, str | None]) -> Iterator[None]:
    """Log what ends the run as a whole, and count it as a failure of all that was asked for."""
    try:
        yield
    except Exception as error:
        cause = error if isinstance(error, IngestError) else Defect.of(error)
        extra = {"error": type(cause).__name__}
        logger.log(logging.ERROR, "%s", cause, extra=extra, exc_info=cause is not error)
        failed = [DatasetReport(each.name, "failed", cause=cause) for each in request.datasets]
        _count(request, failed, ids)
        raise


def _count(
    request: RunRequest, datasets: Sequence[DatasetReport], ids: Mapping[str, str | None]
) -> None:
    """Print the metrics of ``datasets``. A dry run has none: it is not to look like a run."""
    if settings_module.in_lambda() and not request.dry_run:
        metrics.publish(datasets, **ids)


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
