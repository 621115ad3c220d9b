"""Write the parts of the documentation that are made from the code: run it with `make docs`."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import api_page
import gallery

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "migrate_graph"

REGION = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def sentence_of(module: Path) -> str:
    """Return the first line of a module's docstring."""
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def tree_lines(directory: Path, indent: str = "") -> Iterator[str]:
    """Draw a package: its front door first, then modules and rooms by name, each with its sentence."""
    modules = [path for path in directory.glob("*.py") if path.name != "__init__.py"]
    rooms = [path for path in directory.iterdir() if (path / "__init__.py").exists()]
    entries = sorted([*modules, *rooms], key=lambda path: (path.is_dir(), path.name))
    for number, entry in enumerate(entries):
        last = number == len(entries) - 1
        branch, deeper = ("└── ", "    ") if last else ("├── ", "│   ")
        name, module = (f"{entry.name}/", entry / "__init__.py") if entry.is_dir() else (entry.name, entry)
        yield f"{indent + branch + name:<32}{sentence_of(module)}"
        if entry.is_dir():
            yield from tree_lines(entry, indent + deeper)


def tree() -> str:
    """Return the package as a tree."""
    lines = [f"{'migrate_graph/':<32}{sentence_of(PACKAGE / '__init__.py')}", *tree_lines(PACKAGE)]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def stairs() -> str:
    """Return the layers of the import contract."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = settings["tool"]["importlinter"]["contracts"][0]
    return "```text\n" + "\n↓\n".join(contract["layers"]) + "\n```\n"


def contracts() -> str:
    """Return the names of all import contracts."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return "".join(f"- {contract['name']}.\n" for contract in settings["tool"]["importlinter"]["contracts"])


def rules() -> str:
    """Return the pages of all rules as one page."""
    from migrate_graph.core.rules import RULES

    table = [
        f"| [{rule.code}](#{rule.code.lower()}-{rule.name}) | {rule.name} | {rule.severity} | {rule.running or ''} "
        f"| {rule.applied or ''} | {_in_a_bare_migrate(rule)} | {rule.summary} |"
        for rule in RULES.values()
    ]
    # As headings of their own the three parts would fill the table of contents with the same words, over and over.
    pages = [
        f"## {rule.code} {rule.name}\n\n" + re.sub(r"^## (.+)$", r"**\1**", rule.page, flags=re.MULTILINE)
        for rule in RULES.values()
    ]
    return "\n".join(
        [
            "| code | name | severity | plan, apply | applied | bare `migrate` | finds |",
            "|---|---|---|---|---|---|---|",
            *table,
            "",
            "\n\n".join(pages),
            "",
        ]
    )


def _in_a_bare_migrate(rule: Any) -> str:
    """Return how bad a rule's finding is where projects of edwh-migrate run, if that is another thing than in `apply`."""
    words = {"opened": ", unless a pending migration opens it", "affected": ", unless something pending affects it"}
    return "".join(f"{severity} ({kind}s){words.get(rule.unless, '')}" for kind, severity in rule.compatible.items())


def parameters(command: Any, context: Any) -> Iterator[str]:
    """Yield a table of what a command takes."""
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    if records:
        yield "| parameter | meaning |\n|---|---|"
        for usage, meaning in records:
            # Within a table a bar ends the cell, also inside of code.
            cells = [text.replace("|", "\\|") for text in (usage, " ".join(meaning.split()))]
            yield f"| `{cells[0]}` | {cells[1]} |"


def cli() -> str:
    """Return every command with what it takes."""
    from migrate_graph.cli.program import every_command

    parts = []
    for path, command in every_command():
        context = command.context_class(command, info_name=path)
        usage = " ".join([path, *command.collect_usage_pieces(context)]).replace("{", "").replace("}", "")
        text = inspect.cleandoc(command.help or "").replace("\b\n", "")
        examples = [line.strip() for line in (command.epilog or "").splitlines() if line.startswith("  ")]
        parts.append(f"## {path}\n\n```text\n{usage}\n```\n\n{text}")
        parts.append("\n".join(["```sh", *examples, "```"]))
        parts.append("\n".join(parameters(command, context)))
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """Return every setting with its default and its variables."""
    from migrate_graph.config import Config

    lines = ["| setting | in the environment | default | meaning |", "|---|---|---|---|"]
    for setting in Config.settings():
        variables = ", ".join(f"`{variable}`" for variable in setting.variables)
        default = (
            ""
            if setting.default in (None, "", ()) or setting.name == "migrate_uri"
            else f"`{str(setting.default).lower() if isinstance(setting.default, bool) else setting.default}`"
        )
        lines.append(f"| `{setting.name}` | {variables} | {default} | {setting.help} ({setting.expected}) |")
    return "\n".join(lines) + "\n"


def changelog() -> str:
    """Return what changed in each version, with links as this site has them."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    return text.partition("\n")[2].strip().replace("](docs/", "](").replace("](SECURITY.md)", "](security.md)") + "\n"


def security() -> str:
    """Return what is promised about security, with links as this site has them."""
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    return text.partition("\n")[2].strip().replace("](docs/", "](").replace("](CHANGELOG.md)", "](changelog.md)") + "\n"


REGIONS: dict[str, Callable[[], str]] = {
    "tree": tree,
    "contracts": contracts,
    "stairs": stairs,
    "rules": rules,
    "cli": cli,
    "settings": settings,
    "api": api_page.api,
    "changelog": changelog,
    "security": security,
    "lanes": gallery.lanes,
    "mermaid": gallery.mermaid,
}


def with_regions(page: Path) -> str:
    """Return a hand-written page with its generated regions filled in."""
    made = {name: REGIONS[name]() for _, name, _ in REGION.findall(page.read_text(encoding="utf-8"))}
    # Making takes seconds; read again, so that nobody's edit of the meantime is undone.
    return REGION.sub(lambda match: match[1] + made[match[2]] + match[3], page.read_text(encoding="utf-8"))


def generated() -> Iterator[tuple[Path, str]]:
    """Yield every generated file with what should be in it, one after the other."""
    for page in sorted(DOCS.glob("*.md")):
        yield page, with_regions(page)
    for scene in gallery.SCENES:
        yield DOCS / "pictures" / scene.file, gallery.draw(scene)


def main() -> None:
    """Write what is stale."""
    for path, text in generated():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
