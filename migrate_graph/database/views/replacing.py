"""Replaces views by their new text with CREATE OR REPLACE, so that the views which read them stay up."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from migrate_graph.authoring.sql_view import Replacement, replacement_of
from migrate_graph.core.events import ViewReplaced, Warned
from migrate_graph.database.books.view_ledger import LedgerRow, ViewLedger, ViewState
from migrate_graph.database.relation import Item, Relation
from migrate_graph.database.views.block import Block, outline
from migrate_graph.database.views.catalog import InPlace, Key, Manager, NotThatWay, Restorable, Unprepared, ViewCatalog
from migrate_graph.database.views.claims import name_of
from migrate_graph.database.views.manager_text import names_created, text_of
from migrate_graph.errors import ViewError
from migrate_graph.messages import first_line

_TRIES = 3
"""How often a renewal is tried at most when the session has lost its prepared queries."""


class Renewal(Struct, frozen=True):
    """The views that are to get a new text.

    Attributes:
        block: the managers: `up` are those whose views exist and stay, dependencies first; `down` those whose view gets another manager.
        opened: names of the managers whose view is replaced even if its text was not edited.
        heirs: for each manager that takes over a view, the name of the manager that has made it.
        leaving: names of the managers whose views are dropped afterwards.
    """

    block: Block
    opened: Collection[str]
    heirs: Mapping[str, str] = field(default_factory=dict)
    leaving: Collection[str] = ()


class Replaced(Struct, frozen=True):
    """The result of a renewal.

    Attributes:
        names: the managers whose views were replaced, in this order.
        why_not: why nothing was done, so that the views must be dropped and created; empty where the declarations say it already.
    """

    names: tuple[str, ...] = ()
    why_not: str = ""


def replaced(catalog: ViewCatalog, ledger: ViewLedger, renewal: Renewal) -> Replaced:
    """Replace views by their new texts, all or none.

    Raises:
        Exception: an error that has nothing to do with the views, for example a lock timeout or a lost connection.
    """
    in_place = catalog.in_place()
    if in_place is None:
        return Replaced()
    for _ in range(_TRIES):
        attempt = _Attempt(catalog, in_place, ledger, renewal)
        try:
            with catalog.atomic(ours=True):
                attempt.run()
        except Unprepared:
            continue
        except NotThatWay as error:
            return Replaced(why_not=error.why)
        except ViewError as error:
            return Replaced(why_not=error.message)
        except Exception as error:
            if not in_place.forbids(error):
                raise
            return Replaced(why_not=first_line(error))
        attempt.tell()
        return Replaced(attempt.names)
    return Replaced(why_not="the session loses its prepared queries each time")


class _Attempt:
    def __init__(self, catalog: ViewCatalog, in_place: InPlace, ledger: ViewLedger, renewal: Renewal) -> None:
        self._catalog = catalog
        self._in_place = in_place
        self._ledger = ledger
        self._block = renewal.block
        self._opened = renewal.opened
        self._heirs = renewal.heirs
        self._leaving = renewal.leaving
        self._rows: dict[str, LedgerRow] = {}
        self._keys: dict[str, set[Key]] = {}
        self._made: dict[str, Relation] = {}
        self._grown: set[Key] = set()
        self._warnings: list[str] = []

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the managers whose views were replaced, in this order."""
        return tuple(self._made)

    def run(self) -> None:
        """Replace the views of the renewal that have a new text.

        Raises:
            NotThatWay: one of them must be dropped instead.
        """
        self._rows = self._ledger.read(self._block.names)
        if down := [name for name, row in self._rows.items() if row.state is ViewState.DOWN]:
            raise NotThatWay(f"{', '.join(down)} is down")
        if not all(map(replacement_of, self._block.down)):
            raise NotThatWay  # other objects of such a manager, a function for example, would stay
        self._keys = self._there()
        watched = self._in_place.is_watched()
        for manager in self._block.up:
            if self._is_new(name_of(manager)) or self._means_something_else(manager):
                self._replace(manager, watched=watched)
        self._require_no_circle()
        self._ledger.write(
            LedgerRow(name, ViewState.UP, self._block.migration, (outline(made),), self._block.texts.get(name, ""))
            for name, made in self._made.items()
        )
        self._ledger.forget(self._heirs.values())

    def tell(self) -> None:
        """Report what was replaced."""
        for warning in self._warnings:
            self._block.observer(Warned(warning))
        for name in self._made:
            self._block.observer(ViewReplaced(self._block.migration, name))

    def _is_new(self, name: str) -> bool:
        """Return whether a manager has another text than the one that its view was made with."""
        text = self._block.texts.get(name, "")
        known = self._rows[name].text if name in self._rows else ""
        return name in self._opened or name in self._heirs or bool(known and text and known != text)

    def _there(self) -> dict[str, set[Key]]:
        """Return the keys of the views of each manager in `up`.

        Raises:
            NotThatWay: one of them is missing.
        """
        written = {name_of(each): self._written(each) for each in self._block.up}
        found = self._catalog.look_up([each for names in written.values() for each in names])
        for name, names in written.items():
            makes_others = name in self._rows and bool(self._rows[name].relations)  # a function, a policy
            if not found.keys() >= set(names) or not (names or makes_others):
                raise NotThatWay
        return {name: {found[each][0] for each in names} for name, names in written.items()}

    def _written(self, manager: Manager) -> tuple[str, ...]:
        name = name_of(manager)
        row = self._rows.get(self._heirs.get(name, name))
        if row is not None:
            return tuple(each.identity for each in row.relations if each.is_view)
        return names_created(type(manager))

    # -- one view ---------------------------------------------------------------------------------------------------

    def _replace(self, manager: Manager, *, watched: bool) -> None:
        name = name_of(manager)
        how = self._how(manager)
        [key] = self._keys[name]
        before = self._described(key)
        owner = self._heirs.get(name, name)
        if owner not in self._rows and self._ledger.read_naming({before.identity}):
            raise NotThatWay(f"another class has made {before.identity}")
        with self._catalog.commits_held() as heard:
            how.run()
        after = self._described(key)
        if self._key_of(how) != key or _reads_itself(after):
            raise NotThatWay(f"{how.name} means another view here, or reads itself")
        self._in_place.was(key, before)
        stored = before if watched else replace(after, items=(*_with_options(before, after),))
        text = text_of(type(manager)).and_said(how.statements if heard is None else heard)
        self._warnings += self._catalog.restore([Restorable(key, after, stored, text)])
        self._made[name] = after
        if after.columns != before.columns:
            self._grown.add(key)

    def _how(self, manager: Manager) -> Replacement:
        """Return how a view is replaced; the existing view must be the one that its manager, or the former manager, has made."""
        how = replacement_of(manager)
        if how is None or how.materialized:
            raise NotThatWay
        if self._keys[name_of(manager)] != {self._key_of(how)}:
            raise NotThatWay(f"{how.name} is not the view that was there")
        return how

    def _key_of(self, how: Replacement) -> Key | None:
        found = self._catalog.look_up([how.name])
        return found[how.name][0] if how.name in found else None

    def _described(self, key: Key) -> Relation:
        found = self._catalog.describe([key]).get(key)
        if found is None or found.kind != "VIEW":
            raise NotThatWay("it is no ordinary view so far")
        return found

    # -- what reads it ----------------------------------------------------------------------------------------------

    def _means_something_else(self, manager: Manager) -> bool:
        """Return whether the same text would create another view now: it has `SELECT *` from a view that has got more columns."""
        keys = self._keys[name_of(manager)]
        if not self._grown or keys.isdisjoint(self._in_place.readers(self._grown)):
            return False
        how = replacement_of(manager)
        if how is None or len(keys) != 1:
            raise NotThatWay(f"{name_of(manager)} reads a view that has more columns now, and has an up() of its own")
        [key] = keys
        return not self._in_place.is_made_by(key, how.query)

    def _require_no_circle(self) -> None:
        """Refuse views that read themselves, and views that read a replaced one while their manager does not declare it.

        The database would notice a circle only when the view is read.

        Raises:
            NotThatWay: there is such a view.
        """
        if self._in_place.is_circular({key for name in self._made for key in self._keys[name]}):
            raise NotThatWay("it would read itself")
        ours = {key for keys in self._keys.values() for key in keys}
        readers = self._in_place.readers(self._grown) if self._grown else {}
        others = {identity for key, identity in readers.items() if key not in ours}
        if others and (unnamed := self._ledger.read_naming(others).keys() - self._leaving):
            raise NotThatWay(f"{', '.join(sorted(unnamed))} reads it, without saying so in `uses`")


def _reads_itself(view: Relation) -> bool:
    """Return whether a view's own name stands in its query. The catalog does not tell: every view's rule depends on the view itself."""
    name = re.compile(rf'(?<![\w$."]){re.escape(view.identity)}(?![\w$"])')
    return len(name.findall(view.definition)) > 1


def _with_options(before: Relation, after: Relation) -> Iterator[Item]:
    """Return the items of a replaced view with its former options: CREATE OR REPLACE resets options and keeps everything else."""
    yield from (item for item in after.items if item.aspect != "option")
    yield from (item for item in before.items if item.aspect == "option")
