"""Decides which manager of a block owns an object that was dropped or created while the block went down or came up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from migrate_graph.database.books.view_ledger import LedgerRow
from migrate_graph.database.relation import Relation
from migrate_graph.database.views.catalog import Concern, Key, Manager, Observation
from migrate_graph.database.views.manager_text import ManagerText, text_of
from migrate_graph.quoting import bare, parted, unsigned

_ROUTINES = {"FUNCTION", "PROCEDURE", "AGGREGATE"}
_OF_TABLES = {"POLICY", "RULE", "TRIGGER"}


def name_of(manager: Manager) -> str:
    """Return a manager's name."""
    return type(manager).__name__


class Claims:
    """What each manager of a block makes and drops, according to its row in the view ledger and to its text.

    Args:
        managers: the managers of the block, in the order in which they go down or come up.
        rows: rows of the view ledger, by manager.
        texts: fingerprints of the managers' present texts, by name, as far as they are known.
    """

    def __init__(
        self,
        managers: Sequence[Manager],
        rows: Mapping[str, LedgerRow],
        texts: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.texts: dict[str, ManagerText] = {name_of(manager): text_of(type(manager)) for manager in managers}
        self._rows = rows
        self._edited = {name for name, row in rows.items() if row.text and texts.get(name, row.text) != row.text}
        self._known = {
            relation.identity: name for name in self.texts if name in rows for relation in rows[name].relations
        }

    def concern(self) -> Concern:
        """Return the objects that the block will drop, as far as that is known before anything is dropped."""
        named = [each for text in self.texts.values() for each in text.named]
        parts = [each for each in named if each.kind in _OF_TABLES]
        return Concern(
            views=frozenset(each.written for each in named if each.kind == "VIEW")
            | {relation.identity for row in self._rows.values() for relation in row.relations if relation.is_view},
            functions=frozenset(each.name for each in named if each.kind == "FUNCTION"),
            parts=frozenset(each.name for each in parts),
            tables=frozenset(each.table for each in parts),
        )

    def is_predictable(self, name: str) -> bool:
        """Return whether all that a manager makes and drops is known without looking at the database."""
        if name in self._edited:  # its row is out of date: another manager may make those relations now
            return False
        return not self.texts[name].put_together or bool(name in self._rows and self._rows[name].relations)

    @property
    def are_plain(self) -> bool:
        """Whether all managers are expected to send nothing but plain statements about views."""
        return all(text.is_plain and self.is_predictable(name) for name, text in self.texts.items())

    def hear(self, name: str, statements: Sequence[str] | None) -> None:
        """Add the statements that a manager's `up()` has sent, if they were recorded, to the manager's text."""
        if statements is not None:
            self.texts[name] = self.texts[name].and_said(statements)

    def owner(self, thing: Relation, *, before: Observation | None = None, key: Key | None = None) -> str:
        """Return the manager that is known to make or drop an object; empty when none is.

        Args:
            thing: the object that was dropped or created.
            before: what the names in the managers' texts meant before the drop; None for an object that was just created.
            key: key of the dropped object.
        """
        known = self._known.get(thing.identity, "")
        if known and known not in self._edited:
            return known
        kind, schema, name, table = _names(thing)
        if thing.is_view and before is not None:
            claiming: Iterator[str] = (who for who, text in self.texts.items() if key in self._meant(text, before))
        else:
            visible = before is None or schema in before.schemas
            claiming = (
                who
                for who, text in self.texts.items()
                if text.names(kind=kind, name=name, schema=schema, table=table, visible=visible)
            )
        mentioning = (who for who, text in self.texts.items() if text.put_together and thing.name.lower() in text.words)
        claimants = list(claiming)
        return known if known in claimants else next(iter(claimants), None) or next(mentioning, "")

    @staticmethod
    def _meant(text: ManagerText, before: Observation) -> set[Key]:
        named = (each for each in text.named if each.kind == "VIEW")
        return {before.meant[each.written] for each in named if each.written in before.meant}

    def suspect(self, thing: Relation, step: str) -> str:
        """Return a manager that may have dropped an object on purpose; empty when there is none.

        That is a manager that has made the object before its text was edited, or one that builds its SQL at run time.

        Args:
            thing: the dropped object.
            step: the manager whose `down()` dropped it; empty when that is not known.
        """
        if known := self._known.get(thing.identity):
            return known
        for name in [step] if step else self.texts:
            known_views = thing.is_view and bool(name in self._rows and self._rows[name].relations)
            if self.texts[name].put_together and not known_views:
                return name
        return ""


def _names(thing: Relation) -> tuple[str, str, str, str]:
    """Return kind, schema, name and table of an object, in the form in which a manager's text names them."""
    if thing.is_view:
        return "VIEW", bare(parted(thing.identity)[0]), thing.name, ""
    if thing.kind in _ROUTINES:
        return "FUNCTION", bare(parted(unsigned(thing.identity))[0]), thing.name, ""
    if thing.kind in _OF_TABLES:
        schema, table = parted(thing.identity.rpartition(" ON ")[2])
        return thing.kind, bare(schema), thing.name, bare(table)
    schema, name = parted(thing.identity)
    return thing.kind, bare(schema), bare(name), ""
