"""The client library: ``AsyncClient`` and ``Client``, every operation typed, changes made exactly once, the stream.

Needs ``httpx``, ``msgspec`` and ``websockets`` and nothing else of this project: ``pip install rfq-service[client]``.
"""

from rfq_service.client.asynchronous import AsyncClient
from rfq_service.client.call import Call
from rfq_service.client.errors import (
    Conflict,
    Forbidden,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Refused,
    RfqServiceError,
    StreamRefused,
    Unauthenticated,
    Unavailable,
)
from rfq_service.client.exchange import Policy
from rfq_service.client.operations.buy_side import ExternalQuote
from rfq_service.client.schemas.event import BoardUpdate, Event, EventKind, Resync, StreamItem, Topic
from rfq_service.client.schemas.rfq import Leg
from rfq_service.client.stream import Stream
from rfq_service.client.synchronous import Client, SyncStream
from rfq_service.client.values import TimeNs, format_time, parse_time

__all__ = [
    "AsyncClient",
    "BoardUpdate",
    "Call",
    "Client",
    "Conflict",
    "Event",
    "EventKind",
    "ExternalQuote",
    "Forbidden",
    "Leg",
    "NotFound",
    "OutcomeUnknown",
    "Policy",
    "RateLimited",
    "Refused",
    "Resync",
    "RfqServiceError",
    "Stream",
    "StreamItem",
    "StreamRefused",
    "SyncStream",
    "TimeNs",
    "Topic",
    "Unauthenticated",
    "Unavailable",
    "format_time",
    "parse_time",
]
