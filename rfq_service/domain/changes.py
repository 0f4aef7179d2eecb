"""What a use case has decided, before it is stored: rows to append and the two that change, all of one RFQ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rfq_service.domain.history import (
    Decision,
    Evaluation,
    Event,
    IdempotencyRecord,
    Invitation,
    InvitationOutcome,
    InvitationState,
    QuoteEnd,
)
from rfq_service.domain.identifiers import FirmId
from rfq_service.domain.quote import Fill, Quote
from rfq_service.domain.rfq import Rfq, RfqTerms


@dataclass(slots=True)
class Changes:
    """Everything one use case stores, in one transaction; each step of it adds its part.

    Attributes:
        client_firm_id: whose RFQ it is.
        new_rfq: an RFQ that did not exist before, with its ``panel`` and ``invitations``.
        saved_rfq: the RFQ with its new state and filled quantity.
        invitation_state: how the open invitations end; ``outcomes`` is what each dealer that answered is told, with
            the cover's distance in 1e-6 bps.
        ends: quotes that end, as they were before.
        record: the reply, for repetitions of the request.
    """

    client_firm_id: FirmId
    new_rfq: Rfq | None = None
    panel: Sequence[FirmId] = ()
    invitations: Sequence[Invitation] = ()
    saved_rfq: Rfq | None = None
    invitation_state: InvitationState | None = None
    outcomes: Mapping[FirmId, tuple[InvitationOutcome, int | None]] = field(default_factory=dict)
    quotes: list[Quote] = field(default_factory=list)
    ends: list[tuple[Quote, QuoteEnd]] = field(default_factory=list)
    fills: list[tuple[Fill, RfqTerms]] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    record: IdempotencyRecord | None = None


@dataclass(frozen=True, slots=True)
class RfqBook:
    """An RFQ with its panel and the quotes on it, oldest first, as read under the RFQ's lock.

    Attributes:
        quotes: all of them, or only those that have not ended.
        ended_count: how many ended ones are left out.
        ended_dealers: whose they are, and perhaps others who have answered.
    """

    rfq: Rfq
    panel: tuple[FirmId, ...]
    quotes: tuple[Quote, ...]
    ended_count: int = 0
    ended_dealers: frozenset[FirmId] = frozenset()

    def active_at(self, now_ns: int) -> list[Quote]:
        """The quotes that can be accepted at ``now_ns``."""
        return [quote for quote in self.quotes if quote.end_reason is None and now_ns < quote.valid_until_ns]

    @property
    def change_count(self) -> int:
        """How many quotes and ends of quotes there have been; it only grows."""
        seen = len(self.quotes) + sum(quote.end_reason is not None for quote in self.quotes)
        return seen + 2 * self.ended_count

    @property
    def pending_dealers(self) -> int:
        """How many of the panel have not answered yet."""
        answered = {quote.dealer_firm_id for quote in self.quotes} | self.ended_dealers
        return len(set(self.panel) - answered)

    def after(self, changes: Changes) -> RfqBook:
        """The book once ``changes`` are stored."""
        ends = {end.quote_id: end for _, end in changes.ends}
        quotes = (*self.quotes, *changes.quotes)
        return replace(
            self,
            rfq=changes.saved_rfq or self.rfq,
            quotes=tuple(
                replace(quote, state=ends[quote.quote_id].state, end_reason=ends[quote.quote_id].reason)
                if quote.quote_id in ends
                else quote
                for quote in quotes
            ),
        )
