"""The command for the daily ingest: run."""

from __future__ import annotations

import sys
from typing import Any

import click

from ingest.cli.options import Command


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

    given = {name: value for name, value in values.items() if value not in (None, (), False)}
    if "datasets" in given:
        given["datasets"] = list(given["datasets"])
    sys.exit(run_here(lambda: given))


COMMANDS = (run,)
