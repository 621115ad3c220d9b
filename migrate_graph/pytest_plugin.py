"""The pytest plugin: the project's graph and a migrated database as fixtures, and ready tests that a project switches on."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from migrate_graph.errors import InvalidGraph, LoadError, MigrateGraphError

# pytest imports this module in every project where the package is installed. So the expensive modules are imported when they are used.
if TYPE_CHECKING:
    from migrate_graph.core.events import Result
    from migrate_graph.core.graph import MigrationGraph
    from migrate_graph.database.scratch_database import Scratch, ScratchDatabase
    from migrate_graph.workflow.assessment import Selection
    from migrate_graph.workflow.laboratory.scratch_runs import AppliedToScratch, Rebuilt
    from migrate_graph.workflow.project import Project
    from migrate_graph.workflow.rehearse import Rehearsal

VARIABLE = "MIGRATE_TEST_URI"
"""The variable that names the PostgreSQL server; not MIGRATE_URI, since that names a database that no test may touch."""
SQLITE = "sqlite"
"""The word to give instead of a server to run the tests on SQLite files."""
_NO_SERVER = (
    "the project's database is PostgreSQL ({}), and no server to test on is named: SQLite would show something else\n"
    f"hint: --migrate-uri postgres://user:password@host:port/database, or ${VARIABLE}; --migrate-uri {SQLITE} if that is meant"
)


class Trouble(Exception):  # noqa: N818 - pytest shows only its text
    """A reason why a test fails, as text."""


class Target(Struct, frozen=True):
    """How far a database is migrated.

    Attributes:
        to: run this migration and everything it requires; None runs all migrations.
        before: run everything this migration requires, but not the migration itself.
    """

    to: str | None = None
    before: str | None = None

    def as_selection(self) -> Selection:
        """Return the selection of migrations that the command line would make."""
        from migrate_graph.workflow.assessment import Selection

        if self.before is not None:
            return Selection(to=self.before, exclude=(self.before,))
        return Selection(to=self.to)


class Bench:
    """The project, and the scratch databases of one pytest process. Each target is migrated once, and copied for every further test.

    Attributes:
        told: a text that says on which databases the tests run; empty until a test needs a database.
    """

    told = ""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._templates: dict[Target, ScratchDatabase | Trouble] = {}
        self._opened: Scratch | Trouble | None = None

    @cached_property
    def _directory(self) -> Path:
        return Path(tempfile.mkdtemp(prefix="migrate_graph-"))

    @cached_property
    def project(self) -> Project:
        """The project with its own settings, loaded at first use.

        Raises:
            MigrateGraphError: the project cannot be loaded.
        """
        from migrate_graph.config import load_config
        from migrate_graph.workflow.project import open_project

        root = self._path_of("migrate_graph_root") or self._config.rootpath
        return open_project(load_config(root, os.environ), root=root)

    def _path_of(self, ini: str) -> Path | None:
        value = str(self._config.getini(ini))
        return self._config.rootpath / value if value else None

    @property
    def _scratch(self) -> Scratch:
        if self._opened is None:
            try:
                self._opened = self._open_scratch()
            except Trouble as trouble:
                self._opened = trouble
            # The error is kept: otherwise each of a thousand tests would wait for a server that is down.
            except MigrateGraphError as error:
                self._opened = Trouble(told(error))
        if isinstance(self._opened, Trouble):
            raise self._opened
        return self._opened

    def _open_scratch(self) -> Scratch:
        from migrate_graph.database import is_one_file
        from migrate_graph.database.scratch import open_scratch
        from migrate_graph.redaction import redact_uri

        chosen = str(
            self._config.getoption("migrate_uri")
            or os.environ.get(VARIABLE)
            or self._config.getini("migrate_graph_uri")
        )
        settings = self.project.config
        if not chosen and settings.has_database and not is_one_file(settings.migrate_uri):
            raise Trouble(_NO_SERVER.format(settings.sources["migrate_uri"]))
        uri = "" if chosen.lower() == SQLITE else chosen
        scratch = open_scratch(
            uri, directory=self._directory, schema=settings.search_path, table=settings.migrate_table
        )
        self.told = f"databases of their own on {redact_uri(uri)}" if uri else "SQLite files of their own"
        return scratch

    @contextlib.contextmanager
    def database(self, target: Target) -> Iterator[Project]:
        """Yield the project on a new database, migrated as far as the target says; drop the database afterwards.

        Raises:
            Trouble: a migration failed, or the graph is wrong.
            MigrateGraphError: no database can be created.
        """
        scratch = self._scratch
        made = scratch.copy(self._template(target)) if scratch.can_copy else self._migrated(target)
        try:
            with pointing_at(made):
                yield self._on(made)
        finally:
            scratch.drop(made)

    def _template(self, target: Target) -> ScratchDatabase:
        if target not in self._templates:
            try:
                self._templates[target] = self._migrated(target)
            except Trouble as trouble:
                self._templates[target] = trouble
        found = self._templates[target]
        if isinstance(found, Trouble):
            raise found
        return found

    def _migrated(self, target: Target) -> ScratchDatabase:
        from migrate_graph.workflow.laboratory.scratch_runs import start_from_nothing

        scratch = self._scratch
        made = scratch.create()
        try:
            project = self._on(made)
            with pointing_at(made):
                if self._backup is None:
                    start_from_nothing(project)
                migrate(project, target)
        except BaseException:
            scratch.drop(made)
            raise
        return made

    @property
    def _backup(self) -> Path | None:
        return self._path_of("migrate_graph_backup")

    def _on(self, database: ScratchDatabase) -> Project:
        from migrate_graph.workflow.laboratory.scratch_runs import on_scratch

        return on_scratch(self.project, database, backup=self._backup)

    def close(self) -> None:
        """Drop the databases that were made as templates, and remove the directory of SQLite files."""
        for made in self._templates.values():
            if not isinstance(made, Trouble):
                self._scratch.drop(made)
        if "_directory" in vars(self):
            shutil.rmtree(self._directory, ignore_errors=True)


@contextlib.contextmanager
def pointing_at(database: ScratchDatabase) -> Iterator[None]:
    """Set MIGRATE_URI to the scratch database inside the block: user code that reads the variable must not reach the real database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIGRATE_URI", database.uri)
        patch.delenv("DB_URI", raising=False)
        yield


