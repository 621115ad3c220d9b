"""The quiet room: values in, values out; no database, no terminal, no process."""
