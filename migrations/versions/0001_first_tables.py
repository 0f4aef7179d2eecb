"""First tables: firms, RFQs, invitations, quotes, scores, decisions, fills, events, market bars.

Written out in full and never changed afterwards; ``rfq_service/db/tables`` says what the columns mean, and a test holds
the two together.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE firm (
        id UUID NOT NULL,
        name TEXT NOT NULL,
        is_dealer BOOLEAN NOT NULL,
        CONSTRAINT firm_pkey PRIMARY KEY (id),
        CONSTRAINT firm_name_key UNIQUE (name),
        CONSTRAINT firm_name_check CHECK (char_length(name) BETWEEN 1 AND 100)
    )
    """,
    """
    CREATE TABLE api_key (
        id UUID NOT NULL,
        firm_id UUID NOT NULL,
        digest BYTEA NOT NULL,
        prefix TEXT NOT NULL,
        label TEXT NOT NULL,
        created_at_ns BIGINT NOT NULL,
        revoked_at_ns BIGINT,
        CONSTRAINT api_key_pkey PRIMARY KEY (id),
        CONSTRAINT api_key_digest_key UNIQUE (digest),
        CONSTRAINT api_key_digest_check CHECK (octet_length(digest) = 32),
        CONSTRAINT api_key_prefix_check CHECK (char_length(prefix) BETWEEN 1 AND 20),
        CONSTRAINT api_key_label_check CHECK (char_length(label) BETWEEN 0 AND 100),
        CONSTRAINT api_key_created_at_ns_check CHECK (created_at_ns > 0),
        CONSTRAINT api_key_revoked_at_ns_check CHECK (revoked_at_ns > 0),
        CONSTRAINT api_key_firm_id_fkey FOREIGN KEY(firm_id) REFERENCES firm (id)
    )
    """,
    "CREATE INDEX api_key_firm_id_idx ON api_key (firm_id)",
    """
    CREATE TABLE instrument (
        id TEXT NOT NULL,
        venue TEXT NOT NULL,
        symbol TEXT NOT NULL,
        kind TEXT NOT NULL,
        contract_type TEXT NOT NULL,
        base_currency TEXT NOT NULL,
        quote_currency TEXT NOT NULL,
        settlement_currency TEXT NOT NULL,
        tick_size NUMERIC NOT NULL,
        lot_size NUMERIC NOT NULL,
        multiplier NUMERIC NOT NULL,
        quantity_min NUMERIC NOT NULL,
        quantity_max NUMERIC NOT NULL,
        staleness_limit_ns BIGINT NOT NULL,
        taker_fee_bps NUMERIC NOT NULL,
        expires_at_ns BIGINT,
        CONSTRAINT instrument_pkey PRIMARY KEY (id),
        CONSTRAINT instrument_id_check CHECK (char_length(id) BETWEEN 1 AND 100),
        CONSTRAINT instrument_venue_check CHECK (char_length(venue) BETWEEN 1 AND 100),
        CONSTRAINT instrument_symbol_check CHECK (char_length(symbol) BETWEEN 1 AND 100),
        CONSTRAINT instrument_base_currency_check CHECK (char_length(base_currency) BETWEEN 1 AND 20),
        CONSTRAINT instrument_quote_currency_check CHECK (char_length(quote_currency) BETWEEN 1 AND 20),
        CONSTRAINT instrument_settlement_currency_check CHECK (char_length(settlement_currency) BETWEEN 1 AND 20),
        CONSTRAINT instrument_kind_check CHECK (kind IN ('spot', 'perpetual', 'dated_future')),
        CONSTRAINT instrument_contract_type_check CHECK (contract_type IN ('linear', 'inverse')),
        CONSTRAINT instrument_tick_size_check CHECK (tick_size > 0 AND tick_size < 'Infinity'),
        CONSTRAINT instrument_lot_size_check CHECK (lot_size > 0 AND lot_size < 'Infinity'),
        CONSTRAINT instrument_multiplier_check CHECK (multiplier > 0 AND multiplier < 'Infinity'),
        CONSTRAINT instrument_quantity_min_check CHECK (quantity_min > 0 AND quantity_min < 'Infinity'),
        CONSTRAINT instrument_quantity_max_check CHECK (quantity_max > 0 AND quantity_max < 'Infinity'),
        CONSTRAINT instrument_taker_fee_bps_check CHECK (taker_fee_bps > '-Infinity' AND taker_fee_bps < 'Infinity'),
        CONSTRAINT instrument_staleness_limit_ns_check CHECK (staleness_limit_ns > 0),
        CONSTRAINT instrument_expires_at_ns_check CHECK (expires_at_ns > 0),
        CONSTRAINT instrument_quantity_bounds_check CHECK (quantity_min <= quantity_max),
        CONSTRAINT instrument_expiry_of_dated_future_check CHECK ((expires_at_ns IS NOT NULL) = (kind = 'dated_future'))
    )
    """,
    """
    CREATE TABLE market_bar (
        instrument_id TEXT NOT NULL,
        start_ns BIGINT NOT NULL,
        open_mid NUMERIC NOT NULL,
        high_mid NUMERIC NOT NULL,
        low_mid NUMERIC NOT NULL,
        close_mid NUMERIC NOT NULL,
        volume NUMERIC NOT NULL,
        trade_count BIGINT NOT NULL,
        spread_bps DOUBLE PRECISION NOT NULL,
        depth_notional DOUBLE PRECISION NOT NULL,
        CONSTRAINT market_bar_pkey PRIMARY KEY (instrument_id, start_ns),
        CONSTRAINT market_bar_start_ns_check CHECK (start_ns > 0),
        CONSTRAINT market_bar_open_mid_check CHECK (open_mid > 0 AND open_mid < 'Infinity'),
        CONSTRAINT market_bar_high_mid_check CHECK (high_mid > 0 AND high_mid < 'Infinity'),
        CONSTRAINT market_bar_low_mid_check CHECK (low_mid > 0 AND low_mid < 'Infinity'),
        CONSTRAINT market_bar_close_mid_check CHECK (close_mid > 0 AND close_mid < 'Infinity'),
        CONSTRAINT market_bar_volume_check CHECK (volume >= 0 AND volume < 'Infinity'),
        CONSTRAINT market_bar_spread_bps_check CHECK (spread_bps >= 0 AND spread_bps < 'Infinity'),
        CONSTRAINT market_bar_depth_notional_check CHECK (depth_notional >= 0 AND depth_notional < 'Infinity'),
        CONSTRAINT market_bar_trade_count_check CHECK (trade_count >= 0),
        CONSTRAINT market_bar_lowest_check CHECK (low_mid <= least(open_mid, close_mid)),
        CONSTRAINT market_bar_highest_check CHECK (high_mid >= greatest(open_mid, close_mid)),
        CONSTRAINT market_bar_instrument_id_fkey FOREIGN KEY(instrument_id) REFERENCES instrument (id)
    )
    """,
    """
    CREATE TABLE rfq (
        id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        side TEXT NOT NULL,
        quantity NUMERIC NOT NULL,
        size_mode TEXT NOT NULL,
        minimum_quantity NUMERIC,
        price_increment NUMERIC NOT NULL,
        created_at_ns BIGINT NOT NULL,
        expires_at_ns BIGINT NOT NULL,
        limit_price NUMERIC,
        client_reference TEXT NOT NULL,
        anonymous BOOLEAN NOT NULL,
        state TEXT NOT NULL,
        filled_quantity NUMERIC NOT NULL,
        panel_firm_ids UUID[] NOT NULL,
        CONSTRAINT rfq_pkey PRIMARY KEY (id),
        CONSTRAINT rfq_side_check CHECK (side IN ('buy', 'sell', 'two_way')),
        CONSTRAINT rfq_size_mode_check CHECK (size_mode IN ('all_or_none', 'any_part', 'minimum')),
        CONSTRAINT rfq_state_check CHECK (state IN (
            'open', 'partially_filled', 'pending_last_look', 'filled', 'cancelled', 'expired', 'failed',
            'traded_away', 'evaluated'
        )),
        CONSTRAINT rfq_quantity_check CHECK (quantity > 0 AND quantity < 'Infinity'),
        CONSTRAINT rfq_minimum_quantity_check CHECK (minimum_quantity > 0 AND minimum_quantity < 'Infinity'),
        CONSTRAINT rfq_price_increment_check CHECK (price_increment > 0 AND price_increment < 'Infinity'),
        CONSTRAINT rfq_limit_price_check CHECK (limit_price > '-Infinity' AND limit_price < 'Infinity'),
        CONSTRAINT rfq_created_at_ns_check CHECK (created_at_ns > 0),
        CONSTRAINT rfq_expires_at_ns_check CHECK (expires_at_ns > 0),
        CONSTRAINT rfq_client_reference_check CHECK (char_length(client_reference) BETWEEN 0 AND 200),
        CONSTRAINT rfq_minimum_of_mode_check CHECK ((minimum_quantity IS NOT NULL) = (size_mode = 'minimum')),
        CONSTRAINT rfq_filled_quantity_check CHECK (filled_quantity >= 0 AND filled_quantity <= quantity)
    )
    """,
    "CREATE INDEX rfq_client_firm_id_id_idx ON rfq (client_firm_id, id)",
    "CREATE INDEX rfq_expiry_idx ON rfq (expires_at_ns) WHERE state IN ('open', 'partially_filled')",
    "CREATE INDEX rfq_live_idx ON rfq (client_firm_id, state, id) WHERE state <> 'evaluated'",
    """
    CREATE TABLE rfq_leg (
        rfq_id UUID NOT NULL,
        position SMALLINT NOT NULL,
        client_firm_id UUID NOT NULL,
        instrument_id TEXT NOT NULL,
        side TEXT NOT NULL,
        ratio NUMERIC NOT NULL,
        CONSTRAINT rfq_leg_pkey PRIMARY KEY (rfq_id, position),
        CONSTRAINT rfq_leg_side_check CHECK (side IN ('buy', 'sell')),
        CONSTRAINT rfq_leg_ratio_check CHECK (ratio > 0 AND ratio < 'Infinity')
    )
    """,
    "CREATE INDEX rfq_leg_client_firm_id_instrument_id_rfq_id_idx ON rfq_leg (client_firm_id, instrument_id, rfq_id)",
    """
    CREATE TABLE invitation (
        id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        dealer_firm_id UUID NOT NULL,
        client_name TEXT,
        side TEXT NOT NULL,
        quantity NUMERIC NOT NULL,
        size_mode TEXT NOT NULL,
        minimum_quantity NUMERIC,
        price_increment NUMERIC NOT NULL,
        created_at_ns BIGINT NOT NULL,
        expires_at_ns BIGINT NOT NULL,
        legs_json JSON NOT NULL,
        instrument_ids TEXT[] NOT NULL,
        state TEXT NOT NULL,
        outcome TEXT,
        cover_distance_micro_bps BIGINT,
        CONSTRAINT invitation_pkey PRIMARY KEY (id),
        CONSTRAINT invitation_dealer_firm_id_rfq_id_key UNIQUE (dealer_firm_id, rfq_id),
        CONSTRAINT invitation_client_name_check CHECK (char_length(client_name) BETWEEN 1 AND 100),
        CONSTRAINT invitation_side_check CHECK (side IN ('buy', 'sell', 'two_way')),
        CONSTRAINT invitation_size_mode_check CHECK (size_mode IN (
            'all_or_none', 'any_part', 'minimum'
        )),
        CONSTRAINT invitation_state_check CHECK (state IN ('open', 'closed', 'cancelled', 'expired')),
        CONSTRAINT invitation_outcome_check CHECK (outcome IN (
            'hit', 'cover', 'done_away', 'passed', 'expired', 'cancelled'
        )),
        CONSTRAINT invitation_quantity_check CHECK (quantity > 0 AND quantity < 'Infinity'),
        CONSTRAINT invitation_minimum_quantity_check CHECK (minimum_quantity > 0 AND minimum_quantity < 'Infinity'),
        CONSTRAINT invitation_price_increment_check CHECK (price_increment > 0 AND price_increment < 'Infinity'),
        CONSTRAINT invitation_created_at_ns_check CHECK (created_at_ns > 0),
        CONSTRAINT invitation_expires_at_ns_check CHECK (expires_at_ns > 0),
        CONSTRAINT invitation_cover_distance_micro_bps_check CHECK (cover_distance_micro_bps >= 0),
        CONSTRAINT invitation_rfq_id_fkey FOREIGN KEY(rfq_id) REFERENCES rfq (id),
        CONSTRAINT invitation_dealer_firm_id_fkey FOREIGN KEY(dealer_firm_id) REFERENCES firm (id)
    )
    """,
    "CREATE INDEX invitation_dealer_firm_id_id_idx ON invitation (dealer_firm_id, id)",
    "CREATE INDEX invitation_dealer_firm_id_state_id_idx ON invitation (dealer_firm_id, state, id)",
    "CREATE INDEX invitation_rfq_id_idx ON invitation (rfq_id)",
    """
    CREATE TABLE quote (
        id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        dealer_firm_id UUID,
        dealer_name TEXT NOT NULL,
        bid_price NUMERIC,
        bid_leg_prices NUMERIC[],
        ask_price NUMERIC,
        ask_leg_prices NUMERIC[],
        quantity NUMERIC NOT NULL,
        received_at_ns BIGINT NOT NULL,
        valid_until_ns BIGINT NOT NULL,
        CONSTRAINT quote_pkey PRIMARY KEY (id),
        CONSTRAINT quote_dealer_name_check CHECK (char_length(dealer_name) BETWEEN 1 AND 100),
        CONSTRAINT quote_bid_price_check CHECK (bid_price > '-Infinity' AND bid_price < 'Infinity'),
        CONSTRAINT quote_ask_price_check CHECK (ask_price > '-Infinity' AND ask_price < 'Infinity'),
        CONSTRAINT quote_bid_leg_prices_check CHECK (0 < ALL (bid_leg_prices) AND 'Infinity' > ALL (bid_leg_prices)),
        CONSTRAINT quote_ask_leg_prices_check CHECK (0 < ALL (ask_leg_prices) AND 'Infinity' > ALL (ask_leg_prices)),
        CONSTRAINT quote_quantity_check CHECK (quantity >= 0 AND quantity < 'Infinity'),
        CONSTRAINT quote_received_at_ns_check CHECK (received_at_ns > 0),
        CONSTRAINT quote_valid_until_ns_check CHECK (valid_until_ns > 0),
        CONSTRAINT quote_bid_legs_check CHECK (bid_leg_prices IS NULL OR bid_price IS NOT NULL),
        CONSTRAINT quote_ask_legs_check CHECK (ask_leg_prices IS NULL OR ask_price IS NOT NULL)
    ) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX quote_client_firm_id_dealer_name_id_idx ON quote (client_firm_id, dealer_name, id)",
    "CREATE INDEX quote_client_firm_id_id_idx ON quote (client_firm_id, id)",
    "CREATE INDEX quote_dealer_firm_id_id_idx ON quote (dealer_firm_id, id) WHERE dealer_firm_id IS NOT NULL",
    "CREATE INDEX quote_rfq_id_idx ON quote (rfq_id)",
    """
    CREATE TABLE active_quote (
        quote_id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        valid_until_ns BIGINT NOT NULL,
        CONSTRAINT active_quote_pkey PRIMARY KEY (quote_id),
        CONSTRAINT active_quote_quote_id_fkey FOREIGN KEY(quote_id) REFERENCES quote (id)
    )
    """,
    "CREATE INDEX active_quote_rfq_id_idx ON active_quote (rfq_id)",
    "CREATE INDEX active_quote_valid_until_ns_idx ON active_quote (valid_until_ns)",
    """
    CREATE TABLE quote_end (
        quote_id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        dealer_firm_id UUID,
        state TEXT NOT NULL,
        reason TEXT NOT NULL,
        ended_at_ns BIGINT NOT NULL,
        CONSTRAINT quote_end_pkey PRIMARY KEY (quote_id),
        CONSTRAINT quote_end_state_check CHECK (state IN (
            'accepted', 'rejected', 'replaced', 'cancelled', 'expired', 'passed'
        )),
        CONSTRAINT quote_end_reason_check CHECK (reason IN (
            'hit', 'cover', 'done_away', 'rfq_cancelled', 'rfq_expired', 'replaced_by_dealer',
            'withdrawn_by_dealer', 'ttl_elapsed', 'dealer_passed'
        )),
        CONSTRAINT quote_end_ended_at_ns_check CHECK (ended_at_ns > 0),
        CONSTRAINT quote_end_quote_id_fkey FOREIGN KEY(quote_id) REFERENCES quote (id)
    )
    """,
    """
    CREATE TABLE fill (
        id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        quote_id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        dealer_firm_id UUID NOT NULL,
        side TEXT NOT NULL,
        quantity NUMERIC NOT NULL,
        price NUMERIC NOT NULL,
        filled_at_ns BIGINT NOT NULL,
        CONSTRAINT fill_pkey PRIMARY KEY (id),
        CONSTRAINT fill_quote_id_key UNIQUE (quote_id),
        CONSTRAINT fill_side_check CHECK (side IN ('buy', 'sell')),
        CONSTRAINT fill_quantity_check CHECK (quantity > 0 AND quantity < 'Infinity'),
        CONSTRAINT fill_price_check CHECK (price > '-Infinity' AND price < 'Infinity'),
        CONSTRAINT fill_filled_at_ns_check CHECK (filled_at_ns > 0),
        CONSTRAINT fill_rfq_id_fkey FOREIGN KEY(rfq_id) REFERENCES rfq (id),
        CONSTRAINT fill_quote_id_fkey FOREIGN KEY(quote_id) REFERENCES quote (id),
        CONSTRAINT fill_client_firm_id_fkey FOREIGN KEY(client_firm_id) REFERENCES firm (id),
        CONSTRAINT fill_dealer_firm_id_fkey FOREIGN KEY(dealer_firm_id) REFERENCES firm (id)
    )
    """,
    "CREATE INDEX fill_client_firm_id_id_idx ON fill (client_firm_id, id)",
    "CREATE INDEX fill_dealer_firm_id_id_idx ON fill (dealer_firm_id, id)",
    "CREATE INDEX fill_rfq_id_idx ON fill (rfq_id)",
    """
    CREATE TABLE fill_leg (
        fill_id UUID NOT NULL,
        position SMALLINT NOT NULL,
        client_firm_id UUID NOT NULL,
        dealer_firm_id UUID NOT NULL,
        instrument_id TEXT NOT NULL,
        side TEXT NOT NULL,
        quantity NUMERIC NOT NULL,
        price NUMERIC NOT NULL,
        CONSTRAINT fill_leg_pkey PRIMARY KEY (fill_id, position),
        CONSTRAINT fill_leg_side_check CHECK (side IN ('buy', 'sell')),
        CONSTRAINT fill_leg_quantity_check CHECK (quantity > 0 AND quantity < 'Infinity'),
        CONSTRAINT fill_leg_price_check CHECK (price > 0 AND price < 'Infinity'),
        CONSTRAINT fill_leg_fill_id_fkey FOREIGN KEY(fill_id) REFERENCES fill (id),
        CONSTRAINT fill_leg_instrument_id_fkey FOREIGN KEY(instrument_id) REFERENCES instrument (id)
    )
    """,
    "CREATE INDEX fill_leg_dealer_firm_id_instrument_id_idx ON fill_leg (dealer_firm_id, instrument_id)",
    """
    CREATE TABLE evaluation (
        id UUID NOT NULL,
        decision_id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        quote_id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        side TEXT NOT NULL,
        verdict TEXT NOT NULL,
        reasons TEXT[] NOT NULL,
        cost_micro_bps BIGINT,
        fairness_ppm BIGINT,
        excess_micro_bps BIGINT,
        result_json JSON NOT NULL,
        CONSTRAINT evaluation_pkey PRIMARY KEY (id),
        CONSTRAINT evaluation_side_check CHECK (side IN ('buy', 'sell')),
        CONSTRAINT evaluation_verdict_check CHECK (char_length(verdict) BETWEEN 1 AND 60)
    ) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX evaluation_client_firm_id_verdict_quote_id_idx ON evaluation (client_firm_id, verdict, quote_id)",
    "CREATE INDEX evaluation_quote_id_idx ON evaluation (quote_id)",
    """
    CREATE TABLE decision (
        id UUID NOT NULL,
        rfq_id UUID NOT NULL,
        client_firm_id UUID NOT NULL,
        decided_at_ns BIGINT NOT NULL,
        action TEXT NOT NULL,
        quote_id UUID,
        model TEXT NOT NULL,
        is_fallback BOOLEAN NOT NULL,
        inputs_json JSON NOT NULL,
        result_json JSON NOT NULL,
        CONSTRAINT decision_pkey PRIMARY KEY (id),
        CONSTRAINT decision_decided_at_ns_check CHECK (decided_at_ns > 0),
        CONSTRAINT decision_action_check CHECK (char_length(action) BETWEEN 1 AND 60),
        CONSTRAINT decision_model_check CHECK (char_length(model) BETWEEN 1 AND 100)
    ) PARTITION BY RANGE (id)
    """,
    # Mostly base64 of floats, which does not compress: trying costs a tenth of the whole write.
    "ALTER TABLE decision ALTER COLUMN inputs_json SET STORAGE EXTERNAL",
    "CREATE INDEX decision_rfq_id_id_idx ON decision (rfq_id, id)",
    """
    CREATE TABLE event (
        id UUID NOT NULL,
        kind TEXT NOT NULL,
        occurred_at_ns BIGINT NOT NULL,
        client_firm_id UUID,
        dealer_firm_id UUID,
        rfq_id UUID,
        quote_id UUID,
        payload_json JSON NOT NULL,
        CONSTRAINT event_pkey PRIMARY KEY (id),
        CONSTRAINT event_kind_check CHECK (kind IN (
            'rfq.opened', 'rfq.evaluated', 'rfq.cancelled', 'rfq.expired', 'invitation.sent', 'invitation.closed',
            'quote.posted', 'quote.passed', 'quote.ended', 'decision.made', 'fill.booked', 'firm.added',
            'key.added', 'key.revoked', 'instrument.stored'
        )),
        CONSTRAINT event_occurred_at_ns_check CHECK (occurred_at_ns > 0)
    ) PARTITION BY RANGE (id)
    """,
)
PARTITIONED = ("quote", "evaluation", "decision", "event")
APPEND_ONLY = (*PARTITIONED, "quote_end", "fill", "fill_leg")

