"""Run the command line as `python -m migrate_graph`."""

import sys


def _main() -> int:
    # `python -m` puts the working directory before all other entries: a `uuid.py` there would replace the standard module.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))
    from migrate_graph.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(_main())
