"""The module that `import edwh_migrate` finds in a Python process started by a body: there, too, the name means this package."""

from migrate_graph.edwh_names import install_as_edwh_migrate

install_as_edwh_migrate()
