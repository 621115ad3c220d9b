"""What the shell completes: names and codes, found without running anybody's code."""

from __future__ import annotations

from pathlib import Path

_MOST_FILES = 200
"""A project with more files than this is completed from the first ones: a shell must not hang on a tab."""


def complete_name(incomplete: str) -> list[str]:
    """Return the migrations and views whose name begins so, from the text of the files."""
    from migrate_graph.loader.declarations import names_below

    return [name for name in names_below(Path.cwd(), most_files=_MOST_FILES) if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """Return the settings that begin so, ready for a value, each with its help."""
    from migrate_graph.config import Config

    return [(f"{each.name}=", each.help) for each in Config.settings() if each.name.startswith(incomplete.lower())]


def complete_code(incomplete: str) -> list[tuple[str, str]]:
    """Return the codes that begin so, each with its rule's name."""
    from migrate_graph.core.rules import RULES

    return [(code, rule.name) for code, rule in RULES.items() if code.startswith(incomplete.upper())]
