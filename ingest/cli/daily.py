"""Commands for the daily ingest and the raw zone it fills: run, purge."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ingest.cli import INTERRUPTED, briefly
from ingest.cli.options import TALLY, Command, output_options
from ingest.errors import UsageError
from ingest.settings import DEFAULT_LAKE, calendar_day, load

if TYPE_CHECKING:
    from datetime import date

    from ingest.settings import Settings


@click.command(cls=Command)
@click.option("--date", metavar="YYYY-MM-DD", help="Land in this day's partition.")
@click.option(
    "--datasets", multiple=True, type=click.Choice(["movies", "series"]), help="Only these."
)
@click.option("--limit", type=int, metavar="N", help="At most so many records, 1 to 100.")
@click.option("--force", is_flag=True, help="Fetch even what has landed already.")
@click.option("--dry-run", is_flag=True, help="Say what would be fetched; touch nothing.")
def run(**values: Any) -> None:
    """Land today's movies and series of TMDB in the raw zone of the lake."""
    from ingest.here import run_here

    given = {
        name: value
        for name, value in values.items()
        if value is not None and value is not False and value != ()
    }
    if "datasets" in given:
        given["datasets"] = list(given["datasets"])
    sys.exit(run_here(lambda: given))


class Day(click.ParamType["date"]):
    """A day of the calendar, as YYYY-MM-DD."""

    name = "day"

    def convert(self, value: Any, param: Any, ctx: Any) -> date:
        """Return the day."""
        day = calendar_day(str(value))
        if day is None:
            self.fail(f"{value!r} should be a calendar date as YYYY-MM-DD", param, ctx)
        return day


@click.command(cls=Command)
@click.option("--date", "dates", multiple=True, type=Day(), metavar="YYYY-MM-DD", help="This day.")
@click.option("--before", type=Day(), metavar="YYYY-MM-DD", help="All days before this one.")
@click.option("--all", "every", is_flag=True, help="Every day there is.")
@click.option("--yes", is_flag=True, help="Delete. Without it, only say what would be deleted.")
@click.option("--dry-run", is_flag=True, help="The same as no --yes, and stronger than it.")
@output_options
@click.pass_context
def purge(ctx: click.Context, /, yes: bool, dry_run: bool, **values: Any) -> None:
    """Delete what was landed for some days, or all of it, with every version of it.

    Of the lake that the settings name: BUCKET_NAME and RAW_ZONE_PATH, or the local directory.
    Nothing is deleted without --yes, and nothing is ever asked.
    """
    from ingest.cli.console import Reporter
    from ingest.purge import Days
    from ingest.purge import purge as operations

    dates, before, every = values["dates"], values["before"], values["every"]
    if sum(map(bool, (dates, before, every))) != 1:
        raise UsageError("purge takes one of --date (as often as needed), --before and --all")
    settings, days, dry_run = load(), Days(frozenset(dates), before, every), dry_run or not yes
    reporter = Reporter(as_json=values["as_json"], quiet=values["quiet"])
    ctx.meta[TALLY] = reporter.tally
    try:
        code = reporter.show(operations(settings, days, dry_run=dry_run), iter(()))
    except KeyboardInterrupt:
        briefly(reporter.interrupted)
        ctx.exit(INTERRUPTED)
    if not code and not values["quiet"]:
        if not reporter.tally.by_verb:
            click.echo(f"no such partition in {_zone(settings)}", err=True)
        elif dry_run:
            click.echo("nothing is deleted yet: add --yes", err=True)
    ctx.exit(code)


def _zone(settings: Settings) -> str:
    lake = f"s3://{settings.bucket}" if settings.bucket else settings.local_dir or DEFAULT_LAKE
    return f"{lake}/{settings.raw_zone_path}"


COMMANDS = (run, purge)
