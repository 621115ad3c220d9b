"""The same tests are found whenever and wherever one looks: pytest-xdist compares what its workers collected."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def collected(tmp_path: Path, *, hash_seed: int, clock: float) -> list[str]:
    """Return the ids of all tests, as a process sees them whose clock goes wrong by some seconds."""
    shifted = tmp_path / f"clock{hash_seed}"
    shifted.mkdir()
    (shifted / "sitecustomize.py").write_text(f"import time\n_now = time.time\ntime.time = lambda: _now() + {clock}\n")
    environ = os.environ | {  # noqa: TID251 - tests are an edge too
        "PYTHONHASHSEED": str(hash_seed),
        "PYTHONPATH": str(shifted),
        "TMPDIR": str(shifted),
        "TZ": ("UTC", "Asia/Kolkata")[hash_seed % 2],
    }
    for name in [name for name in environ if name.startswith(("PYTEST_", "COV_"))]:
        del environ[name]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=environ,
    )
    return done.stdout.splitlines()


def test_no_id_depends_on_the_time_the_order_of_a_set_or_the_machine(tmp_path: Path) -> None:
    one = collected(tmp_path, hash_seed=1, clock=0)
    other = collected(tmp_path, hash_seed=2, clock=3600.0)
    assert [line for line in one if "::" in line] == [line for line in other if "::" in line]
