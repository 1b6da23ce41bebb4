"""What goes wrong on the connections of the BlackPearl of tests: the rules of ``faultproxy``."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from faultproxy import Answer, DropAnswer, DropRequest, Rule, Stall, StallAnswer, Truncate

if TYPE_CHECKING:
    from collections.abc import Callable

    from faultproxy import Action, Seen


@dataclass(frozen=True)
class Corrupt:
    """Change the byte at ``at`` of the answer's body; what its head says stays as it is."""

    at: int = 0


class Faults:
    """Rules, and how often each was used."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._used: dict[int, int] = {}

    def for_request(self, seen: Seen) -> Rule | None:
        """Return the first rule whose turn a request is, and count it for those it matches."""
        for rule in self.rules:
            if rule.matches(seen):
                number = self._used.get(id(rule), 0)
                self._used[id(rule)] = number + 1
                if number >= rule.skip and (rule.times is None or number < rule.skip + rule.times):
                    return rule
        return None


_ACTIONS: dict[str, Callable[[int], Action | Corrupt]] = {
    "drop-request": DropRequest,
    "drop-answer": DropAnswer,
    "truncate": Truncate,
    "corrupt": Corrupt,
    "stall": lambda after: Stall(threading.Event(), after),
    "stall-answer": lambda after: StallAnswer(threading.Event(), after),
}
_NUMBERS = ("after", "times", "skip", "retry_after")


def parse_rule(text: str) -> Rule:
    """Read a rule such as ``503:method=PUT,path=/b/k,times=2,retry_after=1`` or ``drop-answer``.

    What it does is a status to answer with, ``drop-request``, ``drop-answer``, ``truncate``,
    ``corrupt``, ``stall`` or ``stall-answer``, each ``after`` so many bytes; a stall has no end.

    Raises:
        ValueError: it is neither, or has what rules do not have.

    """
    name, _, rest = text.partition(":")
    values = dict(each.split("=", 1) for each in rest.split(",") if each)
    if unknown := values.keys() - {"method", "path", "query", *_NUMBERS}:
        raise ValueError(f"rules have no {sorted(unknown)}: {text}")
    numbers = {key: int(values[key]) for key in _NUMBERS if key in values}
    action: Action | Corrupt
    if name.isdigit():
        retry = {"Retry-After": values["retry_after"]} if "retry_after" in values else {}
        action = Answer(int(name), "TestFault", "as told", tuple(retry.items()))
    elif name in _ACTIONS:
        action = _ACTIONS[name](numbers.get("after", 0))
    else:
        raise ValueError(f"no action {name!r}: {text}")
    return Rule(
        action,
        values.get("method"),
        values.get("path", ""),
        values.get("query", ""),
        times=numbers.get("times", 1),
        skip=numbers.get("skip", 0),
    )
