"""Commands for what a service does by itself: its jobs, and the tapes that objects are on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ingest.cli.options import Command, asked, output_options, pace_options
from ingest.cli.running import run
from ingest.location import ObjectUrl, parse_url
from ingest.operation import Operation
from ingest.storage.services import JOB_SCHEMES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.cli.options import Asked
    from ingest.operation import Status
    from ingest.storage.base import Transfer
    from ingest.storage.services import Job

_SERVICE = ObjectUrl("", "", JOB_SCHEMES[0])


class _Group(Command, click.Group):
    command_class = Command


@click.group(cls=_Group, invoke_without_command=True)
@output_options
@click.pass_context
def jobs(ctx: click.Context, /, **values: Any) -> None:
    """List the jobs of ds3:// that are not done: transfers under way, or left.

    With resume or cancel and a job's ID, go on with it or end it.
    """
    if ctx.invoked_subcommand:
        return
    from ingest.cli.console import write_json
    from ingest.cli.text import printable

    for job in asked(ctx, values).job_service(_SERVICE).jobs():
        if values["as_json"]:
            write_json(_fields(job))
        else:
            click.echo(printable(_line(job)))


def _fields(job: Job) -> dict[str, Any]:
    return {
        "type": "job",
        "id": job.id,
        "operation": job.verb,
        "url": ObjectUrl(job.bucket, "", _SERVICE.scheme).of(""),
        "name": job.name,
        "priority": job.priority,
        "started": f"{datetime.fromtimestamp(job.started, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "size": job.size,
        "done": job.done,
    }


def _line(job: Job) -> str:
    from ingest.cli.text import human_size

    told = _fields(job)
    done = f"{human_size(job.done)} of {human_size(job.size)}"
    return f"{job.id}  {told['started']}  {job.verb:8}  {done:24}  {told['url']}  {job.name}"


@jobs.command()
@click.argument("job_id", metavar="ID")
@output_options
@pace_options
@click.pass_context
def resume(ctx: click.Context, /, job_id: str, **values: Any) -> None:
    """Go on with an upload that this machine began: send what has not arrived."""

    def operations(call: Asked, how: Transfer) -> Iterator[Operation]:
        service = call.job_service(_SERVICE)
        store = service.store(service.job(job_id)[0].bucket)
        for outcome in service.resume(job_id, how):
            target, error = f"{store.url}/{outcome.key}", outcome.error
            status: Status = "failed" if error else "done"
            yield Operation("upload", target, None, outcome.size, status, error=error)

    run(ctx, values, operations)


@jobs.command()
@click.argument("job_id", metavar="ID")
@output_options
@click.pass_context
def cancel(ctx: click.Context, /, job_id: str, **values: Any) -> None:
    """End a job: what has arrived whole stays, and nothing is reserved any more."""
    from ingest.cli.console import Reporter

    asked(ctx, values).job_service(_SERVICE).end_job(job_id)
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    ctx.exit(reporter.show(iter([Operation("abort", f"job {job_id}")]), iter(())))


@click.command(cls=Command)
@click.argument("url")
@output_options
@click.pass_context
def tapes(ctx: click.Context, /, url: str, **values: Any) -> None:
    """List the tapes that an object, or what is below ds3://bucket/prefix/, is on."""
    from ingest.cli.console import write_json
    from ingest.cli.text import printable

    where = parse_url(url)
    service = asked(ctx, values).job_service(where)
    found = service.store(where.bucket).list(where.key)
    keys = (entry.key for entry in found if where.covers(entry.key))
    for label, kind, state in service.tapes(where.bucket, keys):
        if values["as_json"]:
            write_json({"type": "tape", "label": label, "kind": kind, "state": state})
        else:
            click.echo(printable(f"{label}  {kind}  {state}"))


COMMANDS = (jobs, tapes)
