"""The core: functions from values to values; it uses no database, no terminal and no process."""
