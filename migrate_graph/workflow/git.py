"""Asks git: the top of the repository, the commit that a revision means, and the files of a commit, without touching the checkout."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from msgspec import Struct

from migrate_graph.errors import UsageError
from migrate_graph.redaction import redact
from migrate_graph.run_program import run_program

_PATIENCE = 120.0
"""Seconds that one git command may take."""

_NO_HOUSEKEEPING = ("-c", "core.fsmonitor=false", "-c", "maintenance.auto=false", "-c", "gc.auto=0")
"""Options of every call: git must not start background processes in the repository, and must not repack it."""

# Variables by which git tells a hook the repository that it runs for (`git rev-parse --local-env-vars`, and others that it
# exports). They are removed, since they would win over the directory that is asked about. GIT_CONFIG_* stays: with it, a user may say
# that a directory is safe.
_OF_A_HOOK = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|PREFIX|COMMON_DIR|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE|IMPLICIT_WORK_TREE"
    r"|GRAFT_FILE|REPLACE_REF_BASE|NO_REPLACE_OBJECTS|SHALLOW_FILE|INTERNAL_SUPER_PREFIX|QUARANTINE_PATH|EXTERNAL_DIFF|\w+_PATHSPECS)"
)

# Suffixes of the files that are copied from the whole repository, as is every pyproject.toml; from the folder of the migrations, every file is copied.
_SOURCES = frozenset({".py", ".sql"})
_TEXTS = _SOURCES | {
    ".pyi",
    ".json",
    ".toml",
    ".yaml",
    ".yml",
    ".csv",
    ".tsv",
    ".txt",
    ".ini",
    ".cfg",
    ".j2",
    ".jinja",
    ".mako",
}


class Commit(Struct, frozen=True):
    """A commit that the project is compared with.

    Attributes:
        id: its hash.
        note: which commit was chosen and why; empty when it is the named one.
    """

    id: str
    note: str = ""


class _Entry(Struct, frozen=True):
    """A file, link or submodule of a commit."""

    mode: str
    id: str
    path: PurePosixPath


class Git:
    """Asks git about the repository that a directory is in.

    Attributes:
        top: the directory where the checkout begins.
    """

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        """Find the repository.

        Raises:
            UsageError: there is no git, or no repository.
        """
        program = shutil.which("git", path=environ.get("PATH"))
        if program is None:
            raise UsageError(
                "a base revision needs git, and git is not installed", hint="install git, or leave --base out"
            )
        self._program = program
        self._directory = directory
        quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
        self._environ = {**{name: text for name, text in environ.items() if not _OF_A_HOOK.fullmatch(name)}, **quiet}
        done = self._run("rev-parse", "--show-toplevel")
        if done.returncode and "GIT_DIR" in environ:  # the repository may be elsewhere: GIT_DIR says where
            self._environ = {**environ, **quiet}
            done = self._run("rev-parse", "--show-toplevel")
        if done.returncode:
            raise _no_repository(directory, done)
        self.top = Path(os.fsdecode(done.stdout.removesuffix(b"\n")))

    def _run(self, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return run_program(  # a revision is never taken for an option, see _id_of()
                [self._program, "-C", str(self._directory), *_NO_HOUSEKEEPING, *words],
                environ=self._environ,
                given=given,
                patience=_PATIENCE,
            )
        except subprocess.TimeoutExpired as error:
            raise UsageError(
                f"git {words[0]} took longer than {_PATIENCE:.0f} s", hint="run it by hand to see why"
            ) from error
        except OSError as error:
            raise UsageError(
                f"git cannot be run ({self._program}): {error.strerror or error}",
                hint=f"try {self._program} --version, and see what ulimit -a allows and df has left; or leave --base out",
            ) from error

    def _asked(self, *words: str, given: bytes = b"") -> bytes:
        done = self._run(*words, given=given)
        if done.returncode:
            raise UsageError(
                f"git {words[0]} failed: {_said(done)}", hint=f"run it by hand: git {words[0]}, or git fsck"
            )
        return done.stdout

    def head(self) -> str:
        """Return the hash of the commit that is checked out; empty when there is none yet."""
        done = self._run("rev-parse", "--verify", "--quiet", "HEAD")
        return done.stdout.decode("ascii", "replace").strip()

    def base(self, revision: str) -> Commit:
        """Return the commit to compare with: where this branch was started from a revision.

        Args:
            revision: `main`: the merge base with HEAD, or `main` itself when there is none. `A...B`: the merge base of these
                two. `A..`: A itself.

        Raises:
            UsageError: git knows no such revision.
        """
        first, dots, second = revision.partition("...")
        if not dots and revision.endswith(".."):
            return Commit(self._id_of(revision.removesuffix("..")))
        named = self._id_of(first or "HEAD")
        head = self._id_of(second or "HEAD")
        done = self._run("merge-base", named, head)
        found = done.stdout.decode("ascii", "replace").strip()
        if done.returncode or not found:
            return Commit(
                named,
                f"no common commit of {first} and {second or 'HEAD'} is known, so {first} itself is compared with",
            )
        return Commit(found, "" if found == named else f"compared with {found[:12]}, where this branch left {first}")

    def _id_of(self, revision: str) -> str:
        done = self._run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        found = done.stdout.decode("ascii", "replace").strip()
        if done.returncode or not found:
            remote, _, branch = revision.partition("/")
            fetch = f"git fetch {remote} {branch}" if branch else f"git fetch origin {revision}"
            raise UsageError(f"git knows no revision '{revision}'", hint=f"a shallow clone may lack it: {fetch}")
        return found

    def renamed_since(self, commit: str) -> dict[PurePosixPath, PurePosixPath]:
        """Return the former paths of Python files that git takes for renamed since a commit, by their present paths.

        The index is compared: to read the checkout would run filters. What is not added yet has not been renamed for git.
        """
        done = self._run(
            *("diff", "--cached", "--name-status", "-z", "--find-renames", "--diff-filter=R", "--no-ext-diff"),
            *("--no-textconv", "--no-relative", commit, "--", ":(top)*.py"),
        )
        words = [PurePosixPath(os.fsdecode(word)) for word in done.stdout.split(b"\0")[:-1]]
        return dict(zip(words[2::3], words[1::3], strict=True))

    @contextmanager
    def files_of(self, commit: str, folder: Path) -> Iterator[Path]:
        """Copy the files that migrations may need, as they are in a commit, into a temporary directory; yield this directory.

        They are read as objects: a checkout would run hooks and filters, and fetch the objects of a partial clone one by one.

        Args:
            commit: hash of the commit.
            folder: folder of the migrations, relative to the top.
        """
        wanted = [entry for entry in self._entries(commit) if _is_wanted(entry, PurePosixPath(folder))]
        self._fetch_missing(commit, {entry.id for entry in wanted if entry.mode != "160000"})
        contents = self._contents([entry.id for entry in wanted if entry.mode != "160000"])
        with _folder_for_copies() as files:
            try:
                for entry in wanted:
                    _write(files, entry, contents, self.top)
            except OSError as error:
                raise _not_copied(error) from error
            yield files

    def _entries(self, commit: str) -> Iterator[_Entry]:
        done = self._asked("ls-tree", "-r", "-z", "--full-tree", commit)
        for line in done.split(b"\0"):
            facts, tab, path = line.partition(b"\t")
            if tab:
                mode, _, identity = facts.decode("ascii").split()
                yield _Entry(mode, identity, PurePosixPath(os.fsdecode(path)))

    def _fetch_missing(self, commit: str, ids: set[str]) -> None:
        """Fetch all objects that a partial clone lacks with one command; git itself would fetch them one by one."""
        done = self._run("config", "--get-regexp", r"^remote\..*\.promisor$", "^(true|yes|on|1)$")
        remote = re.match(rb"remote\.(.*)\.promisor ", done.stdout, re.IGNORECASE)
        if remote is None:
            return
        listed = self._asked("rev-list", "--objects", "--missing=print", "--no-object-names", f"{commit}^{{tree}}")
        missing = ids & {line[1:] for line in listed.decode("ascii", "replace").splitlines() if line.startswith("?")}
        if not missing:
            return
        # Objects that could not be fetched are reported when they are read.
        self._run(
            *("-c", "fetch.negotiationAlgorithm=noop", "fetch", "--quiet", "--no-tags", "--no-write-fetch-head"),
            *("--recurse-submodules=no", "--filter=blob:none", "--stdin", "--end-of-options", os.fsdecode(remote[1])),
            given="".join(f"{identity}\n" for identity in sorted(missing)).encode(),
        )

    def _contents(self, ids: Iterable[str]) -> dict[str, bytes]:
        """Return the contents of objects, by their hashes."""
        unique = list(dict.fromkeys(ids))
        answer = self._asked("cat-file", "--batch", given="".join(f"{identity}\n" for identity in unique).encode())
        contents: dict[str, bytes] = {}
        start = 0
        for identity in unique:
            end = answer.index(b"\n", start)
            words = answer[start:end].split()
            if len(words) != 3:
                raise UsageError(
                    f"git does not find the object {identity} of the base", hint="git fetch, then try again"
                )
            size = int(words[2])
            contents[identity] = answer[end + 1 : end + 1 + size]
            start = end + 1 + size + 1
        return contents


@contextmanager
def _folder_for_copies() -> Iterator[Path]:
    try:
        made = tempfile.TemporaryDirectory(prefix="migrate-base-")
    except OSError as error:
        raise _not_copied(error) from error
    with made as name:
        yield Path(name).resolve()


def _not_copied(error: OSError) -> UsageError:
    return UsageError(
        f"the files of the base revision cannot be copied to {tempfile.gettempdir()}: {error.strerror or error}",
        hint="make room there, or set TMPDIR to another directory",
    )


def _is_wanted(entry: _Entry, folder: PurePosixPath) -> bool:
    if entry.mode == "160000" or entry.path.suffix in _SOURCES or entry.path.name == "pyproject.toml":
        return True
    # The folder of a migrations file at the top is the whole repository; of that only text files are copied.
    return entry.path.is_relative_to(folder) and (folder != PurePosixPath() or entry.path.suffix in _TEXTS)


def _write(files: Path, entry: _Entry, contents: Mapping[str, bytes], top: Path) -> None:
    place = files / entry.path
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode == "160000":  # a submodule: its present checkout is used, as for installed packages
        if (top / entry.path).is_dir():
            place.symlink_to(top / entry.path)
    elif entry.mode == "120000":
        target = Path(os.fsdecode(contents[entry.id]))
        if Path(os.path.normpath(place.parent / target)).is_relative_to(files):
            place.symlink_to(target)
    else:
        place.write_bytes(contents[entry.id])


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return redact(lines[0]) if lines else "git does not say why"


def _no_repository(directory: Path, done: subprocess.CompletedProcess[bytes]) -> UsageError:
    said = done.stderr.decode(errors="replace")
    if found := re.search(r"git config --global --add safe\.directory (.+)", said):
        return UsageError(
            f"{directory} is in a repository of another user, which git does not read: {_said(done)}",
            hint=f"if you trust it: git config --global --add safe.directory {found[1].strip()}",
        )
    return UsageError(
        f"{directory} is not in a git repository: {_said(done)}",
        hint="--base compares with a revision of the repository that the migrations are in",
    )
