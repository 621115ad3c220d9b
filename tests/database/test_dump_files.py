"""Finding and reading backup files, whatever lies there."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from migrate_graph.core.events import Event, RestoreProgress
from migrate_graph.database.backup.dump import find_dump, verify
from migrate_graph.database.backup.stream import DumpStream
from migrate_graph.errors import ExitCode, RestoreError

SQL = b"CREATE TABLE t (id int);\n"
TAR = b"toc.dat".ljust(257, b"\0") + b"ustar\x0000"


def refused(path: Path, said: str, **options: object) -> RestoreError:
    with pytest.raises(RestoreError, match=said) as caught:
        verify(path, kind="postgres", **options)  # type: ignore[arg-type]
    assert caught.value.exit_code == ExitCode.RESTORE
    assert caught.value.hint
    return caught.value


def test_nothing_there_and_nobody_asked(tmp_path: Path) -> None:
    assert find_dump(tmp_path / "database_to_restore.sql", is_default=True) is None
    assert find_dump(tmp_path / "no" / "such" / "directory.sql", is_default=True) is None


def test_d09_a_configured_backup_that_is_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RestoreError, match=r"backup\.sql does not exist"):
        find_dump(tmp_path / "backup.sql", is_default=False)


@pytest.mark.parametrize("sibling", ["backup.sql", "backup.sql.gz", "backup.gz", "backup.sql.xz", "backup.xz"])
@pytest.mark.parametrize("configured", ["backup.sql", "backup.sql.gz", "backup.xz", "backup"])
def test_a_sibling_is_found_when_the_configured_file_is_absent(tmp_path: Path, configured: str, sibling: str) -> None:
    (tmp_path / sibling).write_bytes(SQL)
    assert find_dump(tmp_path / configured, is_default=False) == tmp_path / sibling


@pytest.mark.parametrize("configured", ["backup.sql.gz", "backup.xz", "backup.zst", "backup"])
def test_d26_a_stale_sibling_is_never_preferred(tmp_path: Path, configured: str) -> None:
    (tmp_path / "backup.sql").write_bytes(SQL)
    (tmp_path / configured).write_bytes(SQL)
    assert find_dump(tmp_path / configured, is_default=False) == tmp_path / configured


def test_other_names_are_no_siblings(tmp_path: Path) -> None:
    (tmp_path / "backup.old.sql").write_bytes(SQL)
    (tmp_path / "backup2.sql").write_bytes(SQL)
    with pytest.raises(RestoreError):
        find_dump(tmp_path / "backup.sql", is_default=False)


def test_a_dangling_link_is_found_and_then_refused(tmp_path: Path) -> None:
    link = tmp_path / "backup.sql"
    link.symlink_to(tmp_path / "gone.sql")
    assert find_dump(link, is_default=True) == link
    refused(link, "cannot be read")


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "b.sql").mkdir()
    refused(tmp_path / "b.sql", "is a directory")


def test_a_directory_of_pg_dump_names_what_reads_it(tmp_path: Path) -> None:
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / "toc.dat").write_bytes(b"PGDMP")
    error = refused(tmp_path / "backup", "is a directory of pg_dump")
    assert error.hint == "turn it into SQL: pg_restore --no-owner -f backup.sql backup"


def test_a_named_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "b.sql")
    refused(tmp_path / "b.sql", "not a regular file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "b.sql"
    path.write_bytes(SQL)
    path.chmod(stat.S_IWUSR)
    refused(path, "cannot be read: Permission denied")


def test_a_file_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root cannot meet by rights: the open itself fails."""
    path = tmp_path / "b.sql"
    path.write_bytes(SQL)
    monkeypatch.setattr(Path, "open", lambda *_a, **_k: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    refused(path, "cannot be read: Permission denied")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("b.sql", b"", "is empty"),
        ("b.sql.gz", gzip.compress(b""), "is empty"),
        ("b.sql", gzip.compress(SQL), "holds gzip data"),
        ("b.sql", b"\xfd7zXZ\x00rest", "holds xz data"),
        ("b.sql", b"\x28\xb5\x2f\xfdrest", "holds zstd data"),
        ("b.sql", b"PGDMP\x01\x0e", "custom-format archive"),
        ("b.sql", b"SQLite format 3\x00", "a SQLite database"),
        ("b.sql", b"PK\x03\x04", "zip archive"),
        ("b.sql", "SELECT 1;".encode("utf-16"), "UTF-16"),
        ("b.gz", SQL, "is not gzip data"),
        ("b.xz", SQL, "is not xz data"),
        ("b.xz", gzip.compress(SQL), "is not xz data"),
        ("b.sql", b"<!DOCTYPE html>\n<html><title>404</title>", "HTML page"),
        ("b.sql", b"\xef\xbb\xbf \n<HTML>", "HTML page"),
        ("b.sql.gz", gzip.compress(b"<html>"), "HTML page"),
        ("b.sql", b"SELECT 1;\n\x00\n", "NUL bytes"),
        ("b.zst", b"\x28\xb5\x2f\xfd", "unknown extension '.zst'"),
        ("b.dump", b"PGDMP\x01\x0e", "unknown extension '.dump' and holds a custom-format archive"),
        ("b.sql.bz2", bz2.compress(SQL), "unknown extension '.bz2' and holds bzip2 data"),
        ("b.sql", bz2.compress(SQL), "holds bzip2 data"),
        ("b.tar", TAR, "unknown extension '.tar' and holds a tar archive"),
        ("b.sql", TAR, "holds a tar archive"),
        ("b.gz", gzip.compress(TAR), "holds a tar archive"),
        ("b", SQL, "unknown extension ''"),
        ("b.gz", gzip.compress(SQL) + b"garbage", "damaged or cut off"),
        ("b.gz", gzip.compress(SQL)[:-8] + b"\0" * 8, "damaged or cut off"),
    ],
)
def test_what_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, said)


