# What a newcomer meets first: the list of commands, and one line when something is missing.
from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from tests.support.data import PROJECT_ROOT

COMMANDS = {"help", "setup", "demo", "serve", "test", "check", "slow", "bench", "openapi", "clean"}


def make(directory, *arguments, path=None):
    return subprocess.run(
        [shutil.which("make"), *arguments],
        cwd=directory,
        env={"PATH": path or os.environ["PATH"], "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bare(tmp_path):
    """A checkout without an environment, on a machine that has only the tools named in PATH."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(PROJECT_ROOT / name, tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to("/bin/sh")
    return tmp_path


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_plain_make_lists_every_command():
    result = make(PROJECT_ROOT)
    assert result.returncode == 0
    assert {line.split()[1] for line in result.stdout.splitlines()} == COMMANDS


def test_missing_python_is_named_in_one_line(bare):
    result = make(bare, "setup", path=str(bare / "tools"))
    assert result.returncode != 0
    assert [line for line in result.stderr.splitlines() if not line.startswith("make: ")] == [
        "error: Python 3.11 is missing (Debian: apt-get install python3.11 python3-venv)"
    ]


def test_older_python_does_not_count(bare):
    script(bare / "tools" / "python3", "exit 1")
    assert "error: Python 3.11 is missing" in make(bare, "setup", path=str(bare / "tools")).stderr


def test_missing_venv_is_named_in_one_line(bare):
    script(bare / "tools" / "python3", 'case "$2" in *ensurepip*) exit 1;; esac')
    result = make(bare, "setup", path=str(bare / "tools"))
    assert result.returncode != 0
    assert [line for line in result.stderr.splitlines() if not line.startswith("make: ")] == [
        "error: the Python module venv is missing (Debian: apt-get install python3-venv)"
    ]
