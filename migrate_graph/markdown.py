"""Write foreign text as inline code in Markdown, so that nothing in it becomes markup, a link or a mention."""

from __future__ import annotations

import re


def code(text: str) -> str:
    """Return a text as inline code on one line, also usable in a table cell; an empty text stays empty."""
    flat = " ".join(text.split()).replace("|", "\\|")
    if not flat:
        return ""
    longest = max(map(len, re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    room = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{room}{flat}{room}{fence}"
