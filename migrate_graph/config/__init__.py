"""Every setting, its value, and where the value came from."""

from migrate_graph.config.settings import Config, Setting
from migrate_graph.config.sources import load_config
from migrate_graph.config.values import Source, SourceKind

__all__ = ["Config", "Setting", "Source", "SourceKind", "load_config"]
