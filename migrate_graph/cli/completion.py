"""Find the words for shell completion (names, settings, rule codes) without running user code."""

from __future__ import annotations

from pathlib import Path

_MOST_FILES = 200
"""Only this many files are read, so that the shell does not hang in a large project."""


def complete_name(incomplete: str) -> list[str]:
    """Return the migrations and views whose name begins with a text; the files are read, not run."""
    from migrate_graph.loader.declarations import names_below

    return [name for name in names_below(Path.cwd(), most_files=_MOST_FILES) if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[tuple[str, str]]:
    """Return the settings that begin with a text, as `name=`, each with its help."""
    from migrate_graph.config import Config

    return [(f"{each.name}=", each.help) for each in Config.settings() if each.name.startswith(incomplete.lower())]


def complete_code(incomplete: str) -> list[tuple[str, str]]:
    """Return the rule codes that begin with a text, each with the name of its rule."""
    from migrate_graph.core.rules import RULES

    return [(code, rule.name) for code, rule in RULES.items() if code.startswith(incomplete.upper())]
