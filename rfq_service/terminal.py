"""Where commands print."""

from __future__ import annotations

from rich.console import Console

_WIDTH = 140


def make_console() -> Console:
    """The terminal as wide as it is; elsewhere (a file, a log) wide enough for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
