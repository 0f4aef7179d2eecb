# Words and files that do not belong into the repository.
from __future__ import annotations

import re
import subprocess

import pytest

from tests.support.data import PROJECT_ROOT

# Spelled in two parts, so that this file does not contain them.
UNWANTED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|/wo" + r"rk/|\btype: ignore(?!\[)|except\s*:")
FILE_BYTES_MAX = 1_000_000
ARTIFACT_BYTES_MAX = 2_000_000


def files():
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := PROJECT_ROOT / name).is_file()]


def test_no_unfinished_business():
    found = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if path.name != "openapi.json" and UNWANTED.search(line):
                found.append(f"{path.relative_to(PROJECT_ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_no_data_sets():
    large = [str(path) for path in files() if path.stat().st_size > FILE_BYTES_MAX]
    data = [str(path) for path in files() if path.suffix in {".parquet", ".gz", ".zst", ".dat", ".csv", ".ckpt", ".pt"}]
    assert large == []
    assert data == []


def test_default_artifacts_are_small():
    folder = PROJECT_ROOT / "models" / "artifacts" / "default"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < ARTIFACT_BYTES_MAX


def test_every_declared_metric_is_recorded_somewhere():
    declarations = PROJECT_ROOT / "rfq_service" / "monitoring" / "instruments.py"
    names = re.findall(r'^(\w+) = Instrument\(\s*"(\w+)"', declarations.read_text(), re.MULTILINE)
    code = "".join(path.read_text() for path in (PROJECT_ROOT / "rfq_service").rglob("*.py") if path != declarations)
    assert names
    assert [name for constant, name in names if f"{constant}.name" not in code and f'"{name}"' not in code] == []
