"""The files that are transferred, and whether they have arrived."""

from __future__ import annotations

import filecmp
import os
from typing import TYPE_CHECKING

from tools import ONE

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024**2
SMALL = 4096
"""Bytes of a small file, and of each object of the listing server."""
_DIRECTORY = 1_000
_LONG_AGO_NS = 1_767_225_600 * 10**9
"""2026-01-01, as the listing server has it: a whole second, which every store can keep."""


def write_small(directory: Path, count: int) -> None:
    for index in range(count):
        path = directory / f"{index // 100:03d}" / f"{index:05d}.bin"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.urandom(SMALL))


def write_large(directory: Path, size: int) -> None:
    with (directory / ONE).open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))


def write_unchanged(directory: Path, count: int, size: int) -> None:
    """Write files of the names that the listing server has; they take no room, only inodes."""
    for index in range(count):
        path = directory / f"{index // _DIRECTORY:05d}" / f"{index % _DIRECTORY:03d}.bin"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as file:
            file.truncate(size)
        os.utime(path, ns=(_LONG_AGO_NS, _LONG_AGO_NS))


def expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise RuntimeError(f"{what}: {found}, where {expected} should be")


def check_same(source: Path, copy: Path) -> None:
    """Raise ``RuntimeError`` unless ``copy`` has the same files with the same bytes."""
    names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
    found = sorted(str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file())
    expect("downloaded files", len(found), len(names))
    _, different, unread = filecmp.cmpfiles(source, copy, names, shallow=False)
    expect("downloaded files with other bytes", [*different, *unread][:3], [])
