"""The pictures of the gallery: in which project each is taken, and by which command."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Scene:
    """A picture of the gallery, made as a reader would make it: by commands, in a project.

    Attributes:
        file: what the last command writes.
        project: writes the project into a directory.
        commands: what is typed; only the last one is shown.
    """

    file: str
    project: Callable[[Path], None]
    commands: tuple[str, ...]


def shop(directory: Path) -> None:
    """Copy the example."""
    shutil.copytree(
        ROOT / "examples" / "shop", directory, ignore=shutil.ignore_patterns("__pycache__", "*.db*", "*.svg")
    )


def shop_with_a_ring(directory: Path) -> None:
    """Copy the example and let an early migration wait for a late one."""
    shop(directory)
    orders = directory / "orders.py"
    early = "@migration(requires=create_customers_20260105_004)\ndef create_orders"
    ring = early.replace(
        "create_customers_20260105_004", '[create_customers_20260105_004, "add_due_date_20260406_001"]'
    )
    orders.write_text(replaced(orders.read_text(encoding="utf-8"), early, ring), encoding="utf-8")


def shop_with_a_fault(directory: Path) -> None:
    """Copy the example and let a migration fail."""
    shop(directory)
    billing = directory / "billing.py"
    text = replaced(billing.read_text(encoding="utf-8"), "CREATE TABLE refund", "CREATE TABLE payment")
    billing.write_text(text, encoding="utf-8")


def shop_with_a_change(directory: Path) -> None:
    """Commit the example and change it as a pull request might: a new migration, and an edited one."""
    shop(directory)
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "the shop")):
        who = ("-c", "user.name=shop", "-c", "user.email=shop@example.org", "-c", "commit.gpgsign=false")
        env = {"PATH": os.defpath, "HOME": str(directory)}
        subprocess.run(("git", *who, *words), check=True, cwd=directory, env=env)  # noqa: S603, S607 - words of ours
    orders = directory / "orders.py"
    text = replaced(orders.read_text(encoding="utf-8"), "TYPE VARCHAR(40)", "TYPE VARCHAR(60)")
    text += (
        "\n\n@migration(requires=drop_paper_number_20260330_002)\ndef add_order_channel_20260413_001(db):\n"
        '    db.executesql("ALTER TABLE customer_order ADD COLUMN channel VARCHAR(12)")\n    return True\n'
    )
    orders.write_text(text, encoding="utf-8")


def invoices(directory: Path) -> None:
    """Write the project that the page about views shows."""
    page = (ROOT / "docs" / "views.md").read_text(encoding="utf-8")
    _, _, rest = page.partition('```python title="migrations.py"\n')
    directory.mkdir()
    (directory / "migrations.py").write_text(rest.partition("```")[0], encoding="utf-8")
    settings = '[tool.migrate]\nmigrate_uri = "sqlite://shop.db"\nweave = "windows"\n'
    (directory / "pyproject.toml").write_text(settings, encoding="utf-8")


def replaced(text: str, old: str, new: str) -> str:
    """Replace what must be there."""
    if old not in text:
        message = f"the example no longer holds {old!r}"
        raise ValueError(message)
    return text.replace(old, new)


def grown(number: int) -> Callable[[Path], None]:
    """Return what writes a project of many migrations in six files, as ten years leave it behind."""

    def write(directory: Path) -> None:
        directory.mkdir()
        chance = random.Random(number)  # noqa: S311 - the same picture every time
        modules = ("core", "stock", "orders", "billing", "shipping", "reports")
        texts = dict.fromkeys(modules, "from migrate_graph import migration\n")
        names: list[tuple[str, str]] = []
        for each in range(number):
            module = chance.choice(modules)
            near = [name for name, home in names[-60:] if home == module][-3:]
            # Files build upon those before them, as they do where people keep their house in order.
            far = [name for name, home in names[-40:] if modules.index(home) < modules.index(module)]
            needed = {
                *chance.sample(near, min(len(near), 1)),
                *(chance.sample(far, 1) if far and chance.random() < 0.3 else ()),
            }
            name = f"{module}_{chance.choice(VERBS)}_{chance.choice(NOUNS)}_{2016 + each * 10 // number}{each % 12 + 1:02}01_{each:04}"
            names.append((name, module))
            texts[module] += f"\n\n@migration(requires={sorted(needed)})\ndef {name}(db):\n    return True\n"
        for module, text in texts.items():
            (directory / f"{module}.py").write_text(text, encoding="utf-8")
        entry = "".join(f"import {module}\n" for module in modules)
        (directory / "migrations.py").write_text(entry, encoding="utf-8")
        settings = '[tool.migrate]\nmigrate_uri = "sqlite://grown.db"\nmigration_ordering_mode = "intertwined"\n'
        (directory / "pyproject.toml").write_text(settings, encoding="utf-8")

    return write


def shaped(shape: str) -> Callable[[Path], None]:
    """Return what writes a project in the shape of a real one: its edges, under names of our own."""

    def write(directory: Path) -> None:
        directory.mkdir()
        requires: list[list[int]] = json.loads((ROOT / "docs" / "shapes.json").read_text(encoding="utf-8"))[shape]
        chance = random.Random(shape)  # noqa: S311 - the same picture every time
        names = [
            f"{chance.choice(VERBS)}_{chance.choice(NOUNS)}_{2024 + each * 2 // len(requires)}0101_{each:03}"
            for each in range(len(requires))
        ]
        text = "from migrate_graph import migration\n"
        for name, needed in zip(names, requires, strict=True):
            wanted = [names[each] for each in needed]
            text += f"\n\n@migration(requires={wanted})\ndef {name}(db):\n    return True\n"
        (directory / "migrations.py").write_text(text, encoding="utf-8")
        settings = '[tool.migrate]\nmigrate_uri = "sqlite://shape.db"\nmigration_ordering_mode = "intertwined"\n'
        (directory / "pyproject.toml").write_text(settings, encoding="utf-8")

    return write


def layered(directory: Path) -> None:
    """Write a project of one migration and many views in layers, in the shape of a real one."""
    directory.mkdir()
    uses: list[list[int]] = json.loads((ROOT / "docs" / "shapes.json").read_text(encoding="utf-8"))["layers"]
    chance = random.Random("layers")  # noqa: S311 - the same picture every time
    names = [f"{chance.choice(NOUNS).title()}{chance.choice(KINDS)}{each:02}" for each in range(len(uses))]
    text = "from migrate_graph import ViewMigrationManager, migration\n"
    for name, needed in zip(names, uses, strict=True):
        inside = ", ".join(names[each] for each in needed)
        text += f"\n\nclass {name}(ViewMigrationManager):\n    uses = [{inside}]\n"
        text += "\n    def up(self): ...\n\n    def down(self): ...\n"
    opened = next(name for name, needed in zip(names, uses, strict=True) if not needed)
    text += f"\n\n@migration\ndef widen_source_20260301_001(db):\n    with {opened}(db):\n        return True\n"
    (directory / "migrations.py").write_text(text, encoding="utf-8")
    (directory / "pyproject.toml").write_text('[tool.migrate]\nignore = ["MG210"]\n', encoding="utf-8")


KINDS = ("Daily", "Monthly", "Totals", "History", "Quality")
VERBS = ("create", "add", "widen", "index", "fill", "split", "drop", "rename")
NOUNS = ("customer", "invoice", "parcel", "tariff", "address", "ledger", "account", "batch", "label", "region")
LAST_STEPS = "order_lines_in_cents_20260309_001+"
SCENES = (
    Scene("shop-plan.svg", shop, (f"apply --exclude {LAST_STEPS}", "plan --graph shop-plan.svg")),
    Scene("shop-graph.svg", shop, ("graph -o shop-graph.svg",)),
    Scene("shop-focus.svg", shop, ("graph --focus Dashboard --hops 1 -o shop-focus.svg",)),
    Scene("shop-ring.svg", shop_with_a_ring, ("check --graph shop-ring.svg",)),
    Scene("shop-change.svg", shop_with_a_change, ("check --base HEAD --graph shop-change.svg",)),
    Scene("shop-failed.svg", shop_with_a_fault, ("apply --keep-going", "plan --graph shop-failed.svg")),
    Scene(
        "invoices-before.svg", invoices, ("apply --to create_invoice_20260401_001", "plan --graph invoices-before.svg")
    ),
    Scene("invoices-after.svg", invoices, ("apply", "graph --history -o invoices-after.svg")),
    Scene("eight-plan.svg", grown(8), ("apply --fake --exclude *_000[5-7]", "plan --graph eight-plan.svg")),
    Scene("forty-graph.svg", grown(40), ("graph -o forty-graph.svg",)),
    Scene("hundreds-plan.svg", grown(200), ("apply --fake --exclude *_019?", "plan --graph hundreds-plan.svg")),
    Scene("grown-modules.svg", grown(200), ("graph --group module -o grown-modules.svg",)),
    Scene("grown-plan.svg", grown(1000), ("apply --fake --exclude *_09[6-9]?", "plan --graph grown-plan.svg")),
    Scene("linear-plan.svg", shaped("linear"), ("apply --fake --exclude *_1[01]?", "plan --graph linear-plan.svg")),
    Scene("merges-plan.svg", shaped("merges"), ("apply --fake --exclude *_1[01]?", "plan --graph merges-plan.svg")),
    Scene("wide-graph.svg", shaped("wide"), ("graph --all -o wide-graph.svg",)),
    Scene("layers-graph.svg", layered, ("graph --all -o layers-graph.svg",)),
)


def draw(scene: Scene) -> str:
    """Type the commands of a scene in a directory of its own and give what was drawn."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, scene.file.partition("-")[0])
        scene.project(project)
        for command in scene.commands:
            migrate(command, project)
        return (project / scene.file).read_text(encoding="utf-8")


def migrate(command: str, project: Path) -> str:
    """Run one command; that it finds faults is all right."""
    done = subprocess.run(  # noqa: S603 - the commands stand above
        [sys.executable, "-m", "migrate_graph", *command.split()], check=False, cwd=project, text=True, encoding="utf-8",
        env={"PATH": os.defpath, "HOME": str(project), "PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True,
    )  # fmt: skip
    if done.returncode not in {0, 1, 3}:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


def in_shop(command: str) -> str:
    """Return what a command says in the example."""
    with tempfile.TemporaryDirectory() as scratch:
        project = Path(scratch, "shop")
        shop(project)
        return migrate(command, project).rstrip()


def lanes() -> str:
    """Return the graph of the shop in the terminal."""
    return f"```text\n{in_shop('graph')}\n```\n"


def mermaid() -> str:
    """Return a part of the shop for a pull request."""
    return f"```mermaid\n{in_shop('graph --focus Dashboard --hops 1 --format mermaid')}\n```\n"
