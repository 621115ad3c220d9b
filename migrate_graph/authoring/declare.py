"""The decorator `@migration`: declares a function as a migration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal, TypeAlias, overload

from migrate_graph.authoring.conditions import Asked, condition_of, way_back_of
from migrate_graph.authoring.store import migrations
from migrate_graph.authoring.values import (
    Body,
    Requirement,
    body_of,
    calling_line,
    migration_of,
    names_of,
    truth_of,
    words_of,
)
from migrate_graph.core.model import Migration, Rebuild, TransactionMode
from migrate_graph.errors import DeclarationError
from migrate_graph.messages import did_you_mean
from migrate_graph.user_files import SourceLocation

_DEFERRED = Rebuild.DEFERRED.value

Mode: TypeAlias = Literal["own", "single", "none"]
"""See `TransactionMode`."""


@overload
def migration(func: Body, requires: Requirement | Iterable[Requirement] | None = None) -> Migration: ...


@overload
def migration(
    func: None = None,
    requires: Requirement | Iterable[Requirement] | None = None,
    *,
    transaction: Mode = "own",
    tags: str | Iterable[str] = (),
    views: type | str | Iterable[type | str] | None = None,
    ignore: str | Iterable[str] = (),
    resumable: bool = False,
    independent: bool = False,
    after: Asked | None = None,
    commutes_with: Requirement | Iterable[Requirement] | None = None,
    why: str = "",
    down: Body | Literal["auto"] | None = None,
    weave: bool = True,
) -> Callable[[Body], Migration]: ...


def migration(
    func: Body | None = None,
    requires: Requirement | Iterable[Requirement] | None = None,
    *,
    transaction: Mode = "own",
    tags: str | Iterable[str] = (),
    views: type | str | Iterable[type | str] | None = None,
    ignore: str | Iterable[str] = (),
    resumable: bool = False,
    independent: bool = False,
    after: Asked | None = None,
    commutes_with: Requirement | Iterable[Requirement] | None = None,
    why: str = "",
    down: Body | Literal["auto"] | None = None,
    weave: bool = True,
) -> Migration | Callable[[Body], Migration]:
    """Declare a function as a migration; used as `@migration`, `@migration()` or `@migration(requires=…)`.

    Args:
        func: the body, called with a pyDAL `DAL`; truthy means success.
        requires: what must be installed before it: a migration, its function or its name, or several of them.
        transaction: `"own"`: the body's `db.commit()` is honoured; `"single"`: body and record are one transaction;
            `"none"`: autocommit, for `CREATE INDEX CONCURRENTLY`, `VACUUM`, `ALTER TYPE … ADD VALUE`.
        tags: words by which it can be selected (`tag:slow`).
        views: the view managers it opens, where its source text does not show them; None: they are found in the source text. With the
            word `"deferred"`, alone or among them, materialized views that come up in it do so without their rows (PostgreSQL);
            they are refreshed after its commit.
        ignore: codes of `migrate check` rules that do not apply to it.
        resumable: after an interruption (a signal, a kill, a lost connection) that left own commits, it is run again from its
            beginning without a question. For bodies that work in batches and find out by themselves what is left to do.
        independent: with `apply --jobs`, it may run before the migrations that stand before it in its file. Without this, a migration
            that requires nothing waits for them.
        after: what must hold when the body has succeeded: SQL that gives one row whose first value is true, or a function of `db`.
            It is asked before the record is written, in the same transaction; if it does not hold, everything is rolled back.
        commutes_with: migrations that may run before or after it, although `migrate verify` sees that both work on the same thing: a
            migration, its function or its name, or several of them.
        why: the reason for `commutes_with`, for people who read the file.
        down: a function of `db` that undoes it, for `migrate revert`; truthy means success. Its views are restored, too. `"auto"`: what
            it has added is dropped again; this is refused when it did more than add tables, columns, indexes and the like.
        weave: views that block one of its statements go down, and come up when it ends; False: such a statement fails, as the
            body expects.

    Returns:
        The declared migration, or a decorator that declares one.

    Raises:
        DeclarationError: an argument cannot be meant. While a file is loaded, this is raised at its end, with all such faults.
        ValueError: no collector is open, and the name is taken, or a requirement is unknown.
    """
    place: SourceLocation | None = None

    def declare(body: Body) -> Migration:
        if place is not None and place in migrations.unused:
            migrations.unused.remove(place)
        if not is_declarable(body):  # loading ends with this fault, but the rest of the file is read
            return Migration(name=f"<{type(body).__name__}>", function=body)
        return migrations.add(migration_of(body, needed, position=len(migrations), **more))

    def is_declarable(body: Any) -> bool:
        return kept(lambda: body_of(body), None) is not None

    kept = migrations.kept
    needed = kept(lambda: names_of(requires, what="requires"), ())
    opened = kept(lambda: names_of(views, what="views"), ())
    flags = {"resumable": resumable, "independent": independent, "weave": weave}
    more: dict[str, Any] = {
        "transaction": kept(lambda: _mode_of(transaction), TransactionMode.OWN),
        "tags": frozenset(kept(lambda: words_of(tags, what="tags"), ())),
        "declared_views": None if views is None or opened == (_DEFERRED,) else tuple(_without(opened, _DEFERRED)),
        "defers": _DEFERRED in opened,
        "ignore": frozenset(kept(lambda: words_of(ignore, what="ignore"), ())),
        "after": None if after is None else kept(lambda: condition_of(after), None),
        "commutes_with": kept(lambda: names_of(commutes_with, what="commutes_with"), ()),
        "why": "".join(kept(lambda: words_of(why, what="why"), ())),
        "down": None if down is None else kept(lambda: way_back_of(down), None),
        **{name: kept(partial(truth_of, value, what=name), otherwise=False) for name, value in flags.items()},
    }
    if func is None:
        place = calling_line()
        migrations.unused.append(place)
        return declare
    given: Any = func
    if not callable(given) and not is_declarable(given):
        return declare  # `@migration("create_invoice")` is told, and then read as if it were `@migration()`
    return declare(func)


def _mode_of(transaction: Any) -> TransactionMode:
    modes = [mode.value for mode in TransactionMode]
    if transaction in modes:
        return TransactionMode(transaction)
    near = [f'transaction="{each}"' for each in modes if each in str(transaction).lower()]
    raise DeclarationError(
        f"transaction={transaction!r} is unknown: use one of {', '.join(modes)}",
        hint=did_you_mean(near, 'leave it out, or write `transaction="single"`'),
    )


def _without(names: Iterable[str], one: str) -> Iterator[str]:
    return (name for name in names if name != one)
