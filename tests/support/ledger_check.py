"""Compares what callers know with what the database holds, read directly as its owner.

Everything acknowledged is there exactly once, nothing refused is there, whatever is unknown is there wholly or not at
all; trades, ends, events, numbers and streams agree with each other. Differences come back as findings.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from tests.support.ledger import Ledger, Outcome

Row = Mapping[str, Any]
# What is read; the rest of the columns is the business of other tests.
_QUERIES = {
    "firm": "SELECT id, name FROM firm",
    "record": "SELECT firm_id, operation, key_digest, status, body FROM idempotency_key",
    "rfq": "SELECT id, client_firm_id, state, quantity, filled_quantity, cardinality(panel_firm_ids) AS asked FROM rfq",
    "leg": "SELECT rfq_id FROM rfq_leg",
    "invitation": "SELECT rfq_id, dealer_firm_id FROM invitation",
    "quote": "SELECT id, rfq_id, dealer_firm_id, bid_price IS NULL AND ask_price IS NULL AS is_pass, received_at_ns,"
    " valid_until_ns FROM quote",
    "active_quote": "SELECT quote_id FROM active_quote",
    "quote_end": "SELECT quote_id, reason FROM quote_end",
    "fill": "SELECT id, rfq_id, quote_id, quantity, price FROM fill",
    "fill_leg": "SELECT fill_id FROM fill_leg",
    "evaluation": "SELECT quote_id, side FROM evaluation",
    "decision": "SELECT id, rfq_id, number FROM decision",
    "event": "SELECT id, kind, audience, client_firm_id, dealer_firm_id, rfq_id, quote_id, payload_json FROM event",
    "leaf": "SELECT leaf_index, event_id FROM event_leaf ORDER BY leaf_index",
    "entry": "SELECT firm_id, party, number, leaf_index, event_id, kind FROM stream_entry"
    " ORDER BY firm_id, party, number",
    "head": "SELECT firm_id, party, last_number FROM stream_head",
}
_PARTIES = {"client": ("client",), "dealer": ("dealer",), "both": ("client", "dealer"), "none": ()}


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: its stable name, and what exactly."""

    promise: str
    detail: str


@dataclass(slots=True)
class _Check:
    """The rows of one moment, the ledger, and what has been found so far."""

    ledger: Ledger
    rows: dict[str, list[Row]]
    findings: list[Finding] = field(default_factory=list)
    # result of every stored record by operation: what the service says it has done
    done: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def report(self, promise: str, detail: object) -> None:
        self.findings.append(Finding(promise, str(detail)))

    def same(self, promise: str, expected: Iterable[Hashable], found: Iterable[Hashable]) -> None:
        """Report what is missing, superfluous or doubled."""
        wanted, there = Counter(iter(expected)), Counter(iter(found))
        for item, count in (wanted - there).items():
            self.report(promise, f"missing {count} of {item}")
        for item, count in (there - wanted).items():
            self.report(promise, f"{count} too many of {item}")

    def ids(self, operation: str, *path: str) -> list[UUID]:
        """The ids in the results of an operation."""
        found = []
        for result in self.done[operation]:
            value: Any = result
            for name in path:
                value = value[name]
            found.append(UUID(value))
        return found

    def events(self, kind: str) -> list[Row]:
        return [row for row in self.rows["event"] if row["kind"] == kind]


async def check(ledger: Ledger, connection: asyncpg.Connection) -> list[Finding]:
    """Every broken promise there is; ``connection`` sees all rows, at one moment if it is in such a transaction."""
    rows = {name: list(await connection.fetch(query)) for name, query in _QUERIES.items()}
    state = _Check(ledger, rows)
    for step in _STEPS:
        step(state)
    return state.findings


def decoded_body(stored: bytes) -> bytes:
    """A stored reply as it was sent: behind a brace as it is, else compressed."""
    return stored[1:] if stored.startswith(b"{") else zlib.decompress(stored)


def _compare_records(state: _Check) -> None:
    """Each acknowledged change has its record, no refused one has, and there is none that nobody asked for."""
    firm_ids = {row["name"]: row["id"] for row in state.rows["firm"]}
    records = {(row["firm_id"], row["operation"], row["key_digest"]): row for row in state.rows["record"]}
    for change in state.ledger.changes:
        name = (firm_ids[change.party], change.operation, hashlib.sha256(change.key.encode()).digest())
        record = records.pop(name, None)
        what = f"{change.operation} of {change.party}, key {change.key}"
        if change.outcome is Outcome.OK:
            if record is None:
                state.report("acknowledged is there", what)
            replies = {attempt.reply for attempt in change.attempts if attempt.is_ok}
            if len(replies) > 1 or (record is not None and replies != {decoded_body(record["body"])}):
                state.report("a repetition gets the same bytes", what)
        elif change.outcome is Outcome.FAILED and record is not None:
            state.report("refused is not there", what)
        if record is not None:
            state.done[change.operation].append(json.loads(decoded_body(record["body"])))
    for name in records:
        state.report("only what was asked for is there", name)