def migrate(project: Project, target: Target) -> AppliedToScratch:
    """Migrate a scratch database.

    Raises:
        Trouble: a migration failed, or the graph is wrong.
    """
    from migrate_graph.workflow.laboratory.scratch_runs import apply_to_scratch

    done = apply_to_scratch(project, selection=target.as_selection())
    if done.exit_code > 128:
        raise KeyboardInterrupt  # the run has handled the signal, and pytest must stop too
    if done.exit_code:
        raise Trouble(told_run(done))
    return done


# -- words -------------------------------------------------------------------------------------------------------------


def told(error: MigrateGraphError, project: Project | None = None) -> str:
    """Return an error as text, as the command line writes it: place, message, details and hint."""
    from migrate_graph.redaction import printable, redact

    if isinstance(error, InvalidGraph) and project is not None:
        return told_findings(project)
    place = f"{error.source}: " if error.source else ""
    details = error.details.splitlines() if isinstance(error, LoadError) else []
    hints = [f"hint: {line}" for line in error.hint.splitlines()]
    return printable(redact("\n".join([place + error.message, *(f"  {line}" for line in details), *hints])))


def told_findings(project: Project) -> str:
    """Return the findings as `migrate check` prints them; empty if none of them is an error."""
    from migrate_graph.reports.text import to_text
    from migrate_graph.workflow.assessment import assess
    from migrate_graph.workflow.check import report_of
    from migrate_graph.workflow.footprint_file import read_footprints

    found = assess(project, footprints=read_footprints(project))
    return to_text(report_of(found)).rstrip() if found.exit_code else ""


def told_run(done: AppliedToScratch) -> str:
    """Return which migrations failed, and which were not run because of that."""
    from migrate_graph.core.events import Outcome

    failed = [told_result(result) for result in done.results if result.outcome.failed]
    waiting = [r.name for r in done.results if r.outcome in {Outcome.BLOCKED, Outcome.NOT_REACHED}]
    rest = [f"not applied because of that: {', '.join(waiting)}"] if waiting else []
    return "\n\n".join([*failed, *rest]) or f"migrate apply ended with {done.exit_code}"


