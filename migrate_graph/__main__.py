"""Run the command line as `python -m migrate_graph`."""

import sys

from migrate_graph.cli import main

if __name__ == "__main__":
    sys.exit(main())
