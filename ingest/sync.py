"""Make one tree like another: what to do is planned first (``ingest.planning``), then done.

Every transfer of a tree is a sync: an upload or a download is one that looks at nothing on the
other side and deletes nothing. Transfers come first, then copies within the destination, and
deletes last, if everything before succeeded.
"""

from __future__ import annotations

import functools
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from ingest.content import same_content
from ingest.copier import Copying
from ingest.downloader import Downloading, Foreseen
from ingest.errors import BucketNotFound, NotFound, UsageError
from ingest.operation import Operation, from_problem
from ingest.planning import plan as planning
from ingest.planning.compare import compare_by
from ingest.planning.filters import key_filter
from ingest.planning.plan import Copy, Deletes, Rules, Side, Skip, Unchanged
from ingest.planning.plan import Transfer as Send
from ingest.storage.base import PLAIN
from ingest.trees import LocalTree, NoTree, StoreTree
from ingest.uploader import Content, Uploading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.errors import IngestError
    from ingest.files.scan import Problem
    from ingest.operation import Status, Verb
    from ingest.planning.compare import Mode
    from ingest.planning.filters import Rule
    from ingest.planning.names import Names
    from ingest.planning.plan import Action
    from ingest.storage.base import Entry, Outcome, Transfer

Tree = LocalTree | StoreTree
End = Tree | NoTree

_MOVED_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a sync is asked for.

    ``compare`` None sends everything, whatever the destination has. ``rules`` choose keys, of
    ``names`` where these are not None; ``content`` says what objects are written with. ``move``
    deletes each source once it is sent.
    """

    compare: Mode | None = "size-mtime"
    delete: bool = False
    max_delete: int | None = None
    rules: tuple[Rule, ...] = ()
    names: Names | None = None
    content: Content = field(default_factory=Content)
    move: bool = False
    dry_run: bool = False


class Mover(Protocol):
    """Carries out what a plan says between two trees; an outcome's key is the target."""

    @property
    def verb(self) -> Verb:
        """What sending is called."""

    def send(self, sends: Iterator[Send]) -> Iterator[Outcome]:
        """Write each source to its target."""

    def copy(self, copies: Iterator[Copy]) -> Iterator[Outcome]:
        """Copy what the destination has already."""


def sync(
    source: Tree, destination: End, options: Options, how: Transfer = PLAIN
) -> Iterator[Operation]:
    """Yield what is done, as it is done; in a dry run what would be, in order.

    What fails is told and does not keep the rest from being done, but from being followed by
    deletes. Raises ``NotFound`` where the source does not exist, and whatever reading a side
    raises: then nothing is deleted.
    """
    _refuse_overlap(source, destination, options)
    return _Sync(source, destination, options, how).operations()


def send_one(
    source: Tree, destination: End, one: Send, options: Options, how: Transfer = PLAIN
) -> Iterator[Operation]:
    """Do what ``one`` says, and nothing else; see ``sync`` for the rest."""
    if isinstance(source, StoreTree) and isinstance(destination, StoreTree):
        itself = one.source.key == one.target and _is_one_bucket(source, destination)
        if itself:
            raise UsageError(f"{source.shown(one.target)} cannot be copied over itself")
    # Some stores take no notice where a request says not to overwrite.
    kept = not how.overwrite and _has(destination, one.target)
    action = Skip(one.source, one.target) if kept else one
    return _Sync(source, destination, options, how).operations(iter([action]))


def _has(tree: End, key: str) -> bool:
    try:
        tree.entry(key)
    except BucketNotFound:
        raise
    except NotFound:
        return False
    return True


def _mover(source: Tree, destination: End, content: Content, how: Transfer) -> Mover:
    if isinstance(source, LocalTree) and isinstance(destination, StoreTree):
        return Uploading(source, destination, content, how)
    if isinstance(source, StoreTree) and isinstance(destination, LocalTree):
        return Downloading(source, destination, how)
    if isinstance(source, StoreTree) and isinstance(destination, NoTree):
        # What is dropped is nothing to go on with.
        how = replace(how, keep_partial=False, keep_cancelled=False)
        return Downloading(source, destination, how)
    if isinstance(source, StoreTree) and isinstance(destination, StoreTree):
        # What is kept of a file is metadata as any other, and copied as it is.
        return Copying(source, destination, content, replace(how, preserve=False))
    raise UsageError("one of the two ends should be a store", hint="such as s3://bucket/prefix")


def _refuse_overlap(source: Tree, destination: End, options: Options) -> None:
    """Raise ``UsageError`` where a sync would read what it writes, or delete what it reads."""
    if not isinstance(source, StoreTree) or not isinstance(destination, StoreTree):
        return
    if not _is_one_bucket(source, destination):
        return
    inside = destination.prefix.startswith(source.prefix)
    if inside or (options.delete and source.prefix.startswith(destination.prefix)):
        raise UsageError(f"{source.shown(source.prefix)} cannot be copied into or over itself")


