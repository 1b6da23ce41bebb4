"""What a sync plans, carried out on models of stores and file systems."""

from __future__ import annotations

import hashlib
import math
import time
import tracemalloc
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import StoreError
from ingest.planning.compare import Compare, Mode, Pair, Reason, compare_by
from ingest.planning.plan import (
    Action,
    Copy,
    Deletes,
    Rules,
    Side,
    Skip,
    Transfer,
    Unchanged,
    directory_prefix,
    plan,
    refuse_deletes,
)
from ingest.storage.base import Entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Direction = Literal["upload", "download", "across"]
MODES: tuple[Mode, ...] = ("size-mtime", "size", "checksum")
DIRECTIONS: tuple[Direction, ...] = ("upload", "download", "across")
NAMES = ["a", "a.b", "a/b", "a/b/c", "data", "data/x", "database/x", "é", "\uff01", "😀", "x.tmp"]
CONTENTS = [b"", b"1", b"2", b"aaa", b"bbb", b"long one", b"long two"]


@dataclass
class Thing:
    """An object or a file."""

    content: bytes
    modified: float
    etag: str | None = None


@dataclass
class Model:
    """A store, which stamps what it is given, or a tree, which keeps the time it is given."""

    is_tree: bool
    prefix: str = ""
    skew: float = 0.0
    resolution: float = 0.001
    part_size: int = 4
    things: dict[str, Thing] = field(default_factory=dict)

    def put(self, key: str, content: bytes, modified: float, now: float) -> None:
        if self.is_tree:
            self.things[key] = Thing(content, modified)
        else:
            stamp = math.floor((now + self.skew) / self.resolution) * self.resolution
            self.things[key] = Thing(content, stamp, etag_of(content, self.part_size))

    def listing(self) -> Iterator[Entry]:
        for key in sorted(self.things, key=str.encode):
            if key.startswith(directory_prefix(self.prefix)):
                thing = self.things[key]
                yield Entry(key, len(thing.content), thing.modified, thing.etag)

    def hash_of(self, entry: Entry) -> str | None:
        """What a client can know: the MD5 of a file, and of an object sent in one part."""
        if self.is_tree:
            return md5(self.things[entry.key].content)
        return entry.etag if entry.etag and "-" not in entry.etag else None

    def side(self, *, hashes: bool = False) -> Side:
        return Side(
            self.listing(), self.prefix, self.is_tree, hash_of=self.hash_of if hashes else None
        )

    def contents(self) -> dict[str, bytes]:
        return {key: thing.content for key, thing in self.things.items()}


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def etag_of(content: bytes, part_size: int) -> str:
    if len(content) <= part_size:
        return md5(content)
    parts = [content[i : i + part_size] for i in range(0, len(content), part_size)]
    return f"{md5(''.join(map(md5, parts)).encode())}-{len(parts)}"


def same_content(source: Model, destination: Model, pairs: Sequence[Pair]) -> Iterable[bool]:
    for ours, theirs in pairs:
        assert ours.size == theirs.size
        yield source.things[ours.key].content == destination.things[theirs.key].content


def carry_out(actions: Iterable[Action], source: Model, destination: Model, now: float) -> None:
    """Do a plan, and check its order and that copies have the content they are to have."""
    phases = {Unchanged: 0, Skip: 0, Transfer: 0, Copy: 1, Deletes: 2}
    last = 0
    for action in list(actions):
        assert phases[type(action)] >= last
        last = phases[type(action)]
        if isinstance(action, Transfer | Copy):
            content = source.things[action.source.key].content
            if isinstance(action, Copy):
                assert destination.things[action.origin].content == content
                if action.etag:
                    assert destination.things[action.origin].etag == action.etag
            destination.put(action.target, content, action.source.modified, now)
        elif isinstance(action, Deletes):
            for entry in action.entries:
                del destination.things[entry.key]


def empty(direction: Direction, **options: float) -> tuple[Model, Model]:
    source = Model(is_tree=direction == "upload", prefix="" if direction == "upload" else "src")
    down = direction == "download"
    destination = Model(is_tree=down, prefix="" if down else "to/dst/")
    for model in (source, destination):
        if not model.is_tree:
            model.skew = options.get("skew", 0.0)
            model.resolution = options.get("resolution", 0.001)
    destination.part_size = 3
    return source, destination


