from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.data import PROJECT_ROOT

PACKAGES = ("rfq_service", "pricing", "quote_eval", "models")

# One violation per contract: (file, line, name of the contract).
VIOLATIONS = [
    ("rfq_service/db/spy.py", "import rfq_service.api", "imports point downwards"),
    ("models/spy.py", "import pricing", "pricing, quote_eval and models do not know each other"),
    ("models/spy2.py", "import rfq_service.settings", "the pure packages know only the domain of the service"),
    ("rfq_service/client/spy.py", "import rfq_service.domain", "the client library stands alone"),
    ("rfq_service/domain/spy.py", "import time", "the domain is pure and knows nobody"),
    ("pricing/spy.py", "import asyncio", "pricing and quote_eval do no I/O and need no framework"),
    ("pricing/spy2.py", "import quote_eval", "information barrier: the sell side never sees an evaluation"),
    ("rfq_service/desk/spy.py", "import opentelemetry", "only telemetry talks to the OpenTelemetry SDK"),
]


# Leaves that every layer above the domain may use.
OUTSIDE_THE_LAYERS = {"rfq_service.__init__", "rfq_service.settings"}


def lint_imports(directory):
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=directory,
        env={"PYTHONPATH": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_are_kept():
    result = lint_imports(PROJECT_ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_module_of_the_service_has_its_layer():
    contracts = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = re.findall(r"rfq_service\.\w+", " ".join(contracts[0]["layers"]))
    folder = PROJECT_ROOT / "rfq_service"
    modules = {
        f"rfq_service.{path.stem}" for path in folder.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))
    }
    assert modules - set(layers) == OUTSIDE_THE_LAYERS


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    directory = tmp_path_factory.mktemp("violations")
    for package in PACKAGES:
        shutil.copytree(PROJECT_ROOT / package, directory / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT_ROOT / "pyproject.toml", directory)
    for file, line, _ in VIOLATIONS:
        path = directory / file
        assert path.parent.is_dir(), path
        path.write_text(f"{line}\n")
    return lint_imports(directory).stdout


@pytest.mark.parametrize("contract", [contract for *_, contract in VIOLATIONS])
def test_a_violation_is_found(broken, contract):
    assert f"{contract} BROKEN" in broken
