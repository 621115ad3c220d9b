"""A graph-first migration planner: prove the graph, draw the plan, apply it safely."""

__version__ = "0.1.0"
