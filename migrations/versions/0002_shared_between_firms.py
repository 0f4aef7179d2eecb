"""What competing firms need to share one service: roles and row policies, keys with roles, exactly once, the stream.

Written out in full and never changed afterwards. The login roles named here exist already: ``rfq_service/db/roles.py``
makes them before the migrations run. Grants say which columns a role may use, policies which rows; both are per role,
and neither is ever given on a partition. The owner of the tables is bound by no policy: nobody serves requests as him,
except inside the SECURITY DEFINER functions below.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLES = (
    *("rfq_client", "rfq_dealer", "rfq_desk", "rfq_writer"),
    *("rfq_auditor", "rfq_sequencer", "rfq_streamer", "rfq_operator"),
)
PARTITIONED = ("quote", "evaluation", "decision", "event")
# Every table in which a row belongs to firms, and those that are the service's own.
TABLES = (
    *("firm", "api_key", "instrument", "market_bar", "rfq", "rfq_leg", "invitation", "active_quote", "quote_end"),
    *("fill", "fill_leg", *PARTITIONED),
    *("token_key", "audit_grant", "idempotency_key", "event_leaf", "stream_entry", "stream_head", "sequencer"),
)
APPEND_ONLY = ("event_leaf", "stream_entry", "idempotency_key")

CHANGES = (
    # ------------------------------------------------------------------------------------------------- keys and grants
    """
    ALTER TABLE api_key ADD COLUMN role TEXT, ADD COLUMN scopes TEXT[], ADD COLUMN expires_at_ns BIGINT,
    ADD COLUMN replaced_by UUID, ADD COLUMN created_by UUID
    """,
    """
    UPDATE api_key SET role = CASE WHEN firm.is_dealer THEN 'dealer' ELSE 'buy_side' END,
        scopes = CASE WHEN firm.is_dealer THEN ARRAY['rfq:read', 'quote:write', 'price:read']
                      ELSE ARRAY['rfq:read', 'rfq:write'] END
    FROM firm WHERE firm.id = api_key.firm_id
    """,
    """
    ALTER TABLE api_key ALTER COLUMN role SET NOT NULL, ALTER COLUMN scopes SET NOT NULL,
        ADD CONSTRAINT api_key_role_check CHECK (role IN ('buy_side', 'dealer', 'auditor', 'operator')),
        ADD CONSTRAINT api_key_scopes_check CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY[
            'rfq:read', 'rfq:write', 'quote:write', 'price:read', 'audit:read', 'metrics:read', 'admin']),
        ADD CONSTRAINT api_key_expires_at_ns_check CHECK (expires_at_ns > 0),
        ADD CONSTRAINT api_key_replaced_by_fkey FOREIGN KEY (replaced_by) REFERENCES api_key (id),
        ADD CONSTRAINT api_key_created_by_fkey FOREIGN KEY (created_by) REFERENCES api_key (id)
    """,
    """
    CREATE TABLE token_key (
        id UUID NOT NULL,
        public_key BYTEA NOT NULL,
        private_key BYTEA,
        created_at_ns BIGINT NOT NULL,
        retired_at_ns BIGINT,
        CONSTRAINT token_key_pkey PRIMARY KEY (id),
        CONSTRAINT token_key_public_key_check CHECK (octet_length(public_key) = 32),
        CONSTRAINT token_key_private_key_check CHECK (octet_length(private_key) = 32),
        CONSTRAINT token_key_created_at_ns_check CHECK (created_at_ns > 0),
        CONSTRAINT token_key_retired_at_ns_check CHECK (retired_at_ns > 0)
    )
    """,
    """
    CREATE TABLE audit_grant (
        id UUID NOT NULL,
        auditor_firm_id UUID NOT NULL,
        firm_id UUID,
        granted_by UUID,
        granted_at_ns BIGINT NOT NULL,
        revoked_at_ns BIGINT,
        CONSTRAINT audit_grant_pkey PRIMARY KEY (id),
        CONSTRAINT audit_grant_granted_at_ns_check CHECK (granted_at_ns > 0),
        CONSTRAINT audit_grant_revoked_at_ns_check CHECK (revoked_at_ns > 0),
        CONSTRAINT audit_grant_auditor_firm_id_fkey FOREIGN KEY (auditor_firm_id) REFERENCES firm (id),
        CONSTRAINT audit_grant_firm_id_fkey FOREIGN KEY (firm_id) REFERENCES firm (id)
    )
    """,
    """
    CREATE UNIQUE INDEX audit_grant_live_idx ON audit_grant (auditor_firm_id, firm_id) NULLS NOT DISTINCT
    WHERE revoked_at_ns IS NULL
    """,
    # ---------------------------------------------------------------------------------------------------- exactly once
    """
    CREATE TABLE idempotency_key (
        firm_id UUID NOT NULL,
        operation TEXT NOT NULL,
        key_digest BYTEA NOT NULL,
        request_digest BYTEA NOT NULL,
        status SMALLINT NOT NULL,
        body BYTEA NOT NULL,
        created_at_ns BIGINT NOT NULL,
        expires_at_ns BIGINT NOT NULL,
        CONSTRAINT idempotency_key_pkey PRIMARY KEY (firm_id, operation, key_digest),
        CONSTRAINT idempotency_key_operation_check CHECK (char_length(operation) BETWEEN 1 AND 60),
        CONSTRAINT idempotency_key_key_digest_check CHECK (octet_length(key_digest) = 32),
        CONSTRAINT idempotency_key_request_digest_check CHECK (octet_length(request_digest) = 32),
        CONSTRAINT idempotency_key_status_check CHECK (status BETWEEN 200 AND 299),
        CONSTRAINT idempotency_key_created_at_ns_check CHECK (created_at_ns > 0),
        CONSTRAINT idempotency_key_expires_at_ns_check CHECK (expires_at_ns > 0)
    )
    """,
    # The service has compressed what is long.
    "ALTER TABLE idempotency_key ALTER COLUMN body SET STORAGE EXTERNAL",
    "CREATE INDEX idempotency_key_expires_at_ns_idx ON idempotency_key (expires_at_ns)",
    # ------------------------------------------------------------------------------------------------------- the trade
    "ALTER TABLE invitation ADD COLUMN client_firm_id UUID",
    "UPDATE invitation SET client_firm_id = rfq.client_firm_id FROM rfq WHERE rfq.id = invitation.rfq_id",
    "ALTER TABLE invitation ALTER COLUMN client_firm_id SET NOT NULL",
    "ALTER TABLE active_quote ADD COLUMN client_firm_id UUID",
    "UPDATE active_quote SET client_firm_id = rfq.client_firm_id FROM rfq WHERE rfq.id = active_quote.rfq_id",
    "ALTER TABLE active_quote ALTER COLUMN client_firm_id SET NOT NULL",
    "ALTER TABLE decision ADD COLUMN number INTEGER DEFAULT 1 NOT NULL",
    "ALTER TABLE decision ADD CONSTRAINT decision_number_check CHECK (number > 0)",
    # ------------------------------------------------------------------------------------- the journal and its numbers
    # Rows from before the stream were sent to nobody and are older than every transaction to come.
    """
    ALTER TABLE event ADD COLUMN audience TEXT DEFAULT 'none' NOT NULL,
    ADD COLUMN position INTEGER DEFAULT 0 NOT NULL, ADD COLUMN transaction_id xid8 DEFAULT '0' NOT NULL
    """,
    """
    ALTER TABLE event ALTER COLUMN audience DROP DEFAULT,
        ALTER COLUMN transaction_id SET DEFAULT pg_current_xact_id(),
        ADD CONSTRAINT event_audience_check CHECK (audience IN ('client', 'dealer', 'both', 'none')),
        ADD CONSTRAINT event_client_told_check CHECK (
            client_firm_id IS NOT NULL OR audience NOT IN ('client', 'both')),
        ADD CONSTRAINT event_dealer_told_check CHECK (
            dealer_firm_id IS NOT NULL OR audience NOT IN ('dealer', 'both')),
        DROP CONSTRAINT event_kind_check,
        ADD CONSTRAINT event_kind_check CHECK (kind IN (
            'rfq.opened', 'rfq.evaluated', 'rfq.cancelled', 'rfq.expired', 'invitation.sent', 'invitation.closed',
            'quote.posted', 'quote.passed', 'quote.ended', 'decision.made', 'fill.booked', 'firm.added',
            'key.added', 'key.rotated', 'key.revoked', 'grant.added', 'grant.revoked', 'instrument.stored'))
    """,
    "CREATE INDEX event_transaction_id_idx ON event (transaction_id)",
    """
    CREATE TABLE event_leaf (
        leaf_index BIGINT NOT NULL,
        event_id UUID NOT NULL,
        client_firm_id UUID,
        CONSTRAINT event_leaf_pkey PRIMARY KEY (leaf_index),
        CONSTRAINT event_leaf_event_id_key UNIQUE (event_id),
        CONSTRAINT event_leaf_leaf_index_check CHECK (leaf_index >= 0)
    )
    """,
    """
    CREATE TABLE stream_entry (
        firm_id UUID NOT NULL,
        party TEXT NOT NULL,
        number BIGINT NOT NULL,
        leaf_index BIGINT NOT NULL,
        event_id UUID NOT NULL,
        kind TEXT NOT NULL,
        occurred_at_ns BIGINT NOT NULL,
        rfq_id UUID,
        quote_id UUID,
        payload_json JSON NOT NULL,
        sequenced_at_ns BIGINT NOT NULL,
        CONSTRAINT stream_entry_pkey PRIMARY KEY (firm_id, party, number),
        CONSTRAINT stream_entry_party_check CHECK (party IN ('client', 'dealer')),
        CONSTRAINT stream_entry_number_check CHECK (number > 0)
    )
    """,
    "CREATE INDEX stream_entry_leaf_index_idx ON stream_entry (leaf_index)",
    """
    CREATE TABLE stream_head (
        firm_id UUID NOT NULL,
        party TEXT NOT NULL,
        last_number BIGINT NOT NULL,
        CONSTRAINT stream_head_pkey PRIMARY KEY (firm_id, party),
        CONSTRAINT stream_head_party_check CHECK (party IN ('client', 'dealer')),
        CONSTRAINT stream_head_last_number_check CHECK (last_number > 0)
    ) WITH (fillfactor = 50)
    """,
    """
    CREATE TABLE sequencer (
        id SMALLINT NOT NULL,
        next_leaf_index BIGINT NOT NULL,
        below xid8 NOT NULL,
        CONSTRAINT sequencer_pkey PRIMARY KEY (id),
        CONSTRAINT sequencer_id_check CHECK (id = 1)
    )
    """,
    "INSERT INTO event_leaf SELECT row_number() OVER (ORDER BY id) - 1, id, client_firm_id FROM event",
    "INSERT INTO sequencer SELECT 1, count(*), pg_snapshot_xmin(pg_current_snapshot()) FROM event_leaf",
)

FUNCTIONS = (
    # ------------------------------------------------------------------------------------------------------------ locks
    # Advisory locks assign no transaction id, row locks do. Taken first, they make the ids of the transactions on one
    # RFQ follow the order in which they held it, which is what the sequencer numbers by.
    """
    CREATE FUNCTION lock_rfq(rfq_id uuid) RETURNS void LANGUAGE sql AS $$
        SELECT pg_advisory_xact_lock(hashtextextended(rfq_id::text, 0))
    $$
    """,
    """
    CREATE FUNCTION lock_invited_rfqs(dealer_ids uuid[], rfq_ids uuid[])
    RETURNS TABLE (dealer_firm_id uuid, rfq_id uuid, client_firm_id uuid)
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
    #variable_conflict use_column
    DECLARE
        dealers uuid[];
        rfqs uuid[];
        clients uuid[];
        known text := nullif(current_setting('app.firms', true), '');
    BEGIN
        SELECT array_agg(i.dealer_firm_id), array_agg(i.rfq_id), array_agg(i.client_firm_id)
        INTO dealers, rfqs, clients
        FROM unnest(dealer_ids, rfq_ids) AS asked (dealer_firm_id, rfq_id)
        JOIN invitation i USING (dealer_firm_id, rfq_id);
        -- in one order for everybody, so that two batches never wait for each other
        PERFORM pg_advisory_xact_lock(key) FROM (
            SELECT DISTINCT hashtextextended(id::text, 0) AS key FROM unnest(rfqs) AS id ORDER BY key
        ) AS ordered;
        PERFORM FROM rfq WHERE id = ANY (rfqs) ORDER BY hashtextextended(id::text, 0) FOR NO KEY UPDATE;
        SELECT string_agg(DISTINCT id::text, ',') INTO known
        FROM unnest(string_to_array(known, ',')::uuid[] || dealers || clients) AS id;
        PERFORM set_config('app.firms', coalesce(known, ''), true);
        RETURN QUERY SELECT * FROM unnest(dealers, rfqs, clients);
    END
    $$
    """,
    """
    CREATE FUNCTION enter_as_invited(dealer uuid, rfq uuid) RETURNS uuid
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
    DECLARE
        client uuid;
    BEGIN
        SELECT i.client_firm_id INTO client FROM invitation i WHERE i.dealer_firm_id = dealer AND i.rfq_id = rfq;
        IF client IS NOT NULL THEN
            PERFORM pg_advisory_xact_lock(hashtextextended(rfq::text, 0));
            PERFORM FROM rfq AS locked WHERE locked.id = rfq FOR NO KEY UPDATE;
            PERFORM set_config('app.firm', client::text, true);
        END IF;
        RETURN client;
    END
    $$
    """,
    """
    CREATE FUNCTION enter_audit(auditor uuid) RETURNS uuid[] LANGUAGE plpgsql AS $$
    DECLARE
        firms uuid[];
    BEGIN
        SELECT coalesce(array_agg(f.id), '{}') INTO firms FROM firm f WHERE EXISTS (
            SELECT FROM audit_grant g WHERE g.auditor_firm_id = auditor AND g.revoked_at_ns IS NULL
                AND (g.firm_id IS NULL OR g.firm_id = f.id)
        );
        PERFORM set_config('app.firm', coalesce(auditor::text, ''), true),
                set_config('app.firms', array_to_string(firms, ','), true);
        RETURN firms;
    END
    $$
    """,
    # --------------------------------------------------------------------------------------------------------- sweeping
    """
    CREATE FUNCTION due_rfqs(now_ns bigint, most integer) RETURNS TABLE (rfq_id uuid, client_firm_id uuid)
    LANGUAGE sql STABLE SET enable_seqscan = off AS $$
        SELECT id, client_firm_id FROM rfq
        WHERE state IN ('open', 'partially_filled') AND expires_at_ns <= now_ns ORDER BY expires_at_ns LIMIT most
    $$
    """,
    # Quotes that are good until their RFQ itself ends are left to its end, which tells their dealers more.
    """
    CREATE FUNCTION due_quotes(now_ns bigint, most integer) RETURNS TABLE (rfq_id uuid, client_firm_id uuid)
    LANGUAGE sql STABLE SET enable_seqscan = off AS $$
        SELECT rfq_id, client_firm_id FROM (
            SELECT a.rfq_id, a.client_firm_id, a.valid_until_ns FROM active_quote a JOIN rfq ON rfq.id = a.rfq_id
            WHERE a.valid_until_ns <= now_ns AND a.valid_until_ns < rfq.expires_at_ns
            ORDER BY a.valid_until_ns LIMIT most
        ) AS due GROUP BY rfq_id, client_firm_id ORDER BY min(valid_until_ns)
    $$
    """,
    # Ending a quote is one INSERT, whose primary key makes it once; being active ends with it.
    """
    CREATE FUNCTION end_active_quote() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        DELETE FROM active_quote a USING ended WHERE a.quote_id = ended.quote_id;
        RETURN NULL;
    END
    $$
    """,
    """
    CREATE TRIGGER end_active_quote AFTER INSERT ON quote_end REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION end_active_quote()
    """,
    # ---------------------------------------------------------------------------------------------------- the sequencer
    # Every transaction below the fence has ended, so what it wrote is visible and nothing can still appear there: no
    # event is ever passed by, and the order is that of (transaction_id, position, id) however the calls are cut.
    # Hence the commit needs no flush: after a crash the same events get the same numbers again.
    # Plans are generic and use the index, as the table is empty when they are made and grows.
    """
    CREATE FUNCTION sequence_events(most integer, now_ns bigint, OUT numbered integer, OUT is_pending boolean,
                                    OUT last_leaf_index bigint, OUT oldest_pending_ns bigint)
    LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
    DECLARE
        state sequencer;
        fence xid8;
        horizon xid8;
        cut xid8;
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('rfq sequence_events', 0));
        SELECT s.id, s.next_leaf_index, s.below INTO state FROM sequencer s;
        SELECT pg_snapshot_xmin(now), pg_snapshot_xmax(now) INTO fence, horizon FROM pg_current_snapshot() AS now;
        IF state.below > horizon THEN
            RAISE 'the sequencer is at transaction %, this cluster at %', state.below, horizon
                USING HINT = 'The journal came from another cluster: stop the service and run rfq db rebase.';
        END IF;
        numbered := 0;
        last_leaf_index := state.next_leaf_index - 1;
        IF state.below < fence THEN
            SELECT e.transaction_id INTO cut FROM event e
            WHERE e.transaction_id >= state.below AND e.transaction_id < fence
            ORDER BY e.transaction_id OFFSET most LIMIT 1;
            IF cut IS NOT NULL THEN
                -- whole transactions only; the first one in any case
                PERFORM FROM event e WHERE e.transaction_id >= state.below AND e.transaction_id < cut LIMIT 1;
                fence := CASE WHEN FOUND THEN cut ELSE (cut::text::numeric + 1)::text::xid8 END;
            END IF;
            WITH fresh AS MATERIALIZED (
                SELECT e.*, state.next_leaf_index - 1
                    + row_number() OVER (ORDER BY e.transaction_id, e.position, e.id) AS leaf_index
                FROM event e WHERE e.transaction_id >= state.below AND e.transaction_id < fence
            ), leaves AS (
                INSERT INTO event_leaf (leaf_index, event_id, client_firm_id)
                SELECT f.leaf_index, f.id, f.client_firm_id FROM fresh f ORDER BY f.leaf_index
            ), told AS MATERIALIZED (
                SELECT t.firm_id, t.party, f.leaf_index, f.id AS event_id, f.kind, f.occurred_at_ns, f.rfq_id,
                    f.quote_id, f.payload_json,
                    coalesce(h.last_number, 0)
                        + row_number() OVER (PARTITION BY t.firm_id, t.party ORDER BY f.leaf_index) AS number
                FROM fresh f
                CROSS JOIN LATERAL (
                    SELECT f.client_firm_id, 'client' WHERE f.audience IN ('client', 'both')
                    UNION ALL SELECT f.dealer_firm_id, 'dealer' WHERE f.audience IN ('dealer', 'both')
                ) AS t (firm_id, party)
                LEFT JOIN stream_head h ON h.firm_id = t.firm_id AND h.party = t.party
            ), entries AS (
                INSERT INTO stream_entry (firm_id, party, number, leaf_index, event_id, kind, occurred_at_ns, rfq_id,
                                          quote_id, payload_json, sequenced_at_ns)
                SELECT firm_id, party, number, leaf_index, event_id, kind, occurred_at_ns, rfq_id, quote_id,
                    payload_json, now_ns FROM told ORDER BY leaf_index
            ), heads AS (
                INSERT INTO stream_head AS h (firm_id, party, last_number)
                SELECT firm_id, party, max(number) FROM told GROUP BY firm_id, party
                ON CONFLICT (firm_id, party) DO UPDATE SET last_number = excluded.last_number
            )
            SELECT count(*) INTO numbered FROM fresh;
            IF numbered > 0 THEN
                last_leaf_index := last_leaf_index + numbered;
                UPDATE sequencer SET next_leaf_index = last_leaf_index + 1, below = fence;
                PERFORM pg_notify('rfq_stream', last_leaf_index::text),
                        set_config('synchronous_commit', 'off', true);
            END IF;
        END IF;
        IF cut IS NOT NULL OR fence < horizon THEN
            SELECT e.occurred_at_ns INTO oldest_pending_ns FROM event e
            WHERE e.transaction_id >= fence ORDER BY e.transaction_id LIMIT 1;
        END IF;
        is_pending := oldest_pending_ns IS NOT NULL;
    END
    $$
    """,
    # ------------------------------------------------------------------------------------------------------ maintenance
    # Deleting is refused everywhere else; the setting ends with the function.
    """
    CREATE FUNCTION purge_stream(before_ns bigint, most integer) RETURNS integer
    LANGUAGE plpgsql SET app.purge = 'on' AS $$
    DECLARE
        purged integer;
    BEGIN
        -- the oldest in order, so that what is left of a stream has no gap
        DELETE FROM stream_entry s USING (
            SELECT firm_id, party, number, sequenced_at_ns FROM stream_entry ORDER BY leaf_index LIMIT most
        ) AS oldest
        WHERE s.firm_id = oldest.firm_id AND s.party = oldest.party AND s.number = oldest.number
            AND oldest.sequenced_at_ns < before_ns;
        GET DIAGNOSTICS purged = ROW_COUNT;
        RETURN purged;
    END
    $$
    """,
    """
    CREATE FUNCTION purge_idempotency_keys(now_ns bigint, most integer) RETURNS integer
    LANGUAGE plpgsql SET app.purge = 'on' AS $$
    DECLARE
        purged integer;
    BEGIN
        DELETE FROM idempotency_key k USING (
            SELECT firm_id, operation, key_digest FROM idempotency_key WHERE expires_at_ns <= now_ns
            ORDER BY expires_at_ns LIMIT most FOR UPDATE SKIP LOCKED
        ) AS expired
        WHERE k.firm_id = expired.firm_id AND k.operation = expired.operation AND k.key_digest = expired.key_digest;
        GET DIAGNOSTICS purged = ROW_COUNT;
        RETURN purged;
    END
    $$
    """,
    "ALTER FUNCTION ensure_partitions(date, integer) RENAME TO add_partitions",
    """
    CREATE FUNCTION ensure_partitions(from_month date, months integer) RETURNS integer
    LANGUAGE plpgsql AS $$
    DECLARE
        child regclass;
        created integer := add_partitions(from_month, months);
    BEGIN
        FOR child IN
            SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            JOIN pg_partitioned_table p ON p.partrelid = i.inhparent
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT c.relrowsecurity
        LOOP
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', child);
        END LOOP;
        RETURN created;
    END
    $$
    """,
)
# Name with arguments, and who may call it.
EXECUTE = {
    "lock_rfq(uuid)": ("rfq_desk", "rfq_writer"),
    "lock_invited_rfqs(uuid[], uuid[])": ("rfq_writer",),
    "enter_as_invited(uuid, uuid)": ("rfq_desk",),
    "enter_audit(uuid)": ("rfq_auditor",),
    "due_rfqs(bigint, integer)": ("rfq_desk",),
    "due_quotes(bigint, integer)": ("rfq_desk",),
    "end_active_quote()": (),
    "sequence_events(integer, bigint)": ("rfq_sequencer",),
    "purge_stream(bigint, integer)": ("rfq_sequencer",),
    "purge_idempotency_keys(bigint, integer)": ("rfq_operator",),
    "ensure_partitions(date, integer)": ("rfq_operator",),
}
# A fixed search path keeps what a caller creates in a schema of his own out of a function that runs as the owner.
DEFINER = "SECURITY DEFINER SET search_path = public, pg_temp"
INVOKER = "lock_rfq(uuid)"
FIRST_FUNCTIONS = ("add_partitions(date, integer)", "uuid7_floor(date)", "refuse_change()")

# As scalar subqueries they are evaluated once per statement, not once per row. Unset is no firm: no row.
FIRM = "(SELECT nullif(current_setting('app.firm', true), '')::uuid)"
PRINCIPAL = "(SELECT nullif(current_setting('app.principal', true), '')::uuid)"
FIRMS = "ANY ((SELECT string_to_array(nullif(current_setting('app.firms', true), ''), ',')::uuid[])::uuid[])"

# What a dealer reads: everything but the client.
QUOTE_COLUMNS = (
    "id, rfq_id, dealer_firm_id, dealer_name, bid_price, bid_leg_prices, ask_price, ask_leg_prices, quantity, "
    "received_at_ns, valid_until_ns"
)
DEALER_COLUMNS = {
    "invitation": "id, rfq_id, dealer_firm_id, client_name, side, quantity, size_mode, minimum_quantity, "
    "price_increment, created_at_ns, expires_at_ns, legs_json, instrument_ids, state, outcome, "
    "cover_distance_micro_bps",
    "quote": QUOTE_COLUMNS,
    "quote_end": "quote_id, dealer_firm_id, state, reason, ended_at_ns",
    "fill": "id, rfq_id, quote_id, dealer_firm_id, side, quantity, price, filled_at_ns",
    "fill_leg": "fill_id, position, dealer_firm_id, instrument_id, side, quantity, price",
}
# Without the leaf index, which counts everybody's events.
STREAM_COLUMNS = (
    "firm_id, party, number, event_id, kind, occurred_at_ns, rfq_id, quote_id, payload_json, sequenced_at_ns"
)
# The transaction id is the database's to give.
EVENT_COLUMNS = (
    "id, kind, occurred_at_ns, client_firm_id, dealer_firm_id, rfq_id, quote_id, payload_json, audience, position"
)
CLIENT_TABLES = ("rfq", "rfq_leg", "quote", "quote_end", "active_quote", "evaluation", "decision", "fill", "fill_leg")
# A stored reply is as secret as what it answers, so each role reads those of its own operations only: without this the
# dealers' role would have in the replies what it has no grant for in the tables.
REPLIES = {
    "rfq_client": "'open_rfq', 'cancel_rfq', 'accept_quote', 'evaluate_quotes'",
    "rfq_dealer": "'post_quote', 'pass_rfq', 'withdraw_quote'",
    "rfq_operator": "'add_firm', 'add_key', 'rotate_key', 'revoke_key', 'add_audit_grant', 'revoke_audit_grant'",
}
BATCH_TABLES = (*("rfq", "rfq_leg", "invitation", "quote", "active_quote", "quote_end", "evaluation", "decision"),)

# Table, role, privilege (with its columns), the condition on a row.
ACCESS = (
    *((table, role, "SELECT", "true") for table in ("firm", "instrument", "market_bar") for role in ROLES),
    # the two parties
    *((table, "rfq_client", "SELECT", f"client_firm_id = {FIRM}") for table in CLIENT_TABLES),
    ("stream_entry", "rfq_client", f"SELECT ({STREAM_COLUMNS})", f"firm_id = {FIRM} AND party = 'client'"),
    ("stream_head", "rfq_client", "SELECT", f"firm_id = {FIRM} AND party = 'client'"),
    ("idempotency_key", "rfq_client", "SELECT", f"firm_id = {FIRM} AND operation IN ({REPLIES['rfq_client']})"),
    *(
        (table, "rfq_dealer", f"SELECT ({columns})", f"dealer_firm_id = {FIRM}")
        for table, columns in DEALER_COLUMNS.items()
    ),
    ("stream_entry", "rfq_dealer", f"SELECT ({STREAM_COLUMNS})", f"firm_id = {FIRM} AND party = 'dealer'"),
    ("stream_head", "rfq_dealer", "SELECT", f"firm_id = {FIRM} AND party = 'dealer'"),
    ("idempotency_key", "rfq_dealer", "SELECT", f"firm_id = {FIRM} AND operation IN ({REPLIES['rfq_dealer']})"),
    # changes in a transaction of their own
    *((table, "rfq_desk", "SELECT", f"client_firm_id = {FIRM}") for table in (*CLIENT_TABLES, "invitation")),
    *(
        (table, "rfq_desk", "INSERT", f"client_firm_id = {FIRM}")
        for table in ("quote", "active_quote", "quote_end", "evaluation", "decision", "fill", "fill_leg")
    ),
    ("event", "rfq_desk", f"INSERT ({EVENT_COLUMNS})", f"client_firm_id = {FIRM}"),
    ("rfq", "rfq_desk", "UPDATE (state, filled_quantity)", f"client_firm_id = {FIRM}"),
    ("invitation", "rfq_desk", "UPDATE (state, outcome, cover_distance_micro_bps)", f"client_firm_id = {FIRM}"),
    ("idempotency_key", "rfq_desk", "SELECT", f"firm_id = {PRINCIPAL}"),
    ("idempotency_key", "rfq_desk", "INSERT", f"firm_id = {PRINCIPAL}"),
    # group commit
    *(
        (table, "rfq_writer", "SELECT", f"client_firm_id = {FIRMS}")
        for table in ("rfq", "rfq_leg", "quote", "active_quote")
    ),
    *((table, "rfq_writer", "INSERT", f"client_firm_id = {FIRMS}") for table in BATCH_TABLES),
    ("event", "rfq_writer", f"INSERT ({EVENT_COLUMNS})", f"client_firm_id = {FIRMS}"),
    ("idempotency_key", "rfq_writer", "INSERT", f"firm_id = {FIRMS}"),
    # readers beside the trade
    *(
        (table, "rfq_auditor", "SELECT", f"client_firm_id = {FIRMS}")
        for table in (*CLIENT_TABLES, "invitation", "event", "event_leaf")
    ),
    ("stream_entry", "rfq_auditor", "SELECT", f"firm_id = {FIRMS}"),
    ("audit_grant", "rfq_auditor", "SELECT", f"auditor_firm_id = {FIRM}"),
    ("stream_entry", "rfq_streamer", "SELECT", f"firm_id = {FIRMS}"),
    ("stream_head", "rfq_streamer", "SELECT", f"firm_id = {FIRMS}"),
    # identity, reference data and administration
    *(
        (table, "rfq_operator", privilege, "true")
        for table, privileges in {
            "firm": ("INSERT",),
            "api_key": ("SELECT", "INSERT", "UPDATE (revoked_at_ns, expires_at_ns, replaced_by)"),
            "token_key": ("SELECT", "INSERT", "UPDATE (private_key, retired_at_ns)"),
            "audit_grant": ("SELECT", "INSERT", "UPDATE (revoked_at_ns)"),
            "instrument": ("INSERT", "UPDATE"),
            "market_bar": ("INSERT", "UPDATE"),
        }.items()
        for privilege in privileges
    ),
    (
        *("event", "rfq_operator", f"INSERT ({EVENT_COLUMNS})"),
        "split_part(kind, '.', 1) IN ('firm', 'key', 'grant', 'instrument') AND rfq_id IS NULL AND quote_id IS NULL",
    ),
    *(
        (
            *("idempotency_key", "rfq_operator", privilege),
            f"firm_id = {PRINCIPAL} AND operation IN ({REPLIES['rfq_operator']})",
        )
        for privilege in ("SELECT", "INSERT")
    ),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statement in (*CHANGES, *FUNCTIONS):
        op.execute(statement)
    for table in APPEND_ONLY:
        _refuse_change(table)
    for signature in (*FIRST_FUNCTIONS, *EXECUTE):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC")
    for signature, roles in EXECUTE.items():
        if signature != INVOKER:
            op.execute(f"ALTER FUNCTION {signature} {DEFINER}")
        for role in roles:
            op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {role}")
    for table in (*TABLES, *(f"{parent}_default" for parent in PARTITIONED)):
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    # existing partitions, too; no new one is made here
    op.execute("SELECT ensure_partitions(current_date, 0)")
    op.execute(f"GRANT USAGE ON SCHEMA public TO {', '.join(ROLES)}")
    for table, role, privilege, condition in ACCESS:
        _allow(table, role, privilege, condition)


def _allow(table: str, role: str, privilege: str, condition: str) -> None:
    command = privilege.partition(" ")[0]
    clause = f"WITH CHECK ({condition})" if command == "INSERT" else f"USING ({condition})"
    op.execute(f"GRANT {privilege} ON {table} TO {role}")
    op.execute(f"CREATE POLICY {role}_{command.lower()} ON {table} FOR {command} TO {role} {clause}")


def _refuse_change(table: str) -> None:
    """Only a purge may delete, and that only where there is one."""
    has_purge = table != "event_leaf"
    always = "BEFORE UPDATE" if has_purge else "BEFORE UPDATE OR DELETE"
    op.execute(f"CREATE TRIGGER refuse_change {always} ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    op.execute(
        f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
    if has_purge:
        op.execute(
            f"CREATE TRIGGER refuse_delete BEFORE DELETE ON {table} FOR EACH ROW "
            "WHEN (current_setting('app.purge', true) IS DISTINCT FROM 'on') EXECUTE FUNCTION refuse_change()"
        )


UNDO_CHANGES = (
    "DROP TABLE sequencer, stream_head, stream_entry, event_leaf, idempotency_key, audit_grant, token_key",
    "DROP INDEX event_transaction_id_idx",
    # They tell of what this step takes away, and the older schema has no word for them.
    "ALTER TABLE event DISABLE TRIGGER refuse_change",
    "DELETE FROM event WHERE kind IN ('key.rotated', 'grant.added', 'grant.revoked')",
    "ALTER TABLE event ENABLE TRIGGER refuse_change",
    """
    ALTER TABLE event DROP COLUMN audience, DROP COLUMN position, DROP COLUMN transaction_id,
        DROP CONSTRAINT event_kind_check,
        ADD CONSTRAINT event_kind_check CHECK (kind IN (
            'rfq.opened', 'rfq.evaluated', 'rfq.cancelled', 'rfq.expired', 'invitation.sent', 'invitation.closed',
            'quote.posted', 'quote.passed', 'quote.ended', 'decision.made', 'fill.booked', 'firm.added',
            'key.added', 'key.revoked', 'instrument.stored'))
    """,
    "ALTER TABLE decision DROP COLUMN number",
    "ALTER TABLE active_quote DROP COLUMN client_firm_id",
    "ALTER TABLE invitation DROP COLUMN client_firm_id",
    """
    ALTER TABLE api_key DROP COLUMN role, DROP COLUMN scopes, DROP COLUMN expires_at_ns, DROP COLUMN replaced_by,
    DROP COLUMN created_by
    """,
)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table, role, privilege, _ in ACCESS:
        op.execute(f"DROP POLICY {role}_{privilege.partition(' ')[0].lower()} ON {table}")
        op.execute(f"REVOKE {privilege} ON {table} FROM {role}")
    op.execute(f"REVOKE USAGE ON SCHEMA public FROM {', '.join(ROLES)}")
    op.execute("DROP TRIGGER end_active_quote ON quote_end")
    for statement in UNDO_CHANGES:
        op.execute(statement)
    for signature in EXECUTE:
        op.execute(f"DROP FUNCTION {signature}")
    op.execute("ALTER FUNCTION add_partitions(date, integer) RENAME TO ensure_partitions")
    for signature in ("ensure_partitions(date, integer)", *FIRST_FUNCTIONS[1:]):
        op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO PUBLIC")
    op.execute(
        """
        DO $$
        DECLARE
            item regclass;
        BEGIN
            FOR item IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relrowsecurity LOOP
                EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', item);
            END LOOP;
        END
        $$
        """
    )