def told_result(result: Result) -> str:
    """Return where and why one migration failed, and what to do."""
    from migrate_graph.redaction import printable

    place = f" ({result.source})" if result.source else ""
    lines = [f"{result.name}{place}: {result.error}"]
    lines += [f"  {line}" for line in result.traceback.splitlines() if line.strip()]
    lines += [f"hint: {line}" for line in result.hint.splitlines()]
    return printable("\n".join(lines))


def told_rebuilt(rebuilt: Rebuilt) -> str:
    """Return why a view could not be rebuilt, or how the rebuilt view differs from the old one."""
    from migrate_graph.redaction import printable

    if not rebuilt.differences:
        return told_result(rebuilt.result)
    heading = f"after {rebuilt.view.name} ({rebuilt.view.source}) was taken down and brought up again:"
    return printable("\n".join([heading, *(f"  {line}" for each in rebuilt.differences for line in each.splitlines())]))


def or_fail(work: Callable[[], Any], bench: Bench) -> Any:
    """Call `work` and return its result; if the project is at fault, fail the test with a text and without a traceback of this plugin."""
    try:
        return work()
    except Trouble as trouble:
        text = str(trouble)
    except MigrateGraphError as error:
        text = told(error, vars(bench).get("project"))
    pytest.fail(text, pytrace=False)


# -- ready tests -------------------------------------------------------------------------------------------------------


def graph_is_valid(bench: Bench) -> None:
    """`migrate check` finds no error."""
    if text := told_findings(bench.project):
        raise Trouble(text)


def applies_from_scratch(bench: Bench) -> None:
    """Every migration can be applied to an empty database, in the order of the graph."""
    with bench.database(Target()):
        pass


def applies_twice_without_work(bench: Bench) -> None:
    """A second run finds nothing to do."""
    with bench.database(Target()) as project:
        again = migrate(project, Target()).results
    if again:
        names = ", ".join(result.name for result in again)
        raise Trouble(
            f"a second run applied again: {names}\nhint: does a migration write to {project.config.migrate_table}?"
        )


def every_view_is_rebuilt_equal(bench: Bench) -> None:
    """Each living view, taken down and brought up again, is equal to before, and so is everything that reads it."""
    from migrate_graph.workflow.laboratory.scratch_runs import rebuild_views

    with bench.database(Target()) as project:
        rebuilt = rebuild_views(project)
    if not rebuilt:
        pytest.skip("no view lives after the last migration")
    unequal = [told_rebuilt(each) for each in rebuilt if not each.is_equal]
    if unequal:
        raise Trouble("\n\n".join(unequal))


READY: dict[str, Callable[[Bench], None]] = {
    test.__name__: test
    for test in (graph_is_valid, applies_from_scratch, applies_twice_without_work, every_view_is_rebuilt_equal)
}


