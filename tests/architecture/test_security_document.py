# What docs/security.md says of tests is true: names drift otherwise.
from __future__ import annotations

import re

from tests.support.data import PROJECT_ROOT

DOCUMENT = (PROJECT_ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def rows():
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    return [line.strip("|").split(" | ") for line in lines[2:]]


def test_every_threat_names_tests_that_exist():
    sources = [path.read_text(encoding="utf-8") for path in (PROJECT_ROOT / "tests").rglob("test_*.py")]
    known = set(re.findall(r"^(?:async )?def (test_\w+)\(", "\n".join(sources), re.MULTILINE))
    assert len(rows()) > 20
    for threat, _, shown_by in rows():
        named = set(re.findall(r"`(test_\w+)`", shown_by))
        assert named, threat
        assert named <= known, (threat, named - known)


def test_every_name_in_the_document_is_in_a_row():
    assert set(re.findall(r"\btest_\w+", DOCUMENT)) == {
        name for *_, shown_by in rows() for name in re.findall(r"`(test_\w+)`", shown_by)
    }


def test_settings_that_it_names_exist():
    settings = (PROJECT_ROOT / "rfq_service" / "settings.py").read_text(encoding="utf-8")
    for variable in re.findall(r"`RFQ_([A-Z]+)_([A-Z_]+)`", DOCUMENT):
        assert f" {variable[1].lower()}:" in settings, variable
