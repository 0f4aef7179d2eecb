"""The stream's protocol without its socket: what to send, what a frame means, where to resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from rfq_service.client.errors import StreamRefused, Unavailable
from rfq_service.client.schemas.event import PAYLOADS, BoardUpdate, Event, EventKind, Payload, Resync, StreamItem, Topic
from rfq_service.client.values import Reply, TimeNs, convert, decode

# With these a subscription is refused on a socket that stays open: nothing would ever come.
_LATER = {"DATABASE_UNAVAILABLE", "OVERLOADED", "RATE_LIMITED"}
_NEVER = {"UNKNOWN_INSTRUMENT"}


class _Frame(Reply, frozen=True, kw_only=True):
    type: str
    number: int = 0
    code: str = ""
    detail: str = ""


class _EventFrame(Reply, frozen=True, kw_only=True):
    number: int
    topic: Topic
    kind: EventKind
    event_id: UUID
    occurred_at: TimeNs
    rfq_id: UUID | None = None
    quote_id: UUID | None = None
    payload: dict[str, Any]


class StreamState:
    """Where a subscription stands.

    Args:
        topics: what is subscribed to.
        after: number to resume after; ``None`` from now on.
        instruments: which markets of the board; empty for all.

    Attributes:
        number: everything up to this number has been handed over; ``None`` before the first subscription.
        is_subscribed: on this connection.
        must_subscribe: the service has dropped the subscription; whoever sends it anew sets this to false.
        complaint: what the service said last before it closed the connection.
    """

    def __init__(self, topics: Sequence[Topic], after: int | None, instruments: Sequence[str]) -> None:
        self.number = after
        self.is_subscribed = False
        self.must_subscribe = False
        self.complaint = ""
        self._topics = tuple(dict.fromkeys(topics))
        self._is_numbered = any(topic != Topic.BOARD for topic in self._topics)
        self._instruments = tuple(instruments)

    def connected(self) -> str:
        """The first message on a new connection."""
        self.is_subscribed = self.must_subscribe = False
        self.complaint = ""
        return self.subscription()

    def subscription(self) -> str:
        """The message that subscribes from ``number`` on."""
        message: dict[str, Any] = {"op": "subscribe", "topics": list(self._topics)}
        if self.number is not None and self._is_numbered:
            message["after"] = self.number
        if self._instruments:
            message["instruments"] = list(self._instruments)
        return msgspec.json.encode(message).decode()

    def receive(self, text: str | bytes) -> StreamItem | None:
        """What a frame hands over, if anything.

        Raises:
            MsgspecError: for a frame that is none.
            Unavailable: when the service cannot subscribe now; another connection may.
            StreamRefused: when it never will.
        """
        frame = decode(text, _Frame)
        if frame.type == "event":
            return self._event(decode(text, _EventFrame))
        if frame.type == "board":
            return decode(text, BoardUpdate)
        if frame.type == "resync":
            resync = decode(text, Resync)
            self.number, self.is_subscribed, self.must_subscribe = resync.last, True, True
            return resync
        if frame.type == "subscribed":
            self.is_subscribed = True
            # with a number to resume after, what lies between it and the head is still to come
            self.number = frame.number if self.number is None else self.number
        elif frame.type == "heartbeat" and self.is_subscribed and not self.must_subscribe:
            self.number = max(self.number or 0, frame.number)
        elif frame.type == "error":
            self.complaint = f"{frame.code}: {frame.detail}"
            if frame.code in _LATER:
                raise Unavailable(0, frame.code, frame.detail)
            if frame.code in _NEVER:
                raise StreamRefused(0, frame.code, frame.detail)
        return None

    def _event(self, frame: _EventFrame) -> Event | None:
        if self.number is not None and frame.number <= self.number:
            return None
        self.number = frame.number
        return Event(
            number=frame.number,
            topic=frame.topic,
            kind=frame.kind,
            event_id=frame.event_id,
            occurred_at_ns=frame.occurred_at,
            rfq_id=frame.rfq_id,
            quote_id=frame.quote_id,
            payload=_payload(frame.kind, frame.payload),
        )


def _payload(kind: EventKind, payload: Mapping[str, Any]) -> Payload:
    known = PAYLOADS.get(kind)
    if known is None:
        return payload
    try:
        told: Any = convert(payload, known)
    except msgspec.ValidationError:  # a newer service: what it says is handed over, not lost
        return payload
    result: Payload = told
    return result
