"""Every exit code there is, produced by a command."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from fault_field import WAITS_TO_GO, Ended, Field

from migrate_graph.cli import main
from migrate_graph.errors import ExitCode

GOOD = "import time\nfrom child import here\nfrom migrate_graph import migration\n\n@migration\ndef one_1(db):\n    here('in')\n    return True\n"


def _interrupted(field: Field) -> Ended:
    field.write(
        GOOD.replace("here('in')", "db.executesql('CREATE TABLE kept (id integer)')\n    db.commit()\n    here('in')")
    )
    assert field.apply(fatal=("in", 1)).code == -9
    return field.apply()


def _not_ours(field: Field) -> Ended:
    field.query("CREATE TABLE somebody (id integer)")
    return field.apply()


def _held(field: Field) -> Ended:
    field.write(GOOD.replace("here('in')", WAITS_TO_GO))
    first = field.open("apply")
    first.wait_for("start one_1")
    late = field.apply("--lock-timeout", "0")
    field.go()
    assert first.end().code == 0
    return late


def _stopped(field: Field) -> Ended:
    field.write(GOOD.replace("here('in')", "print('here')\n    time.sleep(30)"))
    process = field.open("apply")
    process.wait_for("one_1 | here")
    return process.stop(signal.SIGTERM)


def _refused(field: Field) -> Ended:
    field.write(GOOD.replace("return True", "return False"))
    return field.apply()


def _ring(field: Field) -> Ended:
    field.write(GOOD.replace("@migration", "@migration(requires='one_1')"))
    return field.apply()


def _stale(field: Field) -> Ended:
    assert field.migrate("plan", "-o", "plan.json").code == 0
    field.write(GOOD.replace("here('in')", "here('out')"))
    return field.migrate("apply", "plan.json")


WAYS: dict[ExitCode, Callable[[Field], Ended]] = {
    ExitCode.OK: lambda field: field.apply(),
    ExitCode.FAILED: _refused,
    ExitCode.USAGE: lambda field: field.apply("--no-such-option"),
    ExitCode.INVALID_GRAPH: _ring,
    ExitCode.PENDING: lambda field: field.migrate("plan", "--check"),
    ExitCode.DECISION_NEEDED: _interrupted,
    ExitCode.DATABASE: lambda field: field.apply(env={"MIGRATE_URI": "sqlite:///nowhere/at/all.sqlite"}),
    ExitCode.PENDING_TASK: lambda field: field.apply(env={"REDIS_HOST": "127.0.0.1:9"}),
    ExitCode.RESTORE: _not_ours,
    ExitCode.STALE_PLAN: _stale,
    ExitCode.LOCK_TIMEOUT: _held,
    ExitCode.SIGNAL: _stopped,
}


@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.FAULT])
def test_every_exit_code(code: ExitCode, on_sqlite: Field) -> None:
    """A new code without a way to it fails here."""
    on_sqlite.write(GOOD)
    ended = WAYS[code](on_sqlite)
    assert ended.code == (128 + signal.SIGTERM if code is ExitCode.SIGNAL else code), ended.output


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (RuntimeError("a fault"), ExitCode.FAULT, "this is a fault of migrate_graph"),
        (RuntimeError("can't start new thread"), ExitCode.FAILED, "hint: raise the limits on memory and on threads"),
        (MemoryError(), ExitCode.FAILED, "hint: raise the limit on memory (ulimit -v)"),
        (OSError(24, "Too many open files"), ExitCode.FAILED, "hint: raise the limit on open files (ulimit -n)"),
    ],
)
def test_a_fault_of_ours_has_a_code_of_its_own_and_what_the_machine_lacks_is_none(
    error: Exception, code: ExitCode, told: str, on_sqlite: Field, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import migrate_graph.workflow.apply

    def fall(*_: object) -> None:
        raise error

    monkeypatch.setattr(migrate_graph.workflow.apply, "apply_project", fall)
    monkeypatch.chdir(on_sqlite.path)
    on_sqlite.write(GOOD)
    assert main(["apply"], environ=on_sqlite.env) == code
    assert told in capsys.readouterr().err