def test_a_gzip_bomb_is_stopped_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "b.sql.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(200):
            file.write(b"-- " + b"x" * (1 << 20) + b"\n")
    assert path.stat().st_size < 1 << 20
    refused(path, r"unpacks to more than 10000000 bytes", size_limit=10_000_000)


def test_the_limit_itself_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "b.sql"
    path.write_bytes(SQL)
    assert verify(path, kind="postgres", size_limit=len(SQL)).length == len(SQL)


@pytest.mark.skipif(not shutil.which("zstd"), reason="no zstd on this machine")
def test_d26_the_documented_command_for_zstd_works(tmp_path: Path) -> None:
    path = tmp_path / "it's a backup.sql.zst"
    plain = tmp_path / "plain.sql"
    plain.write_bytes(SQL)
    assert os.spawnlp(os.P_WAIT, "zstd", "zstd", "-q", str(plain), "-o", str(path)) == 0
    dump = verify(path, kind="postgres", cat_command="zstd -dc")
    assert (dump.length, dump.cat_command) == (len(SQL), "zstd -dc")
    path.write_bytes(path.read_bytes()[:-3])
    refused(path, "migrate_cat_command failed on .* with exit code", cat_command="zstd -dc")


def test_a_command_for_any_extension(tmp_path: Path) -> None:
    path = tmp_path / "b.dump"
    path.write_bytes(SQL)
    assert verify(path, kind="postgres", cat_command="cat --").length == len(SQL)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("no-such-program-here", "does not start: 'no-such-program-here': No such file"),
        ("sh -c 'cat \"$0\"; echo password=hunter2hunter2 >&2; exit 3'", r"exit code 3: password=\*\*\*"),
        ("sh -c 'kill -9 $$'", "exit code -9"),
        ("sh -c 'unbalanced", "cannot be read"),
        ("   ", "unknown extension"),
        ("true", "is empty"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, command: str, said: str) -> None:
    path = tmp_path / "b.dump"
    path.write_bytes(SQL)
    assert "hunter2" not in refused(path, said, cat_command=command).message


def test_a_silent_command_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.database.backup.dump._SILENCE_LIMIT", 0.3)
    path = tmp_path / "b.dump"
    path.write_bytes(SQL)
    refused(path, "exit code -9", cat_command="sh -c 'exec sleep 60'")


def test_a_consumer_that_stops_early_ends_the_command(tmp_path: Path) -> None:
    path = tmp_path / "b.dump"
    path.write_bytes(b"SELECT 1;\n" * 30_000)
    refused(path, "more than 1000000", cat_command="sh -c 'while cat \"$0\"; do :; done'", size_limit=1_000_000)


def test_the_hint_quotes_paths_for_the_shell(tmp_path: Path) -> None:
    path = tmp_path / "a b; rm.dump"
    path.write_bytes(SQL)
    assert f"'{path}'" in refused(path, "exit code 1", cat_command="false").hint


def test_a_command_that_is_silent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate_graph.database.backup.dump._BEAT_EVERY", 0.05)
    path = tmp_path / "b.dump"
    path.write_bytes(SQL)
    told: list[Event] = []
    verify(path, kind="postgres", cat_command="sh -c 'sleep 0.5; cat \"$0\"'", observer=told.append)
    assert [event for event in told if isinstance(event, RestoreProgress) and event.checking and event.size]


def test_a_command_inherits_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MIGRATE_URI", "PGPASSWORD", "REDIS_HOST", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "PYTHONPATH"):
        monkeypatch.setenv(name, "hunter2hunter2")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    path = tmp_path / "b.dump"
    path.write_bytes(SQL)
    witness = tmp_path / "witness"
    verify(path, kind="postgres", cat_command=f"sh -c 'env > {witness}; cat \"$0\"'")
    seen = witness.read_text()
    assert "hunter2" not in seen
    assert "LC_ALL=C.UTF-8" in seen
    assert "PATH=" in seen


