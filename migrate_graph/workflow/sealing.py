"""Seal a plan into a file, read it again, and find what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, ValidationError, convert, to_builtins

from migrate_graph import __version__
from migrate_graph.core.history import History
from migrate_graph.core.sealed import SealedStep, Snapshot, Verdict, snapshot_of, verdict
from migrate_graph.database import open_backend
from migrate_graph.errors import StalePlan, UsageError
from migrate_graph.messages import counted
from migrate_graph.workflow.assessment import Assessment, Judging, Selection, assess
from migrate_graph.workflow.project import Reading, reading_settings, with_views_there

if TYPE_CHECKING:
    from migrate_graph.core.events import Observer
    from migrate_graph.database import Backend
    from migrate_graph.workflow.project import Project

FORMAT = 1
"""Version of the seal's format; a seal of another format is refused."""

_AGAIN = "migrate plan -o plan.json makes a new one"

_DECIDE = ("schema", "weave", "unmanaged")
"""Settings that change what a step does, although its code is the same."""

_MOST = 50
"""How many changes a message shows at most."""


class SealedPlan(Struct, frozen=True):
    """A sealed plan, as it was read from its file.

    Attributes:
        file: the file that it was read from.
        path: path of the migrations file that was named; None: the configured one.
        database: label of the database when the plan was made.
        snapshot: everything that the plan depends on.
    """

    file: Path
    path: Path | None
    database: str
    snapshot: Snapshot

    @property
    def selection(self) -> Selection:
        """The selection of the plan's migrations, and no others."""
        return Selection(names=frozenset(self.snapshot.names))


# -- write -------------------------------------------------------------------------------------------------------------------------


def seal(found: Assessment, path: Path | None, observer: Observer) -> dict[str, Any] | None:
    """Return the seal of a plan, with which exactly this plan can be applied later.

    Args:
        found: what would run; with footprints when it was rehearsed.
        path: path of the migrations file, as it was named; None: the configured one.
        observer: called while the database is waited for.

    Returns:
        The seal, still without its digest; None when no database was read, or the database is refused.
    """
    if not found.reading.database or found.reading.refused:
        return None
    with open_backend(reading_settings(found.project.config), observer=observer) as backend:
        snapshot = _snapshot(found, backend)
    return {"format": FORMAT, "path": None if path is None else path.as_posix(), **_document(snapshot), "digest": ""}


def _snapshot(found: Assessment, backend: Backend, *, only: frozenset[str] | None = None) -> Snapshot:
    journal, address = backend.identity()
    config = found.project.config
    return snapshot_of(
        found.graph,
        found.planned,
        found.reading.history,
        backend.read_inventory(),
        journal=journal,
        address=address,
        only=only,
        ignore=config.drift_ignore,
        settings={name: str(getattr(config, name)) for name in _DECIDE},
    )


def _document(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "database": {"journal": snapshot.journal, "address": snapshot.address},
        "steps": [to_builtins(step) for step in snapshot.steps],
        "migrations": {
            name: {"fingerprint": code, "requires": list(requires)}
            for name, (code, requires) in snapshot.migrations.items()
        },
        "views": {name: {"fingerprint": code, "window": window} for name, (code, window) in snapshot.views.items()},
        "installed": sorted(snapshot.installed),
        "view_ledger": dict(snapshot.view_ledger),
        "settings": dict(snapshot.settings),
        "facts": {"whole": snapshot.is_whole, "server": snapshot.server, "of": dict(snapshot.facts)},
    }


