"""Finds adopted views: they exist exactly as their managers define them, although no migration made them in this database."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from migrate_graph.database.books.view_ledger import LedgerRow, ViewState
from migrate_graph.database.views.block import outline
from migrate_graph.database.views.catalog import ViewCatalog
from migrate_graph.database.views.manager_text import names_created, text_of


def existing_views(catalog: ViewCatalog, managers: Mapping[str, type], texts: Mapping[str, str]) -> list[LedgerRow]:
    """Return rows for the view ledger, for the managers all of whose views exist with exactly the definition in `up()`.

    No lock is taken or waited for: a view that another session is changing is left out this time.

    Args:
        catalog: catalog of the database.
        managers: managers without a row in the view ledger, by name.
        texts: fingerprints of their texts, by name.
    """
    written = {name: names for name, kind in managers.items() if (names := names_created(kind))}
    there = catalog.look_up([each for names in written.values() for each in names])
    whole = {name: names for name, names in written.items() if all(each in there for each in names)}
    now = catalog.definitions([there[each][0] for names in whole.values() for each in names])
    found = []
    for name, names in whole.items():
        relations = [now[there[each][0]] for each in names]
        known = set(_definitions(managers[name]))
        same = [each for each in relations if each is not None and _settled(each.definition) in known]
        if len(same) == len(relations):
            found.append(LedgerRow(name, ViewState.UP, "", tuple(map(outline, same)), texts.get(name, "")))
    return found


def _definitions(kind: type) -> Iterator[str]:
    """Yield every string of a manager in the form of a definition; one of them may be the view's."""
    for text in text_of(kind).texts:
        yield _settled(re.sub(r"\s+WITH NO DATA\s*;?\s*\Z", "", text, flags=re.IGNORECASE))


def _settled(text: str) -> str:
    return re.sub(r"\s+AS\s+", " AS ", text.replace("%%", "%").strip().rstrip(";"), count=1)
