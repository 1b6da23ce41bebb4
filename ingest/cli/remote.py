"""Executions of Step Functions, shown until they end; Ctrl-C leaves them running."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from ingest.cli import INTERRUPTED, briefly
from ingest.cli.text import printable
from ingest.settings.remote import load_state_machines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.remote.executions import Executions, Progress

_STATES = ("succeeded", "running", "pending", "failed", "timedOut", "aborted")


def backfill_remotely(event: Mapping[str, Any], *, as_json: bool, quiet: bool) -> int:
    """Start a backfill of what ``event`` asks for, and follow it; see ``start_and_follow``."""
    return start_and_follow("backfill", event, as_json=as_json, quiet=quiet)


def start_and_follow(kind: str, given: Mapping[str, Any], *, as_json: bool, quiet: bool) -> int:
    """Start an execution with the input ``given``, show it, and return the exit code.

    Raises ``SettingsError`` where no setting says which state machine, and ``ExecutionFailed``.
    """
    from ingest.remote.executions import Executions, machine_of

    machines = load_state_machines()
    machine = machine_of(machines, kind)
    executions = Executions(machine, machines.endpoint_url)
    execution = executions.start(machine, given)
    return _Shown(execution, as_json=as_json, quiet=quiet).follow(executions)


def follow_again(execution: str, *, as_json: bool, quiet: bool) -> int:
    """Show an execution that has been started before, and return the exit code."""
    from ingest.remote.executions import Executions, checked_execution

    executions = Executions(checked_execution(execution), load_state_machines().endpoint_url)
    return _Shown(execution, as_json=as_json, quiet=quiet).follow(executions)


class _Shown:
    def __init__(self, execution: str, *, as_json: bool, quiet: bool) -> None:
        self._execution = execution
        self._as_json = as_json
        self._quiet = quiet

    def follow(self, executions: Executions) -> int:
        """Show how far it is until it ends."""
        from ingest.remote.executions import failure

        if not self._as_json and not self._quiet:
            sys.stderr.write(f"{self._execution}\n")
        try:
            for progress in executions.follow(self._execution, time.sleep):
                self._progress(progress)
        except KeyboardInterrupt:
            briefly(self._interrupted)
            return INTERRUPTED
        if progress.status != "SUCCEEDED":
            raise failure(self._execution, progress)
        self._summary(progress.output)
        return 0

    def _progress(self, progress: Progress) -> None:
        from ingest.cli.console import write_json

        if self._quiet:
            return
        if self._as_json:
            told = {"execution": self._execution, "status": progress.status}
            write_json({**told, "items": dict(progress.items)})
            sys.stdout.flush()
            return
        counts = [
            f"{progress.items[state]:,} {'timed out' if state == 'timedOut' else state}"
            for state in _STATES
            if state in progress.items
        ]
        total = f" of {progress.items['total']:,}" if "total" in progress.items else ""
        what = f": {', '.join(counts)}{total}" if counts else ""
        sys.stderr.write(f"{progress.status.lower()}{what}\n")

    def _summary(self, output: Mapping[str, Any]) -> None:
        show_summary(output, as_json=self._as_json, quiet=self._quiet)

    def _interrupted(self) -> None:
        sys.stderr.write(
            f"interrupted; the execution goes on. Look again with: "
            f"ingest follow {self._execution}\n"
        )


def show_summary(output: Mapping[str, Any], *, as_json: bool, quiet: bool) -> None:
    """Show what a transfer or a backfill has come to, as the job ``summary`` answers it."""
    from ingest.cli.console import write_json

    if as_json:
        write_json({"summary": dict(output)})
    elif not quiet:
        for name, value in output.items():
            if value not in (None, [], ()):
                text = f"{value:,}" if type(value) is int else value
                sys.stdout.write(printable(f"{name:14}{text}") + "\n")