def put_all(model: Model, things: dict[str, tuple[bytes, float]], now: float) -> None:
    for name, (content, modified) in things.items():
        model.put(directory_prefix(model.prefix) + name, content, modified, now)


def only_transfers(actions: Iterable[Action]) -> list[tuple[str, Reason]]:
    return [(action.target, action.reason) for action in actions if isinstance(action, Transfer)]


def work(actions: Iterable[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, Unchanged)]


def entry(key: str, size: int = 1, modified: float = 100.0, etag: str | None = None) -> Entry:
    return Entry(key, size, modified, etag)


SIZE = Rules(compare_by("size"))
things = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(st.sampled_from(CONTENTS), st.sampled_from([0, 90.25, 500]))
)


@dataclass(frozen=True)
class Case:
    """Where a sync starts from."""

    ours: dict[str, tuple[bytes, float]]
    theirs: dict[str, tuple[bytes, float]]
    mode: Mode
    direction: Direction
    skew: float
    resolution: float
    hashes: bool
    filtered: bool

    def included(self, name: str) -> bool:
        return not (self.filtered and name.endswith(".tmp"))


cases = st.builds(
    Case,
    *(things, things, st.sampled_from(MODES), st.sampled_from(DIRECTIONS)),
    *(st.sampled_from([-30.0, 0.0, 30.0]), st.sampled_from([1.0, 0.001])),
    *(st.booleans(), st.booleans()),
)


@given(cases)
@settings(max_examples=200, deadline=None)
def test_a_plan_makes_the_destination_equal_and_the_second_one_is_empty(case: Case) -> None:
    """From any state, with any clock, times in the future, and other part sizes."""
    source, destination = empty(case.direction, skew=case.skew, resolution=case.resolution)
    put_all(source, case.ours, now=100.5)
    put_all(destination, case.theirs, now=95.75)
    if not destination.is_tree:  # and siblings of the prefix
        for prefix in ("", "to/", "to/dst2/"):
            neighbour = Model(is_tree=False, prefix=prefix, things=destination.things)
            put_all(neighbour, case.theirs, now=95.75)
    before = destination.contents()
    compare = compare_by(case.mode, partial(same_content, source, destination))
    rules = Rules(compare, delete=True, included=case.included if case.filtered else None)

    def planned() -> Iterator[Action]:
        return plan(source.side(hashes=case.hashes), destination.side(hashes=case.hashes), rules)

    carry_out(planned(), source, destination, now=101.9)
    after = destination.contents()
    root = directory_prefix(destination.prefix)
    wanted = {
        root + name: content for name, (content, _) in case.ours.items() if case.included(name)
    }
    ours_to_change = {key for key in before | after if key.startswith(root) and case.included(key)}
    assert ours_to_change & after.keys() == wanted.keys()
    for key in (before.keys() | after.keys()) - ours_to_change:
        assert before.get(key) == after.get(key)
    for key, content in wanted.items():
        assert len(after[key]) == len(content)
        if case.mode == "checksum":
            assert after[key] == content
    assert work(planned()) == []


@given(
    things,
    st.sampled_from(MODES),
    st.sampled_from(DIRECTIONS),
    st.sampled_from([1.0, 0.001]),
    st.sampled_from([b"ab1", b"ab2"]),
)
@settings(deadline=None)
def test_without_reading_content_a_sync_is_repeatable_and_sees_changes(
    ours: dict[str, tuple[bytes, float]],
    mode: Mode,
    direction: Direction,
    resolution: float,
    changed: bytes,
) -> None:
    """With clocks that agree and times that are past, no pair ever needs ``same_content``."""
    source, destination = empty(direction, resolution=resolution)
    source.part_size = destination.part_size = 4 if direction == "across" else 99
    ours = {name: (content, min(modified, 100.25)) for name, (content, modified) in ours.items()}
    put_all(source, ours | {"m": (b"ab0", 100.25)}, now=100.25)
    rules = Rules(
        compare_by(mode, partial(same_hash, source, destination) if mode == "checksum" else None)
    )
    carry_out(plan(source.side(), destination.side(), rules), source, destination, now=100.25)
    assert work(plan(source.side(), destination.side(), rules)) == []
    put_all(source, {"m": (changed, 103.0)}, now=103.0)
    carry_out(plan(source.side(), destination.side(), rules), source, destination, now=104.0)
    arrived = destination.contents()[directory_prefix(destination.prefix) + "m"]
    assert arrived == (b"ab0" if mode == "size" else changed)
    assert work(plan(source.side(), destination.side(), rules)) == []


