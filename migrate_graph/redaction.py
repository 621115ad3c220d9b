"""Mask secrets and escape control characters in every text that is shown, written or stored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"

# A shorter password is masked only as a whole word: to mask every "a" would make the text unreadable.
_SHORT = 4

# A part of the text that may be a URI: no space, no quote. The text is split into these parts first, so that the time stays linear.
_TOKEN = re.compile(r"""[^\s"'<>`]+""")
_WEB_PORT = re.compile(r"https?://[^/:@]*:\d+(?:/|$)", re.IGNORECASE)

_PAIR = re.compile(
    r"""(?P<key>(?:(?:password|passwd|passphrase|pwd)\w*(?:\\{0,4}["'])?\s*[:=]|(?:token|secret|api_?key|access_?key)["']?=)\s*)
        (?P<value>''[^'\n]+'' | \\{1,4}["'][^\n]{0,500}?\\["'] | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | ["']\S+ | [^\s,;&"'()\[\]{}<>]+)""",
    re.IGNORECASE | re.VERBOSE,
)

# The whole text between two quotes begins with the pair: `"passwd=two words"` in an array of options, `'password=a b host=c'`.
_QUOTED_PAIR = re.compile(
    r"""(?<![\w\\])(?P<mark>["'])(?P<key>[\w-]*(?:password|passwd|passphrase|pwd|token|secret|api_?key|access_?key)\w*=)
        (?P<value>(?:(?!(?P=mark))[^\\\n]|\\.)+)(?P=mark)""",
    re.IGNORECASE | re.VERBOSE,
)
# The literal that SQL has after the word: CREATE ROLE … PASSWORD 'x', OPTIONS (password 'x'). A text that is cut off has no end of it.
_SQL_PASSWORD = re.compile(
    r"""(?P<key>password\s+)(?:E'(?:[^'\\\n]|''|\\.)*'? | (?:U&)?'(?:[^'\n]|'')*'? | \$(?P<tag>\w{0,63})\$.{0,500}?\$(?P=tag)\$)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)

# Control characters (also ESC, DEL and C1), soft hyphen, direction marks and zero-width characters, line separators,
# invisible tags, and lone surrogates, which no stream can encode.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|cred|sig", re.IGNORECASE)

_SECRET_PARAMETER = re.compile(r"password|passwd|pwd|secret|token", re.IGNORECASE)

_HIDDEN = re.compile(f"{_UNPRINTABLE.pattern}|[\t\n]")


def redact(text: str, *secrets: str) -> str:
    """Mask secrets in a text: the known ones in every spelling, the credentials in URIs, pairs like `password=…`, and SQL's PASSWORD '…'.

    Args:
        text: any text that will be shown or stored.
        secrets: known passwords, plain or percent-encoded.
    """
    if known := _pattern(secrets):
        text = known.sub(MASK, text)
    if "://" in text:
        text = _TOKEN.sub(lambda token: redact_uri(token[0]), text)
    if "=" in text:
        text = _QUOTED_PAIR.sub(rf"\g<mark>\g<key>{MASK}\g<mark>", text)
    if "'" in text or "$" in text:
        text = _SQL_PASSWORD.sub(rf"\g<key>'{MASK}'", text)
    return _PAIR.sub(_mask_pair, text) if "=" in text or ":" in text else text  # each pair has one of them


def redact_uri(uri: str) -> str:
    """Mask the password of a URI: `postgres://user:***@host/db`; the rest is unchanged."""
    start = uri.find("://")
    end = uri.rfind("@")
    colon = uri.find(":", start + 3)
    if start < 0 or not start < colon < end or (_WEB_PORT.match(uri) and "@" not in uri[: uri.find("/", start + 3)]):
        return uri
    return _PAIR.sub(_mask_pair, f"{uri[: colon + 1]}{MASK}{uri[end:]}")


def redact_setting(value: str) -> str:
    """Mask the possible secrets of an address, also of one without a scheme: the part before the last `@`, and secret parameters."""
    head, question, query = redact_uri(value).partition("?")
    start = head.find("://") + 3 if "://" in head else 0
    user, at, host = head[start:].rpartition("@")
    if at and not user.endswith(f":{MASK}"):
        user = f"{user.partition(':')[0]}:{MASK}" if ":" in user else (user if start else MASK)
    pairs = "&".join(map(_mask_parameter, query.split("&")))
    return redact(f"{head[:start]}{user}{at}{host}{question}{pairs}")


def _mask_parameter(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}{equals}{MASK}" if equals and _SECRET_NAME.search(name) else pair


def secrets_of(uri: str) -> tuple[str, ...]:
    """Return the passwords in an address (before `@`, and in parameters), so that they can be masked also outside the address."""
    start = uri.find("://")
    colon, end = uri.find(":", start + 3 if start >= 0 else 0), uri.rfind("@")
    found = [uri[colon + 1 : end]] if 0 <= colon < end - 1 else []
    pairs = (pair.partition("=") for pair in uri.partition("?")[2].split("&"))
    return (*found, *(text for name, _, text in pairs if text and _SECRET_PARAMETER.search(name)))


def printable(text: str) -> str:
    r"""Make control, bidirectional and invisible characters visible, except line ends and tabs: an ESC becomes `\x1b`."""
    return _UNPRINTABLE.sub(lambda match: _escape(match[0]), text)


def one_line(text: str) -> str:
    """Make foreign text printable on one line: line ends and tabs become visible too."""
    if text.isascii() and text.isprintable():  # almost every time
        return text
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def hidden_character(text: str, *, lone_bytes: bool = True) -> str:
    """Return the first invisible character of a text, as its number and escape; empty when there is none.

    Args:
        text: the text to search.
        lone_bytes: whether bytes that are not UTF-8 count (Python holds them as lone surrogates); False for names of files.
    """
    found = (each[0] for each in _HIDDEN.finditer(text) if lone_bytes or not "\udc80" <= each[0] <= "\udcff")
    return next((f"U+{ord(each):04X} ({_escape(each)})" for each in found), "")


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _mask_pair(match: re.Match[str]) -> str:
    mark = match["value"][0]
    return f"{match['key']}{mark}{MASK}{mark}" if mark in "\"'" else f"{match['key']}{MASK}"


@lru_cache(maxsize=64)
def _pattern(secrets: tuple[str, ...]) -> re.Pattern[str] | None:
    """Return a pattern that matches every spelling of each secret, the longest first, so that no part of a secret remains."""
    known = {form for secret in secrets for form in (secret, unquote(secret), unquote_plus(secret))}
    known |= {spelling for form in known for spelling in _encoded(form)}
    for _ in range(2):  # twice: a secret may be quoted in JSON, and that in the repr of an exception
        known |= {spelling for form in known for spelling in _quoted(form)}
    ordered = sorted((form for form in known if form.strip("*")), key=len, reverse=True)
    plain = [re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)" for form in ordered]
    return re.compile("|".join(plain)) if plain else None


def _encoded(secret: str) -> Iterator[str]:
    """Yield the percent-encoded spellings of a secret, with upper-case and with lower-case digits."""
    # A lone surrogate cannot be encoded; `errors="replace"` keeps it from stopping the masking.
    for encode in (quote, quote_plus):
        for safe in ("", "/", "~!*'()"):
            spelled = encode(secret, safe=safe, errors="replace")
            yield spelled
            yield re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), spelled)


def _quoted(text: str) -> Iterator[str]:
    """Yield the spellings of a secret inside quotes: of Python, JSON, SQL, a shell, HTML."""
    import json  # imported here: needed only if there is a secret

    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]
    yield repr(text.encode(errors="replace"))[2:-1]
    for quoted in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield from (quoted, quoted.replace("/", "\\/"))
    backslashed = text.replace("\\", "\\\\")
    yield from (backslashed, backslashed.replace("'", "\\'"), backslashed.replace('"', '\\"'))
    yield from (text.replace("'", "''"), text.replace("'", "'\"'\"'"))
    html = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    yield from (html, html.replace('"', "&quot;"), html.replace('"', "&quot;").replace("'", "&#x27;"))
    yield html.replace('"', "&quot;").replace("'", "&#39;")