def _compare_rfqs(state: _Check) -> None:
    rfqs = state.rows["rfq"]
    evaluated = [row["id"] for row in rfqs if row["state"] == "evaluated"]
    live = [row for row in rfqs if row["state"] != "evaluated"]
    state.same("one RFQ for each opening", state.ids("open_rfq", "rfq", "rfq_id"), [row["id"] for row in live])
    state.same("one RFQ for each evaluation", state.ids("evaluate_quotes", "rfq", "rfq_id"), evaluated)
    cancelled = [row["id"] for row in rfqs if row["state"] == "cancelled"]
    state.same("one end for each cancellation", state.ids("cancel_rfq", "rfq", "rfq_id"), cancelled)
    asked = [(row["id"], row["asked"]) for row in live]
    invited = Counter(row["rfq_id"] for row in state.rows["invitation"])
    state.same("the whole panel is invited", asked, invited.items())
    state.same("an RFQ has its legs", [row["id"] for row in rfqs], [row["rfq_id"] for row in state.rows["leg"]])
    state.same("one event for each opening", [row["id"] for row in live], _rfq_ids(state.events("rfq.opened")))
    state.same("one event for each evaluation", evaluated, _rfq_ids(state.events("rfq.evaluated")))
    state.same("one event for each cancellation", cancelled, _rfq_ids(state.events("rfq.cancelled")))
    expired = [row["id"] for row in rfqs if row["state"] == "expired"]
    state.same("one event for each expiry", expired, _rfq_ids(state.events("rfq.expired")))
    sent = [(row["rfq_id"], row["dealer_firm_id"]) for row in state.events("invitation.sent")]
    invitations = [(row["rfq_id"], row["dealer_firm_id"]) for row in state.rows["invitation"]]
    state.same("one event for each invitation", invitations, sent)
    ended = {row["id"] for row in live if row["state"] not in ("open", "partially_filled")}
    closed = [(row["rfq_id"], row["dealer_firm_id"]) for row in state.events("invitation.closed")]
    state.same("every dealer is told the end", [pair for pair in invitations if pair[0] in ended], closed)


def _compare_quotes(state: _Check) -> None:
    quotes, ends = state.rows["quote"], state.rows["quote_end"]
    dealt = [row for row in quotes if row["dealer_firm_id"] is not None]
    posted = [row["id"] for row in dealt if not row["is_pass"]]
    passed = [row["id"] for row in dealt if row["is_pass"]]
    state.same("one quote for each posting", state.ids("post_quote", "quote_id"), posted)
    state.same("one empty quote for each pass", state.ids("pass_rfq", "quote_id"), passed)
    state.same("one event for each quote", posted, _quote_ids(state.events("quote.posted")))
    state.same("one event for each pass", passed, _quote_ids(state.events("quote.passed")))
    state.same("one event for each end", [row["quote_id"] for row in ends], _quote_ids(state.events("quote.ended")))
    withdrawn = [row["quote_id"] for row in ends if row["reason"] == "withdrawn_by_dealer"]
    state.same("one end for each withdrawal", state.ids("withdraw_quote", "quote_id"), withdrawn)
    have_ended = {row["quote_id"] for row in ends}
    alive = [row for row in dealt if row["id"] not in have_ended]
    active = [row["quote_id"] for row in state.rows["active_quote"]]
    state.same("active is what has not ended", [row["id"] for row in alive], active)
    _compare_active(state, alive)
    elsewhere = [
        UUID(item["quote"]["quote_id"]) for result in state.done["evaluate_quotes"] for item in result["quotes"]
    ]
    state.same(
        "an evaluation keeps its quotes", elsewhere, [row["id"] for row in quotes if row["dealer_firm_id"] is None]
    )
    scored = [row["quote_id"] for row in state.rows["evaluation"]]
    state.same("a quote is scored once", [*posted, *elsewhere], scored)
    decided = Counter(row["rfq_id"] for row in state.rows["decision"])
    evaluated = {UUID(result["rfq"]["rfq_id"]) for result in state.done["evaluate_quotes"]}
    told = Counter(_rfq_ids(state.events("decision.made")))
    expected = {rfq_id: count for rfq_id, count in decided.items() if rfq_id not in evaluated}
    state.same("one event for each decision", expected.items(), told.items())
    state.same("one decision for each evaluation", evaluated, [rfq_id for rfq_id in decided if rfq_id in evaluated])


def _compare_active(state: _Check, alive: Iterable[Row]) -> None:
    """A dealer's new quote replaces his old one, unless that had run out and only waits for its end to be written."""
    latest: dict[tuple[UUID, UUID], Row] = {}
    for row in sorted(alive, key=lambda row: row["received_at_ns"]):
        pair = (row["rfq_id"], row["dealer_firm_id"])
        if pair in latest and latest[pair]["valid_until_ns"] > row["received_at_ns"]:
            state.report("one active quote for each dealer", f"{latest[pair]['id']} and {row['id']}")
        latest[pair] = row


