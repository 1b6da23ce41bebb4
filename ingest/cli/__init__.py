"""The command ``ingest``: arguments in, operations out. What it does is in the rooms it calls.

What the command is made of loads in ``main``, once Ctrl-C is seen to.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # as in the package above
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INTERRUPTED = 130
"""What a program exits with that Ctrl-C ended, as shells have it."""


def main() -> None:
    """Run the command, with ``.env`` where there is one, and exit with its code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    # Where the caller has closed them, whatever is opened next would be written to.
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stdout = sys.stdout or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    _load_variables()
    try:
        from ingest.cli.group import cli

        cli(prog_name="ingest")
    except OSError as error:  # of stdout, where a command tells of itself
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stderr.write(f"error: cannot use stdout: {error.strerror or error}\n")
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            # Python may die of the signal instead, after an import that it cut short.
            os._exit(INTERRUPTED)
        raise


def _load_variables() -> None:
    from pathlib import Path

    try:
        if not Path(".env").is_file():
            return
        from dotenv import load_dotenv

        load_dotenv(Path(".env"))
    except (OSError, ValueError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, ValueError) else error.strerror
        sys.stderr.write(f"error: .env cannot be read: {reason}\n")
        sys.exit(2)


def leave(*_: object) -> NoReturn:
    """Heed Ctrl-C while there is nothing to clean up: before a command begins, and after it."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def briefly(write: Callable[[], object]) -> None:
    """Write, after Ctrl-C, for a second at most: who reads may have stopped without going away."""
    import threading
    from contextlib import suppress

    def write_or_not() -> None:
        with suppress(OSError):
            write()

    writer = threading.Thread(target=write_or_not, daemon=True)
    writer.start()
    writer.join(1.0)
