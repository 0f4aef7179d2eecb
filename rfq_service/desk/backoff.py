"""Pauses between attempts at something that fails, longer each time until one succeeds."""

from __future__ import annotations

_FIRST_S = 0.1
_LONGEST_S = 2.0


class Backoff:
    """0.1 s after the first failure, doubling up to 2 s."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_S

    def next_s(self) -> float:
        """The pause that is due now."""
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_S)
        return pause_s

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._pause_s = _FIRST_S
