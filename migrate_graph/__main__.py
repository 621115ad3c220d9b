"""Runs the command line as `python -m migrate_graph`."""

from migrate_graph.cli import main

if __name__ == "__main__":
    main()
