"""A run shown in three ways, from a scripted list of events."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from typing import Any, get_args

import pytest
from drawing import graph_of

from migrate_graph.cli.console import IN_A_FILE, Console
from migrate_graph.cli.options import Output
from migrate_graph.cli.progress import JsonProgress, LiveProgress, PlainProgress, progress_for
from migrate_graph.cli.run_text import sentence, summary
from migrate_graph.columns import columns, shortened
from migrate_graph.core import events
from migrate_graph.core.events import EVENT_TYPES, Event, LockHolder, Outcome, Result, RunFinished
from migrate_graph.core.history import History
from migrate_graph.core.model import Way
from migrate_graph.core.plan import build_plan
from migrate_graph.errors import NoRoom
from migrate_graph.user_files import SourceLocation

HERE = SourceLocation("migrations.py", 4)
HOSTILE = "x\x1b[31m\n[bold]y\u202e"
FAILED = Result(HOSTILE, Outcome.RAISED, 0.8, 2, "E: [red]bad\x1b[2J", HERE, "frame\x1b[1m\n", "mend it")
PLAN = build_plan(graph_of("a < b"), History())
SCRIPT: tuple[Event, ...] = (
    events.Connecting(10.0, "connection refused"),
    events.LockWaiting(12.0, 600.0, LockHolder(4242, "migrate_graph:lock", "10.0.0.7", "09:00")),
    events.LockAcquired(12.5),
    events.RestoreProgress(3_000_000, 12_300_000, checking=True),
    events.RestoreStarted("/data/x.sql.gz", 12_300_000),
    events.RestoreProgress(6_000_000, 12_300_000),
    events.RestoreFinished(3.2),
    events.RunStarted("r", PLAN),
    events.StepStarted("a", 1, 2, HERE),
    events.ViewDropped("a", "V"),
    events.ViewCreated("a", "V", unfilled=True),
    events.ViewBuilt("a", "V", 3.0),
    events.ViewReplaced("a", "V"),
    events.ViewFellBack("a", "V", Way.IN_PLACE, "cannot drop columns from view"),
    events.ViewFellBack("a", "V", Way.BESIDE, "it has no rows"),
    events.ViewRefreshing("V", "public.v"),
    events.ViewRefreshed("V", "public.v", 3.0),
    events.StepWaiting("a", 3.0, "waiting for a lock held by pid 7: UPDATE invoice"),
    events.StepRetrying("a", 2, 5, 1.0, "lock timeout"),
    events.StepProgress("a", 500, 2000, "rows"),
    events.Printed("a", HOSTILE),
    events.Warned("something", "do this"),
    events.StepFinished(1, 2, Result("a", Outcome.APPLIED, 92.4)),
    events.StepStarted(HOSTILE, 2, 2, HERE),
    events.StepFinished(2, 2, FAILED),
    RunFinished("r", (Result("a", Outcome.APPLIED, 92.4), FAILED, Result("c", Outcome.BLOCKED, error="waits for b"),
                      Result("d", Outcome.NOT_REACHED)), 200.0, changed=True),
)  # fmt: skip


def consoles() -> tuple[Console, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Console(environ={}, out=out, err=err), out, err


def test_the_script_has_every_event() -> None:
    assert {type(event) for event in SCRIPT} == set(get_args(Event)) == set(EVENT_TYPES)


@pytest.mark.parametrize("event", SCRIPT, ids=lambda event: type(event).__name__)
def test_every_event_is_one_harmless_line(event: Event) -> None:
    text = sentence(event)
    assert text
    assert "\n" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_plain_is_one_stamped_line_an_event_and_the_summary() -> None:
    console, out, err = consoles()
    with PlainProgress(console) as progress:
        for event in SCRIPT:
            progress(event)
    head, _, tail = err.getvalue().partition("\n\n")
    lines = head.splitlines()
    assert len(lines) == len(SCRIPT) - 1
    assert all(line[:4].isdigit() and line[19] == "Z" for line in lines)
    assert lines[1].endswith("held by pid 4242, migrate_graph:lock, 10.0.0.7, since 09:00")
    assert lines[3].endswith("checked 3.0 MB of 12.3 MB (24%)")
    assert lines[4].endswith("restoring /data/x.sql.gz (12.3 MB)")
    assert lines[10].endswith("a: view up: V, its rows come after the commit")
    assert lines[11].endswith("a: view built beside the old one: V in 3.0 s")
    assert lines[12].endswith("a: view replaced, what reads it stays up: V")
    assert lines[13].endswith("a: V is not replaced as it stands: cannot drop columns from view")
    assert lines[14].endswith("a: V is not built beside the old one: it has no rows")
    assert lines[16].endswith("refreshed public.v (V) in 3.0 s")
    assert lines[19].endswith("a: 500 of 2,000 rows (25%)")
    assert "[bold]y" in lines[20], "no markup is interpreted"
    assert tail.startswith("1 applied, 1 failed, 1 blocked, 1 not reached in 3 m 20 s\n")
    assert not out.getvalue()


def test_a_restore_tells_how_far_and_at_what_it_is() -> None:
    at = "line 312: CREATE INDEX odd\x1b"
    assert (
        sentence(events.RestoreProgress(500, 1000, doing=at))
        == "restored 500 bytes of 1.0 kB (50%), at line 312: CREATE INDEX odd\\x1b"
    )
    assert sentence(events.RestoreProgress(5_000_000, 0, checking=True)) == "checked 5.0 MB of SQL"


def test_the_summary_says_what_stayed_and_what_to_type() -> None:
    lines = list(summary(SCRIPT[-1], IN_A_FILE))  # type: ignore[arg-type]
    text = "\n".join(lines)
    assert "blocked  c: waits for b" in text
    assert "1 not reached (d)" in text
    assert "committed: a, x" in text
    assert "in part" in text
    assert lines[-1].startswith("next: correct x")
    assert lines[-1].endswith("at migrations.py:4, then migrate apply")


@pytest.mark.parametrize(
    ("finished", "first", "last"),
    [
        (RunFinished("r", (), 0.0), "nothing to do: all that was asked for is applied", "nothing to do: all that was asked for is applied"),
        (RunFinished("r", (Result("a", Outcome.APPLIED),), 1.0), "1 applied in 1.0 s", "committed: a"),
        (
            RunFinished("r", (Result("a", Outcome.INTERRUPTED), Result("b", Outcome.NOT_REACHED)), 1.0, signal=15),
            "0 applied, 1 failed, 1 not reached, stopped by signal 15 in 1.0 s",
            "next: migrate apply (goes on where this run stopped)",
        ),
        (
            RunFinished("r", (Result("a", Outcome.INTERRUPTED, commits=1, needs_decision=True),), 1.0),
            "0 applied, 1 failed in 1.0 s",
            "next: migrate resolve a --applied | --retry",
        ),
        (
            RunFinished("r", (Result("a", Outcome.APPLIED), Result("b", Outcome.APPLIED)), 1.0, atomic=True),
            "2 applied in one transaction in 1.0 s",
            "committed: a, b",
        ),
        (
            RunFinished("r", (Result("a", Outcome.ROLLED_BACK), Result("b", Outcome.RAISED, error="no")), 1.0, atomic=True),
            "0 applied, 1 failed, 1 rolled back in 1.0 s",
            "next: correct b, then migrate apply --atomic",
        ),
        (
            RunFinished("r", (Result("a", Outcome.RAISED, error="gone", passes="when the database answers"),), 1.0),
            "0 applied, 1 failed in 1.0 s",
            "next: migrate apply, when the database answers",
        ),
        (
            RunFinished("r", (Result("a", Outcome.ROLLED_BACK), Result("b", Outcome.INTERRUPTED)), 1.0, signal=15, atomic=True),
            "0 applied, 1 failed, 1 rolled back, stopped by signal 15 in 1.0 s",
            "next: migrate apply --atomic (begins again)",
        ),
        (RunFinished("r", (Result("a", Outcome.BLOCKED, error="waits for x"),), 1.0), "0 applied, 1 blocked in 1.0 s", "next: migrate status"),
    ],
)  # fmt: skip
def test_summaries(finished: RunFinished, first: str, last: str) -> None:
    lines = list(summary(finished, IN_A_FILE))
    assert (lines[0], lines[-1]) == (first, last)


def test_of_hundreds_of_views_the_first_ones_are_named() -> None:
    views = tuple(f"V{number}" for number in range(300))
    result = Result("a", Outcome.APPLIED, stepped_aside=views, replaced=views, unfilled=views)
    told = " ".join(" ".join(summary(RunFinished("r", (result,), 1.0), IN_A_FILE)).split())
    assert told.count("V18, V19, and 280 more ") == 3
    assert "V20" not in told


def test_many_committed_migrations_are_counted() -> None:
    results = tuple(Result(f"m{number}", Outcome.APPLIED) for number in range(9))
    assert list(summary(RunFinished("r", results, 1.0), IN_A_FILE))[-1] == "committed: 9 migrations, the last is m8"


def test_silence_is_broken_by_a_heartbeat() -> None:
    console, _, err = consoles()
    with PlainProgress(console, heartbeat=0.05) as progress:
        time.sleep(0.12)
        assert not err.getvalue(), "nothing runs, nothing to say"
        progress(events.StepStarted("a", 1, 1, HERE))
        progress(events.StepWaiting("a", 1.0, "waiting for pid 7"))
        until = time.monotonic() + 60
        while "still running" not in err.getvalue() and time.monotonic() < until:
            time.sleep(0.02)
        progress(events.StepFinished(1, 1, Result("a", Outcome.APPLIED)))
    assert "[1/1] a still running 0." in err.getvalue()
    assert "s, waiting for pid 7\n" in err.getvalue()


def test_json_lines_are_numbered_and_typed() -> None:
    console, out, err = consoles()
    with JsonProgress(console) as progress:
        for event in SCRIPT:
            progress(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line["type"] for line in lines] == ["version", *(EVENT_TYPES[type(event)] for event in SCRIPT)]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    start = next(line for line in lines if line["type"] == "run_start")
    assert start["steps"] == ["a", "b"]
    ended = lines[-1]
    assert ended["succeeded"] is False
    assert [result["outcome"] for result in ended["results"]] == ["applied", "raised", "blocked", "not reached"]
    assert next(line for line in lines if line["type"] == "migration_start")["source"] == {
        "path": "migrations.py",
        "line": 4,
    }
    assert not err.getvalue()


def test_auto_redraws_only_on_a_terminal_that_nobody_records() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for environ, kind in (({}, LiveProgress), ({"CI": "true"}, PlainProgress), ({"TERM": "dumb"}, PlainProgress)):
        console = Console(environ=environ, out=io.StringIO(), err=Terminal())
        assert isinstance(progress_for(Output.AUTO, console), kind)
    console, _, _ = consoles()
    assert isinstance(progress_for(Output.AUTO, console), PlainProgress)
    assert isinstance(progress_for(Output.JSON, console), JsonProgress)


def test_live_survives_every_event_and_obeys_no_text() -> None:
    console, _, err = consoles()
    with LiveProgress(console) as progress:
        for event in SCRIPT:
            progress(event)
    text = err.getvalue()
    assert "\x1b[31m" not in text
    assert "\x1b[2J" not in text
    assert "[bold]y" in text
    assert "[red]bad" in text
    assert "1 applied, 1 failed" in text


@pytest.mark.parametrize("kind", [LiveProgress, PlainProgress])
def test_where_no_thread_can_be_started_it_is_said(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tests/faults/test_no_threads.py` takes away every other thread of a run."""

    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    console, _, err = consoles()
    with pytest.raises(NoRoom, match="no thread can be started"), kind(console):
        pytest.fail("begun without")
    assert err.getvalue().count("\x1b[?25l") == err.getvalue().count("\x1b[?25h"), "the cursor is there again"


