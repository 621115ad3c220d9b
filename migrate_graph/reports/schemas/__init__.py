"""The JSON Schemas of what `--json` writes, one file for each kind of document, and one for the lines of a run."""
