"""Waiting for an event in tests: until something is true, and with an end."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(happens: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until something is true; a busy machine may take long."""
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:.0f} s"
        time.sleep(0.02)
