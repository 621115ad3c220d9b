"""Look up known advisories about what a user may install: the lowest versions that pyproject.toml allows, and those of today.

Ends with 0 (none is known), 1 (some are), 2 (something has no lowest version) or 3 (no service gave any data, so that nothing is known).
`--bounds` only prints the lowest versions, one `name==version` a line.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SERVICES = ("pypi", "osv", "esms")
CANARY = "requests==2.19.0"
"""Has an advisory since 2018 (CVE-2018-18074): a service that knows none has no data for us, whatever it says of the others."""

NONE, SOME, UNBOUND, UNKNOWN = 0, 1, 2, 3


def lowest_versions(pyproject: Path) -> dict[str, str]:
    """Return the lowest version of everything that a user may install; empty where none is said.

    Args:
        pyproject: the project's settings.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(each for extra in extras.keys() - {"dev"} for each in extras[extra])]
    found = {}
    for each in wanted:
        name, bound = re.fullmatch(r"([\w.-]+)(?:\[[^\]]*\])?(?:\s*>=\s*([\w.]+))?.*", each).groups()  # type: ignore[union-attr]
        if name != project["name"]:  # an extra made of others
            found[name] = bound or ""
    return dict(sorted(found.items()))


def look_up(program: str, service: str, *what: str) -> list[dict[str, Any]]:
    """Return what a service says of each package; empty when it does not answer.

    Args:
        program: pip-audit.
        service: its name for pip-audit.
        what: arguments that tell what is looked up.
    """
    words = [program, "--vulnerability-service", service, "--format", "json", "--progress-spinner", "off", *what]
    try:
        ran = subprocess.run(words, check=False, capture_output=True, text=True, timeout=600, cwd=ROOT)  # noqa: S603 - a fixed command
        found: list[dict[str, Any]] = json.loads(ran.stdout)["dependencies"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []
    return found


def _of_requirements(program: str, service: str, lines: list[str]) -> list[dict[str, Any]]:
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(lines))
        file.flush()
        return look_up(program, service, "--no-deps", "--disable-pip", "--requirement", file.name)


def service_with_data(program: str) -> str:
    """Return the first service that knows what everybody knows; empty without one."""
    for service in SERVICES:
        if any(each.get("vulns") for each in _of_requirements(program, service, [CANARY])):
            return service
    return ""


def audit(program: str, bounds: dict[str, str]) -> tuple[int, list[str]]:
    """Return the exit code and what is to be said.

    Args:
        program: pip-audit.
        bounds: lowest versions by name.
    """
    unbound = [name for name, version in bounds.items() if not version]
    if unbound:
        return UNBOUND, [f"without a lowest version in pyproject.toml: {', '.join(unbound)}"]
    service = service_with_data(program)
    if not service:
        return UNKNOWN, [
            f"no advisory data can be reached from here ({', '.join(SERVICES)}): nothing is known of any version"
        ]
    lowest = _of_requirements(program, service, [f"{name}=={version}" for name, version in bounds.items()])
    looked_up = {"lowest": lowest, "of today": look_up(program, service, ".")}
    told, known, code = [], 0, NONE
    for which, packages in looked_up.items():
        if not packages:
            told.append(f"{which}: could not be looked up")
            code = code or UNKNOWN
        for each in packages:
            name = f"{which}: {each['name']} {each.get('version', '')}".rstrip()
            if "skip_reason" in each:
                told.append(f"{name}: not looked up: {each['skip_reason']}")
                code = code or UNKNOWN
            known += not each.get("skip_reason")
            for one in each.get("vulns", ()):
                told.append(f"{name}: {one['id']}, mended in {', '.join(one.get('fix_versions', ())) or 'no version'}")
                code = SOME
    return code, [*told, f"{known} versions looked up at {service}"]


def main(words: list[str]) -> int:
    """Run it."""
    bounds = lowest_versions(ROOT / "pyproject.toml")
    if words == ["--bounds"]:
        print(*(f"{name}=={version}" for name, version in bounds.items()), sep="\n")  # noqa: T201 - what it is for
        return NONE
    code, told = audit(str(Path(sys.executable).with_name("pip-audit")), bounds)
    print(*told, sep="\n")  # noqa: T201 - as above
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
