"""The messages of ``/v1/stream``: JSON text in both directions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from rfq_service.api.parsing import parse_body
from rfq_service.api.schemas.wire import InstrumentText, TimeText, WireIn, WireOut
from rfq_service.domain.clock import format_timestamp
from rfq_service.domain.errors import ErrorCode, RfqError
from rfq_service.domain.stream import EVENT_TOPICS, StreamBounds, StreamEntry, Topic, topic_of

_DEPTH_MAX = 4
_INSTRUMENTS_MAX = 1_000


class AuthIn(WireIn, frozen=True, tag_field="op", tag="auth"):
    """A token: the first one, or the next one before it ends."""

    token: str


class SubscribeIn(WireIn, frozen=True, tag_field="op", tag="subscribe"):
    """What to receive from now on, in place of what was received so far."""

    topics: Annotated[list[Topic], msgspec.Meta(min_length=1, max_length=len(Topic))]
    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | UnsetType = UNSET
    instruments: (
        Annotated[list[InstrumentText], msgspec.Meta(min_length=1, max_length=_INSTRUMENTS_MAX)] | UnsetType
    ) = UNSET


class PingIn(WireIn, frozen=True, tag_field="op", tag="ping"):
    """Asks for a pong."""


ClientMessage = AuthIn | SubscribeIn | PingIn


class SubscribedOut(WireOut, frozen=True, tag_field="type", tag="subscribed"):
    """The subscription stands; events beyond ``number`` follow."""

    topics: list[Topic]
    number: int


class EventOut(WireOut, frozen=True, tag_field="type", tag="event"):
    """One event of the firm's own stream."""

    number: int
    topic: Topic
    kind: str
    event_id: UUID
    occurred_at: TimeText
    rfq_id: UUID | None
    quote_id: UUID | None
    payload: msgspec.Raw


class HeartbeatOut(WireOut, frozen=True, tag_field="type", tag="heartbeat"):
    """Every event up to ``number`` that was subscribed to has been sent."""

    number: int
    time: TimeText


class ResyncOut(WireOut, frozen=True, tag_field="type", tag="resync"):
    """What follows the number asked for is not kept: ``first`` to ``last`` is."""

    first: int
    last: int


class PongOut(WireOut, frozen=True, tag_field="type", tag="pong"):
    """Answers a ping."""


class ErrorOut(WireOut, frozen=True, tag_field="type", tag="error"):
    """Why a message was refused."""

    code: ErrorCode
    detail: str
    field: str


def read_message(text: str) -> ClientMessage:
    """A client's message.

    Raises:
        RfqError: as ``parse_body``, and ``INVALID_FIELD`` for fields that do not belong together.
    """
    message: ClientMessage = parse_body(text.encode("utf-8", "surrogatepass"), ClientMessage, _DEPTH_MAX)  # type: ignore[arg-type]
    if isinstance(message, SubscribeIn):
        if len(set(message.topics)) != len(message.topics):
            raise RfqError(ErrorCode.INVALID_FIELD, "a topic is named twice", "topics")
        if message.after is not UNSET and not EVENT_TOPICS & set(message.topics):
            raise RfqError(ErrorCode.INVALID_FIELD, "only for topics of events", "after")
        if message.instruments is not UNSET and Topic.BOARD not in message.topics:
            raise RfqError(ErrorCode.INVALID_FIELD, "only for the topic board", "instruments")
    return message


def text_of(message: WireOut) -> str:
    """JSON text."""
    return msgspec.json.encode(message).decode()


def event_text(entry: StreamEntry) -> str:
    """JSON text of an event; its place among the events of other firms is left out."""
    message = EventOut(
        number=entry.number,
        topic=topic_of(entry.kind),
        kind=entry.kind,
        event_id=entry.event_id,
        occurred_at=format_timestamp(entry.occurred_at_ns),
        rfq_id=entry.rfq_id,
        quote_id=entry.quote_id,
        payload=msgspec.Raw(entry.payload_json.encode()),
    )
    return text_of(message)


def board_text(rows: Iterable[str], *, is_snapshot: bool) -> str:
    """JSON text of a board message from rows that are JSON already."""
    return f'{{"type":"board","items":[{",".join(rows)}],"is_snapshot":{"true" if is_snapshot else "false"}}}'


def resync_text(bounds: StreamBounds) -> str:
    """JSON text that tells a reader to start anew."""
    return text_of(ResyncOut(first=bounds.first, last=bounds.last))


def error_text(error: RfqError) -> str:
    """JSON text of a refusal."""
    return text_of(ErrorOut(code=error.code, detail=error.detail, field=error.field))


PONG_TEXT = text_of(PongOut())
