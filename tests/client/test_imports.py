# Who installs the extra `client` needs nothing else.
from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import rfq_service.client
from tests.support.data import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "rfq_service" / "client"
EXTRA = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["client"]
ALLOWED = {Requirement(line).name for line in EXTRA}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=lambda path: path.stem)
def test_library_imports_its_extra_and_the_standard_library_only(path: Path):
    found = {
        name
        for name in imported(ast.parse(path.read_text()))
        if not name.startswith("rfq_service.client")
        and name.split(".")[0] not in ALLOWED | set(sys.stdlib_module_names)
    }
    assert found == set()


def test_importing_it_loads_nothing_of_the_service():
    program = (
        "import sys, rfq_service.client\n"
        "print(*(name for name in sys.modules if name.startswith(('rfq_service.', 'litestar', 'sqlalchemy', 'numpy'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True)
    assert {name.split(".")[1] for name in done.stdout.split()} == {"client"}


def test_demo_and_end_to_end_tests_speak_to_the_service_by_the_library_alone():
    speak = {"httpx", "websockets", "requests", "urllib", "http", "aiohttp"}
    for folder in ("rfq_service/demo", "tests/end_to_end"):
        for path in sorted((PROJECT_ROOT / folder).glob("*.py")):
            if path.name != "test_otlp_export.py":  # is itself the server that telemetry is sent to
                tops = {name.split(".")[0] for name in imported(ast.parse(path.read_text()))}
                assert not tops & speak, path


def test_library_is_typed():
    assert (PROJECT_ROOT / "rfq_service" / "py.typed").is_file()
    assert set(rfq_service.client.__all__) <= vars(rfq_service.client).keys()