@pytest.mark.parametrize("name", ["-rf.zst", "--output=x.zst", "-.zst"])
def test_a_name_is_never_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(SQL)
    assert verify(Path(name), kind="postgres", cat_command="cat").length == len(SQL)
    assert verify(Path(f"./{name}"), kind="postgres", cat_command="cat").length == len(SQL)


@pytest.mark.parametrize(("ratio", "refusal"), [(250, False), (2, True)])
def test_what_a_backup_may_unpack_to_goes_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ratio: int, refusal: bool
) -> None:
    monkeypatch.setattr("migrate_graph.database.backup.dump._ALWAYS_ALLOWED", 1000)
    monkeypatch.setattr("migrate_graph.database.backup.dump._ALLOWED_RATIO", ratio)
    path = tmp_path / "b.sql.gz"
    path.write_bytes(gzip.compress(SQL * 100))
    if refusal:
        error = refused(path, "unpacks to more than")
        assert "restore_size_limit" in error.hint
    assert verify(path, kind="postgres", size_limit=len(SQL) * 100).length == len(SQL) * 100


@pytest.mark.parametrize("line", [b"-- ", b"SELECT '", b"SELECT /*", b"x", b"COPY t FROM stdin;\n", b"SELECT 1;\n"])
def test_a_bomb_costs_little_memory(tmp_path: Path, line: bytes) -> None:
    """Two hundred megabytes without a line end, in a file of two hundred kilobytes: refused, or read, within its limits."""
    path = tmp_path / "b.sql.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(line)
        for _ in range(200):
            file.write(b"x" * (1 << 20))
    program = (
        "import resource, sys; from pathlib import Path; from migrate_graph.database.backup.dump import verify\n"
        "from migrate_graph.errors import RestoreError\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: verify(Path(sys.argv[1]), kind='postgres')\n"
        "except RestoreError as error: print(error, file=sys.stderr)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 400_000, done.stderr  # kilobytes: a statement may be held twice
    assert "line" in done.stderr


def test_the_memory_that_unpacking_takes_is_bounded(tmp_path: Path) -> None:
    """The header of an .xz file says how large its dictionary is, and 4 GiB are allowed."""
    for size, fits in ((64 << 20, True), (256 << 20, False)):
        pack = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": size}])
        path = tmp_path / f"{size}.sql.xz"
        path.write_bytes(pack.compress(b"SELECT 1;\n") + pack.flush())
        if fits:
            assert verify(path, kind="postgres").length == 10
        else:
            with pytest.raises(RestoreError, match="wants more than 128 MiB of memory") as refused:
                verify(path, kind="postgres")
            assert "xz -9" in refused.value.hint


@pytest.mark.parametrize("padding", [b"", b"\0" * 4, b"\0" * (1 << 21)])
def test_streams_of_xz_one_after_another_are_one_text(tmp_path: Path, padding: bytes) -> None:
    path = tmp_path / "b.sql.xz"
    text = b"SELECT 2; -- " + b"x" * 2_000_000 + b"\n"
    path.write_bytes(lzma.compress(b"SELECT 1;\n") + padding + lzma.compress(text) + padding)
    assert verify(path, kind="postgres").length == 10 + len(text)
    path.write_bytes(path.read_bytes().rstrip(b"\0")[:-30])
    with pytest.raises(RestoreError, match="damaged or cut off"):
        verify(path, kind="postgres")
    path.write_bytes(lzma.compress(b"SELECT 1;\n") + b"rubbish")
    with pytest.raises(RestoreError, match="damaged or cut off"):
        verify(path, kind="postgres")


def test_a_file_that_became_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """To open it would wait for somebody who writes."""
    path = tmp_path / "b.sql"
    path.write_bytes(b"SELECT 1;\n")
    dump = verify(path, kind="postgres")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(RestoreError, match="changed while"):
        list(DumpStream(dump, lambda _: None).parts())


def test_what_is_streamed_is_judged_again(tmp_path: Path) -> None:
    """A file that was changed unseen after the first reading: what it forbids now is not handed out."""
    path = tmp_path / "b.sql"
    path.write_bytes(b"SELECT 1;\nSELECT 2;\nSELECT 3;\n")
    dump = verify(path, kind="postgres")
    status = path.stat()
    path.write_bytes(b"SELECT 1;\nROLLBACK;\nSELECT 3;\n")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    taken: list[bytes] = []
    with pytest.raises(RestoreError, match="ROLLBACK"):
        taken.extend(part.text for part in DumpStream(dump, lambda _: None).parts())
    assert taken == [b"SELECT 1;"]