def _compare_fills(state: _Check) -> None:
    fills = state.rows["fill"]
    said = [
        (UUID(result["fill_id"]), UUID(result["quote_id"]), Decimal(result["quantity"]), Decimal(result["price"]))
        for result in state.done["accept_quote"]
    ]
    booked = [(row["id"], row["quote_id"], row["quantity"], row["price"]) for row in fills]
    state.same("one fill for each accept", said, booked)
    state.same("one event for each fill", [row["quote_id"] for row in fills], _quote_ids(state.events("fill.booked")))
    state.same("a fill has its leg", [row["id"] for row in fills], [row["fill_id"] for row in state.rows["fill_leg"]])
    hit = [row["quote_id"] for row in state.rows["quote_end"] if row["reason"] == "hit"]
    state.same("a fill ends its quote", [row["quote_id"] for row in fills], hit)
    traded: dict[UUID, Decimal] = defaultdict(Decimal)
    for row in fills:
        traded[row["rfq_id"]] += row["quantity"]
    for row in state.rows["rfq"]:
        total = traded[row["id"]]
        if total > row["quantity"]:
            state.report("never overfilled", f"{row['id']}: {total} of {row['quantity']}")
        if total != row["filled_quantity"] or (row["state"] == "filled") != (total == row["quantity"]):
            state.report("an RFQ knows its fills", f"{row['id']}: {total}, {row['filled_quantity']}, {row['state']}")


def _compare_numbers(state: _Check) -> None:
    """Every event has one place, without gaps; every party its own numbers 1, 2, 3… in the same order."""
    leaves = {row["event_id"]: row["leaf_index"] for row in state.rows["leaf"]}
    events = {row["id"]: row for row in state.rows["event"]}
    state.same("every event is numbered once", events, [row["event_id"] for row in state.rows["leaf"]])
    indices = [row["leaf_index"] for row in state.rows["leaf"]]
    if indices != list(range(len(indices))):
        state.report("the index has no gap", f"{indices[:1]}…{indices[-1:]} of {len(indices)}")
    expected = [(firm, party, row["id"]) for row in events.values() for firm, party in _recipients(row)]
    entries = state.rows["entry"]
    found = [(row["firm_id"], row["party"], row["event_id"]) for row in entries]
    state.same("each party is told what is his, once", expected, found)
    streams: dict[tuple[UUID, str], list[Row]] = defaultdict(list)
    for row in entries:
        streams[row["firm_id"], row["party"]].append(row)
    for stream, told in streams.items():
        if [row["number"] for row in told] != list(range(1, len(told) + 1)):
            state.report("a stream has no gap", stream)
        places = [row["leaf_index"] for row in told]
        if places != sorted(places) or any(leaves.get(row["event_id"]) != row["leaf_index"] for row in told):
            state.report("a stream has the index's order", stream)
    heads = [((row["firm_id"], row["party"]), row["last_number"]) for row in state.rows["head"] if row["last_number"]]
    state.same("a stream knows its end", [(stream, len(told)) for stream, told in streams.items()], heads)
    _compare_causes(state, leaves)


def _compare_causes(state: _Check, leaves: Mapping[UUID, int]) -> None:
    """No quote before its RFQ, no end or fill before its quote: in the order of the numbers."""
    opened = {row["rfq_id"]: leaves.get(row["id"], -1) for row in state.events("rfq.opened")}
    born = {
        row["quote_id"]: leaves.get(row["id"], -1)
        for row in (*state.events("quote.posted"), *state.events("quote.passed"))
    }
    for row in state.rows["event"]:
        place = leaves.get(row["id"])
        if place is None:
            continue
        causes = []
        if row["kind"] != "rfq.opened" and row["rfq_id"] in opened:
            causes.append(opened[row["rfq_id"]])
        if row["kind"] in ("quote.ended", "fill.booked") and row["quote_id"] in born:
            causes.append(born[row["quote_id"]])
        if any(cause >= place for cause in causes):
            state.report("causes come first", f"{row['kind']} {row['id']}")


def _recipients(row: Row) -> list[tuple[UUID, str]]:
    firms = {"client": row["client_firm_id"], "dealer": row["dealer_firm_id"]}
    return [(firms[party], party) for party in _PARTIES[row["audience"]]]


def _rfq_ids(rows: Iterable[Row]) -> list[UUID]:
    return [row["rfq_id"] for row in rows]


def _quote_ids(rows: Iterable[Row]) -> list[UUID]:
    return [row["quote_id"] for row in rows]


_STEPS: tuple[Callable[[_Check], None], ...] = (
    _compare_records,
    _compare_rfqs,
    _compare_quotes,
    _compare_fills,
    _compare_numbers,
)
