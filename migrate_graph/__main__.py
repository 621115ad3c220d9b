"""The program `migrate`, also as `python -m migrate_graph`: import the command line, and run it."""

import sys


def main() -> int:
    """Run one command, and return its exit code."""
    try:
        from migrate_graph.cli import main as run
    except KeyboardInterrupt:  # nothing has begun yet that could be told
        return 130
    return run()


if __name__ == "__main__":
    # `python -m` puts the working directory before all other entries: a `uuid.py` there would replace the standard module.
    if not sys.flags.safe_path:
        sys.path.append(sys.path.pop(0))
    sys.exit(main())
