r"""Which keys a transfer includes: ``--include`` and ``--exclude``, as aws-cli and s5cmd read them.

* Everything is included at first, also where the first rule is an ``--include``: that one alone
  changes nothing. "Only the CSV files" is ``--exclude '*' --include '*.csv'``.
* Rules are tried in the order given, and the last one that matches a key decides.
* A pattern matches the whole key relative to the root of the transfer, on both sides, and with
  ``/`` on any system: ``*.csv`` is every key that ends so, at any depth, ``logs/*`` everything
  below ``logs``, ``*/logs/*`` everything below a deeper one.

In a pattern ``*`` is any text, **with its slashes** (``**`` is the same), ``?`` any one
character, ``[a-z]`` one of these, ``[!a-z]`` one of all others, ``[*]`` a star. Everything else
stands for itself: a leading ``/``, a ``\``, a line break, a ``[`` that nothing closes. Case
counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.planning.names import Names

_LITERAL = re.compile(r"[^*?\[]*")


@dataclass(frozen=True, slots=True)
class Rule:
    """One ``--include`` or ``--exclude``."""

    include: bool
    pattern: str


def key_filter(rules: Sequence[Rule], names: Names | None = None) -> Callable[[str], bool]:
    """Return the function that says whether a key, relative to the root, is included.

    With ``names``, no other than these are.
    """
    runs: list[tuple[bool, Callable[[str], object]]] = [
        (include, re.compile("|".join(translate(rule.pattern) for rule in run)).match)
        for include, run in groupby(reversed(rules), lambda rule: rule.include)
    ]

    def included(key: str) -> bool:
        if names is not None and key not in names:
            return False
        for include, matches in runs:
            if matches(key):
                return include
        return True

    return included


def subtree_filter(rules: Sequence[Rule], names: Names | None = None) -> Callable[[str], bool]:
    """Return the function that says whether all keys below a directory are surely excluded.

    ``names`` are as above. It takes the directory's key with its ``/``. True promises that
    ``key_filter`` excludes that key and every one that begins with it, so that nobody need look
    there; False promises nothing.
    """
    steps = [(rule, re.compile(translate(rule.pattern)).match) for rule in reversed(rules)]

    def excluded(directory: str) -> bool:
        if names is not None and not names.are_below(directory):
            return True
        for rule, matches in steps:
            if rule.include:
                if _may_match_below(directory, rule.pattern):
                    return False
            elif rule.pattern.endswith("*") and matches(directory):
                # What its last star matched of the directory's key may go on for ever.
                return True
        return False

    return excluded


def _may_match_below(directory: str, pattern: str) -> bool:
    literal = _LITERAL.match(pattern)
    start = literal[0] if literal else ""
    return start.startswith(directory) or directory.startswith(start)
