"""All commands, in one group. The room of a command loads when it is asked for, and no other."""

from __future__ import annotations

from importlib import import_module

import click

from ingest import __version__
from ingest.cli.options import Command

_ROOMS = {
    "daily": ("run", "purge"),
    "backfill": ("backfill",),
    "transfers": ("upload", "download", "sync", "cp", "mv"),
    "transfer": ("transfer", "follow"),
    "looking": ("ls", "rm", "cat", "verify"),
    "buckets": ("buckets", "mb", "rb", "presign", "cleanup", "doctor"),
    "jobs": ("jobs", "tapes"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


class _Group(click.Group):
    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the names of all commands."""
        return sorted(_ROOM_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Return a command, None where there is none of that name."""
        if room := _ROOM_OF.get(cmd_name):
            for command in import_module(f"ingest.cli.{room}").COMMANDS:
                self.commands[command.name] = command
        return self.commands.get(cmd_name)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="ingest")
def cli() -> None:
    """Land TMDB in a data lake, and move directories to and from any S3-compatible store.

    URLs are s3://bucket/prefix or, for what keeps objects on tape, ds3://bucket/prefix.
    """
