"""What ``package.mk`` does to a package that takes more than a line of shell.

``python package.py own DIRECTORY`` copies the function's own files there: ``handler.py`` and
whatever of ``ingest`` it imports, and that imports, and so on. The command, the stand-in of TMDB
and all else that is for a person at a terminal stays behind.

``python package.py services DIRECTORY SERVICE ...`` takes out of the botocore that is there what it
knows of any other service than these.
"""

from __future__ import annotations

import ast
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

HERE = Path(__file__).resolve().parent

NOT_LAMBDAS = {
    ("handler.py", "main"),
    ("ingest/__init__.py", "__getattr__"),
    ("ingest/storage/services.py", "_spectra"),
}
"""Functions that Lambda never calls: a person comes in through them, or goes to a BlackPearl."""


def files() -> set[Path]:
    """Return the function's files, relative to this directory."""
    found: set[Path] = set()
    waiting = [Path("handler.py")]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imported(file)
    return found


def _imported(file: Path) -> Iterator[Path]:
    """Yield the files of ours that ``file`` imports, at its start or later, and their packages'."""
    for name in _names(file, ast.parse((HERE / file).read_text(encoding="utf-8"))):
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            path = Path(*parts[:length])
            for candidate in (path.with_suffix(".py"), path / "__init__.py"):
                if parts[0] == "ingest" and (HERE / candidate).is_file():
                    yield candidate


def _names(file: Path, node: ast.AST) -> Iterator[str]:
    """Yield what is imported below ``node``, but for types: modules, and names that may be some."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", None) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.FunctionDef) and (file.as_posix(), child.name) in NOT_LAMBDAS:
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        yield from _names(file, child)


def copy_own(package: Path) -> None:
    """Copy the function's own files into ``package``."""
    for file in files():
        target = package / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / file, target)


def keep_services(package: Path, services: Container[str]) -> None:
    """Leave in ``package`` only what botocore knows of these ``services``.

    It describes four hundred of them in 27 MB. Where each can be reached is one file, of which
    every client that it makes loads all: 7 MB in memory.
    """
    data = package / "botocore" / "data"
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in services:
            shutil.rmtree(folder)
    file = data / "endpoints.json"
    document = json.loads(file.read_bytes())
    for partition in document["partitions"]:
        known = partition["services"]
        partition["services"] = {name: known[name] for name in known if name in services}
    file.write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    command, directory, *names = sys.argv[1:]
    if command == "own":
        copy_own(Path(directory))
    else:
        keep_services(Path(directory), names)
