"""A regular expression for what separates the words of a SQL statement: white space and comments."""

from __future__ import annotations

from typing import Final

SPACE: Final = r"(?>[\s\ufeff]+|--[^\n]*|/\*.*?\*/)"
"""One piece of white space, or one comment; for patterns with DOTALL.

The group is atomic (`(?>…)`), so that a text with many comments does not take exponential time. A byte order mark counts as white space, as
in SQLite: files written on Windows often begin with it.
"""
