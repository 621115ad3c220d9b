"""Show every setting with its value and where it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from migrate_graph.redaction import redact

if TYPE_CHECKING:
    from migrate_graph.config import Config, Setting


class SettingRow(Struct, frozen=True):
    """One setting.

    Attributes:
        name: as in pyproject.toml.
        value: as text, without secrets.
        source: where it came from.
    """

    name: str
    value: str
    source: str


def settings_of(config: Config) -> tuple[SettingRow, ...]:
    """Return every setting, with its value and where it came from."""
    sources = config.sources
    return tuple(
        SettingRow(setting.name, _text_of(config, setting), str(sources[setting.name])) for setting in config.settings()
    )


def _text_of(config: Config, setting: Setting) -> str:
    if setting.name == "migrate_uri" and not config.has_database:
        return "(not set)"
    value = config.shown(setting)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(each) for each in value)
    return "" if value is None else redact(str(value))
