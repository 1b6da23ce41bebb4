"""What tests of landing files share: what lies there, what is open, and calls that fail."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import REPOSITORY

if TYPE_CHECKING:
    from ingest.files.partial import Partial

MTIME = 1_700_000_000_123_456_789


def tree(root: Path) -> dict[str, bytes]:
    """Every file below ``root``, hidden ones too."""
    files = (path for path in root.rglob("*") if not path.is_dir())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def partials(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*.partial"))


def open_files() -> set[str]:
    """The files and directories that this process has open, by descriptor and name."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(f"{link.name}:{link.readlink()}")
    return {name for name in found if "/proc/" not in name and ":socket:" not in name}


def fail_with(code: int) -> Any:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def finish(partial: Partial, content: bytes, **options: Any) -> bool:
    """Write what is missing of ``content``, and commit."""
    for part in partial.missing:
        partial.write_part(part, [content[part.offset : part.offset + part.size]])
    return partial.commit(**options)


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=False)