def _is_one_bucket(one: StoreTree, other: StoreTree) -> bool:
    return one.store.url == other.store.url and other.store.copies_from(one.store) is not None


class _Sync:
    """One sync under way."""

    def __init__(self, source: Tree, destination: End, options: Options, how: Transfer) -> None:
        self._source = source
        self._destination = destination
        self._options = options
        self._how = how
        self._mover = _mover(source, destination, options.content, how)
        self._chosen = key_filter(options.rules, options.names)
        self._foreseen = self._foresee()
        self._failures = 0
        self._aside: deque[Operation] = deque()
        self._held: Action | None = None
        self._under_way: dict[str, Send | Copy] = {}
        self._moved: list[str] = []

    def operations(self, actions: Iterator[Action] | None = None) -> Iterator[Operation]:
        for operation in self._carried_out(actions) if actions else self._planned_and_done():
            yield from self._from_aside()
            yield self._counted(operation)
        yield from self._from_aside()

    def _from_aside(self) -> Iterator[Operation]:
        """Yield what was told from aside meanwhile."""
        while self._aside:
            yield self._counted(self._aside.popleft())

    def _counted(self, operation: Operation) -> Operation:
        self._failures += operation.status == "failed"
        return operation

    def _planned_and_done(self) -> Iterator[Operation]:
        actions = self._plan()
        first = next((action for action in actions if not isinstance(action, Unchanged)), None)
        if self._foreseen:
            yield from self._foreseen.look_ahead()
        if first:
            yield from self._carried_out(chain([first], actions))

    def _carried_out(self, actions: Iterator[Action]) -> Iterator[Operation]:
        if self._options.dry_run:
            for action in actions:
                yield from self._planned(action)
            yield from self._delete_moved()
            return
        yield from self._outcomes(self._mover.send(self._sends(actions)))
        actions = self._rest(actions)
        yield from self._outcomes(self._mover.copy(self._copies(actions)))
        yield from self._delete_moved()
        for action in self._rest(actions):
            if isinstance(action, Deletes):
                yield from self._delete(action)

    def _foresee(self) -> Foreseen | None:
        source, destination = self._source, self._destination
        if isinstance(source, StoreTree) and isinstance(destination, LocalTree):
            touch = not self._options.dry_run
            listed = functools.partial(self._listed, source)
            return Foreseen(source, destination, listed, self._chosen, touch=touch)
        return None

    # What is planned

    def _plan(self) -> Iterator[Action]:
        mode, same = self._options.compare, None
        if mode == "size-mtime" and self._how.preserve and isinstance(self._destination, LocalTree):
            mode = "checksum"  # a time that was given back says nothing of its object's
        if mode is not None and not isinstance(self._destination, NoTree):
            same = same_content(self._source, self._destination, self._how.threads)
        rules = Rules(
            compare_by(mode or "size", same),
            delete=self._options.delete,
            overwrite=self._how.overwrite,
            empty_dirs=any(
                isinstance(tree, LocalTree) and tree.empty_dirs
                for tree in (self._source, self._destination)
            ),
            included=self._is_included,
        )
        return planning.plan(*self._sides(), rules)

    def _is_included(self, key: str) -> bool:
        return self._chosen(key) and not (self._foreseen and key in self._foreseen.refused)

    def _sides(self) -> tuple[Side, Side]:
        source, rules = self._source, self._options.rules
        if isinstance(source, LocalTree):
            here = source.side(self._report, rules, self._options.names)
        else:
            here = replace(source.side(), entries=self._foreseen or self._listed(source))
        if not self._looks:
            return here, self._nothing()
        if isinstance(self._destination, LocalTree):
            # What a link leads to is outside, where nothing is written and nothing deleted.
            tree = replace(self._destination, follow_symlinks=False)
            names, report = self._options.names, self._report_of_destination
            there = tree.side(report, rules, names, may_be_missing=True)
            # Without hashes nothing is copied: files are read as fast as they would be hashed.
            return here, Side(there.entries, is_tree=True)
        there = self._destination.side()
        # A copy would have the times and permissions of another file.
        is_own = self._how.preserve and isinstance(source, LocalTree)
        return here, replace(there, hash_of=None) if is_own else there

    @property
    def _looks(self) -> bool:
        """Whether what is in the destination matters."""
        anything = self._options.compare is not None or not self._how.overwrite
        return anything and not isinstance(self._destination, NoTree)

    def _listed(self, source: StoreTree, after: str = "") -> Iterator[Entry]:
        """Yield the objects of the source after a key: those of the names, where there are any."""
        names = self._options.names
        if names is None:
            return source.store.list(source.prefix, after)
        chosen = filter(
            key_filter(self._options.rules), names.after(after.removeprefix(source.prefix))
        )
        # What is listed again was reported the first time.
        report = self._report if not after else lambda _: None
        return source.named(chosen, report, self._how.threads)

    def _nothing(self) -> Side:
        if isinstance(self._destination, StoreTree):
            return Side((), self._destination.prefix)
        return Side((), is_tree=isinstance(self._destination, LocalTree))

    def _report(self, problem: Problem) -> None:
        self._aside.append(from_problem(problem))

    def _report_of_destination(self, problem: Problem) -> None:
        # A link that is there is nothing that was to be transferred.
        if problem.failed:
            self._report(problem)

    def _planned(self, action: Action) -> Iterator[Operation]:
        if isinstance(action, Send | Copy):
            yield self._told(action, "planned")
            yield from self._move(action.source.key)
        elif isinstance(action, Skip):
            yield self._kept(action)
        elif isinstance(action, Deletes):
            if refusal := self._refusal(action):
                yield refusal
            else:
                for entry in action.entries:
                    yield Operation("delete", self._destination.shown(entry.key), status="planned")

    # What is carried out. The movers take the actions, from threads of their own.

    def _sends(self, actions: Iterator[Action]) -> Iterator[Send]:
        for action in actions:
            if isinstance(action, Send):
                self._under_way[action.target] = action
                yield action
            elif isinstance(action, Skip):
                self._aside.append(self._kept(action))
            elif isinstance(action, Copy | Deletes):
                self._held = action
                return

    def _copies(self, actions: Iterator[Action]) -> Iterator[Copy]:
        for action in actions:
            if not isinstance(action, Copy):
                self._held = action
                return
            self._under_way[action.target] = action
            yield action

    def _rest(self, actions: Iterator[Action]) -> Iterator[Action]:
        """Yield ``actions`` with the one that ended the phase before back in front."""
        held, self._held = self._held, None
        if held is not None:
            yield held
        yield from actions

    def _outcomes(self, outcomes: Iterator[Outcome]) -> Iterator[Operation]:
        for outcome in outcomes:
            action = self._under_way.pop(outcome.key)
            if outcome.error:
                yield self._told(action, "failed", outcome.error)
            elif outcome.existed:
                yield self._kept(action)
            else:
                yield self._told(action, "done")
                yield from self._move(action.source.key)

    def _move(self, key: str) -> Iterator[Operation]:
        """Take note that the source ``key`` is to be deleted; delete them by the thousand."""
        if self._options.move:
            self._moved.append(key)
            if len(self._moved) == _MOVED_AT_ONCE:
                yield from self._delete_moved()

    def _delete_moved(self) -> Iterator[Operation]:
        """Delete the sources of what has arrived."""
        moved, self._moved = self._moved, []
        if self._options.dry_run:
            for key in moved:
                source = self._source.shown(key)
                yield Operation("delete", source, status="planned", reason="moved")
            return
        for outcome in self._source.delete(moved, self._how):
            status: Status = "failed" if outcome.error else "done"
            source = self._source.shown(outcome.key)
            yield Operation("delete", source, status=status, reason="moved", error=outcome.error)

    def _delete(self, deletes: Deletes) -> Iterator[Operation]:
        if refusal := self._refusal(deletes):
            yield refusal
            return
        keys = [entry.key for entry in deletes.entries]
        for outcome in self._destination.delete(keys, self._how):
            status: Status = "failed" if outcome.error else "done"
            target = self._destination.shown(outcome.key)
            yield Operation("delete", target, status=status, error=outcome.error)

    def _refusal(self, deletes: Deletes) -> Operation | None:
        end = self._destination
        target = end.shown(end.prefix if isinstance(end, StoreTree) else "")
        error = planning.refuse_deletes(
            deletes,
            failures=self._failures + sum(each.status == "failed" for each in self._aside),
            max_delete=self._options.max_delete,
            destination=target,
        )
        return Operation("delete", target, status="failed", error=error) if error else None

    def _told(
        self, action: Send | Copy, status: Status, error: IngestError | None = None
    ) -> Operation:
        entry, target = action.source, self._destination.shown(action.target)
        if isinstance(action, Copy):
            origin = self._destination.shown(action.origin)
            return Operation("copy", target, origin, entry.size, status, "same content", error)
        source = self._source.shown(entry.key)
        # Where nobody looked, nobody knows whether it is new.
        reason = action.reason if self._looks else ""
        return Operation(self._mover.verb, target, source, entry.size, status, reason, error)

    def _kept(self, action: Send | Copy | Skip) -> Operation:
        target = self._destination.shown(action.target)
        source = self._source.shown(action.source.key)
        return Operation(
            self._mover.verb, target, source, status="skipped", reason="it is there already"
        )
