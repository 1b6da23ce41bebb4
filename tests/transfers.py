"""What tests of transfers between trees share: files, a way to do it, and what it told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

from faultproxy import Answer, Rule
from ingest.planning.compare import Mode
from ingest.storage.base import Transfer
from ingest.sync import Options, sync

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ingest.operation import Operation
    from ingest.sync import Tree


MODES: tuple[Mode, ...] = get_args(Mode)
FILES = {
    "a.txt": b"one",
    "dir/b.csv": b"two,2",
    "dir/deeper/c": b"",
    "dir/ é+%20 '\".bin": os.urandom(2000),
    "z/last": b"last" * 1000,
}
MIB = 1 << 20


def run(
    source: Tree, destination: Tree, options: Options | None = None, how: Transfer | None = None
) -> list[Operation]:
    """Do it, and return what was told."""
    return list(sync(source, destination, options or Options(), how or Transfer()))


def told(operations: Iterable[Operation]) -> list[tuple[str, str]]:
    return [(operation.verb, operation.status) for operation in operations]


def failed(operations: Iterable[Operation]) -> list[str]:
    return [str(operation.error) for operation in operations if operation.error]


def targets(operations: Iterable[Operation], verb: str) -> list[str]:
    return sorted(each.target for each in operations if each.verb == verb)


def refuse(*keys: str, method: str = "PUT") -> list[Rule]:
    answer = Answer(status=403, code="AccessDenied", message="No.")
    return [Rule(answer, method, path=f"/{key}", times=None) for key in keys]
