"""What is wrong with a graph: one function per rule, each with its code, its page and its hint."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from migrate_graph.core.model import SourceLocation


class Severity(StrEnum):
    """How bad a finding is: only an ERROR stops a plan."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Related:
    """Another place that a finding is about: a member of a cycle, the other of two duplicates.

    Attributes:
        subject: name of the migration or view.
        message: what it does there (`requires b`).
        source: where.
    """

    subject: str
    message: str
    source: SourceLocation | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of the user's graph.

    Attributes:
        code: `MG101`.
        rule: `dependency-cycle`.
        severity: after the user's configuration.
        subject: name of the migration or view it is about.
        message: what is wrong (lower case, no full stop).
        hint: something to do or type.
        source: where.
        related: other places, in reading order (a cycle's edges one by one).
    """

    code: str
    rule: str
    severity: Severity
    subject: str
    message: str
    hint: str
    source: SourceLocation | None = None
    related: tuple[Related, ...] = ()