REFUSE_CHANGE = """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """

# The lowest UUIDv7 of a month: 48 bits of milliseconds, the rest zero (as identifiers.uuid7_floor).
UUID7_FLOOR = """
    CREATE FUNCTION uuid7_floor(month date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
        SELECT (lpad(to_hex(extract(epoch FROM month)::bigint * 1000), 12, '0') || repeat('0', 20))::uuid
    $$
    """

# A month whose rows already fell into the default partition stays there: they are append-only and cannot move.
# Row triggers reach the partitions by themselves, TRUNCATE triggers do not.
ENSURE_PARTITIONS = """
    CREATE FUNCTION ensure_partitions(from_month date, months integer) RETURNS integer LANGUAGE plpgsql AS $$
    DECLARE
        parent text;
        child text;
        first_day date;
        lower_id uuid;
        upper_id uuid;
        is_taken boolean;
        created integer := 0;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('rfq ensure_partitions'));
        FOR parent IN
            SELECT c.relname FROM pg_partitioned_table p JOIN pg_class c ON c.oid = p.partrelid
            WHERE c.relnamespace = current_schema()::regnamespace ORDER BY c.relname
        LOOP
            FOR step IN 0 .. months - 1 LOOP
                first_day := date_trunc('month', from_month)::date + make_interval(months => step);
                child := parent || to_char(first_day, '"_p"YYYYMM');
                CONTINUE WHEN to_regclass(child) IS NOT NULL;
                lower_id := uuid7_floor(first_day);
                upper_id := uuid7_floor((first_day + interval '1 month')::date);
                EXECUTE format('SELECT EXISTS (SELECT FROM %I WHERE id >= $1 AND id < $2)', parent || '_default')
                    INTO is_taken USING lower_id, upper_id;
                CONTINUE WHEN is_taken;
                EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
                               child, parent, lower_id, upper_id);
                EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %I '
                               'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', child);
                created := created + 1;
            END LOOP;
        END LOOP;
        RETURN created;
    END
    $$
    """


def upgrade() -> None:
    # A migration that waits for a lock makes every query behind it wait too: give up early and try again later.
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in (*TABLES, REFUSE_CHANGE, UUID7_FLOOR, ENSURE_PARTITIONS):
        op.execute(statement)
    for table in PARTITIONED:
        op.execute(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT")
    for table in (*APPEND_ONLY, *(f"{table}_default" for table in PARTITIONED)):
        op.execute(
            f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
        )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION refuse_change()"
        )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in (
        *("event", "decision", "evaluation", "fill_leg", "fill", "quote_end", "active_quote", "quote"),
        *("invitation", "rfq_leg", "rfq", "market_bar", "instrument", "api_key", "firm"),
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION ensure_partitions(date, integer)")
    op.execute("DROP FUNCTION uuid7_floor(date)")
    op.execute("DROP FUNCTION refuse_change()")
