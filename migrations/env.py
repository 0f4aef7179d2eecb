"""Alembic's entry: runs the migrations on the connection that ``rfq_service.db.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from rfq_service.db.migrate import is_compared
from rfq_service.db.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    include_object=is_compared,
    compare_type=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