def same_hash(source: Model, destination: Model, pairs: Sequence[Pair]) -> Iterable[bool]:
    """Equality by hash as a client does it: it reads the file, and of the object has the ETag."""
    for ours, theirs in pairs:
        ours_hash = ours.etag or md5(source.things[ours.key].content)
        yield ours_hash == (theirs.etag or md5(destination.things[theirs.key].content))


def test_a_download_then_an_upload_and_the_reverse_settle(recorded_pairs: list[Pair]) -> None:
    """With ``same_content`` no round trip sends a file twice."""
    tree, store = Model(is_tree=True), Model(is_tree=False, resolution=1.0)
    tree.put("a", b"content", 100.5, now=0)
    upload = Rules(compare_by("size-mtime", partial(same_content, tree, store)))
    carry_out(plan(tree.side(), store.side(), upload), tree, store, now=200.5)

    def asked(pairs: Sequence[Pair]) -> Iterable[bool]:
        recorded_pairs.extend(pairs)
        return same_content(store, tree, pairs)

    assert work(plan(store.side(), tree.side(), Rules(compare_by("size-mtime", asked)))) == []
    assert [(ours.modified, theirs.modified) for ours, theirs in recorded_pairs] == [(200, 100.5)]
    once = Rules(compare_by("size-mtime"))
    carry_out(plan(store.side(), tree.side(), once), store, tree, now=300.0)
    assert tree.things["a"].modified == 200
    for ours, theirs in ((store, tree), (tree, store)):
        assert work(plan(ours.side(), theirs.side(), once)) == []


@pytest.fixture
def recorded_pairs() -> list[Pair]:
    return []


@pytest.mark.parametrize(
    ("mode", "ours", "theirs", "verdict"),
    [
        ("size", entry("k", 1, 200), entry("k", 1, 100), None),
        ("size", entry("k", 1), entry("k", 2), "size"),
        ("size-mtime", entry("k", 1, 100), entry("k", 2, 200), "size"),
        ("size-mtime", entry("k", 1, 100), entry("k", 1, 100), None),
        ("size-mtime", entry("k", 1, 100), entry("k", 1, 200), None),
        ("size-mtime", entry("k", 1, 200), entry("k", 1, 100), "newer"),  # aws-cli: the same
        ("size-mtime", entry("k", 1, 100.9), entry("k", 1, 100), None),
        ("size-mtime", entry("k", 1, 101), entry("k", 1, 100), "newer"),
        ("size-mtime", entry("k", 1, 100.9), entry("k", 1, 100.125), "newer"),
        ("size-mtime", entry("k", 1, 100.1254), entry("k", 1, 100.125), None),
        ("checksum", entry("k", 1, 100, "a"), entry("k", 1, 200, "a"), None),
        ("checksum", entry("k", 1, 100, "a"), entry("k", 1, 100, "b"), "checksum"),
        ("checksum", entry("k", 1, 100, "a"), entry("k", 2, 100, "a"), "size"),
        ("checksum", entry("k", 1, 100), entry("k", 1, 100), "checksum"),
        ("checksum", entry("k", 1, 100, ""), entry("k", 1, 100, ""), "checksum"),
    ],
)
def test_the_truth_table(mode: Mode, ours: Entry, theirs: Entry, verdict: Reason | None) -> None:
    assert compare_by(mode).verdict(ours, theirs) == verdict


