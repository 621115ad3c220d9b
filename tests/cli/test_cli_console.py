"""Colour, encodings, secrets, hostile text: what the console does to every line."""

from __future__ import annotations

import io
import json

import pytest

from migrate_graph.cli.console import Color, Console, wants_color
from migrate_graph.errors import LoadError, UsageError
from migrate_graph.user_files import SourceLocation

HOSTILE = "a\x1b[31m\nb\u202ec [red]x[/red] \ud800 😀"


def console_on(encoding: str = "utf-8", **kwargs: object) -> tuple[Console, io.BytesIO, io.BytesIO]:
    out, err = io.BytesIO(), io.BytesIO()
    streams = (io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True) for raw in (out, err))
    first, second = streams
    return Console(environ={}, out=first, err=second, **kwargs), out, err  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("choice", "environ", "terminal", "colored"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
    ],
)
def test_color_is_wanted(choice: str, environ: dict[str, str], *, terminal: bool, colored: bool) -> None:
    assert wants_color(Color(choice), environ, terminal=terminal) is colored


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_no_text_is_too_foreign_for_a_stream(encoding: str) -> None:
    console, out, err = console_on(encoding)
    console.show(f"✓ done → {console.clean(HOSTILE)}")
    console.tell(f"▶ {console.clean(HOSTILE)}")
    console.show_json({"name": HOSTILE})
    console.tell_error(UsageError(HOSTILE, hint=HOSTILE, source=SourceLocation(HOSTILE, 3)))
    for raw in (out.getvalue(), err.getvalue()):
        assert b"\x1b[31m" not in raw
        text = raw.decode(encoding)
        assert "\u202e" not in text
        assert "[red]x[/red]" in text, "no markup is interpreted"
    if encoding == "ascii":
        assert out.getvalue().startswith(b"* done -> a")


def test_secrets_stay_inside() -> None:
    console, out, err = console_on()
    console.secrets = ("s3cret/word",)
    console.show("connected to postgres://app:s3cret%2Fword@host/db with s3cret/word")
    console.tell("PGPASSWORD=s3cret/word")
    console.show_json({"uri": "postgres://app:s3cret/word@host/db", "list": ["s3cret/word"]})
    console.tell_error(LoadError("s3cret/word", hint="s3cret/word", details="s3cret/word"))
    assert b"s3cret" not in out.getvalue() + err.getvalue()
    json.loads(out.getvalue().split(b"\n", 1)[1])


def test_an_error_shows_place_details_and_hint_lines() -> None:
    console, _, err = console_on()
    console.tell_error(
        LoadError("it does not run", hint="one\ntwo", source=SourceLocation("a.py", 4), details="  frame\n")
    )
    assert err.getvalue().decode().splitlines() == [
        "error: a.py:4: it does not run",
        "    frame",
        "hint: one",
        "hint: two",
    ]


def test_progress_survives_a_reader_that_went_away() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    console = Console(environ={}, out=io.StringIO(), err=Gone())
    console.tell("a migration is running")
    console.tell("and goes on")
    assert not console.interactive
