"""Which keys ``--include`` and ``--exclude`` leave in a transfer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.planning.filters import Rule, key_filter, subtree_filter

if TYPE_CHECKING:
    from collections.abc import Sequence

# Each class of characters with what it is to match.
CLASSES = {
    "[ab]": "ab",
    "[a-c]": "abc",
    "[b-a]": "",
    "[]]": "]",
    "[*]": "*",
    "[?]": "?",
    "[[]": "[",
    "[^a]": "^a",
}
NEGATED = {"[!ab]": "ab", "[!a-c]": "abc", "[!]]": "]", "[!/]": "/"}
LITERALS = [*"abcA/.\n\\^-!]é😀+(){}|$", "[", " "]
CHARACTERS = st.sampled_from([*"abcA/.\n\\^-!][*?é😀+($| "])
KEYS = st.text(CHARACTERS, max_size=6)

# A lone "[" only stays one where nothing closes it, so that it ends a pattern.
tokens = st.lists(
    st.sampled_from(["*", "?", *CLASSES, *NEGATED, *(t for t in LITERALS if t != "[")]), max_size=5
)
patterns = st.tuples(tokens, st.sampled_from([[], ["["]])).map(lambda two: two[0] + two[1])
rules = st.lists(st.tuples(st.booleans(), patterns), max_size=5)


def exclude(*patterns: str) -> list[Rule]:
    return [Rule(include=False, pattern=pattern) for pattern in patterns]


def include(*patterns: str) -> list[Rule]:
    return [Rule(include=True, pattern=pattern) for pattern in patterns]


def as_rules(drawn: list[tuple[bool, list[str]]]) -> list[Rule]:
    return [Rule(included, "".join(pattern)) for included, pattern in drawn]


def matches(pattern: Sequence[str], key: str) -> bool:
    """The naive reference: one token after the other."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        return any(matches(rest, key[i:]) for i in range(len(key) + 1))
    if not key:
        return False
    if first in CLASSES:
        fits = key[0] in CLASSES[first]
    elif first in NEGATED:
        fits = key[0] not in NEGATED[first]
    else:
        fits = first in {"?", key[0]}
    return fits and matches(rest, key[1:])


@given(rules, KEYS)
def test_last_match_wins_as_in_a_naive_reference(
    drawn: list[tuple[bool, list[str]]], key: str
) -> None:
    expected = True
    for included, pattern in drawn:
        if matches(pattern, key):
            expected = included
    assert key_filter(as_rules(drawn))(key) is expected


@given(rules, st.text(CHARACTERS, min_size=1, max_size=3), KEYS)
def test_nothing_is_included_below_a_directory_that_may_be_pruned(
    drawn: list[tuple[bool, list[str]]], directory: str, rest: str
) -> None:
    if subtree_filter(as_rules(drawn))(directory + "/"):
        assert not key_filter(as_rules(drawn))(directory + "/" + rest)


@pytest.mark.parametrize(
    ("given_rules", "included", "excluded"),
    [
        ([], ["a", "a/b", ""], []),
        (include("*.csv"), ["a.csv", "a.txt"], []),  # as with aws-cli: alone it changes nothing
        (exclude("*") + include("*.csv"), ["a.csv", "x/y/a.csv"], ["a.txt", "a.csv/b"]),
        (include("*.csv") + exclude("*"), [], ["a.csv", "a.txt"]),
        (exclude("logs/*"), ["logs", "x/logs/a", "logs2/a"], ["logs/a", "logs/a/b", "logs/"]),
        (exclude("**/x"), ["x"], ["a/x", "a/b/x"]),
        (exclude("*.TMP"), ["a.tmp"], ["a.TMP"]),
        (exclude("a?c"), ["ac", "abbc"], ["abc", "a/c", "a\nc"]),
        (exclude("/a"), ["a"], ["/a"]),
        (exclude("*.tmp"), ["a.tmp\n"], ["a\nb.tmp"]),
        (exclude("a[1]"), ["a[1]"], ["a1"]),
        (exclude("a[[]1]"), ["a1"], ["a[1]"]),
    ],
)
def test_examples(given_rules: list[Rule], included: list[str], excluded: list[str]) -> None:
    keys = included + excluded
    assert list(filter(key_filter(given_rules), keys)) == included


def test_prunes_what_is_surely_excluded_and_nothing_else() -> None:
    prunes = subtree_filter(exclude("node_modules/*", "*/node_modules/*", ".git*"))
    assert prunes("node_modules/")
    assert prunes("a/node_modules/")
    assert prunes("node_modules/x/")
    assert prunes(".git/")
    assert not prunes("src/")
    kept = subtree_filter(exclude("logs/*") + include("logs/2026/*.csv"))
    assert not kept("logs/")
    assert not kept("logs/2026/")
    assert kept("logs/2025/")
    assert not subtree_filter(exclude("*") + include("*.csv"))("logs/")
    assert not subtree_filter([])("logs/")
    assert not subtree_filter(exclude("logs/", "lo?s?", "*/"))("logs/")
