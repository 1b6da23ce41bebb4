"""The command backfill: the catalogue of TMDB, planned, landed and counted."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import INTERRUPTED, briefly
from ingest.cli.daily import Day
from ingest.cli.options import Summing, output_options
from ingest.cli.text import human_size, printable
from ingest.errors import UsageError
from ingest.settings import GENRES, load

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.progress import Progress

    from ingest.backfill.plan import Plan, Question
    from ingest.backfill.summary import Summary
    from ingest.backfill.work import Done
    from ingest.settings import Settings
    from ingest.tmdb import Tmdb

_WORKERS = 4
_LONGEST_S = 30 * 86_400.0
"""Seconds for TMDB: nobody limits them here, and a backfill may take days."""


@click.command(cls=Summing)
@click.option("--from", "first", type=Day(), required=True, metavar="YYYY-MM-DD", help="First day.")
@click.option("--to", "last", type=Day(), required=True, metavar="YYYY-MM-DD", help="Last day.")
@click.option(
    "--datasets", multiple=True, type=click.Choice(["movies", "series"]), help="Only these."
)
@click.option("--genres", metavar="IDS", help="Only titles of these, as in TMDB_GENRES.")
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Windows at once; 4.")
@click.option("--replan", is_flag=True, help="Plan anew, and replace the plan there is.")
@click.option("--local/--remote", default=True, help="Here, or on Step Functions; here.")
@click.option("--dry-run", is_flag=True, help="Show the plan; write nothing.")
@output_options
@click.pass_context
def backfill(ctx: click.Context, /, **values: Any) -> None:
    """Land every title released in a range of days, in windows that TMDB hands out whole.

    The plan is kept in the lake, in _plans/: the same command goes on with it. Titles without a
    date are in no window. Exits with 1 unless as many ids have landed as TMDB counts.
    """
    first, last, genres = values["first"], values["last"], values["genres"]
    if first > last:
        raise UsageError(f"--from is {first}, after --to, {last}")
    if genres is not None and not re.fullmatch(GENRES, genres):
        raise UsageError(f"--genres {genres!r} should be ids joined by , (all) or by | (any)")
    event = {"from": first.isoformat(), "to": last.isoformat()}
    given = {"datasets": list(values["datasets"]), "genres": genres, "replan": values["replan"]}
    event |= {name: value for name, value in given.items() if value}
    output = {"as_json": values["as_json"], "quiet": values["quiet"]}
    if values["local"]:
        _run_here(event, _Shown(**output), values["workers"] or _WORKERS, values["dry_run"])
        return
    for name in ("workers", "dry_run"):
        if values[name]:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is for a backfill on this machine, not for --remote")
    from ingest.cli.remote import backfill_remotely

    ctx.exit(backfill_remotely(event, **output))


def _run_here(event: dict[str, Any], shown: _Shown, workers: int, dry_run: bool) -> None:
    from ingest import logs
    from ingest.here import tmdb_or_stand_in
    from ingest.jobs import question_of
    from ingest.opening import open_tmdb
    from ingest.pacing import Deadline

    logs.configure(in_lambda=False, level="WARNING")
    replan = bool(event.get("replan"))
    try:
        with tmdb_or_stand_in(load()) as over, open_tmdb(over, Deadline(_LONGEST_S)) as tmdb:
            question = question_of({"job": "plan", **event}, over)
            plan = _plan(question, over, tmdb, shown, replan=replan, dry_run=dry_run)
            if not dry_run:
                _land(plan, over, tmdb, shown, workers)
    except KeyboardInterrupt:
        briefly(shown.interrupted)
        # Not sys.exit: that would wait for windows that are half-way.
        os._exit(INTERRUPTED)


def _plan(
    question: Question,
    settings: Settings,
    tmdb: Tmdb,
    shown: _Shown,
    *,
    replan: bool,
    dry_run: bool,
) -> Plan:
    """Return the plan of ``question``: the one that is kept, or a new one."""
    from ingest.backfill.plan import find, keep, make
    from ingest.opening import open_stores

    stores = open_stores(settings)
    plan = None if replan else find(stores[-1], question.key)
    if plan is None:
        plan = make(question, tmdb)
        if not dry_run:
            keep(stores, plan)
    shown.plan(plan, f"{stores[-1].url}/{plan.key}", dry_run=dry_run)
    return plan


def _land(plan: Plan, settings: Settings, tmdb: Tmdb, shown: _Shown, workers: int) -> None:
    """Land what is missing of ``plan``, and raise ``Incomplete`` unless all of it is there then."""
    from ingest.backfill.summary import summarize
    from ingest.backfill.work import Job, work
    from ingest.pipeline import new_run_id

    job = Job.of(settings, tmdb, new_run_id())
    with shown.progress(plan):
        for done in work(plan.windows, job, workers):
            shown.window(done)
    summary = summarize(plan, job.stores[-1], settings.raw_zone_path)
    shown.summary(summary)
    summary.raise_if_incomplete()


class _Shown:
    """What a person, or with ``as_json`` a program, sees of a backfill; ``quiet``: failures."""

    def __init__(self, *, as_json: bool, quiet: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet
        self._started = time.monotonic()
        self._live: Progress | None = None

    def plan(self, plan: Plan, url: str, *, dry_run: bool) -> None:
        """Show the plan; of a dry run each of its windows as well."""
        if self._quiet:
            return
        told = plan.as_json()
        if dry_run:
            for window in plan.windows:
                if self._as_json:
                    _write_json({"window": str(window), "status": "planned", **window.as_json()})
                else:
                    count = window.totals
                    click.echo(
                        f"would land {window}: {count.results:,} titles on {count.pages:,} pages"
                    )
        if self._as_json:
            _write_json({"summary": told} if dry_run else told)
            return
        made = f"made with {_counted(plan.requests, 'request')}" if plan.requests else "kept there"
        kept = ", not kept" if dry_run and plan.requests else ""
        windows = _counted(told["windows"], "window")
        click.echo(f"plan {url}: {told['records']:,} titles in {windows}, {made}{kept}")

    def progress(self, plan: Plan) -> AbstractContextManager[object]:
        """Show, on a terminal, how much of ``plan`` is done meanwhile."""
        if self._as_json or self._quiet or not sys.stderr.isatty():
            return nullcontext()
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._live = Progress(
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} titles"),
            *(BarColumn(), TimeRemainingColumn()),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.add_task("", total=sum(each.totals.results for each in plan.windows))
        return self._live

    def window(self, done: Done) -> None:
        """Show what became of one window."""
        if self._as_json:
            self._window_as_json(done)
            return
        if self._live:
            self._live.advance(self._live.task_ids[0], done.window.totals.results)
        if done.error:
            self._line(f"failed {done.window}: {done.error}", err=True)
        elif not self._quiet and not (self._live and sys.stdout.isatty()):
            size = human_size(done.bytes)
            self._line(
                f"{done.status} {done.window}: {done.unique_ids:,} of {done.total_results:,} "
                f"titles, {size}"
            )

    def _window_as_json(self, done: Done) -> None:
        if self._quiet and not done.error:
            return
        told = {
            "window": str(done.window),
            "status": done.status,
            "records": done.unique_ids,
            "total_results": done.total_results,
            "bytes": done.bytes,
            "seconds": round(done.seconds, 3),
        }
        _write_json({**told, "error": str(done.error)} if done.error else told)

    def _line(self, text: str, *, err: bool = False) -> None:
        if self._live:
            self._live.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(printable(text), err=err)

    def summary(self, summary: Summary) -> None:
        """Show, for each dataset, what has landed beside what TMDB counts."""
        seconds = time.monotonic() - self._started
        if self._as_json:
            _write_json({"summary": {**summary.as_json(), "seconds": round(seconds, 3)}})
            return
        if self._quiet:
            return
        rows: list[tuple[str, ...]] = [
            ("dataset", "windows", "complete", "landed", "TMDB counts", "size")
        ]
        rows += [
            (
                name,
                *(f"{n:,}" for n in (sums.windows, sums.complete)),
                *(f"{n:,}" for n in (sums.unique_ids, sums.total_results)),
                human_size(sums.bytes),
            )
            for name, sums in summary.datasets.items()
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(map(str.ljust, row, widths)).rstrip())
        click.echo(f"plan {summary.plan.id}, {seconds:.1f} s")

    def interrupted(self) -> None:
        """Say, when Ctrl-C has stopped everything, how to go on."""
        sys.stderr.write("interrupted: the same command goes on with what has not landed\n")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _write_json(fields: dict[str, Any]) -> None:
    """Write one line at once: the next one may take minutes."""
    from ingest.cli.console import write_json

    write_json(fields)
    sys.stdout.flush()


COMMANDS = (backfill,)
