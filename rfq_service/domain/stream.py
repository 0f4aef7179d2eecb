"""The stream of a firm: which of its events it receives, by what number, under which topic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from rfq_service.domain.identifiers import EventId, FirmId, QuoteId, RfqId
from rfq_service.domain.identity import Role


class Party(StrEnum):
    """One of the two desks of a firm; they share nothing, their streams included."""

    CLIENT = "client"
    DEALER = "dealer"


# Auditors and operators have no stream.
PARTY_OF_ROLE: Mapping[Role, Party] = {Role.BUY_SIDE: Party.CLIENT, Role.DEALER: Party.DEALER}


class Topic(StrEnum):
    """What can be subscribed to. Events are numbered and kept; the board only ever says how things stand."""

    RFQS = "rfqs"
    QUOTES = "quotes"
    EVALUATIONS = "evaluations"
    FILLS = "fills"
    CONTROLS = "controls"
    BOARD = "board"


EVENT_TOPICS = frozenset(Topic) - {Topic.BOARD}

_TOPIC_OF_SUBJECT = {
    "rfq": Topic.RFQS,
    "invitation": Topic.RFQS,
    "quote": Topic.QUOTES,
    "decision": Topic.EVALUATIONS,
    "fill": Topic.FILLS,
}


def topic_of(kind: str) -> Topic:
    """Topic of an event, by the first word of its kind; what is not about a trade is about the firm itself."""
    return _TOPIC_OF_SUBJECT.get(kind.partition(".")[0], Topic.CONTROLS)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """Whose stream."""

    firm_id: FirmId
    party: Party


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """An event as one party receives it.

    Attributes:
        leaf_index: place among the events of all firms; never told, or it would show how busy the others are.
        number: place in this stream: 1, 2, 3 … without gaps.
        payload_json: canonical JSON text.
    """

    key: StreamKey
    number: int
    leaf_index: int
    event_id: EventId
    kind: str
    occurred_at_ns: int
    rfq_id: RfqId | None
    quote_id: QuoteId | None
    payload_json: str


@dataclass(frozen=True, slots=True)
class StreamBounds:
    """What is kept of a stream: numbers ``first`` … ``last``; nothing is kept where ``first`` is ``last + 1``."""

    first: int
    last: int

    def holds_what_follows(self, number: int) -> bool:
        """Whether a reader who has everything up to ``number`` can go on from there without a gap."""
        return self.first - 1 <= number <= self.last


class CursorGoneError(Exception):
    """A reader's number lies before what is kept, or in the future.

    Attributes:
        bounds: what is kept.
    """

    def __init__(self, bounds: StreamBounds) -> None:
        super().__init__(f"kept: {bounds.first} to {bounds.last}")
        self.bounds = bounds


def firms_of(keys: Mapping[StreamKey, object]) -> frozenset[UUID]:
    """The firms of these streams."""
    return frozenset(key.firm_id for key in keys)