def test_plain_progress_says_how_far_it_is_only_now_and_then() -> None:
    console, _, err = consoles()
    with PlainProgress(console) as progress:
        progress(events.StepStarted("backfill", 1, 1, SourceLocation("m.py", 1)))
        for done in range(1, 1001):
            progress(events.StepProgress("backfill", done, 1000, "rows"))
    told = [line for line in err.getvalue().splitlines() if "rows" in line]
    assert len(told) == 2, "the first and the last"
    assert "1,000 of 1,000 rows (100%)" in told[-1]


def test_live_counts_the_waiting_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("migrate_graph.cli.progress.time.monotonic", lambda: now)
    console, _, _ = consoles()
    progress = LiveProgress(console)
    progress(events.LockWaiting(10.0, 600.0, None))
    assert "(10.0 s of 10 m 00 s)" in progress._region().plain
    now += 2
    assert "(12.0 s of 10 m 00 s)" in progress._region().plain, "also between two events"
    progress(events.StepStarted("a", 1, 2, HERE))
    progress(events.StepWaiting("a", 3.0, "a lock held by pid 7"))
    now += 4
    assert "waiting for 7.0 s: a lock held by pid 7" in progress._region().plain
    progress(events.StepProgress("a", 1, 2, "rows"))
    assert "waiting" not in progress._region().plain


