"""The write: what use cases append, as one statement in one round trip, for one of them or for a batch.

Each table is one branch of the statement, ``INSERT … SELECT … FROM unnest(…)``, and the statement is all or nothing.
Its text depends only on which tables there is something for, so the server plans each of the few kinds once.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import Any

from sqlalchemy import ARRAY, Table
from sqlalchemy.dialects import postgresql

from rfq_service.db.repositories.conversion import (
    active_quote_values,
    decision_values,
    end_values,
    evaluation_values,
    event_values,
    fill_leg_values,
    fill_values,
    invitation_values,
    leg_values,
    quote_values,
    record_values,
    rfq_values,
)
from rfq_service.db.tables import (
    ActiveQuoteRow,
    DecisionRow,
    EvaluationRow,
    EventRow,
    FillLegRow,
    FillRow,
    IdempotencyKeyRow,
    InvitationRow,
    QuoteEndRow,
    QuoteRow,
    RfqLegRow,
    RfqRow,
    table_of,
)
from rfq_service.domain.changes import Changes

# An array of arrays is flattened by unnest, so the elements of an array column travel as one text.
_SEPARATOR = "\x1f"
# Filled in by the server.
_DEFAULTED = frozenset({"transaction_id"})
_TABLES: dict[str, Table] = {
    table.name: table
    for table in map(
        table_of,
        (
            *(RfqRow, RfqLegRow, InvitationRow, QuoteRow, ActiveQuoteRow, QuoteEndRow, FillRow, FillLegRow),
            *(EvaluationRow, DecisionRow, EventRow, IdempotencyKeyRow),
        ),
    )
}
Rows = list[dict[str, object]]
Column = list[Any] | tuple[Any, ...]


def build_append(batch: Sequence[Changes], *, names_firms: bool) -> tuple[str, list[Any]]:
    """The statement that appends ``batch``, and its arguments.

    With ``names_firms`` it names the firms whose rows it writes to the database's policies, within itself.
    """
    rows = {name: found for name, found in _rows(batch).items() if found}
    columns = chain.from_iterable(_columns(name, found) for name, found in rows.items())
    statement = _statement(tuple(rows), names_firms)
    return statement, [*([_firms(batch)] if names_firms else ()), *columns]


def refuses_key(error: BaseException | None) -> bool:
    """Whether the database refused a statement because its ``Idempotency-Key`` is stored already."""
    while error is not None:
        if getattr(error, "constraint_name", None) == "idempotency_key_pkey":
            return True
        error = getattr(error, "orig", None) or error.__cause__
    return False


def inserted_columns(table: Table) -> list[str]:
    """The columns a row is written with, in the order in which the ``*_values`` functions give them."""
    return [column.name for column in table.columns if column.name not in _DEFAULTED]


def _rows(batch: Sequence[Changes]) -> dict[str, Rows]:
    """The rows by table. Events get their place in the transaction; keys are sorted, so batches never deadlock."""
    new = [changes for changes in batch if changes.new_rfq is not None]
    position = count()
    records = [changes.record for changes in batch if changes.record is not None]
    records.sort(key=lambda record: (record.firm_id, record.operation, record.key_digest))
    return {
        "rfq": [rfq_values(changes.new_rfq, changes.panel) for changes in new if changes.new_rfq],
        "rfq_leg": [row for changes in new if changes.new_rfq for row in leg_values(changes.new_rfq)],
        "invitation": [
            invitation_values(item, changes.client_firm_id) for changes in new for item in changes.invitations
        ],
        "quote": [quote_values(quote, changes.client_firm_id) for changes in batch for quote in changes.quotes],
        "active_quote": [row for changes in batch for row in _active_rows(changes)],
        "quote_end": [
            end_values(quote, end, changes.client_firm_id) for changes in batch for quote, end in changes.ends
        ],
        "fill": [fill_values(fill) for changes in batch for fill, _ in changes.fills],
        "fill_leg": [row for changes in batch for fill, terms in changes.fills for row in fill_leg_values(fill, terms)],
        "evaluation": [evaluation_values(item) for changes in batch for item in changes.evaluations],
        "decision": [decision_values(decision) for changes in batch for decision in changes.decisions],
        "event": [event_values(event, next(position)) for changes in batch for event in changes.events],
        "idempotency_key": [record_values(record) for record in records],
    }


def _active_rows(changes: Changes) -> Iterable[dict[str, object]]:
    """Dealers' new quotes that do not end at birth; one received elsewhere never ends here."""
    ended = {end.quote_id for _, end in changes.ends}
    for quote in changes.quotes:
        if quote.dealer_firm_id is not None and quote.quote_id not in ended:
            yield active_quote_values(quote, changes.client_firm_id)


def _firms(batch: Sequence[Changes]) -> str:
    firms = {changes.client_firm_id for changes in batch}
    firms.update(changes.record.firm_id for changes in batch if changes.record is not None)
    return ",".join(map(str, firms))


def _columns(name: str, rows: Rows) -> list[Column]:
    columns: list[Column] = list(zip(*(row.values() for row in rows), strict=True))
    for index in _array_columns(name):
        columns[index] = [None if value is None else _SEPARATOR.join(map(str, value)) for value in columns[index]]
    return columns


@functools.cache
def _array_columns(name: str) -> list[int]:
    table = _TABLES[name]
    return [
        index for index, column in enumerate(inserted_columns(table)) if isinstance(table.columns[column].type, ARRAY)
    ]


@functools.cache
def _statement(names: tuple[str, ...], names_firms: bool) -> str:
    """The statement for some of the tables.

    The firms are set by a branch that every other one reads: a policy looks at the setting when it judges a row.
    """
    first, branches = 2 if names_firms else 1, []
    for name in names:
        branches.append(_insert(_TABLES[name], first, names_firms))
        first += len(inserted_columns(_TABLES[name]))
    ahead = [f"w{number} AS ({branch})" for number, branch in enumerate(branches[:-1])]
    if names_firms:
        ahead.insert(0, "scope AS MATERIALIZED (SELECT set_config('app.firms', $1::text, true))")
    return f"WITH {', '.join(ahead)} {branches[-1]}" if ahead else branches[-1]


def _insert(table: Table, first: int, names_firms: bool) -> str:
    """One branch of the statement; its arguments are numbered from ``first``."""
    arrays, values = [], []
    names = inserted_columns(table)
    for number, name in enumerate(names, first):
        column_type = table.columns[name].type
        type_name = column_type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
        if isinstance(column_type, ARRAY):
            arrays.append(f"${number}::text[]")
            values.append(f"string_to_array({name}, E'\\x1f')::{type_name}")
        else:
            arrays.append(f"${number}::{type_name}[]")
            values.append(name)
    source = f"unnest({', '.join(arrays)}) AS given({', '.join(names)})"
    if names_firms:
        source = f"scope CROSS JOIN {source}"
    return f"INSERT INTO {table.name} ({', '.join(names)}) SELECT {', '.join(values)} FROM {source}"  # noqa: S608 - our own names
