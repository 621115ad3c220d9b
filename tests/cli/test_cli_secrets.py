"""No secret leaves a command, whoever writes it: prints, warnings, logging, exceptions, the journal."""

from __future__ import annotations

import subprocess
import sys

import pytest

SECRET = "hunter2 & c'o"

LEAKING = """
    import logging
    import os
    import sys
    import warnings

    from migrate_graph import migration

    secret = os.environ["PGPASSWORD"]
    log = logging.getLogger("app")
    log.addHandler(logging.StreamHandler())
    log.warning("at import %s", secret)
    warnings.warn(f"at import {secret}")
    print("printed at import", secret)
    sys.stderr.buffer.write(f"bytes {secret!r}\\n".encode())
    sys.stderr.write(f"no line end {secret}")


    @migration
    def one_20260101_001(db):
        print("printed", [secret])
        log.error("in a body %r", secret)
        warnings.warn(f"in a body {secret}")
        logging.getLogger().error("root %s", secret)
        sys.stderr.write(f"{secret}\\n")
        if FAILS:
            raise RuntimeError(f"cannot connect with {secret}")
        return True
"""


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("output", ["plain", "json", "rich"])
def test_whatever_a_migration_writes(shell, fails: bool, output: str) -> None:
    shell.write("migrations.py", LEAKING.replace("if FAILS", f"if {fails}"))
    shell.env |= {"MIGRATE_URI": f"sqlite://{shell.path}/x.db", "PGPASSWORD": SECRET}
    command = [sys.executable, "-m", "migrate_graph", "apply", "--output", output]
    ran = subprocess.run(command, cwd=shell.path, env=shell.env, capture_output=True, text=True, check=False)
    assert ran.returncode == int(fails)
    told = ran.stdout + ran.stderr
    assert "hunter2" not in told
    for words in ("at import ***", "in a body", "root ***", "bytes", "no line end ***"):
        assert words in told, words
    if fails:
        assert "cannot connect with ***" in told
        assert b"hunter2" not in (shell.path / "x.db").read_bytes()
        assert "hunter2" not in shell("log").out + shell("status").out + shell("log", "--json").out


def test_stderr_is_given_back(shell) -> None:
    before = sys.stderr
    shell.write("migrations.py", "from migrate_graph import migration\n")
    assert shell("check", MIGRATE_URI="sqlite://x.db").code == 0
    assert sys.stderr is before


@pytest.mark.parametrize(
    "uri",
    [
        "postgres://u:hunter2@x@db.example/d",
        "postgres://u:hunter2/x@db.example/d",
        "postgres://u:hunter2#x@db.example/d",
    ],
)
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(shell, uri: str, monkeypatch) -> None:
    import socket

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked for an address"))
    shell.write("migrations.py", "from migrate_graph import migration\n")
    for command in ("plan", "apply", "status", "config", "check"):
        ran = shell(command, MIGRATE_URI=uri)
        assert ran.code == 2
        assert "hunter2" not in ran.out + ran.err
        assert "percent-encode" in ran.err
