"""No secret and no control character leaves."""

import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate_graph.masked_stream import MaskedStream
from migrate_graph.redaction import MASK, one_line, printable, redact, redact_uri, secrets_of


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("cannot reach postgres://shop:hunter2@db:5432/shop", "postgres://shop:***@db:5432/shop", "hunter2"),
        ("redis://:hunter2@cache/0", "redis://:***@cache/0", "hunter2"),
        ("postgres://shop:p@ss/w@rd@db/shop", "postgres://shop:***@db/shop", "p@ss"),
        ("postgres://db/shop?user=a&password=hunter2&x=1", "password=***&x=1", "hunter2"),
        ("PGPASSWORD=hunter2 psql -X", "PGPASSWORD=*** psql -X", "hunter2"),
        ("{'password': 'hunter2 is long', 'x': 1}", "'password': '***', 'x': 1", "hunter2"),
        ('{"db_password":"hun\\"ter2","x":1}', '"db_password":"***","x":1', "ter2"),
        ("Pwd: hunter2, next", "Pwd: ***, next", "hunter2"),
        ('password="hunter2', '"***"', "hunter2"),
        ('{host=h,"passwd=two words, hunter2"}', '{host=h,"passwd=***"}', "hunter2"),
        ("['--db-password=a b \\'c hunter2', '-x']", "['--db-password=***', '-x']", "hunter2"),
        ("CONNECTION 'host=h password=''a b hunter2'' dbname=x'", "password='***' dbname=x", "hunter2"),
        (r'{"x": "{\"password\": \"a b hunter2\", \"y\": 1}"}', r"\"y\": 1", "hunter2"),
        ("CREATE ROLE bob PASSWORD 'a b, ''hunter2' VALID UNTIL 'x'", "PASSWORD '***' VALID UNTIL 'x'", "hunter2"),
        (r"ALTER ROLE bob ENCRYPTED password E'a\'b hunter2' LOGIN", "password '***' LOGIN", "hunter2"),
        ("OPTIONS (user 'u', password\n 'a b hunter2')", "OPTIONS (user 'u', password\n '***')", "hunter2"),
        ("PASSWORD U&'a\\0041 hunter2' x", "PASSWORD '***' x", "hunter2"),
        ("PASSWORD $$a' hunter2$$ x, PASSWORD $q$a $$ hunter2$q$;", "PASSWORD '***' x, PASSWORD '***';", "hunter2"),
        ("LINE 1: ALTER ROLE bob PASSWORD 'cut off hunter2", "PASSWORD '***'", "hunter2"),
        ('["postgres://u:hunter2@h/d","a@b"]', '"postgres://u:***@h/d","a@b"', "hunter2"),
    ],
)
def test_secrets_are_masked(text: str, kept: str, gone: str) -> None:
    assert kept in redact(text)
    assert gone not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "nothing to hide",
        "https://example.org:8443/@user",
        "sqlite:///shop.db",
        "postgres://shop@db/shop",
        "password authentication failed for user shop",
        "COMMENT ON COLUMN users.password IS 'a hash'",
        "ALTER ROLE bob PASSWORD NULL VALID UNTIL 'x'",
        "mail a@b.example",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_known_secrets_are_masked_in_every_spelling() -> None:
    for known in ("p@ss wörd/1", "p%40ss%20w%C3%B6rd%2F1", "p%40ss+w%C3%B6rd%2F1"):
        text = redact("a p@ss wörd/1 b p%40ss%20w%C3%B6rd%2F1 c p%40ss+w%C3%B6rd%2F1 d p%40ss%20w%C3%B6rd/1 e", known)
        assert text == f"a {MASK} b {MASK} c {MASK} d {MASK} e"


def test_a_short_secret_is_masked_where_it_stands_alone() -> None:
    assert redact("a banana, a", "a") == "*** banana, ***"


def test_the_longer_of_two_secrets_is_not_left_in_halves() -> None:
    assert redact("topsecret!", "secret", "topsecret!") == MASK


def test_empty_secrets_mask_nothing() -> None:
    assert redact("abc", "", "***", "\ud800") == "abc"


@given(st.text(), st.lists(st.text(max_size=12), max_size=3))
def test_redacting_never_raises_and_removes_every_known_secret(text: str, secrets: list[str]) -> None:
    for secret in secrets:
        if len(secret) >= 4 and secret.strip("*"):
            assert secret not in redact(f"{text}{secret}", secret).replace(MASK, "\0")


@given(st.text(alphabet="ab:/@=*'\" pwd", max_size=60))
def test_redacting_twice_is_redacting_once(text: str) -> None:
    once = redact(text)
    assert redact(once) == once


PIECES = (
    "a://b:",
    "password=",
    "password ",
    "'password':'",
    "'password=",
    "password '",
    "password $a$",
    "password E'\\'",
    '"password=\\',
)


@pytest.mark.parametrize("piece", [*PIECES, "x" * 10, "@", "://", '"'])
def test_time_is_linear(piece: str) -> None:
    text = piece * (500_000 // len(piece))
    start = time.process_time()
    redact(text, "secret")
    assert time.process_time() - start < 2


def test_uri() -> None:
    assert redact_uri("postgres://u:p:q@h/d") == "postgres://u:***@h/d"
    assert redact_uri("no uri") == "no uri"
    assert secrets_of("postgres://u:p:q@h/d") == ("p:q",)
    assert secrets_of("sqlite:///x.db") == ()
    assert secrets_of("postgres://u@h/d") == ()


def test_unprintable_characters_become_visible() -> None:
    assert printable("a\x1b[31mb\x9b\x7f\u202ec\u200bd\U000e0041\udc80") == (
        "a\\x1b[31mb\\x9b\\x7f\\u202ec\\u200bd\\U000e0041\\udc80"
    )
    assert printable("é 漢 🎉 \n\tx") == "é 漢 🎉 \n\tx"
    assert one_line("a\nb\tc") == "a\\nb\\tc"


@given(st.text(alphabet=st.characters(categories=("Cc", "Cf", "Cs", "L"))))
def test_what_is_printable_can_be_encoded_and_holds_no_control(text: str) -> None:
    shown = one_line(text)
    shown.encode()
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown)


def test_a_masked_stream_that_outlives_the_inner_one_ends_quietly() -> None:
    """As a handler of `logging` keeps it: its end is no error, writing to it is one."""
    there = io.BytesIO()
    inner = io.TextIOWrapper(there)
    stream = MaskedStream(inner, lambda text: text.replace("hunter2", MASK))
    stream.write("a hunter2\n")
    assert there.getvalue() == b"a ***\n"
    inner.close()
    with pytest.raises(ValueError, match="closed"):
        stream.write("more\n")
    stream.close()
    assert stream.closed
