"""The commands that look, on good and broken projects, with and without a database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_plan_says_what_runs_in_which_order_and_why(shop) -> None:
    ran = shop("plan")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].endswith("3 migrations, 0 applied, 3 to run")
    assert lines[1] == "(nothing was ever applied to it)"
    assert "create_customer_20260301_001  migrations.py:18" in lines[3]
    assert lines[4].endswith("after 1")
    assert lines[5] == "       new   Totals"
    assert "       down  Totals" in lines[6:]
    assert "       up    Totals" in lines[6:]
    assert lines[-1] == "blocked: nothing   ·   findings: none"
    assert not (shop.path / "shop.db").exists(), "reading never creates the database"


def test_plan_without_a_database_says_so(shop) -> None:
    assert "no database is configured" in shop("plan", MIGRATE_URI="").out
    assert "offline" in shop("plan", "--offline").out


def test_plan_of_an_unreachable_database_is_exit_6(shop) -> None:
    ran = shop("plan", MIGRATE_URI=f"sqlite://{shop.path}/no/such/directory/x.db")
    assert ran.code == 6
    assert "error:" in ran.err
    assert "hint:" in ran.err
    assert shop("plan", "--offline", MIGRATE_URI="postgres://u:p@127.0.0.1:1/x").code == 0


def test_plan_check_is_exit_4_while_something_is_pending(shop) -> None:
    assert shop("plan", "--check").code == 4
    assert shop("apply").code == 0
    ran = shop("plan", "--check")
    assert ran.code == 0
    assert "nothing to do" in ran.out


def test_plan_to_and_select(shop) -> None:
    steps = [step["name"] for step in shop("plan", "--json", "--to", "create_invoice_20260301_002").json["steps"]]
    assert steps == ["create_customer_20260301_001", "create_invoice_20260301_002"]
    closed = shop("plan", "--json", "--select", "tag:money").json
    assert [step["name"] for step in closed["steps"]] == steps
    assert closed["added"] == ["create_customer_20260301_001"]
    assert closed["unselected"] == ["widen_total_20260302_001"]
    wrong = shop("plan", "--to", "create_invoice")
    assert wrong.code == 2
    assert "did you mean 'create_invoice_20260301_002'" in wrong.err


def test_plan_as_json_carries_the_exit_code(shop) -> None:
    ran = shop("plan", "--check", "--json")
    document = ran.json
    assert document["schema_version"] == 1
    assert document["exit_code"] == ran.code == 4
    assert document["steps"][1]["creates"] == ["Totals"]
    assert document["steps"][1]["path"] == "migrations.py"


@pytest.mark.parametrize("suffix", ["svg", "png", "dot", "json", "mmd", "html"])
def test_plan_draws_into_a_file_of_any_format(shop, suffix: str) -> None:
    ran = shop("plan", "--graph", f"plan.{suffix}")
    assert ran.code == 0
    assert "drawn: plan." in ran.err
    assert "3 to run" in ran.out, "the plan is told all the same"
    content = (shop.path / f"plan.{suffix}").read_bytes()
    assert content
    if suffix != "png":
        assert b"create_customer" in content


def test_a_picture_replaces_its_file_as_a_whole(shop, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shop.path / "plan.dot"
    file.write_text("old")
    file.chmod(0o640)
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    ran = shop("plan", "--graph", "plan.dot")
    assert ran.code == 2
    assert "No space left on device" in ran.err
    assert file.read_text() == "old"
    assert sorted(file.name for file in shop.path.iterdir()) == ["migrations.py", "plan.dot"], "no scratch file is left"
    monkeypatch.undo()
    os.chdir(shop.path)
    assert shop("plan", "--graph", "plan.dot").code == 0
    assert file.stat().st_mode & 0o777 == 0o640


def test_plan_refuses_an_invalid_graph_with_every_finding(broken) -> None:
    ran = broken("plan")
    assert ran.code == 3
    assert not ran.out
    assert "MG101" in ran.err
    assert "MG102" in ran.err
    assert "'create_customer'" in ran.err
    assert "plan refused: the graph has 2 errors" in ran.err


def test_check_is_the_job_of_ci(shop, broken) -> None:
    good = shop("check", str(shop.path))
    assert good.code == 3  # both fixtures share the directory, and the broken file was written last
    shop.write("migrations.py", "from migrate_graph import migration\n\n@migration\ndef a_1(db):\n    return True\n")
    good = shop("check")
    assert (good.code, good.out) == (0, "nothing wrong in 1 migration and 0 views\n")


def test_check_names_everything_at_once(broken) -> None:
    ran = broken("check", "--graph", "wrong.svg")
    assert ran.code == 3
    assert "error MG101 dependency-cycle" in ran.out
    assert "error MG102 unknown-requirement" in ran.out
    assert "did you mean 'create_customer'?" not in ran.out, "a migration is no typo of its own name"
    assert ran.out.endswith("2 errors in 3 migrations and 0 views\n")
    assert b"MG101" in (broken.path / "wrong.svg").read_bytes()


def test_check_selects_and_ignores_codes(broken) -> None:
    assert broken("check", "--ignore", "MG101,mg102").code == 0
    assert "MG102" not in broken("check", "--select", "MG101").out
    wrong = broken("check", "--ignore", "MG999")
    assert wrong.code == 2
    assert "MG999" in wrong.err


def test_check_selects_nodes_as_plan_does(broken) -> None:
    def found(*words: str) -> set[str]:
        ran = broken("check", "--json", *(part for word in words for part in ("--select", word)))
        return {each["code"] for each in ran.json["findings"]}

    assert found() == {"MG101", "MG102"}
    assert found("create_customer") == found("crea*") == found("+create_customer,cre*") == {"MG102"}
    assert found("ring_b") == {"MG101"}, "also where a finding names it second"
    assert found("MG101", "create_customer") == set(), "both: of these rules what is about these"
    assert found("mg101,MG102", "ring_a create_customer") == {"MG101", "MG102"}
    wrong = broken("check", "--select", "create_costumer")
    assert (wrong.code, "did you mean 'create_customer'?" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("settings", "declared", "severity", "code"),
    [
        ("", "", "warning", 0),
        ('error = ["MG107"]', "", "error", 3),
        ('ignore = ["MG107"]', "", None, 0),
        ('ignore = ["MG1"]', "", None, 0),
        ("", 'ignore=["MG107"]', None, 0),
        ('error = ["MG107"]', 'ignore=["MG107"]', None, 0),
    ],
)
def test_severities_come_from_settings_and_declarations(shop, settings, declared, severity, code) -> None:
    shop.write("pyproject.toml", f'[tool.migrate]\nmigration_ordering_mode = "intertwined"\n{settings}\n')
    shop.write(
        "migrations.py", f"from migrate_graph import migration\n\n@migration({declared})\ndef a(db):\n    return True\n"
    )
    ran = shop("check", "--json")
    assert ran.code == code
    assert [each["severity"] for each in ran.json["findings"]] == ([severity] if severity else [])
    assert shop("check", "--strict").code == (3 if severity else 0)
    assert shop("plan", "--offline").code == code, "plan and apply refuse on the same errors"


def test_graph_knows_states_only_of_a_database(shop) -> None:
    ran = shop("graph", "--select", "state:pending")
    assert (ran.code, "hint: add --history" in ran.err) == (2, True)
    assert shop("graph", "--select", "state:pending", "--history").code == 0


def test_history_is_never_judged_without_a_database(shop) -> None:
    for command in ("check", "graph"):
        ran = shop(command, "--history", MIGRATE_URI="")
        assert (ran.code, ran.out) == (2, "")
        assert "no database is configured" in ran.err
    assert shop("check", "--history").err == "(nothing was ever applied to it)\n"


def test_check_needs_no_database_unless_history_is_asked_for(shop) -> None:
    unreachable = f"sqlite://{shop.path}/no/such/directory/x.db"
    assert shop("check", MIGRATE_URI=unreachable).code == 0
    assert shop("check", "--history", MIGRATE_URI=unreachable).code == 6


def test_check_with_history_finds_orphans(shop) -> None:
    assert shop("apply").code == 0
    text = (shop.path / "migrations.py").read_text()
    (shop.path / "migrations.py").write_text(
        text.replace("def widen_total_20260302_001", "def wider_total_20260302_001")
    )
    assert shop("check").code == 0
    ran = shop("check", "--history")
    assert ran.code == 3
    assert "MG401" in ran.out


def test_status_tells_states_times_views_and_orphans(shop) -> None:
    before = shop("status")
    assert before.code == 0
    assert "3 migrations: 3 pending" in before.out
    assert "not yet (since create_invoice_20260301_002)" in before.out
    assert shop("apply").code == 0
    after = shop("-l")
    assert "3 migrations: 3 applied" in after.out
    assert "lives" in after.out
    views = shop("status", "--views").out
    assert "Totals  lives" in views
    assert "create_customer_20260301_001" not in views
    document = shop("status", "--json").json
    assert [state["status"] for state in document["migrations"]] == ["applied"] * 3
    assert document["views"][0]["lives"] is True
    assert document["migrations"][0]["duration"] >= 0
    shop.write("migrations.py", "from migrate_graph import migration\n")
    orphans = shop("status")
    assert orphans.out.count("recorded, but not in the code") == 3
    assert orphans.code == 0


def test_status_of_an_invalid_graph_is_told_all_the_same(broken) -> None:
    ran = broken("status")
    assert ran.code == 0
    assert "2 cycle" in ran.out
    assert "ring_a           cycle\n      waits for ring_b" in ran.out
    assert "create_customer  blocked\n      waits for" in ran.out


def test_graph_draws_an_invalid_graph_to_the_terminal(broken) -> None:
    ran = broken("graph")
    assert ran.code == 0
    assert "ring_a" in ran.out
    assert "crate_customer" in ran.out


def test_graph_into_a_file_and_to_stdout(shop) -> None:
    assert shop("graph", "-o", "g.svg").code == 0
    assert (shop.path / "g.svg").read_bytes().lstrip().startswith(b"<")
    assert shop("graph", "--format", "dot").out.startswith("digraph")
    named = shop("graph", "--format", "svg", "-o", "picture")
    assert named.code == 0
    assert (shop.path / "picture").exists()
    focused = shop("graph", "--format", "dot", "--focus", "create_customer_20260301_001", "--hops", "0").out
    assert "widen_total" not in focused
    assert shop("graph", "--focus", "nobody").code == 2


def test_graph_with_history_knows_states(shop) -> None:
    assert shop("apply").code == 0
    assert "applied" in shop("graph", "--format", "json", "--history").out


def test_why_answers_from_the_files_where_the_database_does_not(shop) -> None:
    uri = "postgres://nobody:hunter2@127.0.0.1:1/nowhere?connect_timeout=1"
    shop.write("pyproject.toml", "[tool.migrate]\nconnect_wait = 0\n")
    ran = shop("why", "widen_total_20260302_001", MIGRATE_URI=uri)
    assert (ran.code, " in the order  " in ran.out) == (0, True), ran.err
    assert "note: the state of widen_total_20260302_001 is not known, since the database did not answer: " in ran.err
    assert "hunter2" not in ran.err
    assert shop("why", "widen_total_20260302_001", "--json", MIGRATE_URI=uri).json["state"] is None
    for words in (("Totals",), ("widen_total_20260302_001", "--offline")):
        quiet = shop("why", *words, MIGRATE_URI=uri)
        assert (quiet.code, "note:" in quiet.err) == (0, False), "nobody asks for a state"
    (shop.path / "not_one.db").write_text("no database" * 200)
    other = shop("why", "widen_total_20260302_001", MIGRATE_URI=f"sqlite://{shop.path}/not_one.db")
    assert (other.code, "is not known, since the database did not answer" in other.err) == (0, True), other.err


def test_why_shows_the_path_of_edges(shop) -> None:
    ran = shop("why", "create_customer_20260301_001", "--before", "widen_total_20260302_001")
    assert ran.code == 0
    assert "'create_customer_20260301_001' comes before 'widen_total_20260302_001':" in ran.out
    assert "'create_invoice_20260301_002' requires 'create_customer_20260301_001'  migrations.py:" in ran.out
    document = shop("why", "widen_total_20260302_001", "--json").json
    assert document["position"] == 3
    assert document["ancestors"] == 2
    assert document["touches"] == ["Totals"]
    view = shop("why", "Totals", "--before", "create_customer_20260301_001")
    assert "'Totals' lives since 'create_invoice_20260301_002'" in view.out
    assert shop("why", "Totals", "--before", "Totals").code == 2


def test_show_tells_all_about_a_name(shop) -> None:
    shop("apply")
    ran = shop("show", "create_invoice_20260301_002")
    assert "What they owe." in ran.out
    assert "migrations.py:2" in ran.out
    assert "required by  widen_total_20260302_001" in ran.out
    assert "applied" in ran.out
    view = shop("show", "Totals", "--json").json["nodes"][0]
    assert view["kind"] == "view"
    assert view["touches"] == ["create_invoice_20260301_002", "widen_total_20260302_001"]
    wrong = shop("show", "Total")
    assert wrong.code == 2
    assert "did you mean 'Totals'" in wrong.err


def test_log_tells_what_was_tried(shop) -> None:
    assert "nothing was ever applied" in shop("log").err
    shop("apply")
    assert shop("log").out.count("applied") == 3
    one = shop("log", "create_customer_20260301_001", "--json").json["attempts"]
    assert [attempt["state"] for attempt in one] == ["applied"]
    assert shop("log", "nobody_knows").code == 2


def test_explain_says_where_python_has_left_its_pages_out() -> None:
    ended = subprocess.run(
        [sys.executable, "-OO", "-m", "migrate_graph", "explain"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "hint: run it without -OO" in ended.stderr


def test_explain_shows_the_page(shell) -> None:
    ran = shell("explain", "mg101")
    assert ran.code == 0
    assert ran.out.startswith("MG101 dependency-cycle  (error)")
    assert "Why it matters" in ran.out
    assert shell("explain", "dependency-cycle").out == ran.out
    every = shell("explain", "--json").json["rules"]
    assert len(every) == len({rule["code"] for rule in every}) > 30


def test_config_tells_where_every_setting_came_from_and_no_secret(shell) -> None:
    shell.write("pyproject.toml", '[tool.migrate]\nmigrate_table = "features"\n')
    ran = shell("config", MIGRATE_URI="postgres://app:hunter2@db.example/shop")
    assert ran.code == 0
    assert "hunter2" not in ran.out
    assert "postgres://app:***@db.example/shop" in ran.out
    line = next(line for line in ran.out.splitlines() if line.startswith("migrate_table"))
    assert "features" in line
    assert "pyproject.toml" in line
    assert shell("config", "--json").json["settings"]["migrate_uri"]["value"] == "(not set)"


def test_a_wrong_setting_is_exit_2_before_anything(shop) -> None:
    shop.write("pyproject.toml", '[tool.migrate]\nmigrate_tabel = "x"\nuse_typedal = "perhaps"\n')
    for command in ("plan", "apply", "status", "config"):
        ran = shop(command)
        assert ran.code == 2, command
        assert "migrate_tabel" in ran.err
        assert "use_typedal" in ran.err


def test_color_only_when_wanted(shop) -> None:
    assert "\x1b[" not in shop("status").out
    assert "\x1b[" in shop("--color", "always", "status").out
    assert "\x1b[" not in shop("status", "--color", "never", FORCE_COLOR="1").out


HOSTILE = "x\\x1b[31m\\u202e<script>[red]"


def test_hostile_names_are_harmless_everywhere(shell) -> None:
    shell.write(
        "migrations.py",
        f'''
        from migrate_graph import migration

        def body(db):
            return True

        body.__name__ = "{HOSTILE}\\n"
        migration(body)
        ''',
    )
    shell.env["MIGRATE_URI"] = f"sqlite://{shell.path / 'x.db'}"
    for words in (
        ("plan",), ("check",), ("status",), ("graph",), ("apply", "--output", "plain"), ("status",), ("log",), ("check", "--format", "github"),
        ("check", "--format", "markdown"), ("plan", "--format", "dot"), ("plan", "--json"), ("graph", "--format", "mermaid"),
    ):  # fmt: skip
        ran = shell(*words)
        assert ran.code == 0, (words, ran.err)
        assert "\x1b" not in ran.out + ran.err, words
        assert "\u202e" not in ran.out + ran.err, words
    assert "<script>" not in shell("check", "--format", "markdown").out


@pytest.mark.parametrize("command", ["plan", "status", "log", "config", "explain", "check"])
def test_every_json_document_says_its_version(shop, command: str) -> None:
    document = json.loads(shop(command, "--json").out)
    assert document["schema_version"] == 1
    assert document["tool"]["name"] == "migrate_graph"
    assert document["exit_code"] == 0


def test_every_setting_can_be_given_on_the_command_line(shop) -> None:
    ran = shop(
        "--set", "migrate_table=mine", "config", "--set=lock_timeout=3", "--uri", f"sqlite://{shop.path}/other.db"
    )
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    assert "--set migrate_table on the command line" in rows["migrate_table"]
    assert "3.0" in rows["lock_timeout"]
    assert "--uri on the command line" in rows["migrate_uri"]
    assert shop("apply", "--uri", f"sqlite://{shop.path}/other.db").code == 0
    assert (shop.path / "other.db").exists()
    assert not (shop.path / "shop.db").exists()
    assert shop("plan", "--set", "nonsense=1").code == 2
    assert "--set migrate_table=VALUE" in shop("plan", "--set", "migrate_table").err


def test_remarks_on_the_settings_are_told_once(shop) -> None:
    shop.write(".env", "PATH=/evil\nMIGRATE_TABLE=mine\n")
    ran = shop("plan")
    assert ran.code == 0
    assert ran.err.count("note: .env sets PATH") == 1


@pytest.mark.parametrize(
    "uri",
    [
        "hunter2@db/x",
        "u:hunter2@db/x",
        "postgres://u:hunter2@db/x?token=hunter2",
        "postgres://u@db/x?sslpassword=hunter2",
    ],
)
def test_config_shows_no_secret_in_any_spelling(shell, uri: str) -> None:
    ran = shell("config", MIGRATE_URI=uri)
    assert "hunter2" not in ran.out + ran.err
    ran = shell("config", REDIS_HOST=uri)
    assert "hunter2" not in ran.out + ran.err


def test_log_draws_the_newest_run(shop) -> None:
    assert shop("log", "--graph", "run.svg").code == 2, "nothing ran yet"
    shop("apply", "--to", "create_customer_20260301_001")
    shop("apply")
    ran = shop("log", "--graph", "run.svg")
    assert "drawn: run.svg" in ran.err
    picture = (shop.path / "run.svg").read_text()
    assert "2 applied" in picture
    assert "create_customer" not in picture, "that was another run"
    first = shop("log", "--json").json["attempts"][0]["run"]
    shop("log", "--graph", "run.txt", "--run", first[:20])
    assert "create_customer_20260301_001" in (shop.path / "run.txt").read_text()
    unknown = shop("log", "--graph", "run.svg", "--run", "nope")
    assert (unknown.code, "--run" in shop("log", "--run", "x").err) == (2, True)


def test_plan_says_how_long_it_took_elsewhere(shop) -> None:
    assert "took" not in shop("plan").out
    shop("apply")
    (shop.path / "staging.json").write_text(shop("log", "--json").out)
    shop("mark", "--pending", "create_invoice_20260301_002", "widen_total_20260302_001")
    here = shop("plan")
    assert here.out.count("took 0.") == 2
    assert " · about 0." in here.out
    (shop.path / "shop.db").unlink(missing_ok=True)
    timings = json.loads((shop.path / "staging.json").read_text())
    timings["attempts"][1]["duration"] = 200.0
    del timings["attempts"][2]
    (shop.path / "staging.json").write_text(json.dumps(timings))
    ran = shop("plan", "--timings", "staging.json")
    assert "took 3 m 20 s" in ran.out
    assert "about 3 m 20 s" in ran.out
    assert shop("plan", "--timings", "staging.json", "--json").json["steps"][-2]["took"] == 200.0


TOOK = '{"attempts": [{"name": "create_invoice_20260301_002", "state": "applied", "duration": %s}]}'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "No such file"),
        ("{", "is not JSON"),
        ('{"attempts": 3}', "is not what"),
        ("[]", "is not what"),
        ("[" * 100_000, "is not JSON"),
        (TOOK % "NaN", "durations that are none"),
        (TOOK % "1e999", "durations that are none"),
        (TOOK % "-1", "durations that are none"),
        (TOOK % ("9" * 400), "is not what"),
        ("\udcff", "is not JSON"),
    ],
)
def test_timings_that_are_none_are_refused(shop, text: str | None, why: str) -> None:
    if text is not None:
        (shop.path / "t.json").write_text(text, errors="surrogateescape")
    ran = shop("plan", "--timings", "t.json")
    assert ran.code == 2
    assert why in ran.err
    assert "migrate log --json" in ran.err


@pytest.mark.parametrize(
    ("file", "starts"),
    [("plan.svg", b"<svg"), ("plan.json", b"{"), ("plan.md", b"###"), ("plan.log", b"shop"), ("plan.PNG", b"\x89PNG")],
)
def test_the_suffix_of_a_plans_file_tells_its_format(shop, file: str, starts: bytes) -> None:
    assert shop("plan", "-o", file).code == 0
    assert (shop.path / file).read_bytes().startswith(starts)
    assert shop("plan", "-o", file, "--format", "text").code == 0
    assert (shop.path / file).read_bytes().startswith(b"shop")
