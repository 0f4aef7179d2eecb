# The lock, the project file, the code's imports and the licences agree with each other.
from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support.data import PROJECT_ROOT

PROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# the service includes the client by naming the project itself
DIRECT = [Requirement(line) for line in (*EXTRAS["client"], *EXTRAS["service"]) if not line.startswith("rfq-service")]
DEVELOPMENT = [Requirement(line) for line in EXTRAS["dev"]]
LOCK = dict(
    line.split("==")
    for line in (PROJECT_ROOT / "requirements.lock").read_text().splitlines()
    if line and not line.startswith("#")
)
# Words of licence expressions and classifiers that let anybody use the service for anything.
PERMISSIVE = re.compile(
    r"(MIT|Apache|BSD|0BSD|PSF|Python Software Foundation|MPL-2\.0|Mozilla Public License 2\.0|ISC|Zlib|CC0|BSL-1\.0|"
    r"Unlicense|LLVM-exception)",
    re.IGNORECASE,
)
RESTRICTIVE = re.compile(
    r"(GPL|General Public|SSPL|BUSL|Business Source|Commons Clause|Elastic|NonCommercial|CC-BY-NC)", re.IGNORECASE
)


def licence(metadata):
    """The expression if there is one, else the classifiers, else the first line of the licence field."""
    expression = metadata.get("License-Expression")
    if expression:
        return re.split(r"\s+(?:AND|OR|WITH)\s+", expression.replace("(", "").replace(")", ""))
    classifiers = [
        c.rpartition("::")[2].strip() for c in metadata.get_all("Classifier") or [] if c.startswith("License")
    ]
    classifiers = [c for c in classifiers if c not in {"OSI Approved", "DFSG approved"}]
    return classifiers or [(metadata.get("License") or "none").splitlines()[0]]


def closure(requirements):
    todo, seen, names = list(requirements), set(), set()
    while todo:
        requirement = todo.pop()
        names.add(canonicalize_name(requirement.name))
        for extra in {"", *requirement.extras}:
            if (requirement.name, extra) in seen:
                continue
            seen.add((requirement.name, extra))
            for line in importlib.metadata.requires(requirement.name) or []:
                needed = Requirement(line)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    todo.append(needed)
    return names


def without_cuda(names):
    return {name for name in names if not name.startswith(("nvidia-", "cuda-")) and name != "triton"}


def test_lock_is_exactly_what_the_project_needs():
    assert without_cuda(closure([*DIRECT, *DEVELOPMENT])) == {canonicalize_name(name) for name in LOCK}


@pytest.mark.parametrize("requirement", [*DIRECT, *DEVELOPMENT], ids=str)
def test_lock_satisfies_the_project_file(requirement):
    assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)])


def test_environment_is_what_the_lock_says():
    installed = {name: importlib.metadata.version(name).partition("+")[0] for name in LOCK}
    assert installed == LOCK


def test_lock_names_no_build_of_torch():
    assert "+" not in LOCK["torch"]


@pytest.mark.parametrize("name", sorted(LOCK))
def test_licence_is_permissive(name):
    words = licence(importlib.metadata.metadata(name))
    assert all(PERMISSIVE.search(word) for word in words), words
    assert not any(RESTRICTIVE.search(word) for word in words), words


@pytest.mark.parametrize(
    "word", ["GPL-3.0-or-later", "GNU General Public License v2 (GPLv2)", "SSPL-1.0", "Proprietary"]
)
def test_restrictive_licences_would_be_seen(word):
    assert RESTRICTIVE.search(word) or not PERMISSIVE.search(word)


def test_every_import_is_a_declared_dependency():
    declared = {canonicalize_name(requirement.name) for requirement in DIRECT}
    own = {"rfq_service", "pricing", "quote_eval", "models", "migrations"}
    owners = importlib.metadata.packages_distributions()
    missing = set()
    for folder in own:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                for top in {name.split(".")[0] for name in names} - own - set(sys.stdlib_module_names):
                    if not {canonicalize_name(owner) for owner in owners.get(top, [])} & declared:
                        missing.add(f"{path.relative_to(PROJECT_ROOT)}: {top}")
    assert missing == set()


def test_licence_of_the_project_is_apache():
    text = (PROJECT_ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["license"] == "Apache-2.0"
