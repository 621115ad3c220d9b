"""Write code for people: a first project, a new migration, a new view; nothing is ever overwritten."""

from __future__ import annotations

import ast
import io
import keyword
import re
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path

from msgspec import Struct

from migrate_graph.authoring.sql_view import relation_name
from migrate_graph.config.pyproject import no_toml
from migrate_graph.core.model import Migration, View, sequence_of
from migrate_graph.core.uses import as_written
from migrate_graph.errors import UsageError
from migrate_graph.workflow.plan import write_file
from migrate_graph.workflow.project import Project, unknown_name
from migrate_graph.workflow.user_text import UserText

LEAVES = "leaves"
"""The word in `--requires leaves`: it stands for all migrations that no other one requires."""

_FIRST_FILE = '''\
"""What this database goes through, one step at a time.

Every step is a function under `@migration`; it changes the database and returns True.
`migrate new create_customers` appends one, `migrate check` judges them all.
"""
'''


class Written(Struct, frozen=True):
    """What a command wrote.

    Attributes:
        path: the file.
        line: where the new text begins.
        names: what was declared there.
    """

    path: Path
    line: int
    names: tuple[str, ...] = ()


# -- init ------------------------------------------------------------------------------------------------------------


def init(root: Path) -> tuple[Written, ...]:
    """Write `[tool.migrate]` into pyproject.toml and a first migrations.py; when the settings exist already, only the latter.

    Raises:
        UsageError: the migrations file exists already; nothing was written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    pyproject, migrations = root / "pyproject.toml", root / "migrations.py"
    again = "correct it, then run migrate init again"
    written = UserText.of(pyproject.read_bytes() if pyproject.exists() else b"", name=pyproject.name, encoding="utf-8")
    try:
        document = tomlkit.parse(written.text)
    except TOMLKitError as error:
        raise UsageError(no_toml(error, written.text, pyproject.name).message, hint=again) from error
    tool = document.get("tool", {})
    if not isinstance(tool, dict):
        raise UsageError(f"'tool' in {pyproject.name} is not a table", hint=again)
    if "migrate" in tool:
        return (_first_file(root, tool["migrate"]),)
    if migrations.exists():
        raise UsageError(f"{migrations.name} exists already", hint="migrate new NAME appends to it")
    section = (
        "[tool.migrate]\n"
        f'migrations_file = "{migrations.name}"\n'
        'weave = "windows"  # views are created and dropped automatically, by the migrations that they name\n'
        "# The database belongs into the environment or .env: MIGRATE_URI=postgres://user:password@host/database\n"
    )
    # Appended as text, so that every byte of the file stays; then parsed again, because `tool` may be an inline table.
    gap = "\n" * (2 - written.text.endswith("\n")) if written.text.strip() else ""
    joined = written.text + written.lines_of(gap + section)
    try:
        tomlkit.parse(joined)
    except TOMLKitError as error:
        hint = f"add it by hand: {section.splitlines()[1]}"
        raise UsageError(f"[tool.migrate] cannot be appended to {pyproject.name}: {error}", hint=hint) from error
    write_file(migrations, _FIRST_FILE.encode())
    write_file(pyproject, written.encoded(joined))
    return Written(pyproject, joined[: joined.index("[tool.migrate]")].count("\n") + 1), Written(migrations, 1)


def _first_file(root: Path, section: object) -> Written:
    """Write the migrations file that the settings name."""
    named = section.get("migrations_file", section.get("migrations-file")) if isinstance(section, dict) else None
    file = root / str(named or "migrations.py")
    file = file / "migrations.py" if file.is_dir() else file
    if file.exists():
        raise UsageError(
            "there is a project here already", hint="migrate new NAME appends to it, migrate config shows its settings"
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    write_file(file, _FIRST_FILE.encode())
    return Written(file, 1)


# -- new -------------------------------------------------------------------------------------------------------------


# Invalid on purpose: every database refuses this text, so a body that was forgotten fails and is never recorded.
_BODY = '    db.executesql("TODO: the SQL of this step")\n'


def new(
    project: Project, name: str, *, requires: Sequence[str] = (), view: bool = False, today: date, body: str = _BODY
) -> Written:
    """Append a migration, or a view manager with the migration that creates it, to the migrations file.

    Args:
        project: the project.
        name: name of the migration or the view; without a trailing number, today's next free number is added.
        requires: names of the requirements, or `leaves`; a new view `uses` the views among them.
        view: write a view manager.
        today: the date for the number.
        body: the lines of the migration's body, up to its `return`.

    Raises:
        UsageError: the name is taken or is not a Python name, or a requirement does not exist; nothing was written.
    """
    _require_identifier(name)
    migrations, views = _resolve(project, requires)
    file = _File(project.path / _file_name(project, name, today) if project.path.is_dir() else project.path)
    if view:
        names = _add_view(file, project, name, migrations, uses=views, today=today)
    else:
        if views:
            raise UsageError(
                f"'{views[0].name}' is a view: a migration requires migrations", hint="add --view to write a view"
            )
        names = (_add_migration(file, project, name, migrations, today=today, body=body),)
    return file.save(names)


def _file_name(project: Project, name: str, today: date) -> str:
    """Return the name of a new file in a directory of numbered files: `20260401_001_add_total.py`."""
    full = numbered(name, project.graph.migrations, today)
    first, second = sequence_of(full) or (0, 0)
    stem = re.sub(r"_?\d+(_\d+)?$", "", full)
    return f"{first}_{second:03}_{stem}.py" if second else f"{first}_{stem}.py"


def _require_identifier(name: str) -> None:
    if name.isidentifier() and not keyword.iskeyword(name):
        return
    proposal = re.sub(r"\W+", "_", name.strip()).strip("_").lower()
    proposal = f"m_{proposal}" if not proposal.isidentifier() or keyword.iskeyword(proposal) else proposal
    raise UsageError(f"'{name}' is no name for a Python function", hint=f"migrate new {proposal}")


def _resolve(project: Project, requires: Sequence[str]) -> tuple[list[Migration], list[View]]:
    migrations: dict[str, Migration] = {}
    views: dict[str, View] = {}
    for name in requires:
        if name == LEAVES:
            leaves = (each for each in project.graph.migrations if not project.graph.descendants(each))
            migrations |= {leaf: project.graph.migrations[leaf] for leaf in leaves}
        elif name in project.graph.migrations:
            migrations[name] = project.graph.migrations[name]
        elif name in project.graph.views:
            views[name] = project.graph.views[name]
        else:
            raise unknown_name(project, name)
    return list(migrations.values()), list(views.values())


def numbered(name: str, taken: Iterable[str], today: date) -> str:
    """Return the name with today's next free number; a name that has a number already is returned as it is."""
    if sequence_of(name) is not None:
        return name
    day = int(today.strftime("%Y%m%d"))
    numbers = [found[1] for each in taken if (found := sequence_of(each)) is not None and found[0] == day]
    return f"{name}_{day}_{max(numbers, default=0) + 1:03}"


