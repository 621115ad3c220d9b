"""Which passwords a project works with, and in which spellings they are masked."""

from __future__ import annotations

import html
import json
import shlex
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.config import Config, load_config
from migrate_graph.redaction import MASK, redact, redact_setting, secrets_of


def test_wherever_they_are_kept(tmp_path: Path) -> None:
    (tmp_path / "pgpass").write_text("# a:b:c:d:comment\n*:*:*:*:of\\:pass\\\\file\nbroken line\nh:1:d:u:an:other\n")
    (tmp_path / "services").write_text("[shop]\nhost=db\npassword = of service\n")
    environ = {
        "MIGRATE_URI": "postgres://u:in%20uri@h/d?sslpassword=in-query",
        "REDIS_HOST": "redis://:of-redis@cache/0",
        "DATABASE_URL": "mysql://u:of-another@h/d",
        "PGPASSWORD": "of-environ",
        "PGPASSFILE": str(tmp_path / "pgpass"),
        "PGSERVICEFILE": str(tmp_path / "services"),
    }
    assert set(load_config(tmp_path, environ).secrets) == {
        "in%20uri", "in-query", "of-redis", "of-another", "of-environ", "of:pass\\file", "an:other", "of service",
    }  # fmt: skip


def test_in_the_home_directory_and_by_a_parameter(tmp_path: Path) -> None:
    (tmp_path / ".pgpass").write_text("h:1:d:u:at-home\n")
    (tmp_path / ".pg_service.conf").write_text("[x]\npassword=of-home-service\n")
    (tmp_path / "other").write_text("h:1:d:u:elsewhere\n")
    config = Config({"migrate_uri": "postgres://h/d"}, environ={"HOME": str(tmp_path)})
    assert set(config.secrets) == {"at-home", "of-home-service"}
    config.migrate_uri = f"postgres://h/d?passfile={tmp_path}/other"
    assert "elsewhere" in config.secrets
    config.migrate_uri = "sqlite://x.db"
    assert config.secrets == ()


def test_redis_without_a_scheme() -> None:
    assert secrets_of("user:word@cache:6379") == ("word",)
    assert secrets_of("cache:6379") == ()
    assert secrets_of("localhost") == ()


NASTY = 'it\'s "q" 5€/ä<&>\\x%é+1'


@pytest.mark.parametrize(
    "spelled",
    [
        NASTY,
        repr(NASTY),
        ascii(NASTY),
        repr(NASTY.encode()),
        json.dumps(NASTY),
        json.dumps(NASTY, ensure_ascii=False),
        json.dumps(NASTY).replace("/", "\\/"),
        quote(NASTY),
        quote(NASTY, safe=""),
        quote(NASTY, safe="").lower(),
        quote_plus(NASTY),
        html.escape(NASTY),
        html.escape(NASTY, quote=False),
        NASTY.replace("'", "''"),
        shlex.quote(NASTY),
        repr(str({"password": NASTY})),
    ],
)
def test_every_spelling_of_a_secret_that_stands_alone(spelled: str) -> None:
    shown = redact(f"before {spelled} after", NASTY)
    assert MASK in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert "5" not in shown


@given(st.text(min_size=4, max_size=12))
def test_no_spelling_of_any_secret_is_left(secret: str) -> None:
    if not secret.strip("*"):
        return
    for spelled in (secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        assert redact(f"<{spelled}>", secret) == f"<{MASK}>"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("u:hunter2@db/x", "u:***@db/x"),
        ("hunter2@db/x", "***@db/x"),
        ("postgres://u:hunter2@db/x", "postgres://u:***@db/x"),
        ("postgres://u@db/x?sslmode=require&token=hunter2", "postgres://u@db/x?sslmode=require&token=***"),
        ("rediss://db/0?ssl_keyfile=x&password=hunter2", "rediss://db/0?ssl_keyfile=***&password=***"),
        ("cache:6379", "cache:6379"),
        ("sqlite:///srv/x.db", "sqlite:///srv/x.db"),
    ],
)
def test_an_address_is_shown_without_what_may_be_secret(address: str, shown: str) -> None:
    assert redact_setting(address) == shown
