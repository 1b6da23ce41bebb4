"""Copy the function's own files: ``python package.py DIRECTORY``.

That is ``handler.py`` and whatever of ``ingest`` it imports, and that imports, and so on. The
command, the stand-in of TMDB and all else that is for a person at a terminal stays behind.
"""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent

NOT_LAMBDAS = {("handler.py", "main"), ("ingest/__init__.py", "__getattr__")}
"""The functions through which a person comes in. Lambda calls neither."""


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


if __name__ == "__main__":
    for shipped in files():
        target = Path(sys.argv[1], shipped)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / shipped, target)