def test_same_content_is_asked_for_suspicions_only_and_in_batches() -> None:
    batches: list[int] = []

    def answer(pairs: Sequence[Pair]) -> Iterable[bool]:
        batches.append(len(pairs))
        return [ours.key != "00007" for ours, _ in pairs]

    ours = [entry(f"{number:05}", 1 + (number == 3), 100.5) for number in range(2_500)]
    theirs = [entry(f"{number:05}", 1, 100.0 + (number == 5)) for number in range(2_500)]
    actions = list(plan(Side(ours), Side(theirs), Rules(compare_by("size-mtime", answer))))
    assert sorted(only_transfers(actions)) == [("00003", "size"), ("00007", "newer")]
    assert batches == [1_000, 1_000, 498]
    runs = [action for action in actions if isinstance(action, Unchanged)]
    assert (sum(run.objects for run in runs), sum(run.size for run in runs)) == (2_498, 2_498)


def test_a_prefix_is_a_directory() -> None:
    assert [directory_prefix(text) for text in ("", "data", "data/", "/", "/data", "a//")] == [
        *("", "data/", "data/", "/", "/data/", "a//"),
    ]
    with pytest.raises(StoreError, match="'database/x', which is outside it"):
        list(plan(Side([]), Side([entry("data/x"), entry("database/x")], "data"), SIZE))


@pytest.mark.parametrize("keys", [["b", "a"], ["a", "a"], ["a", "b", "aa"]])
def test_a_listing_out_of_order_ends_the_plan_before_its_deletes(keys: list[str]) -> None:
    rules = Rules(compare_by("size"), delete=True)
    actions = plan(Side([entry("c")]), Side([entry(key) for key in keys]), rules)
    with pytest.raises(StoreError, match="not in order"):
        list(actions)


def test_a_source_that_fails_midway_ends_the_plan_before_its_deletes() -> None:
    def listing() -> Iterator[Entry]:
        yield entry("b")
        raise StoreError("the listing repeats its token")

    seen: list[Action] = []
    rules = Rules(compare_by("size"), delete=True)
    with pytest.raises(StoreError, match="repeats"):
        seen.extend(plan(Side(listing()), Side([entry("a"), entry("c")]), rules))
    assert not any(isinstance(action, Deletes) for action in seen)


def test_nothing_is_deleted_unless_asked() -> None:
    theirs = [entry("a"), entry("b")]
    assert work(plan(Side([entry("a")]), Side(theirs), SIZE)) == []
    rules = Rules(compare_by("size"), delete=True)
    assert work(plan(Side([entry("a")]), Side(theirs), rules)) == [
        Deletes((theirs[1],), source_is_empty=False)
    ]


def test_excluded_keys_are_neither_sent_nor_deleted() -> None:
    rules = Rules(compare_by("size"), delete=True, included=lambda name: name != "x")
    for prefix in ("", "p/"):
        ours, theirs = Side([entry("a"), entry("x", 2)]), Side([entry(prefix + "x")], prefix)
        assert only_transfers(plan(ours, theirs, rules)) == [(prefix + "a", "new")]
        ours, theirs = Side([entry("a")]), Side([entry(prefix + "a"), entry(prefix + "x")], prefix)
        assert work(plan(ours, theirs, rules)) == []


def deletes(count: int, *, source_is_empty: bool = False) -> Deletes:
    return Deletes(tuple(entry(str(number)) for number in range(count)), source_is_empty)


def test_deletes_are_refused_after_a_failure_from_an_empty_source_and_above_the_limit() -> None:
    refuse = partial(refuse_deletes, destination="s3://b/p/")
    assert refuse(deletes(3), failures=0, max_delete=None) is None
    assert refuse(deletes(3), failures=0, max_delete=3) is None
    assert str(refuse(deletes(3), failures=0, max_delete=2)) == (
        "nothing was deleted from s3://b/p/: 3 objects are not in the source, "
        "more than the 2 that --max-delete allows"
    )
    assert refuse(deletes(1), failures=0, max_delete=0)
    assert "1 of the steps before failed" in str(refuse(deletes(1), failures=1, max_delete=None))
    assert refuse(deletes(1, source_is_empty=True), failures=0, max_delete=None)


