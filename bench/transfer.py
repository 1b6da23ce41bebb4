"""Transfers beside s5cmd, rclone, aws-cli and boto3: ``make bench``.

Each case is measured with every tool that can do it in one command, each with its own best
settings (``tools.py``), as whole processes, in turn (A B C A B C) after a turn that does not
count. Every run is checked, outside the time that is measured: the objects and bytes in the store,
the bytes of each file that came, or that nothing was sent. A missed goal is a result and leaves the
exit code at 0; a run that fails is an error.

::

    python bench/transfer.py --runs 5
    python bench/transfer.py --only upload-small --only ls
    python bench/transfer.py --short         tiny sizes, to see that all of it works
    python bench/transfer.py --full          also a million local files
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from cases import SHORT, Bench, Sizes, cases
from comparison import documentation, section_of
from measuring import REPOSITORY, at_least_one
from tools import write_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cases import Case
    from comparison import Section

DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
_NEEDED = 4 * 1024**3


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = [case.name for case in cases(Sizes(), full=True)]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=at_least_one, default=5, help="runs of each tool, in turn")
    parser.add_argument("--only", action="append", choices=names, metavar="CASE", help=str(names))
    parser.add_argument("--short", action="store_true", help="tiny sizes, one run, no document")
    parser.add_argument("--full", action="store_true", help="also a million local files")
    return parser.parse_args(arguments)


def scratch_home() -> str | None:
    """Return where files are best kept: in memory, so that no disk is part of what is measured."""
    if _IN_MEMORY.is_dir() and shutil.disk_usage(_IN_MEMORY).free > _NEEDED:
        return str(_IN_MEMORY)
    return None


def measure(bench: Bench, chosen: Sequence[Case]) -> list[Section]:
    sections = []
    for case in chosen:
        print(f"{case.name} …", file=sys.stderr, flush=True)
        section = section_of(bench, case, case.measure(bench, case.kind))
        sections.append(section)
        print(section.text, flush=True)
    return sections


def main() -> int:
    options = options_of()
    # Whoever ends us early should find no server that still runs, and no files in memory.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sizes = SHORT if options.short else Sizes()
    runs = 1 if options.short else options.runs
    if options.short:
        print("Tiny sizes: whether a goal is met says nothing.\n")
    chosen = [
        case
        for case in cases(sizes, full=options.full or bool(options.only))
        if not options.only or case.name in options.only
    ]
    try:
        installed = peers.install()
        with tempfile.TemporaryDirectory(dir=scratch_home()) as name:
            write_settings(Path(name))
            bench = Bench(Path(name), installed, sizes, runs)
            sections = measure(bench, chosen)
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if not options.short and not options.only:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(documentation(bench, sections, full=options.full), encoding="utf-8")
        print(f"written: {DOCUMENT.relative_to(REPOSITORY)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