def sealed_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with a digest of the whole document in its seal, so that any later change is noticed."""
    return {**document, "seal": {**document["seal"], "digest": _digest(document)}}


def _digest(document: Mapping[str, Any]) -> str:
    bare = {**document, "seal": {**document["seal"], "digest": ""}}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


# -- read --------------------------------------------------------------------------------------------------------------------------


def read_sealed(file: Path) -> SealedPlan:
    """Read a sealed plan.

    Raises:
        UsageError: there is no such file, it is not a sealed plan, another version has made it, or it was changed by hand.
    """
    document = _read(file)
    if not isinstance(document, dict) or document.get("kind") != "plan":
        raise UsageError(f"{file} is no plan of migrate_graph", hint=_AGAIN)
    sealed = document.get("seal")
    if not isinstance(sealed, dict):
        raise UsageError(
            f"{file} is a plan without a seal: it was printed, or made without a database",
            hint=f"{_AGAIN}, with -o and a database",
        )
    tool = document.get("tool")
    version = str(tool.get("version") if isinstance(tool, dict) else "unknown")
    if sealed.get("format") != FORMAT or version != __version__:
        raise UsageError(f"{file} was made by migrate_graph {version}, and this is {__version__}", hint=_AGAIN)
    try:
        intact = sealed.get("digest") == _digest(document)
        path, label = sealed["path"], document["database"]
        plan = SealedPlan(file, None if path is None else Path(path), str(label), _snapshot_in(sealed))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ValidationError):
        intact = False
    if not intact:
        raise UsageError(f"{file} was changed after it was made, or is damaged", hint=f"{_AGAIN}; nothing was run")
    return plan


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}", hint=_AGAIN) from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="check its rights") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{file} is no JSON, or is damaged", hint=_AGAIN) from None


def _snapshot_in(sealed: Mapping[str, Any]) -> Snapshot:
    facts = sealed["facts"]
    return Snapshot(
        journal=sealed["database"]["journal"],
        address=sealed["database"]["address"],
        steps=convert(sealed["steps"], tuple[SealedStep, ...]),
        migrations={
            name: (each["fingerprint"], tuple(each["requires"])) for name, each in sealed["migrations"].items()
        },
        views={name: (each["fingerprint"], each["window"]) for name, each in sealed["views"].items()},
        installed=frozenset(sealed["installed"]),
        view_ledger=dict(sealed["view_ledger"]),
        facts=dict(facts["of"]),
        is_whole=bool(facts["whole"]),
        settings=dict(sealed["settings"]),
        server=facts["server"],
    )


# -- judge -------------------------------------------------------------------------------------------------------------------------


def judge(plan: SealedPlan, found: Assessment, backend: Backend) -> Verdict:
    """Return what has changed since a plan was sealed; nothing is written.

    Args:
        plan: the sealed plan.
        found: the assessment of the project as it is now, with the plan's migrations selected.
        backend: the database.
    """
    sealed = plan.snapshot
    history = found.reading.history
    if all(name in history.applied for name in sealed.names):
        return Verdict(done=sealed.names, left=())
    only = None if sealed.is_whole else frozenset(sealed.facts)
    return verdict(sealed, _snapshot(found, backend, only=only), history)


def judge_now(project: Project, plan: SealedPlan, observer: Observer) -> Verdict:
    """Read the project's database, and return what has changed since a plan was sealed; nothing is written."""
    with open_backend(reading_settings(project.config), observer=observer) as backend:
        has_ledger = backend.has_ledger()
        history = with_views_there(backend.read_history(), project.graph, backend) if has_ledger else History()
        reading = Reading(history=history, database=backend.label)
        return judge(plan, assess(project, reading, selection=plan.selection, judging=Judging()), backend)


def refuse_stale(plan: SealedPlan, found: Verdict) -> None:
    """Raise when a sealed plan is not what would run.

    Raises:
        StalePlan: something has changed since it was sealed; the message names it.
    """
    if not found.moved:
        return
    told = [f"  {each.told}" for each in found.moved[:_MOST]]
    more = [f"  and {len(found.moved) - _MOST} more"] if len(found.moved) > _MOST else []
    have = "thing has" if len(found.moved) == 1 else "things have"
    raise StalePlan(
        "\n".join([f"{plan.file} is stale: {len(found.moved)} {have} moved since it was made", *told, *more]),
        hint=f"nothing was run and nothing was written; {_AGAIN}, to be approved again",
    )


def resumes(plan: SealedPlan, found: Verdict) -> str:
    """Return a sentence that some steps of a plan are applied already and the rest runs now; empty when none is applied."""
    if not found.done:
        return ""
    return f"{len(found.done)} of {counted(len(plan.snapshot.steps), 'step')} of {plan.file} are applied already: going on with the rest"