@pytest.mark.parametrize("ours", [[], [entry("d/", 0)], [entry("x")]])
def test_an_empty_source_is_known_as_such(ours: list[Entry]) -> None:
    rules = Rules(compare_by("size"), delete=True, included=lambda name: name != "x")
    *_, last = plan(Side(ours, is_tree=True), Side([entry("a")]), rules)
    assert last == Deletes((entry("a"),), source_is_empty=True)


def test_what_exists_is_skipped_without_overwriting() -> None:
    ours, theirs = [entry("a", 2), entry("b"), entry("c")], [entry("p/a"), entry("p/b")]
    rules = Rules(compare_by("size"), overwrite=False)
    assert work(plan(Side(ours), Side(theirs, "p"), rules)) == [
        Skip(ours[0], "p/a"),
        Transfer(ours[2], "p/c", "new"),
    ]


def hashed(entries: Iterable[Entry], prefix: str = "") -> Side:
    return Side(entries, prefix, hash_of=lambda found: found.etag)


@pytest.mark.parametrize(("old", "new"), [("a", "z"), ("z", "a")])
def test_a_rename_is_a_copy_then_a_delete(old: str, new: str) -> None:
    ours, theirs = [entry(new, 5, etag="h")], [entry(f"p/{old}", 5, etag="h")]
    rules = Rules(compare_by("checksum"), delete=True)
    assert list(plan(hashed(ours), hashed(theirs, "p"), rules)) == [
        Copy(ours[0], f"p/{new}", f"p/{old}", "h"),
        Deletes((theirs[0],), source_is_empty=False),
    ]
    kept = Rules(compare_by("checksum"))
    assert [type(action) for action in plan(hashed(ours), hashed(theirs, "p"), kept)] == [Copy]


@pytest.mark.parametrize("new", ["a", "z"])
def test_a_duplicate_of_an_unchanged_object_is_a_copy(new: str) -> None:
    ours = sorted([entry("m", 5, etag="h"), entry(new, 5, etag="h")], key=lambda one: one.key)
    actions = plan(hashed(ours), hashed([entry("m", 5, etag="h")]), Rules(compare_by("size")))
    assert [(action.target, action.origin) for action in actions if isinstance(action, Copy)] == [
        (new, "m")
    ]


def test_of_new_duplicates_one_is_sent_and_the_others_are_copied() -> None:
    ours = [entry(f"s/{name}", 5, etag="h") for name in "abc"]
    assert list(plan(hashed(ours, "s"), hashed([], "p"), SIZE)) == [
        Transfer(ours[0], "p/a", "new"),
        Copy(ours[1], "p/b", "p/a", None),
        Copy(ours[2], "p/c", "p/a", None),
    ]


def test_a_copy_is_never_a_guess() -> None:
    theirs = [entry("a", 5, etag="h")]
    for ours in (entry("b", 5, etag=None), entry("b", 6, etag="h"), entry("b", 5, etag="i")):
        assert only_transfers(plan(hashed([ours]), hashed(theirs), SIZE)) == [("b", "new")]
    unknown = [entry("a", 5, etag=None)]
    assert only_transfers(plan(hashed([entry("b", 5, etag=None)]), hashed(unknown), SIZE))
    assert only_transfers(plan(Side([entry("b", 5, etag="h")]), hashed(theirs), SIZE))


def test_what_is_overwritten_is_no_origin() -> None:
    """Two files swapped: a copy would take what the transfer has just put there."""
    ours = [entry("a", 5, 200.5, "y"), entry("b", 5, 200.5, "x"), entry("c", 5, 200.5, "x")]
    theirs = [entry("a", 5, 100.5, "x"), entry("b", 5, 100.5, "y")]
    actions = list(plan(hashed(ours), hashed(theirs), Rules(compare_by("size-mtime"))))
    assert only_transfers(actions) == [("a", "newer"), ("b", "newer")]
    assert actions[-1] == Copy(ours[2], "c", "b", None)


def test_only_sizes_that_occur_twice_are_hashed() -> None:
    asked: list[str] = []

    def hash_of(found: Entry) -> str:
        asked.append(found.key)
        return found.key

    ours = [entry("a", 1), entry("b", 2), entry("c", 3), entry("n", 0)]
    theirs = [entry("d", 2), entry("e", 4), entry("o", 0)]
    list(plan(Side(ours, hash_of=hash_of), Side(theirs, hash_of=hash_of), SIZE))
    assert sorted(asked) == ["b", "d"]