def _add_migration(
    file: _File, project: Project, name: str, requires: list[Migration], *, today: date, body: str
) -> str:
    full = numbered(name, project.graph.migrations, today)
    _require_free(project, full)
    file.require_import("migrate_graph", "migration")
    file.require_any()
    file.append(
        f"{_decorator([each.name for each in requires])}\n"
        f"def {full}{file.db}:\n"
        f'    """{_sentence(name)}."""\n'
        f"{body}"
        f"    return True\n"
    )
    return full


def _decorator(requires: list[str]) -> str:
    if not requires:
        return "@migration"
    quoted = [f'"{each}"' for each in requires]
    line = f"@migration(requires=[{', '.join(quoted)}])"
    if len(line) <= 88:
        return line
    return "@migration(\n    requires=[\n" + "".join(f"        {each},\n" for each in quoted) + "    ],\n)"


def _sentence(name: str) -> str:
    words = re.sub(r"_\d+(_\d+)?$", "", name).replace("_", " ").strip()
    return words[:1].upper() + words[1:] or "Say what changes, and why"


def _add_view(
    file: _File, project: Project, name: str, requires: list[Migration], *, uses: list[View], today: date
) -> tuple[str, ...]:
    relation = relation_name(name)
    class_name = name if name[:1].isupper() else "".join(part[:1].upper() + part[1:] for part in name.split("_"))
    creator = numbered(f"create_{relation}", project.graph.migrations, today)
    _require_free(project, class_name)
    _require_free(project, creator)
    file.require_import("migrate_graph", "SqlView")
    for each in uses:
        file.require_view(each)
    named = "" if relation_name(class_name) == relation else f'    name = "{relation}"\n'
    used = f"    {as_written([each.name for each in uses], project.graph.views)}\n" if uses else ""
    file.append(
        f"class {class_name}(SqlView):\n"
        f'    """{_sentence(relation)}."""\n\n'
        f"{used}"
        f'    since = "{creator}"\n'
        f"{named}"
        f'    query = "TODO: the SELECT statement"\n'
    )
    # The views that it uses must exist when it is created: so it comes after the migrations that open their windows.
    known = project.graph.migrations
    openers = [known[each.since] for each in uses if each.since is not None and each.since in known]
    first = {each.name: each for each in (*requires, *openers)}
    opens = f"    with {class_name}(db):\n        pass\n"
    body = "" if project.registry.windows else opens  # with windows, the view comes up by itself after this migration
    _add_migration(file, project, creator, list(first.values()), today=today, body=body)
    return class_name, creator


