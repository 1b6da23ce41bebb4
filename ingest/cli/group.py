"""All commands, in one group."""

from __future__ import annotations

import click

from ingest import __version__
from ingest.cli import backfill, buckets, daily, jobs, looking, transfer, transfers
from ingest.cli.options import Command


class _Group(click.Group):
    command_class = Command


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
def cli() -> None:
    """Land TMDB in a data lake, and move directories to and from any S3-compatible store.

    URLs are s3://bucket/prefix or, for what keeps objects on tape, ds3://bucket/prefix.
    """


for _room in (daily, backfill, transfers, transfer, looking, buckets, jobs):
    for _command in _room.COMMANDS:
        cli.add_command(_command)
