"""Every setting, its value, and where the value came from."""

from migrate_graph.config.settings import Config, Setting, Source, SourceKind, load_config, share_dotenv

__all__ = ["Config", "Setting", "Source", "SourceKind", "load_config", "share_dotenv"]