def test_into_an_empty_destination_the_first_file_goes_before_the_second_is_listed() -> None:
    def listing() -> Iterator[Entry]:
        yield entry("a")
        pytest.fail("the plan collects its source")

    first = next(plan(Side(listing(), hash_of=lambda _: "h"), hashed([]), SIZE))
    assert first == Transfer(entry("a"), "a", "new")


MARKED = [entry("d/", 0, 300), entry("d/x")]


@pytest.mark.parametrize(
    ("ours", "theirs", "trees", "empty_dirs", "expected"),
    [
        # Upload: what a tree has not to say is in the store kept while its directory exists.
        ([entry("d/x")], MARKED, "source", False, []),
        ([entry("e")], MARKED, "source", False, ["+e", "-d/", "-d/x"]),
        ([entry("d/", 0, 900)], [entry("d/", 0)], "source", True, []),
        ([entry("d/", 0)], [entry("d/x")], "source", True, ["+d/", "-d/x"]),
        # Download: directories are made when asked, and never deleted.
        (MARKED, [], "destination", False, ["+d/x"]),
        (MARKED, [], "destination", True, ["+d/", "+d/x"]),
        (MARKED, [entry("d/x")], "destination", True, []),
        (MARKED, [entry("d/", 0, 1)], "destination", True, ["+d/x"]),
        ([entry("e")], [entry("d/", 0), entry("e")], "destination", True, []),
        ([entry("d/", 5)], [], "destination", False, ["+d/"]),  # content: not just a directory
        # From store to store it is a key as any other.
        (MARKED, [entry("d/x")], "", False, ["+d/"]),
        ([entry("d/x")], MARKED, "", False, ["-d/"]),
        (MARKED, [entry("d/", 0, 200), entry("d/x")], "", False, ["+d/"]),
        # The directory of the prefix itself is none of it.
        ([entry("", 0), entry("a")], [entry("a")], "", True, []),
    ],
)
def test_keys_that_mean_a_directory(
    ours: list[Entry],
    theirs: list[Entry],
    trees: str,
    empty_dirs: bool,  # noqa: FBT001
    expected: list[str],
) -> None:
    rules = Rules(compare_by("size-mtime"), delete=True, empty_dirs=empty_dirs)
    sides = Side(ours, is_tree=trees == "source"), Side(theirs, is_tree=trees == "destination")
    found: list[str] = []
    for action in plan(*sides, rules):
        if isinstance(action, Transfer):
            found.append("+" + action.target)
        elif isinstance(action, Deletes):
            found += ["-" + one.key for one in action.entries]
    assert found == expected


def pairs(count: int, prefix: str = "") -> Iterator[Entry]:
    return (Entry(f"{prefix}{n:07}", n % 1_000, 1e9 + n, f"{n:032}") for n in range(count))


@pytest.mark.parametrize(
    ("make", "count", "limit"), [(hashed, 25_000, 8_000_000), (Side, 5_000, 100_000)]
)
def test_memory_does_not_grow_with_unchanged_pairs(
    make: Callable[..., Side], count: int, limit: int
) -> None:
    rules = Rules(compare_by("size-mtime"), delete=True)

    def peak(count: int) -> int:
        tracemalloc.start()
        assert work(plan(make(pairs(count)), make(pairs(count, "p/"), "p"), rules)) == []
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(2 * count) < 1.1 * peak(count) < 1.1 * limit


def test_a_hundred_thousand_unchanged_pairs_take_well_under_0_3_s() -> None:
    ours, theirs = list(pairs(100_000)), list(pairs(100_000, "p/"))
    start = time.process_time()
    assert work(plan(Side(ours), Side(theirs, "p"), Rules(compare_by("size-mtime")))) == []
    assert time.process_time() - start < 0.3


def test_a_comparison_of_ones_own() -> None:
    rules = Rules(Compare(lambda _ours, _theirs: "checksum"))
    assert only_transfers(plan(Side([entry("a")]), Side([entry("a")]), rules)) == [
        ("a", "checksum")
    ]