def test_live_has_a_line_for_each_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("migrate_graph.cli.progress.time.monotonic", lambda: now)
    console, _, _ = consoles()
    progress = LiveProgress(console)
    progress(events.RunStarted("r", PLAN, jobs=2))
    progress(events.StepStarted("a", 1, 3, HERE))
    now += 1
    progress(events.StepStarted(HOSTILE, 3, 3, HERE))
    progress(events.StepProgress("a", 1, 2, "rows"))
    now += 1
    progress(events.StepWaiting(HOSTILE, 3.0, "a lock held by pid 7"))
    bar, first, second = progress._region().plain.splitlines()
    assert bar.strip().endswith("0/3")
    assert first == "  a  2.0 s  1 of 2 rows (50%)"
    assert second.startswith("  x")
    assert second.endswith("  1.0 s  waiting for 3.0 s: a lock held by pid 7")
    progress(events.StepFinished(3, 3, Result(HOSTILE, Outcome.APPLIED)))
    assert "1/3  a  2.0 s" in progress._region().plain, "what has ended is counted, whatever its number"
    progress(events.StepFinished(1, 3, Result("a", Outcome.APPLIED)))
    assert progress._region().plain.endswith("2/3  ")


NAMES = [
    "create_the_table_of_invoices_of_all_customers_of_last_year_20260101_001",
    "表を作成する" * 12 + "_20260102_002",
    "short_3",
    "x" * 200,
]


