# ruff: noqa: E501 - a table: one mutant a line
"""The safety lines of restores: see `tests/mutants.py`."""

from __future__ import annotations

from mutant import Mutant

FILES = "tests/database/test_dump_files.py"
POSTGRES = "tests/database/test_dump_postgres.py tests/database/test_dump_untrusted.py"
SQLITE = "tests/database/test_dump_sqlite.py"
CODES = "tests/database/test_dump_exit_codes.py"
TEXT = "tests/unit/test_database_dump_text.py"

_DUMP, _TEXT, _WORDS, _STREAM = (f"database/backup/{name}.py" for name in ("dump", "dump_text", "statements", "stream"))
_DRIVER, _PSQL, _PROGRAMS, _FILE, _LEFT = (
    "database/postgres/restore/by_driver.py",
    "database/postgres/restore/by_psql.py",
    "database/postgres/programs.py",
    "database/sqlite/restore.py",
    "database/sqlite/leftovers.py",
)

# What is missing, where, the line, what stands there instead, and which tests must notice.
BACKUP = [
    Mutant(f"backup: {name}", file, line, broken, tests)
    for name, file, line, broken, tests in [
        # -- the file
        ("directory", _DUMP, "if stat.S_ISDIR(status.st_mode):", "if False:", f"{FILES} -k directory"),
        ("pipe", _DUMP, "if not stat.S_ISREG(status.st_mode):", "if False:", f"{FILES} -k pipe"),
        ("magic bytes", _DUMP, "if extension in _MAGIC and not head.startswith(_MAGIC[extension]):", "if False:", f"{FILES} -k name_says"),
        ("foreign formats", _DUMP, "    if found := _foreign(piece, path):", "    if (found := _foreign(piece, path)) and False:", f"{FILES} -k name_says"),
        ("HTML", _DUMP, "if piece.lstrip()[:16].lower().startswith(_HTML):", "if False:", f"{FILES} -k name_says"),
        ("NUL", _DUMP, 'if b"\\0" in piece:', "if False:", f"{FILES} -k name_says"),
        ("empty", _DUMP, "    if not first.length:", "    if False:", f"{FILES} -k name_says"),
        ("limit", _DUMP, "            if self.length > self._limit:", "            if False:", f"{FILES} -k bomb_is_stopped"),
        ("ratio", _DUMP, "size_limit or max(_ALWAYS_ALLOWED, _ALLOWED_RATIO * status.st_size)", "size_limit or 1 << 60", f"{FILES} -k 'by_its_size'"),
        ("option", _DUMP, "str(path.absolute())]", "path.name]", f"{FILES} -k never_an_option"),
        ("secrets of children", _DUMP, "if name in _FOR_CHILDREN or name.startswith(\"LC_\")}", "}", f"{FILES} -k inherits_no_secret"),
        ("exit code of the unpacker", _DUMP, "        if code:\n            raise RestoreError(\n                f\"migrate_cat_command failed", "        if False:\n            raise RestoreError(\n                f\"migrate_cat_command failed", f"{FILES} -k command_that_fails"),
        ("silent unpacker", _DUMP, "        watch.start()", "        pass", f"{FILES} -k silent_command"),
        ("stale siblings", _DUMP, "for candidate in (configured, *siblings):", "for candidate in (*siblings, configured):", f"{FILES} -k stale"),
        ("configured and absent", _DUMP, "    if is_default:\n", "    if True:\n", f"{FILES} -k absent_is_an_error"),
        ("memory of xz", _DUMP, "        self._machine = lzma.LZMADecompressor(memlimit=_MEMORY_OF_XZ)\n\n", "        self._machine = lzma.LZMADecompressor()\n\n", f"{FILES} -k memory_that"),
        # -- the second reading
        ("same file", _STREAM, "same = identity_of(dump.path) == dump.identity", "same = True", f"{FILES} -k became_a_pipe"),
        ("same text", _STREAM, "if (length, checksum) != (dump.length, dump.checksum):", "if False:", f"{POSTGRES} -k changes_after"),
        ("judged again", _STREAM, "        if reader.faults:\n            raise", "        if False:\n            raise", f"{FILES} -k judged_again"),
        ("nothing after a fault", _STREAM, "            if reader.faults:\n                break", "            if False:\n                break", f"{FILES} -k judged_again"),
        # -- the text
        ("bare CR", _TEXT, '            case "return":', '            case "never":', f"{TEXT} -k named_with_its_line"),
        ("number with a quote", _TEXT, "if text.endswith(b\"'\"):", "if False:", f"{TEXT} -k named_with_its_line"),
        ("commands of psql", _TEXT, "        elif not self._trusted:\n            self._fault(", "        elif False:\n            self._fault(", f"{TEXT} -k named_with_its_line"),
        ("leaves the transaction", _TEXT, 'if name in {"\\\\c", "\\\\connect"}:', "if False:", f"{TEXT} -k trusted_dump_may_hold"),
        ("length of a statement", _TEXT, "if self._kept_bytes > LONGEST_STATEMENT:", "if False:", f"{TEXT} -k memory"),
        ("cut inside", _TEXT, 'if self._mode and self._mode not in {"a remark", "a command"}:', "if False:", f"{TEXT} -k cut"),
        ("cut in a statement", _TEXT, "        elif self._start >= 0:", "        elif False:", f"{TEXT} -k cut"),
        ("cut in a transaction", _TEXT, "        elif self._own_begin:", "        elif False:", f"{TEXT} -k 'cut or own or named'"),
        ("trailer", _TEXT, "        elif self._needs_trailer:", "        elif False:", f"{TEXT} -k cut"),
        ("no statement", _TEXT, "        elif not self._statements:", "        elif False:", f"{TEXT} -k cut"),
        ("after a COPY", _TEXT, "if self._buffer[self._position : end or len(self._buffer)].strip():", "if False:", f"{TEXT} -k named_with_its_line"),
        ("continued escape string", _TEXT, '"escape" if goes_on and kind == "string" else kind', "kind", TEXT),
        # -- the words
        ("breaks the transaction", _WORDS, "if _BREAKS_TRANSACTION.match(head) and not self.is_own_transaction() and not _HARMLESS.match(head):", "if False:", f"{TEXT} -k named_with_its_line"),
        ("whole databases", _WORDS, "elif _WHOLE_DATABASE.match(head):", "elif False:", f"{TEXT} -k named_with_its_line"),
        ("files of the server", _WORDS, 'elif head.startswith("COPY") and not self.copies_in() and not trusted:', "elif False:", f"{TEXT} -k named_with_its_line"),
        ("a table named stdin", _WORDS, 'self._copy_partner == "FROM STDIN"', "True", f"{TEXT}"),
        ("strings read otherwise", _WORDS, 'if name == "standard_conforming_strings" and value.lower() not in _AS_THE_STANDARD_SAYS:', "if False:", f"{TEXT} -k named_with_its_line"),
        ("encodings read otherwise", _WORDS, 'elif name == "client_encoding" and is_client_only(value):', "elif False:", f"{TEXT} -k named_with_its_line"),
        ("rows that nobody wants", _WORDS, "        elif not trusted and (", "        elif False and (", f"{TEXT} -k refused"),
        # -- through the driver
        ("work lock", _DRIVER, "        if not ours:", "        if False:", f"{POSTGRES} -k work_of_another_run"),
        ("empty, through the driver", _DRIVER, "        if relations:\n            raise not_empty", "        if False:\n            raise not_empty", f"{POSTGRES} -k filled_meanwhile"),
        ("guard at COMMIT", _DRIVER, 'f"INSERT INTO {table} VALUES (1), (1)",', "", f"{POSTGRES} -k does_not_see"),
        ("status after each statement", _DRIVER, "if info.transaction_status != pg.TRANSACTION_STATUS_INTRANS:", "if False:", f"{POSTGRES} -k does_not_see"),
        ("settings after each statement", _DRIVER, 'if info.parameter_status("standard_conforming_strings") != "on" or is_client_only(encoding):', "if False:", f"{POSTGRES} -k hostile_dump"),
        ("transaction before COMMIT", _DRIVER, "        if transaction != self._transaction:", "        if False:", f"{POSTGRES} -k does_not_see"),
        ("ledger before COMMIT", _DRIVER, "        if not there:\n            raise no_ledger", "        if False:\n            raise no_ledger", f"{POSTGRES} -k without_the_ledger"),
        ("role at the end", _DRIVER, 'self._ask("RESET SESSION AUTHORIZATION")', "pass", f"{POSTGRES} -k change_its_role"),
        ("settings at the end", _DRIVER, 'self._ask("RESET ALL")', "pass", f"{POSTGRES} -k session_is_undone"),
        ("timeouts", _DRIVER, '    "statement_timeout": "0",\n', "", f"{POSTGRES} -k timeouts_of_the_role"),
        ("data that was not taken", _DRIVER, "        if not data.ended:", "        if False:", f"{POSTGRES} -k does_not_take"),
        ("COMMIT without an answer", _DRIVER, "            if self._committing:\n                return CommitUnknown()", "            if False:\n                return CommitUnknown()", f"{POSTGRES} -k lost_during_the_commit"),
        ("look before the word", _DRIVER, "        if not relations:\n            return", "        if True:\n            return", f"{POSTGRES} -k does_not_see"),
        ("look by a new connection", "database/postgres/backend.py", 'connection = self._sessions.open("look")', "connection = self._keeper", f"{POSTGRES} -k connection_of_its_own"),
        # -- through psql
        ("psql only if trusted", _TEXT, "        self.needs_psql = True", "        pass", f"{POSTGRES} -k trusted_command"),
        ("empty, for psql", _PSQL, 'f"EXISTS ({USER_RELATIONS})"', '"false"', f"{POSTGRES} -k empty_database_only"),
        ("guard, for psql", _PSQL, "        *guarded(guard),\n", "", f"{POSTGRES} -k 'trusted'"),
        ("old psql", _PSQL, "    if not _is_sound(version):\n        observer(", "    if False:\n        observer(", f"{POSTGRES} -k obey_data"),
        ("ledger, for psql", _PSQL, "_fail_if(there, _MISSING_LEDGER), ", "", f"{POSTGRES} -k 'trusted or ledger'"),
        ("environment of psql", _PROGRAMS, 'if not name.startswith("PG")}', "}", f"{POSTGRES} -k connected_as_we_are"),
        ("line ends in a service file", _PROGRAMS, 'if any("\\n" in value or value != value.strip() for value in said.values()):', "if False:", f"{POSTGRES} -k service_file"),
        # -- SQLite
        ("authorizer", _FILE, "    database.set_authorizer(_authorizer(functions, refused))", "    pass", f"{SQLITE} -k hostile"),
        ("pages", _FILE, '    database.execute(f"PRAGMA max_page_count = {limit}").close()', "    pass", f"{SQLITE} -k outgrows"),
        ("refused functions", _FILE, "} - _REFUSED_FUNCTIONS", "}", f"{SQLITE} -k hostile"),
        ("memory of SQLite", _FILE, " or _is_modest(name, second)", " or name in {'temp_store', 'cache_size'}", f"{SQLITE} -k hostile"),
        ("dot commands", _FILE, '        if statement.startswith("."):', "        if False:", f"{SQLITE} -k 'fails or hostile'"),
        ("integrity", _FILE, '    if verdict != "ok":', "    if False:", f"{SQLITE} -k damaged"),
        ("ledger, SQLite", _FILE, "    if not database.execute(query, (ledger,)).fetchone()[0]:", "    if False:", f"{SQLITE} -k fails"),
        ("open transaction", _FILE, "    if database.in_transaction:\n        raise", "    if False:\n        raise", f"{SQLITE} -k fails"),
        ("empty, SQLite", _FILE, "            if relations:\n                raise not_empty", "            if False:\n                raise not_empty", f"{SQLITE} -k filled_meanwhile"),
        ("changed meanwhile", _FILE, "            if begun[0] != before:", "            if False:", f"{SQLITE} -k between_the_proof"),
        ("busy for ever", _FILE, "            if time.monotonic() > deadline:", "            if False:", f"{SQLITE} -k without_end"),
        ("interrupted", _FILE, "    with interruption.stopping(fresh.interrupt):\n        yield", "    yield", f"{SQLITE} -k endless"),
        ("leftovers of others", _LEFT, "if entry.stat(follow_symlinks=False).st_uid == os.geteuid():", "if True:", f"{SQLITE} -k left_is_his"),
    ]
]  # fmt: skip
