"""Lets `import edwh_migrate` mean migrate_graph in every program of an environment.

Imported when Python starts, by `edwh_migrate_shim.pth`; until somebody imports edwh_migrate, it costs one small import.
Setting EDWH_MIGRATE_SHIM=0 leaves the name to the package that is installed under it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys

PACKAGE = "edwh_migrate"


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds edwh_migrate and its modules, whether or not the real package is installed."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != PACKAGE or fullname not in _modules():
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname == PACKAGE)

    def create_module(self, spec):
        return _modules()[spec.name]

    def exec_module(self, module):
        for name, other in _modules().items():
            sys.modules.setdefault(name, other)


_made = {}


def _modules():
    if not _made and importlib.util.find_spec("migrate_graph") is not None:
        from migrate_graph.edwh_names import edwh_migrate_modules

        _made.update(edwh_migrate_modules())
    return _made


def install():
    """Take the name, once and for all of this process."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder())


if os.environ.get("EDWH_MIGRATE_SHIM") != "0":  # noqa: TID251 - a start of the process
    install()
