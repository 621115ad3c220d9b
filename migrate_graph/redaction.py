"""No secret and no control character leaves: what every text on its way out goes through."""

from __future__ import annotations

import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

MASK = "***"

# A password this short is masked only where it stands alone: masking every "a" would leave nothing to read.
_SHORT = 4

# What may hold a URI: no space, no quote. Cut out first and looked into after, so that the time stays linear.
_TOKEN = re.compile(r"""[^\s"'<>`]+""")
_WEB_PORT = re.compile(r"https?://[^/:@]*:\d+(?:/|$)", re.IGNORECASE)

_PAIR = re.compile(
    r"""(?P<key>(?:password|passwd|passphrase|pwd)\w*["']?\s*[:=]\s*)
        (?P<value>"(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | ["']\S+ | [^\s,;&"'()\[\]{}<>]+)""",
    re.IGNORECASE | re.VERBOSE,
)

# Controls (also ESC, DEL and C1), soft hyphen, marks that turn the direction or take no room, line separators,
# invisible tags, and halves of surrogate pairs, which no stream can encode.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|auth|cred|sig", re.IGNORECASE)

_HIDDEN = re.compile(f"{_UNPRINTABLE.pattern}|[\t\n]")


def redact(text: str, *secrets: str) -> str:
    """Mask secrets: the known ones in every spelling, credentials of URIs, and `password=`-like pairs.

    Args:
        text: anything on its way out.
        secrets: known passwords, as they are or percent-encoded.
    """
    if known := _spellings(secrets):
        text = re.sub("|".join(known), MASK, text)
    return _PAIR.sub(_mask_pair, _TOKEN.sub(lambda token: redact_uri(token[0]), text))


def redact_uri(uri: str) -> str:
    """Mask the password of a URI: `postgres://user:***@host/db`; anything else stays as it is."""
    start = uri.find("://")
    end = uri.rfind("@")
    colon = uri.find(":", start + 3)
    if start < 0 or not start < colon < end or (_WEB_PORT.match(uri) and "@" not in uri[: uri.find("/", start + 3)]):
        return uri
    return _PAIR.sub(_mask_pair, f"{uri[: colon + 1]}{MASK}{uri[end:]}")


def redact_setting(value: str) -> str:
    """Mask what may be secret in an address, also without a scheme: what stands before the last `@`, and secret parameters."""
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
    """Return the password of a URI, to mask it also where it stands alone; empty when there is none."""
    start = uri.find("://")
    colon, end = uri.find(":", start + 3), uri.rfind("@")
    return (uri[colon + 1 : end],) if 0 <= start < colon < end - 1 else ()


def printable(text: str) -> str:
    r"""Make control, bidirectional and invisible characters visible, but line ends and tabs: an ESC becomes `\x1b`."""
    return _UNPRINTABLE.sub(lambda match: _escape(match[0]), text)


def one_line(text: str) -> str:
    """Make foreign text printable on one line: line ends and tabs become visible too."""
    return printable(text).replace("\n", "\\n").replace("\t", "\\t")


def hidden_character(text: str, *, lone_bytes: bool = True) -> str:
    """Return the first character that nobody sees, by its number and escape; empty when there is none.

    Args:
        text: what is looked through.
        lone_bytes: bytes that are no UTF-8 (halves of surrogate pairs, for Python) count; in names of files they do not.
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


def _spellings(secrets: tuple[str, ...]) -> list[str]:
    """Return patterns for each secret, decoded and encoded; the longest first, so that none is left in halves."""
    known = {form for secret in secrets for form in (secret, unquote(secret), unquote_plus(secret))}
    known |= {spelling for form in known for spelling in _encoded(form)}
    ordered = sorted((form for form in known if form.strip("*")), key=len, reverse=True)
    return [re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)" for form in ordered]


def _encoded(secret: str) -> tuple[str, ...]:
    # Half of a surrogate pair cannot be encoded, and must not keep the rest from being masked.
    return tuple(encode(secret, safe=safe, errors="replace") for encode in (quote, quote_plus) for safe in ("", "/"))
