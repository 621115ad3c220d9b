"""Graphs for tests, written as one draws them: `graph_of("a < b < d", "a < c < d")`."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from migrate_graph.core.graph import MigrationGraph, build_graph
from migrate_graph.core.history import Attempt, AttemptState, History, Record
from migrate_graph.core.model import BodyFacts, Migration, Registry, View
from migrate_graph.core.plan import Plan
from migrate_graph.core.rules import Finding
from migrate_graph.core.states import states_of
from migrate_graph.render import PictureOptions
from migrate_graph.render.compose.graph import build_picture
from migrate_graph.render.picture import Picture, PictureInput, Question
from migrate_graph.user_files import SourceLocation


def _body(db: Any) -> bool:
    return bool(db)


def migration_of(name: str, requires: Iterable[str] = (), position: int = 0, **values: Any) -> Migration:
    """Declare a migration; `touches=["V"]` says which views its body opens, `facts={…}` what else its text tells."""
    facts = {"opened_views": tuple(values.pop("touches", ())), **values.pop("facts", {})}
    defaults = {"source": SourceLocation("migrations.py", 10 * position + 1), "module": "migrations.py"}
    facts = BodyFacts(**facts)
    function = values.pop("function", _body)
    return Migration(name, function, tuple(requires), position, **{**defaults, **values}, facts=facts)


def view_of(name: str, position: int = 0, **values: Any) -> View:
    """Declare a view manager; `uses` may be one string of names."""
    uses = values.pop("uses", ())
    uses = tuple(uses.split()) if isinstance(uses, str) else tuple(uses)
    defaults = {"source": SourceLocation("views.py", 10 * position + 1), "module": "views.py"}
    manager = values.pop("manager", type(name, (), {}))
    return View(name, manager, uses, position=position, **{**defaults, **values})


def registry_of(
    *paths: str,
    views: Mapping[str, Mapping[str, Any]] | None = None,
    migrations: Mapping[str, Mapping[str, Any]] | None = None,
    declared: Iterable[str] | None = None,
    **values: Any,
) -> Registry:
    """Make a registry from paths: `"a < b < d", "a < c < d"`: a is required by b and c, those by d.

    Args:
        paths: names joined by `<`; a name is declared where it is first written, one in parentheses nowhere: `(x) < a`.
        views: fields of each view by name, in order of declaration.
        migrations: further fields of migrations by name, also of ones that stand in no path.
        declared: the order of declaration, when it is not the order of writing.
        values: further fields of the registry.
    """
    extra = dict(migrations or {})
    requires: dict[str, list[str]] = {name: [] for name in declared or ()}
    for path in paths:
        names = [part.strip() for part in path.split("<")]
        for name in names:
            if not name.startswith("("):
                requires.setdefault(name, [])
        for before, after in pairwise(names):
            requires[after].append(before.strip("()"))
    for name in extra:
        requires.setdefault(name, [])
    return Registry(
        migrations=tuple(
            migration_of(name, dict.fromkeys(needs), position, **extra.get(name, {}))
            for position, (name, needs) in enumerate(requires.items())
        ),
        views=tuple(view_of(name, position, **fields) for position, (name, fields) in enumerate((views or {}).items())),
        **values,
    )


def graph_of(*paths: str, **fields: Any) -> MigrationGraph:
    """Build the graph of `registry_of`."""
    return build_graph(registry_of(*paths, **fields))


def history_of(
    applied: Iterable[str] = (),
    *,
    failed: Iterable[str] = (),
    interrupted: Iterable[str] = (),
    commits: int = 1,
    fingerprints: Mapping[str, str] | None = None,
    views: Mapping[str, str] | None = None,
) -> History:
    """Make a history; names may be one string each, separated by spaces."""

    def names(given: Iterable[str]) -> list[str]:
        return given.split() if isinstance(given, str) else list(given)

    records = {name: Record(name, installed=True) for name in names(applied)}
    records |= {name: Record(name, installed=False) for name in names(failed)}
    attempts = [
        *((name, AttemptState.FAILED, "") for name in names(failed)),
        *((name, AttemptState.RUNNING, "") for name in names(interrupted)),
        *((name, AttemptState.APPLIED, value) for name, value in (fingerprints or {}).items()),
    ]
    return History(
        records=records,
        attempts=tuple(
            Attempt(index, name, "run", state, commits=commits, fingerprint=fingerprint)
            for index, (name, state, fingerprint) in enumerate(attempts)
        ),
        view_texts=views or {},
    )


def drawn(
    question: Question | str,
    graph: MigrationGraph,
    plan: Plan | None = None,
    history: History | None = None,
    findings: Iterable[Finding] = (),
    *,
    options: PictureOptions | None = None,
) -> Picture:
    """Compose a picture as a command does: with the states of what is known."""
    given = PictureInput(graph, states_of(graph, history, plan), plan=plan, findings=tuple(findings))
    return build_picture(question, given, options)