@pytest.mark.parametrize("width", [20, 60, 80, 140])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_live_has_no_more_than_a_line_for_each_of_several(
    width: int, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("migrate_graph.cli.progress.time.monotonic", lambda: now)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    progress = LiveProgress(Console(environ={}, out=io.StringIO(), err=err))
    progress._rich.width = width
    progress(events.RunStarted("r", PLAN, jobs=8))
    for number in range(8):
        progress(events.StepStarted(NAMES[number % 4], number + 1, 8, HERE)) if number < 4 else progress(
            events.StepStarted(f"{NAMES[number % 4]}_again", number + 1, 8, HERE)
        )
        if number % 2:
            progress(events.StepWaiting(NAMES[number % 4], 3.0, "a lock on public.invoice held by pid 7 of ?app, idle"))
    now += 7500
    _, *lines = progress._region().plain.split("\n")
    assert len(lines) == 8
    assert all(columns(line) <= width for line in lines), lines
    assert all("2 h 05 m" in line for line in lines), "how long it has run is told whatever else there is room for"
    if width >= 60:
        assert lines[0].split()[0].startswith("create_the_table"), "both ends of a name tell it from others"
        assert lines[0].split()[0].endswith("20260101_001")
        assert "waiting for" in lines[1]
    if width == 140:
        assert NAMES[0] in lines[0]
        assert lines[2] == "  short_3  2 h 05 m"


def test_a_text_is_shortened_to_columns() -> None:
    assert shortened("abcdefgh", 8) == "abcdefgh"
    assert shortened("abcdefgh", 5) == "ab…gh"
    assert shortened("abcdefgh", 5, tail=False) == "abcd…"
    assert shortened("abcdefgh", 6, gap="...") == "ab...h"
    assert shortened("表表表表", 5) == "表…表"
    assert shortened("abcdefgh", 0) == ""
    assert shortened("abcdefgh", 1) == "…"


IS_BEATEN = re.compile(
    r".*\[1/2\] a still running [0-9.]+ s, a lock held by pid 7\n.*\[2/2\] b still running [0-9.]+ s\n.*", re.DOTALL
)


def test_plain_has_a_heartbeat_for_each_of_several() -> None:
    console, _, err = consoles()
    beaten = threading.Event()
    console.tell = lambda text="": (
        err.write(f"{text}\n"),
        beaten.set() if IS_BEATEN.fullmatch(err.getvalue()) else None,
    )  # type: ignore[method-assign,assignment]
    with PlainProgress(console, heartbeat=0.01) as progress:
        progress(events.StepStarted("a", 1, 2, HERE))
        progress(events.StepStarted("b", 2, 2, HERE))
        progress(events.StepWaiting("a", 3.0, "a lock held by pid 7"))
        assert beaten.wait(20)
        progress(events.StepFinished(1, 2, Result("a", Outcome.APPLIED)))
        progress(events.StepFinished(2, 2, Result("b", Outcome.APPLIED)))


@pytest.mark.parametrize(("encoding", "bar"), [("utf-8", "━" * 20), ("ascii", "#" * 10 + "-" * 10)])
def test_live_shows_a_restore_as_a_bar_with_its_rate(monkeypatch: pytest.MonkeyPatch, encoding: str, bar: str) -> None:
    now = 1000.0
    monkeypatch.setattr("migrate_graph.cli.progress.time.monotonic", lambda: now)
    err = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    progress = LiveProgress(Console(environ={}, out=io.StringIO(), err=err))
    progress(events.RestoreStarted("b.sql", 2_000_000))
    progress(events.RestoreProgress(0, 2_000_000))
    now += 4
    progress(events.RestoreProgress(1_000_000, 2_000_000))
    shown = progress._region().plain
    assert shown.startswith(bar)
    assert "250.0 kB/s" in shown
    assert shown.endswith("4.0 s")
    progress(events.RestoreFinished(5.0))
    progress(events.RunStarted("r", PLAN))
    assert "kB/s" not in progress._region().plain


def test_plain_has_a_heartbeat_while_a_backup_is_restored() -> None:
    console, _, err = consoles()
    beaten = threading.Event()
    console.tell = lambda text="": (err.write(f"{text}\n"), beaten.set() if "still running" in text else None)  # type: ignore[method-assign,assignment]
    with PlainProgress(console, heartbeat=0.01) as progress:
        progress(events.RestoreStarted("b.sql", 10))
        assert beaten.wait(20)
        progress(events.RestoreFinished(1.0))
    assert "restore of b.sql still running" in err.getvalue()
