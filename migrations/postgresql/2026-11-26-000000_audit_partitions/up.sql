-- The audit log in partitions by time, so that what is too old goes as whole tables. An id is a
-- UUIDv7 and begins with its milliseconds: a partition's bounds are the least ids of two Mondays (UTC),
-- its name is its first day. What no partition has a place for, as the records of a host whose clock is
-- wrong, is in audit_logs_default.

-- The service's previous version may be running: nobody ever waits longer than 50 ms behind us.
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '50ms', true);
    FOR attempt IN 1..1200 LOOP
        BEGIN
            LOCK TABLE audit_logs IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 1200 THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.2);
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', '0', true);
END $$;

ALTER TABLE audit_logs RENAME TO audit_logs_legacy;
ALTER INDEX audit_logs_pkey RENAME TO audit_logs_legacy_pkey;
ALTER INDEX audit_logs_by_user RENAME TO audit_logs_legacy_by_user;
ALTER INDEX audit_logs_by_action RENAME TO audit_logs_legacy_by_action;
ALTER INDEX audit_logs_by_resource RENAME TO audit_logs_legacy_by_resource;

CREATE TABLE audit_logs (
    id               uuid PRIMARY KEY,
    writer_id        uuid NOT NULL,
    seq              bigint NOT NULL,
    hash             bytea,
    timestamp        timestamptz NOT NULL,
    user_id          uuid,
    username         text,
    action           text COLLATE "C" NOT NULL,
    resource_type    text COLLATE "C",
    resource_id      text COLLATE "C",
    ip_address       text,
    user_agent       text,
    request_method   text,
    request_path     text,
    response_status  smallint,
    outcome          text NOT NULL CONSTRAINT audit_logs_outcome_check CHECK (outcome IN ('success', 'denied', 'failure', 'error')),
    duration_ms      integer NOT NULL,
    request_id       text,
    metadata         text NOT NULL DEFAULT '{}',
    source           text NOT NULL CONSTRAINT audit_logs_source_check CHECK (source IN ('request', 'event', 'cli'))
) PARTITION BY RANGE (id);
CREATE INDEX audit_logs_by_user ON audit_logs (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX audit_logs_by_action ON audit_logs (action, id);
CREATE INDEX audit_logs_by_resource ON audit_logs (resource_id, resource_type, id) WHERE resource_id IS NOT NULL;
CREATE TABLE audit_logs_default PARTITION OF audit_logs DEFAULT;

DO $$
DECLARE
    monday   timestamp := date_trunc('week', now() AT TIME ZONE 'UTC');
    has_rows boolean := EXISTS (SELECT FROM audit_logs_legacy);
    bounds   uuid[];
BEGIN
    -- The least ids of this Monday and the next five.
    SELECT array_agg((lpad(to_hex((extract(epoch FROM monday + week * interval '7 days') * 1000)::bigint), 12, '0')
        || repeat('0', 20))::uuid ORDER BY week) INTO bounds FROM generate_series(0, 5) AS week;
    -- The service makes the partitions after these.
    FOR week IN 1..5 LOOP
        CONTINUE WHEN week = 1 AND has_rows;
        EXECUTE format('CREATE TABLE %I PARTITION OF audit_logs FOR VALUES FROM (%L) TO (%L)',
            'audit_logs_' || to_char(monday + (week - 1) * interval '7 days', 'YYYYMMDD'), bounds[week], bounds[week + 1]);
    END LOOP;
    IF has_rows THEN
        -- What there is stays where it is, as the partition up to the next Monday; what has an id of later
        -- than that finds its place.
        WITH later AS (DELETE FROM audit_logs_legacy WHERE id >= bounds[2] RETURNING *)
        INSERT INTO audit_logs SELECT * FROM later;
        EXECUTE format('ALTER TABLE audit_logs ATTACH PARTITION audit_logs_legacy FOR VALUES FROM (MINVALUE) TO (%L)',
            bounds[2]);
    ELSE
        DROP TABLE audit_logs_legacy;
    END IF;
END $$;
