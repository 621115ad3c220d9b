"""Ten times the project is at most thirteen times the work, counted in calls: what grows with the square would be a hundred times."""

from __future__ import annotations

import functools

import pytest
from growing import WORK, Name, calls_of, project


@pytest.mark.parametrize("kind", WORK)
def test_work_grows_with_the_project(kind: str) -> None:
    """1,000 and 10,000 migrations, 250 and 2,500 views."""
    prepare, work = WORK[kind]
    small, large = (calls_of(functools.partial(work, prepare(size))) for size in (1_000, 10_000))
    assert large < 13 * small, f"{kind}: {small} calls for n, {large} for 10n"


def test_the_count_sees_what_happens_in_c() -> None:
    """A loop in C over all names, for each name, is what this is to find."""
    names = [each.name for each in project(100).migrations]
    assert all(isinstance(name, Name) for name in names)
    known = dict.fromkeys(names)
    assert calls_of(lambda: [{name}.intersection(known) for name in names]) > 50 * 100
