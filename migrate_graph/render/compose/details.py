"""What a reader may ask about a node: docstring, window, last attempt, what blocks it, what is wrong with it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from migrate_graph.core.graph import Node, NodeKind
from migrate_graph.core.history import Attempt
from migrate_graph.core.model import Migration, TransactionMode
from migrate_graph.core.plan import Step
from migrate_graph.redaction import one_line
from migrate_graph.render.picture import About


class Details:
    """Looks things up for all nodes of one picture."""

    def __init__(self, about: About) -> None:
        self._graph = about.graph
        self._attempts = about.history.last_attempts() if about.history else {}
        self._plan = about.plan
        self._findings: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for finding in about.findings:
            text = f"{finding.message} ({finding.hint})" if finding.hint else finding.message
            self._findings[finding.subject].append((finding.code, text))

    def of(self, node: Node) -> tuple[tuple[str, str], ...]:
        """Return pairs of a word and a text, made printable."""
        pairs = self._of_migration(node.name) if node.kind is NodeKind.MIGRATION else self._of_view(node.name)
        return tuple((word, one_line(text)) for word, text in (*pairs, *self._findings.get(node.name, ())) if text)

    def _of_migration(self, name: str) -> Iterator[tuple[str, str]]:
        migration = self._graph.migrations.get(name)
        if migration:
            yield from _declaration(migration)
        step = self._plan.step_of(name) if self._plan else None
        if step:
            yield from _views(step)
        if name in self._attempts:
            yield from _attempt(self._attempts[name])
        blocked_by = self._plan.blocked_by(name) if self._plan else ()
        yield "blocked by", ", ".join(each for each in blocked_by if each != name)

    def _of_view(self, name: str) -> Iterator[tuple[str, str]]:
        view = self._graph.views.get(name)
        if view:
            yield "description", " ".join(view.description.split())
            yield "since", view.since or ""
            yield "until", view.until or ""
            yield "replaces", view.replaces or ""


def _declaration(migration: Migration) -> Iterator[tuple[str, str]]:
    yield "description", " ".join(migration.description.split())
    yield "tags", ", ".join(sorted(migration.tags))
    if migration.transaction is not TransactionMode.OWN:
        yield "transaction", str(migration.transaction)


def _views(step: Step) -> Iterator[tuple[str, str]]:
    """Yield what a step does to views."""
    changed = {*step.creates, *step.retires}
    yield "creates", ", ".join(step.creates)
    yield "rebuilds", ", ".join(view for view in step.views_up if view not in changed)
    yield "retires", ", ".join(step.retires)


def _attempt(attempt: Attempt) -> Iterator[tuple[str, str]]:
    started = f"{attempt.started:%Y-%m-%d %H:%M:%S} UTC" if attempt.started else ""
    yield "last attempt", f"{attempt.state} {started}".strip()
    yield "error", attempt.error
    yield "own commits kept", str(attempt.commits or "") if attempt.error else ""
