"""What stands between the words of a statement and means nothing: space and comments, as a regular expression."""

from __future__ import annotations

from typing import Final

SPACE: Final = r"(?>[\s\ufeff]+|--[^\n]*|/\*.*?\*/)"
"""One piece of it, for patterns with DOTALL. It is never tried again in another way: a text of many comments would take for ever.

A byte order mark is one, since for SQLite it is: files that a program on Windows has written begin with it.
"""
