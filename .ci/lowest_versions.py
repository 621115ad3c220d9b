"""Print the lowest version of everything that a user may install, one `name==version` a line: what `make audit` looks up."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
wanted = [*project["dependencies"], *(each for extra in sorted(extras.keys() - {"dev"}) for each in extras[extra])]
for name, version in sorted({match.groups() for each in wanted if (match := re.match(r"([\w.-]+)>=([\w.]+)", each))}):
    print(f"{name}=={version}")  # noqa: T201 - what it is for
