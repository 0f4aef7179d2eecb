"""Save and load an artifact. A file whose digest differs from the one beside it is refused, never served."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.artifacts.manifest import ClosedFormArtifact

DEFAULT_ARTIFACT = Path(__file__).parent / "default" / "closed_forms.json"
REMEDY = "restore it from the repository or run `rfq calibrate`"


class ArtifactError(Exception):
    """An artifact that is missing, altered or not understood; the message names the file and what to do."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified artifact and the SHA-256 of its bytes, in hex."""

    artifact: ClosedFormArtifact
    digest: str


def digest_path(path: Path) -> Path:
    """File beside an artifact that holds its SHA-256 in ``sha256sum`` format."""
    return path.with_name(path.name + ".sha256")


def save_bundle(artifact: ClosedFormArtifact, path: Path) -> Bundle:
    """Write the artifact and its digest; the same artifact always gives the same bytes."""
    content = msgspec.json.format(msgspec.json.encode(artifact, order="deterministic"), indent=1) + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    digest_path(path).write_text(f"{digest}  {path.name}\n", encoding="ascii")
    return Bundle(artifact, digest)


def load_bundle(path: Path = DEFAULT_ARTIFACT) -> Bundle:
    """Read an artifact after checking its digest.

    Raises:
        ArtifactError: if either file is missing, the digest differs, or the content does not fit the schema.
    """
    try:
        content = path.read_bytes()
        recorded = digest_path(path).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"artifact {path.name} or its digest cannot be read ({error}); {REMEDY}") from error
    digest = hashlib.sha256(content).hexdigest()
    if recorded != [digest, path.name]:
        expected = recorded[0] if recorded else "none"
        raise ArtifactError(
            f"artifact {path.name} was altered: its SHA-256 is {digest}, the recorded one {expected}; {REMEDY}"
        )
    try:
        artifact = msgspec.json.decode(content, type=ClosedFormArtifact)
    except msgspec.DecodeError as error:
        detail = f"artifact {path.name} does not fit this version of the code ({error}); {REMEDY}"
        raise ArtifactError(detail) from error
    return Bundle(artifact, digest)
