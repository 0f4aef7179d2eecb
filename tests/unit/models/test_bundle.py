"""Artifacts: what was saved is what is loaded, and an altered file is refused."""

from __future__ import annotations

import hashlib

import pytest

from models.artifacts.bundle import DEFAULT_ARTIFACT, ArtifactError, digest_path, load_bundle, save_bundle


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "closed_forms.json"
    save_bundle(load_bundle().artifact, path)
    return path


def test_round_trip_gives_the_same_bytes(saved):
    assert saved.read_bytes() == DEFAULT_ARTIFACT.read_bytes()
    bundle = load_bundle(saved)
    assert bundle == load_bundle()
    assert bundle.digest == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_one_altered_byte_is_refused(saved):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"closed_forms\.json was altered"):
        load_bundle(saved)


@pytest.mark.parametrize("text", ["", "0" * 64 + "  closed_forms.json\n"])
def test_a_wrong_digest_file_is_refused(saved, text):
    digest_path(saved).write_text(text, encoding="ascii")
    with pytest.raises(ArtifactError, match="was altered"):
        load_bundle(saved)


def test_the_digest_of_another_file_is_refused(saved):
    renamed = saved.rename(saved.with_name("other.json"))
    digest_path(saved).rename(digest_path(renamed))
    with pytest.raises(ArtifactError, match="was altered"):
        load_bundle(renamed)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"nothing\.json or its digest cannot be read"):
        load_bundle(tmp_path / "nothing.json")


@pytest.mark.parametrize("content", [b"{}", b"[", b'{"name": "closed_forms", "surprise": 1}'])
def test_content_of_another_schema_is_refused(saved, content):
    saved.write_bytes(content)
    digest_path(saved).write_text(f"{hashlib.sha256(content).hexdigest()}  {saved.name}\n", encoding="ascii")
    with pytest.raises(ArtifactError, match="does not fit this version"):
        load_bundle(saved)
