"""Foreign text in Markdown: as inline code, which reads the same in a raw log, and of which nothing becomes markup, a link or a mention."""

from __future__ import annotations

import re


def code(text: str) -> str:
    """Return a text on one line as inline code, also for a cell of a table; nothing for nothing."""
    flat = " ".join(text.split()).replace("|", "\\|")
    if not flat:
        return ""
    longest = max(map(len, re.findall(r"`+", flat)), default=0)
    fence = "`" * (longest + 1)
    room = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{room}{flat}{room}{fence}"
