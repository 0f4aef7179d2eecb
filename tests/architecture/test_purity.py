# What import contracts cannot say: which third-party libraries, and no clock, file or global randomness.
from __future__ import annotations

import ast
import sys

import pytest

from tests.support.data import PROJECT_ROOT

PURE = ("rfq_service/domain", "pricing", "quote_eval")
OWN = {"rfq_service", "pricing", "quote_eval", "models"}
IMPURE_STANDARD_LIBRARY = {
    *("asyncio", "os", "time", "random", "secrets", "socket", "subprocess", "threading", "multiprocessing"),
    *("pathlib", "shutil", "tempfile", "io", "logging", "urllib", "http", "sqlite3", "ctypes"),
}
# Probabilistic programs are fitted by commands, never by the server.
FITS = ("pricing/bayes/generative.py", "pricing/bayes/fit.py", "pricing/bayes/checks.py", "models/regimes/fit.py")
TRAINS = ("net.py", "module.py", "data.py")
SEEDED = {"default_rng", "Generator", "SeedSequence", "PCG64", "Philox", "BitGenerator"}
AMBIENT_CALLS = {"now", "utcnow", "today", "time_ns", "getenv", "urandom"}


def modules(*folders):
    for folder in folders:
        for path in sorted((PROJECT_ROOT / folder).rglob("*.py")):
            yield path.relative_to(PROJECT_ROOT).as_posix(), ast.parse(path.read_text())


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def impurities(tree):
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"open", "input", "print"}
        ):
            yield f"line {node.lineno}: {node.func.id}()"
        if isinstance(node, ast.Attribute):
            if (
                node.attr in AMBIENT_CALLS
                and isinstance(node.value, ast.Name)
                and node.value.id in {"datetime", "date"}
            ):
                yield f"line {node.lineno}: {node.value.id}.{node.attr}"
            is_random = isinstance(node.value, ast.Attribute) and node.value.attr == "random"
            if is_random and node.attr not in SEEDED:
                yield f"line {node.lineno}: random.{node.attr}"
        if isinstance(node, ast.Global):
            yield f"line {node.lineno}: global {', '.join(node.names)}"


@pytest.mark.parametrize("folder", PURE)
def test_pure_packages_import_only_the_standard_library_numpy_and_structs(folder):
    allowed = (set(sys.stdlib_module_names) - IMPURE_STANDARD_LIBRARY) | OWN | {"numpy", "msgspec"}
    found = {
        f"{path}: {name}"
        for path, tree in modules(folder)
        for name in imported(tree)
        if path not in FITS and name.split(".")[0] not in allowed
    }
    assert found == set()


@pytest.mark.parametrize("folder", PURE)
def test_pure_packages_read_no_clock_file_or_global_randomness(folder):
    found = [f"{path}: {what}" for path, tree in modules(folder) if path not in FITS for what in impurities(tree)]
    assert found == []


@pytest.mark.parametrize(
    "code,count",
    [
        ("open('x')", 1),
        ("datetime.now()", 1),
        ("np.random.normal()", 1),
        ("np.random.default_rng(1)", 0),
        ("def f():\n global x", 1),
        ("book.now", 0),
    ],
)
def test_the_check_sees_impurities(code, count):
    assert len(list(impurities(ast.parse(code)))) == count


def test_heavy_libraries_stay_in_their_places():
    heavy_fits, heavy_training = {"jax", "numpyro"}, {"torch", "pytorch_lightning", "lightning"}
    found = set()
    for path, tree in modules(*OWN):
        tops = {name.split(".")[0] for name in imported(tree)}
        if path == "rfq_service/training.py":
            continue
        if tops & heavy_fits and path not in FITS:
            found.add(path)
        if tops & heavy_training and path.rpartition("/")[2] not in TRAINS:
            found.add(path)
    assert found == set()


def test_pages_of_code_import_absolutely():
    relative = [
        path
        for path, tree in modules(*OWN)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []
