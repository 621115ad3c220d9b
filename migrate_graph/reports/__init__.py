"""Findings for other tools: one list, one function per format, one dict of formats."""
