# The book of an RFQ: what can be accepted, and what it becomes once changes are stored.
from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from rfq_service.domain.changes import Changes, RfqBook
from rfq_service.domain.history import QuoteEnd
from rfq_service.domain.identifiers import QuoteId
from rfq_service.domain.quote import QuoteEndReason, QuoteState
from rfq_service.domain.rfq import RfqEvent
from tests.unit.domain.builders import CLIENT, DEALER, NOW_NS, quote, rfq


def test_active_quotes():
    ended = quote(state=QuoteState.EXPIRED, end_reason=QuoteEndReason.TTL_ELAPSED)
    live = quote()
    book = RfqBook(rfq(), (DEALER,), (ended, live))
    assert book.active_at(live.valid_until_ns - 1) == [live]
    assert book.active_at(live.valid_until_ns) == []


def test_changes_make_the_next_book_and_its_count_only_grows():
    old, other = quote(), quote(quote_id=QuoteId(UUID(int=11)))
    book = RfqBook(rfq(), (DEALER,), (old, other))
    new = quote(quote_id=QuoteId(UUID(int=12)))
    end = QuoteEnd(old.quote_id, QuoteState.REPLACED, QuoteEndReason.REPLACED_BY_DEALER, NOW_NS)
    saved = book.rfq.apply(RfqEvent.CANCEL)
    changes = Changes(CLIENT, saved_rfq=saved, quotes=[new], ends=[(old, end)])
    after = book.after(changes)
    assert after.rfq == saved
    assert after.quotes == (replace(old, state=end.state, end_reason=end.reason), other, new)
    assert (book.change_count, after.change_count) == (2, 4)
    # a quote may end in the changes that bring it: a pass
    born_ended = Changes(CLIENT, quotes=[new], ends=[(new, replace(end, quote_id=new.quote_id))])
    assert book.after(born_ended).quotes[-1].end_reason is QuoteEndReason.REPLACED_BY_DEALER
    assert book.after(born_ended).rfq is book.rfq
