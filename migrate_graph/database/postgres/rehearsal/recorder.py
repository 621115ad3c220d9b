"""Records the statements that a migration sends, and asks the database what each of them did."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg2
from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.core.footprint import Footprint, Held, OutsideAct, Rewrite, Size, Statement, Wrote
from migrate_graph.database.postgres.facts.columns import UNKNOWN, Named, named_in
from migrate_graph.database.postgres.facts.query import FORGETS_ON_DEMAND, NOTHING_COUNTED, SHARED, counting
from migrate_graph.database.postgres.facts.reading import Difference, Facts
from migrate_graph.database.postgres.rehearsal.locks_and_counters import (
    FILES,
    UNTOUCHED,
    Ask,
    Counters,
    Seen,
    in_words,
    read_counters,
    strongest,
)
from migrate_graph.database.postgres.rehearsal.reach import Reach, Reached
from migrate_graph.database.postgres.session.connection import IDLE
from migrate_graph.database.postgres.session.statements import first_word, without_values
from migrate_graph.database.postgres.views.blockers import REFUSALS, views_named
from migrate_graph.messages import first_line
from migrate_graph.redaction import redact
from migrate_graph.user_files import SourceLocation

if TYPE_CHECKING:
    from migrate_graph.database.postgres.views.weaving import PostgresWeaver

_ROWS: Final = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "WITH", "MERGE", "VALUES", "TABLE"})
"""First words of statements that read or write rows, and do nothing else."""

_MOVES_ROWS: Final = frozenset({"COPY", "FETCH", "EXECUTE", "MOVE", "CLOSE", "DECLARE"})
"""First words of other statements that move rows. Their sequential scans are not reported: on other data an index could be used."""

_UNSEEN: Final = frozenset({"DO", "CALL", "EXECUTE", "COPY", "FETCH", ""})
"""First words of statements whose text does not tell what they touch. Only locks and counters do, until the transaction ends."""

_COMPOSITE = "c"

_NO_WORDS: Mapping[str, str] = {}


class Session(Protocol):
    """The connection of a migration whose statements are recorded."""

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Run statements of this package in the open transaction, unrecorded; return the rows of the last."""

    def ask_again(self, name: str, statement: str) -> list[tuple[Any, ...]]:
        """Run one statement of this package that is sent often; it is prepared under its name."""

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction is open, and not aborted, so that queries can be sent."""

    @property
    def backslashes(self) -> bool:
        """Whether backslashes are escapes in every string literal."""

    @property
    def info(self) -> Any:
        """What libpq knows about the connection."""

    @property
    def weaver(self) -> PostgresWeaver | None:
        """What takes views down for its statements and brings them back; None where that is not done."""


class _Step(Struct):
    """What was recorded of one migration so far.

    Attributes:
        statements: the statements that it sent.
        refused: for statements that failed because something depends on an object: the detail of the error, by the index in `statements`.
        unmanaged: for the same statements: the views in the way that have no manager, where that was found out; by the index, too.
        transaction: number of its present transaction, from 0.
        own_commits: number of its own commits.
        shapes: what statements on rows name, by the statement without its values.
        locks: the strongest lock on each relation, by name.
        touched: OIDs of relations with a lock that allows to change them.
        born: OIDs of relations that did not exist when it began.
        written: names of the catalogs in which rows were written.
        wrote: numbers of inserted, updated and deleted rows, by table.
        ours_too: this package has sent statements on the connection meanwhile.
        blind: it is not known what some statements did, for example outside of any transaction.
        outside: what it did outside of its database.
        not_rehearsed: why parts of it could not be watched; the keys are the reasons.
        difference: between the facts before and after.
        reached: what it has touched without naming it in a statement.
    """

    statements: list[Statement] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)
    unmanaged: dict[int, tuple[str, ...]] = field(default_factory=dict)
    transaction: int = 0
    own_commits: int = 0
    shapes: dict[str, Named] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)
    born: set[int] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    wrote: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    ours_too: bool = False
    blind: bool = False
    outside: list[OutsideAct] = field(default_factory=list)
    not_rehearsed: dict[str, None] = field(default_factory=dict)
    difference: Difference = field(default_factory=Difference)
    reached: Reached = field(default_factory=Reached)


class Recorder(Struct, eq=False):
    """Records one migration after another.

    Attributes:
        facts: reads the objects and properties of the database.
        sizes: sizes of relations in the database where the migrations will really run, by name; None where they are not known.
        root: directory that file paths are shown relative to.
        values: record statements with their values.
        secrets: texts that no output may contain.
        own: OIDs of the tool's own tables and their sequences, which are left out.
        reach: notes what is touched without being named in a statement; None where that is not wanted.
    """

    facts: Facts
    sizes: Mapping[str, Size] | None
    root: Path
    values: bool
    secrets: Sequence[str]
    own: frozenset[int]
    reach: Reach | None
    _files: dict[int, int] | None = None
    _born_files: dict[int, int] = field(default_factory=dict)
    _step: _Step = field(default_factory=_Step)
    _last: Counters = field(default_factory=dict)
    _forgets: bool = False
    _is_up_to_date: bool = False  # nothing was sent since the last look
    _others_spoke: bool = False  # this package has sent something since the last look
    _locks_went: bool = False  # a rollback to a savepoint has released locks since the last look
    _again: tuple[str, Named] | None = None  # of the last statement of a known shape since the last look
    _base: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    _ours: set[int] = field(default_factory=set)

    __repr__ = object.__repr__  # a traceback with values shows it, and it holds secrets

    # -- a migration ----------------------------------------------------------------------------------------------------------

    def begin(self, session: Session, ask: Ask, *, fresh: bool = False) -> None:
        """Begin to record a migration; what the open transaction has done before is not counted.

        Args:
            session: the connection of the migration.
            ask: runs a statement, perhaps in another transaction.
            fresh: the open transaction has locked nothing yet.
        """
        if self._files is None or self._step.blind:
            self._files = dict(ask(FILES))
        self._files |= self._born_files
        self._step = _Step()
        if self.reach is not None:
            self.reach.begin()
        self._forgets = session.info.server_version >= FORGETS_ON_DEMAND
        self._ours, self._born_files = set(), {}
        self.after_end()
        if session.is_in_transaction and not fresh:
            self._last = self._read_counters(session)
            self._base |= {number: seen.written for number, seen in self._last.items()}

    @property
    def writes_shared(self) -> bool:
        """Whether the migration has written into catalogs that all databases of the server share."""
        return not self._step.written.isdisjoint(SHARED)

    def footprint(self) -> Footprint:
        """Return what was recorded of the migration."""
        step, sizes = self._step, self.sizes or {}
        names = {*step.locks, *step.wrote}
        return Footprint(
            statements=tuple(step.statements),
            locks={name: in_words(mode) for name, mode in sorted(step.locks.items())},
            added=step.difference.added,
            changed=step.difference.changed,
            removed=step.difference.removed,
            renamed=step.difference.renamed,
            called=step.difference.called,
            retyped=step.difference.retyped,
            invalid=step.difference.invalid,
            hangs=step.reached.hangs,
            lost=step.reached.lost,
            uses=step.reached.uses.union(*(statement.uses for statement in step.statements)),
            writes=step.reached.writes,
            inserts=step.reached.inserts,
            calls=step.reached.calls,
            checked=step.reached.checked,
            wrote={name: Wrote(*counts) for name, counts in sorted(step.wrote.items()) if any(counts)},
            sizes={name: sizes[name] for name in sorted(names) if name in sizes},
            own_commits=step.own_commits,
            outside=tuple(step.outside),
            not_rehearsed=tuple(step.not_rehearsed),
        )

    def note_outside(self, acts: Sequence[OutsideAct]) -> None:
        """Add what the migration did outside of its database."""
        self._step.outside += acts

    def not_rehearsed(self, why: str) -> None:
        """Note why a part of the migration could not be watched."""
        self._step.not_rehearsed[why] = None

    @property
    def own_commits(self) -> int:
        """How many commits the migration has made itself."""
        return self._step.own_commits

    def survey(self) -> None:
        """Find out how the database has changed since the last survey, in a transaction of its own."""
        step = self._step
        said = "\n".join(each.sql for each in step.statements if first_word(each.sql) not in _ROWS).lower()
        step.difference = (
            self.facts.read_whole()
            if step.blind
            else self.facts.read_changed(step.touched, frozenset(step.written), said)
        )
        if (
            not step.statements
            and not step.ours_too
            and (step.difference != Difference() or any(map(any, step.wrote.values())))
        ):
            self.not_rehearsed(
                "it used a cursor made by hand, which is not watched: its statements are not known, only their effects"
            )
        if self.reach is not None:
            step.reached = self.reach.reached(step.difference)
        for place, detail in step.refused.items():
            blockers = step.unmanaged[place] or views_named(detail, self.facts.ask)
            step.statements[place] = replace(step.statements[place], blockers=blockers)

    # -- ends of transactions -----------------------------------------------------------------------------------------------------

    def before_end(self, session: Session, *, own: bool) -> None:
        """Record what a transaction has done, before it is committed (or, in a rehearsal, treated as if it was).

        Args:
            session: the connection of the migration.
            own: the migration itself commits.
        """
        step = self._step
        if session.is_in_transaction:
            self._look_at_repeated(session)
            before = self._last
            now = self._last if self._is_up_to_date else self._look(session)
            if self.reach is not None and not step.statements and not step.ours_too:
                self.reach.note("", None, before, now)  # it may have sent statements that were not recorded
            for number, seen in now.items():
                self._count(seen, self._base.get(number, (0, 0, 0)))
            self._base |= {number: seen.written for number, seen in now.items()}
            self._note_written(session)
        if own:
            step.own_commits += 1

    def next_transaction(self) -> None:
        """Note that the migration, from its own point of view, goes on in another transaction."""
        self._step.transaction += 1

    def after_end(self) -> None:
        """Note that a transaction has really ended, so its locks and counters are gone."""
        self._last, self._is_up_to_date = {}, False
        if self._forgets:
            self._base = {}
        self._others_spoke = self._locks_went = False
        self._again = None

    def before_rollback(self, session: Session) -> None:
        """Record the locks of a transaction before it is rolled back; its rows are not counted, since none stays."""
        self.next_transaction()
        if session.is_in_transaction:
            self._look_at_repeated(session)
            now = self._look(session)
            self._base |= {number: seen.written for number, seen in now.items()}
            self._note_written(session)
        self._locks_went = True

    def _count(self, seen: Seen, before: tuple[int, int, int]) -> None:
        if seen.name is None or seen.kind == "S":
            return
        was = self._step.wrote.get(seen.name, (0, 0, 0))
        self._step.wrote[seen.name] = tuple(  # type: ignore[assignment] # three, as before
            known + (now - then if now >= then else now)
            for known, now, then in zip(was, seen.written, before, strict=True)
        )

    def _note_written(self, session: Session) -> None:
        written = {name for (name,) in session.ask(counting(session.info.server_version))}
        self._step.written |= written - {NOTHING_COUNTED}
        if NOTHING_COUNTED in written:
            self._step.blind = True
            self.not_rehearsed(
                "the server counts no rows (track_counts is off), so what was read and written is not known: switch it on, or watch as a superuser"
            )

    # -- statements -------------------------------------------------------------------------------------------------------------

    def overhear(self, session: Session) -> None:
        """Note that this package sends something on the connection; its locks must not be counted as the migration's.

        Args:
            session: the connection.
        """
        if session.is_in_transaction:
            self._look_at_repeated(session)
        self._others_spoke, self._is_up_to_date = True, False
        self._step.ours_too = True

    def statement(
        self,
        session: Session,
        texts: Sequence[str],
        source: SourceLocation | None,
        rows: Callable[[], int],
        send: Callable[[], Held],
    ) -> None:
        """Send a statement of the migration, and record what it did.

        Args:
            session: the connection of the migration.
            texts: the statement; several where the driver sends one statement with several lists of values.
            source: the line of the user's code that sent it.
            rows: returns how many rows it touched; called after it was sent.
            send: sends it, and returns whether it was run as written, changed, held back or skipped.
        """
        text = texts[0] if texts else ""
        shape = without_values(text, backslashes=session.backslashes)
        is_of_rows = first_word(text) in _ROWS
        known = self._step.shapes.get(shape) if is_of_rows else None
        if session.is_in_transaction and known is None:
            self._look_at_repeated(session)
            if self._others_spoke or self._locks_went:
                self._look_at_ours(session)
        before = self._last
        named = known or (self._named_in(session, text, shape) if is_of_rows else None)
        told = partial(self._told, shape=shape, is_of_rows=is_of_rows)
        found = self._begun(told(text), source, named)
        self._is_up_to_date = False
        started = time.perf_counter()
        try:
            held = send()
            count = rows() if held is not Held.HELD_BACK else -1
            found = replace(found, held=held, seconds=time.perf_counter() - started, rows=count if count >= 0 else None)
            if known is not None:
                self._again = first_word(text), known
            else:
                found = self._with_marks_where_asked(session, found, before, named)
        except BaseException as error:
            said, code = self._of_error(error)
            if code in REFUSALS and isinstance(error, psycopg2.Error):
                self._note_refused(session, error)
            found = replace(found, seconds=found.seconds or time.perf_counter() - started, error=said, error_code=code)
            raise
        finally:
            self._step.statements.append(found)
            self._step.statements += [
                replace(found, sql=told(each), seconds=0.0, rows=None, locks=_NO_WORDS) for each in texts[1:]
            ]

    def _begun(self, told: str, source: SourceLocation | None, named: Named | None) -> Statement:
        """Return the record of a statement that is about to be sent, with what its text names."""
        if named is None:
            return Statement(sql=told, source=source, transaction=self._step.transaction)
        return Statement(
            sql=told,
            source=source,
            uses=named.uses,
            writes=named.writes,
            inserts=named.inserts,
            transaction=self._step.transaction,
        )

    def _note_refused(self, session: Session, error: psycopg2.Error) -> None:
        """Note why the server refused the statement that is appended to the list next."""
        place, weaver = len(self._step.statements), session.weaver
        self._step.refused[place] = error.diag.message_detail or ""
        self._step.unmanaged[place] = weaver.unmanaged_by(error) if weaver else ()

    def _with_marks_where_asked(
        self, session: Session, found: Statement, before: Counters, named: Named | None
    ) -> Statement:
        if found.held in {Held.HELD_BACK, Held.SKIPPED, Held.OUTSIDE}:
            return found
        if session.is_in_transaction:
            return self._with_marks(session, found, before, named)
        self._step.blind = True  # the statement was a transaction of its own, which has ended
        if self.reach is not None and first_word(found.sql) in _UNSEEN:
            self.not_rehearsed(f"a {first_word(found.sql)} was a transaction of its own: what it touched is not known")
        return found

    def _told(self, text: str, shape: str, *, is_of_rows: bool) -> str:
        told = text if self.values or not (is_of_rows or "'" in text) else shape
        return redact(told, *self.secrets)

    def _of_error(self, error: BaseException) -> tuple[str, str]:
        told = redact(first_line(error), *self.secrets)
        return told, (error.pgcode or "") if isinstance(error, psycopg2.Error) else ""

    def _named_in(self, session: Session, text: str, shape: str) -> Named:
        """Return what a statement on rows names, whose shape was not seen before."""
        is_open = session.is_in_transaction
        if not is_open and (self.reach is None or session.info.transaction_status != IDLE):
            return UNKNOWN
        named = named_in(session.ask, text, version=session.info.server_version, is_in_transaction=is_open)
        if is_open:
            self._step.shapes[shape] = named
        if self.reach is not None:
            self.reach.names(named)
        return named

    def _read_counters(self, session: Session) -> Counters:
        return {
            number: seen
            for number, seen in read_counters(partial(session.ask_again, "counters")).items()
            if number not in self.own
        }

    def _look(self, session: Session, *, held: Held = Held.RUN) -> Counters:
        """Read the locks and counters of the open transaction, and note what it has locked since the last look.

        Args:
            session: the connection of the migration.
            held: how the last statement was run. One that was sent without its CONCURRENTLY (`CHANGED`) locks less in a real run.
        """
        if self._others_spoke or self._locks_went:
            self._look_at_ours(session)
        now = self._read_counters(session)
        step = self._step
        for number, seen in now.items():
            before = self._last.get(number)
            modes = seen.modes - (before.modes if before else frozenset())
            if number in self._ours:
                modes -= {"AccessShareLock"}
            if number not in (self._files or {}):
                step.born.add(number)
                self._born_files[number] = seen.file
            if seen.may_have_changed:
                step.touched.add(number)
            if modes and seen.name is not None and seen.kind != _COMPOSITE:
                mode = "ShareUpdateExclusiveLock" if held is Held.CHANGED else strongest(modes)
                step.locks[seen.name] = strongest(filter(None, [mode, step.locks.get(seen.name, "")]))
        self._last = now
        self._is_up_to_date = True
        return now

    def _look_at_repeated(self, session: Session) -> None:
        """If statements of a known shape were sent since the last look: look now, as the last of them may have done something else."""
        if self._again is None:
            return
        (word, named), self._again = self._again, None
        before = self._last
        now = self._look(session)
        if self.reach is not None:
            self.reach.note(word, named, before, self._of_theirs(now))

    def _of_theirs(self, now: Counters) -> Counters:
        """Return what was seen, without the read locks that this package has taken."""
        return {
            number: replace(seen, modes=seen.modes - {"AccessShareLock"}) if number in self._ours else seen
            for number, seen in now.items()
        }

    def _look_at_ours(self, session: Session) -> None:
        """Look after this package has sent something: relations that are new and only locked for reading, were read by this package."""
        now = self._read_counters(session)
        if not self._locks_went:
            self._ours |= {
                number for number, seen in now.items() if number not in self._last and seen.modes == {"AccessShareLock"}
            }
        self._last = now
        self._others_spoke = self._locks_went = False

    def _with_marks(self, session: Session, found: Statement, before: Counters, named: Named | None) -> Statement:
        """Return a statement's record with the relations that it locked, rewrote and scanned sequentially."""
        now = self._look(session, held=found.held)
        word = first_word(found.sql)
        if self.reach is not None:
            self.reach.note(word, named, before, self._of_theirs(now))
        there = [
            (number, seen, before.get(number, UNTOUCHED))
            for number, seen in sorted(now.items(), key=lambda each: each[1].name or "")
            if number not in self._step.born and seen.name is not None and seen.kind != _COMPOSITE
        ]
        locks = {
            str(seen.name): self._lock_of(found, seen.modes - was.modes)
            for _, seen, was in there
            if seen.modes - was.modes
        }
        scans = [
            str(seen.name)
            for _, seen, was in there
            if named is None and seen.scans > was.scans and word not in _MOVES_ROWS
        ]
        rewritten = [seen for number, seen, _ in there if self._is_rewritten(number, seen)]
        self._files = {**(self._files or {}), **{number: seen.file for number, seen, _ in there}}
        if word == "TRUNCATE":
            rewritten = []
        return replace(
            found, locks=locks, scans=tuple(scans), rewrites=tuple(self._rewrite(str(seen.name)) for seen in rewritten)
        )

    @staticmethod
    def _lock_of(found: Statement, modes: Iterable[str]) -> str:
        return in_words("ShareUpdateExclusiveLock" if found.held is Held.CHANGED else strongest(modes))

    def _is_rewritten(self, number: int, seen: Seen) -> bool:
        file = (self._files or {}).get(number, 0)
        return seen.kind in {"r", "m"} and bool(file) and seen.file != file

    def _rewrite(self, name: str) -> Rewrite:
        size = (self.sizes or {}).get(name)
        return Rewrite(name, size.bytes if size else None, size.rows if size else None)