def _require_free(project: Project, name: str) -> None:
    declared = project.graph.migrations.get(name) or project.graph.views.get(name)
    if declared is not None:
        raise UsageError(f"'{name}' exists already", hint="choose another name", source=declared.source)


def module_of(file: str) -> str:
    """Return the name under which a file beside the migrations file is imported."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


class _File:
    """A migrations file that declarations are appended to; its text stays as it is, except that an import may get one more name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.exists() else b""
        self._written = UserText.of_python(content, name=path.name)
        self.tree = ast.parse(content)
        self.added: list[str] = []
        self._wanted: dict[str, set[str]] = {}
        self._imports = [node for node in self.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]

    @property
    def db(self) -> str:
        """The parameters of a body: with type annotations in a file that uses `Any`, and in a new file."""
        return "(db: Any) -> bool" if self._is_typed else "(db)"

    @property
    def _is_typed(self) -> bool:
        return not self._imports or "Any" in self._bound()

    def require_import(self, module: str, name: str) -> None:
        """Import a name unless the file imports or defines it already."""
        if name not in self._bound():
            self._wanted.setdefault(module, set()).add(name)

    def require_any(self) -> None:
        """Import `Any` when the bodies have type annotations."""
        if self._is_typed:
            self.require_import("typing", "Any")

    def require_view(self, view: View) -> None:
        """Import a view's manager unless the file imports or defines it already."""
        self.require_import(module_of(view.module), view.name)

    def append(self, text: str) -> None:
        """Add a declaration at the end of the file."""
        self.added.append(text)

    def save(self, names: tuple[str, ...]) -> Written:
        """Write the file, whole or not at all."""
        lines = io.StringIO(self._written.text, newline="").readlines()  # as Python counts them
        if lines and not lines[-1].endswith(("\n", "\r")):
            lines[-1] += self._written.newline
        missing = {module: wanted for module, wanted in self._wanted.items() if not self._extend(lines, module, wanted)}
        at = self._after_imports()
        fresh = _import_lines(missing, alone=not self._imports, first=at == 0)
        lines[at:at] = [self._written.lines_of(f"{line}\n") for line in fresh]
        while lines and not lines[-1].strip():
            del lines[-1]
        line = len(lines) + 3 if lines else 1
        text = "".join(lines) + self._written.lines_of("\n\n" * bool(lines) + "\n\n".join(self.added))
        write_file(self.path, self._written.encoded(text))
        return Written(self.path, line, names)

    def _bound(self) -> set[str]:
        bound = {alias.asname or alias.name for node in self._imports for alias in node.names}
        return bound | {node.name for node in self.tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}

    def _extend(self, lines: list[str], module: str, names: set[str]) -> bool:
        """Add names to a one-line import of the module; return False when there is none."""
        for node in self._imports:
            if isinstance(node, ast.ImportFrom) and node.module == module and not node.level:
                plain = f"from {module} import {', '.join(alias.name for alias in node.names)}"
                line = lines[node.lineno - 1]
                if line.rstrip("\r\n") == plain:
                    whole = _import_line(module, names | {alias.name for alias in node.names})
                    lines[node.lineno - 1] = whole + line[len(plain) :]
                    return True
        return False

    def _after_imports(self) -> int:
        """Return the number of lines up to the last of the leading imports, or else the module's docstring."""
        end = 0
        for number, node in enumerate(self.tree.body):
            docstring = number == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not docstring and not isinstance(node, ast.Import | ast.ImportFrom):
                break
            end = node.end_lineno or end
        return end


def _import_line(module: str, names: Iterable[str]) -> str:
    ordered = sorted(names, key=lambda name: (not name.isupper(), not name[:1].isupper(), name))
    return f"from {module} import {', '.join(ordered)}"


def _import_lines(wanted: dict[str, set[str]], *, alone: bool, first: bool) -> list[str]:
    """Return the lines of new imports, in the order that isort and ruff want."""
    ordered = sorted(wanted, key=lambda module: (module != "typing", module))
    lines = [_import_line(module, wanted[module]) for module in ordered]
    if alone and len(lines) > 1 and ordered[0] == "typing":
        lines.insert(1, "")
    return ["", *lines] if alone and lines and not first else lines
