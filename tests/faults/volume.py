"""Small volumes in memory that a test can fill; only root may mount them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Volume:
    """A mounted volume."""

    path: Path

    def fill(self, leave_bytes: int = 0) -> None:
        """Fill what is free, but for a rest, with one ballast file."""
        with self._ballast.open("ab", buffering=0) as file:
            while (rest := self.free_bytes() - leave_bytes) > 0:
                try:
                    file.write(bytes(min(_BLOCK_BYTES, rest)))
                except OSError:  # somebody else took the last of it
                    return

    def free(self) -> None:
        """Remove the ballast."""
        self._ballast.unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """What is free."""
        status = os.statvfs(self.path)
        return status.f_bavail * status.f_frsize

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"


@contextmanager
def mounted(path: Path, size_bytes: int) -> Iterator[Volume]:
    """A tmpfs of that size at ``path``.

    Raises:
        PermissionError: where nothing may be mounted.
    """
    path.mkdir()
    options = f"size={size_bytes},mode=0755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        path.rmdir()
        raise PermissionError(done.stderr.strip())
    try:
        yield Volume(path)
    finally:
        # lazily: a process that is just ending may still have a file open
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()
