"""What callers know: every change that was asked for, under which key, and what became of each attempt.

An attempt went *well* (2xx), was *refused* (an answer that promises that it had no effect), or its outcome is
*unknown* (no answer, or a 503 that leaves it open). A change is known as OK as soon as one attempt went well. It has
failed when every attempt was refused, or when a repetition that nothing else could race with was.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import uuid4

# 4xx that judge the moment and not the request: a repetition that gets one of them knows no more than before.
_NOT_JUDGED = frozenset({"IDEMPOTENCY_IN_FLIGHT", "RATE_LIMITED", "UNAUTHENTICATED"})
# 503 that is given before anything was begun
_NOT_BEGUN = frozenset({"OVERLOADED"})
NOT_SENT = "NOT_SENT"


class Outcome(StrEnum):
    """What a caller may believe of a change."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request, and how it ended.

    Attributes:
        status: HTTP status, 0 without an answer.
        code: stable code of a refusal; ``NOT_SENT`` where no connection was made; else the name of what broke.
        reply: the body, of a success.
        elapsed_s: how long the caller waited.
        is_replay: the service says that it answers from its records.
        is_quiet: nothing else with this key could be under way at the same time.
    """

    status: int
    code: str
    reply: bytes
    elapsed_s: float
    is_replay: bool = False
    is_quiet: bool = False

    @property
    def is_ok(self) -> bool:
        """Whether it was acknowledged."""
        return 200 <= self.status < 300

    @property
    def promises_nothing_done(self) -> bool:
        """Whether this attempt had no effect of its own."""
        return 400 <= self.status < 500 or self.code in _NOT_BEGUN or self.code == NOT_SENT

    @property
    def is_judged(self) -> bool:
        """Whether the service has looked at the request and at its records of the key, and refused."""
        return 400 <= self.status < 500 and self.code not in _NOT_JUDGED


@dataclass(slots=True)
class Change:
    """One change that somebody wanted, and every attempt to get it."""

    party: str
    operation: str
    path: str
    body: dict[str, Any]
    key: str = field(default_factory=lambda: uuid4().hex)
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def outcome(self) -> Outcome:
        """What the caller may believe."""
        if any(attempt.is_ok for attempt in self.attempts):
            return Outcome.OK
        if all(attempt.promises_nothing_done for attempt in self.attempts):
            return Outcome.FAILED
        last = self.attempts[-1]
        return Outcome.FAILED if last.is_quiet and last.is_judged else Outcome.UNKNOWN

    @property
    def reply(self) -> bytes:
        """The acknowledgement; empty where there is none."""
        return next((attempt.reply for attempt in self.attempts if attempt.is_ok), b"")

    @property
    def result(self) -> dict[str, Any]:
        """The acknowledgement, decoded."""
        decoded: dict[str, Any] = json.loads(self.reply)
        return decoded


class Ledger:
    """All changes of one scenario, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def open(self, party: str, operation: str, path: str, body: dict[str, Any]) -> Change:
        """Enter a change before its first attempt."""
        change = Change(party, operation, path, body)
        self.changes.append(change)
        return change

    def of(self, outcome: Outcome) -> list[Change]:
        """Every change of one outcome."""
        return [change for change in self.changes if change.attempts and change.outcome is outcome]

    @property
    def acknowledged(self) -> int:
        """How many changes went well."""
        return len(self.of(Outcome.OK))

    def attempts(self) -> list[Attempt]:
        """Every attempt of every change."""
        return [attempt for change in self.changes for attempt in change.attempts]

    def codes(self) -> Counter[str]:
        """How often each refusal or failure was seen."""
        return Counter(attempt.code for attempt in self.attempts() if not attempt.is_ok)

    def summary(self) -> str:
        """One line for a person."""
        counts = ", ".join(f"{len(self.of(outcome))} {outcome}" for outcome in Outcome)
        replays = sum(attempt.is_replay for attempt in self.attempts())
        codes = ", ".join(f"{code} {count}" for code, count in self.codes().most_common())
        return f"{counts}; {replays} replayed; not ok: {codes or 'none'}"