class ReadyTest(pytest.Item):
    """One ready test."""

    def runtest(self) -> None:
        """Run the ready test."""
        bench = bench_of(self.config)
        or_fail(lambda: READY[self.name](bench), bench)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Return the place and the name that pytest shows in its report."""
        return self.config.rootpath / "migrate_graph", None, self.nodeid


class ReadyTests(pytest.Collector):
    """The ready tests that a project has switched on."""

    def collect(self) -> Iterable[pytest.Item]:
        """Return the tests in the order of `READY`: a simple fault should be reported before those that follow from it."""
        chosen = chosen_tests(self.config)
        return [ReadyTest.from_parent(self, name=name) for name in READY if name in chosen]


def chosen_tests(config: pytest.Config) -> list[str]:
    """Return the names of the ready tests that are switched on.

    Raises:
        pytest.UsageError: there is no ready test of a name.
    """
    names: list[str] = config.getini("migrate_graph_tests")
    unknown = [name for name in names if name != "all" and name not in READY]
    if unknown:
        raise pytest.UsageError(
            f"migrate_graph_tests: there is no {', '.join(unknown)}; use all, or some of: {', '.join(READY)}"
        )
    return list(READY) if "all" in names else names


# -- hooks -------------------------------------------------------------------------------------------------------------

_BENCH = pytest.StashKey[Bench]()
_TOLD = pytest.StashKey[set[str]]()


def bench_of(config: pytest.Config) -> Bench:
    """Return the `Bench` of this pytest process; it is made at first use."""
    if _BENCH not in config.stash:
        config.stash[_BENCH] = Bench(config)
    return config.stash[_BENCH]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and settings of this plugin."""
    group = parser.getgroup("migrate_graph")
    group.addoption(
        "--migrate-uri",
        metavar="URI",
        help=f"a PostgreSQL server to test migrations on, or {SQLITE}; also ${VARIABLE}. Default: SQLite files, "
        "unless the project's database is PostgreSQL.",
    )
    parser.addini(
        "migrate_graph_uri",
        f"migrate_graph: a PostgreSQL server to test on, or {SQLITE}; default: SQLite files",
        default="",
    )
    parser.addini(
        "migrate_graph_root",
        "migrate_graph: the directory of the project's pyproject.toml; default: rootdir",
        default="",
    )
    parser.addini(
        "migrate_graph_backup", "migrate_graph: a backup that a database starts from; default: from nothing", default=""
    )
    parser.addini(
        "migrate_graph_tests",
        f"migrate_graph: ready tests to run: all, or some of {', '.join(READY)}",
        type="args",
        default=[],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker `migrated_to`, and check the setting `migrate_graph_tests`."""
    config.addinivalue_line(
        "markers", "migrated_to(name, before=name): how far the database of `migrated_db` is migrated"
    )
    chosen_tests(config)


# Not in `pytest_unconfigure`: xdist may end a worker before that hook runs.
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Drop the databases, and keep the text on which databases the tests ran, for the summary."""
    bench = session.config.stash.get(_BENCH, None)
    if bench is None:
        return
    bench.close()
    if bench.told:
        session.config.stash.setdefault(_TOLD, set()).add(bench.told)
        getattr(session.config, "workeroutput", {})["migrate_graph"] = bench.told  # a worker of xdist sends it


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from a worker of xdist the text on which databases its tests ran."""
    if text := getattr(node, "workeroutput", {}).get("migrate_graph"):
        node.config.stash.setdefault(_TOLD, set()).add(text)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write into the summary on which databases the tests ran."""
    texts: set[str] = config.stash.get(_TOLD, set[str]())
    for text in sorted(texts):
        terminalreporter.write_line(f"migrate_graph: tests ran on {text}")


# Not `wrapper=True`: pytest loads this plugin wherever the package is installed, and an old pytest does not know that option.
@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Move the ready tests before all others, unless pytest was called with single files only."""
    outcome: Any = yield
    if (
        isinstance(collector, pytest.Session)
        and chosen_tests(collector.config)
        and _asks_for_directories(collector.config)
    ):
        report = outcome.get_result()
        if report.passed:
            report.result.insert(0, ReadyTests.from_parent(collector, name="migrate_graph", nodeid="migrate_graph"))


def _asks_for_directories(config: pytest.Config) -> bool:
    return any((config.invocation_params.dir / argument).is_dir() for argument in config.args)


# -- fixtures ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def migrate_graph_project(pytestconfig: pytest.Config) -> Project:
    """The project with its own settings: `.graph`, `.registry`, `.config`; no database is used."""
    bench = bench_of(pytestconfig)
    project: Project = or_fail(lambda: bench.project, bench)
    return project


@pytest.fixture(scope="session")
def migrate_graph(migrate_graph_project: Project) -> MigrationGraph:
    """The loaded graph: `.migrations`, `.views`, `.order()`, `.ancestors(name)`, `.descendants(name)`, `.edges()`."""
    return migrate_graph_project.graph


@pytest.fixture
def _migrated_project(request: pytest.FixtureRequest) -> Iterator[Project]:
    bench = bench_of(request.config)
    target = _target_of(request.node.get_closest_marker("migrated_to"))
    with contextlib.ExitStack() as stack:
        yield or_fail(lambda: stack.enter_context(bench.database(target)), bench)


def _target_of(mark: pytest.Mark | None) -> Target:
    if mark is None:
        return Target()
    try:
        return Target(*(_name(arg) for arg in mark.args), **{key: _name(value) for key, value in mark.kwargs.items()})
    except TypeError:
        pytest.fail('write @pytest.mark.migrated_to("name") or @pytest.mark.migrated_to(before="name")', pytrace=False)


def _name(migration: Any) -> str:
    return migration if isinstance(migration, str) else str(migration.__name__)


@pytest.fixture
def migrated_uri(_migrated_project: Project) -> str:
    """The URI of a new database for this test, migrated to the end or as far as the marker `migrated_to` says."""
    return _migrated_project.config.migrate_uri


@pytest.fixture
def migrated_db(_migrated_project: Project) -> Iterator[Any]:
    """A connection to a new database for this test, as a pyDAL `DAL` (a `TypeDAL` with `use_typedal`).

    The database is migrated to the end or as far as the marker `migrated_to` says; uncommitted work is rolled back after the test.
    """
    from migrate_graph.database.dal import discard
    from migrate_graph.database.scratch import connect
    from migrate_graph.workflow.project import database_settings

    db = connect(database_settings(_migrated_project.config))
    yield db
    discard(db)


@pytest.fixture
def migrate_to(_migrated_project: Project, migrated_db: Any, pytestconfig: pytest.Config) -> Callable[..., None]:
    """Migrate the database of `migrated_db` further: `migrate_to("name")`, or to the end; the open transaction is committed first."""

    def go_on(name: Any = None, *, before: Any = None) -> None:
        target = Target(*(None if each is None else _name(each) for each in (name, before)))
        migrated_db.commit()  # otherwise the migration would wait for the locks of the test's own transaction
        or_fail(lambda: migrate(_migrated_project, target), bench_of(pytestconfig))

    return go_on


@pytest.fixture
def rehearsal(
    request: pytest.FixtureRequest, _migrated_project: Project, pytestconfig: pytest.Config
) -> Callable[..., Rehearsal]:
    """Try migrations on the database of this test and see what they do: `rehearsal("name").footprints["name"]`; no change is kept.

    Without a name all pending migrations are tried. A failing migration fails the test, unless `check=False` is given. Bodies that do
    something outside the database are refused, unless `allow_outside=True` is given.
    """

    def try_them(name: Any = None, *, before: Any = None, check: bool = True, allow_outside: bool = False) -> Rehearsal:
        target = Target(*(None if each is None else _name(each) for each in (name, before)))
        if "migrated_db" in request.fixturenames:
            # Otherwise the migrations would not see the rows of the test, and would wait for its locks.
            request.getfixturevalue("migrated_db").commit()
        done: Rehearsal = or_fail(
            lambda: _rehearsed(_migrated_project, target, check=check, allow_outside=allow_outside),
            bench_of(pytestconfig),
        )
        return done

    return try_them


def _rehearsed(project: Project, target: Target, *, check: bool, allow_outside: bool) -> Rehearsal:
    """Rehearse in the database of a test, with its rows: in one transaction, or on a copy where the database is a file.

    Raises:
        Trouble: a migration failed, and `check` is set.
    """
    from migrate_graph.core.events import ignore_events
    from migrate_graph.workflow.assessment import assess
    from migrate_graph.workflow.place import Place
    from migrate_graph.workflow.project import read_history
    from migrate_graph.workflow.rehearse import RehearseOptions
    from migrate_graph.workflow.rehearsed import is_file, rehearse_plan

    found = assess(project, read_history(project.config, graph=project.graph), selection=target.as_selection())
    found.refuse_errors(doing="rehearsal")
    options = RehearseOptions(on=Place.CLONE if is_file(found) else Place.HERE, allow_outside=allow_outside)
    _, done = rehearse_plan(found, options, ignore_events)
    if check and done.exit_code:
        failed = [told_result(result) for result in done.results if result.outcome.failed]
        raise Trouble("\n\n".join(failed) or done.cut)
    return done
