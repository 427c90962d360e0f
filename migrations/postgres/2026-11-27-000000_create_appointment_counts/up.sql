-- How many appointments of a tenant start in each UTC day (1440 minutes) and in each quarter of an hour
-- (15 minutes), before the changes below are added.
CREATE TABLE appointment_counts (
    tenant_id TEXT        NOT NULL,
    minutes   INTEGER     NOT NULL CHECK (minutes IN (15, 1440)),
    -- The UTC midnight at which the day begins, or the day that the quarter is in.
    day       TIMESTAMPTZ NOT NULL,
    -- When the day or the quarter begins.
    starts_at TIMESTAMPTZ NOT NULL,
    confirmed INTEGER     NOT NULL,
    pending   INTEGER     NOT NULL,
    cancelled INTEGER     NOT NULL,
    PRIMARY KEY (tenant_id, minutes, day, starts_at)
);

-- Changes that are not in the counts yet. Triggers insert them, whoever changes the rows. So writers never
-- wait for each other, as they would if they all updated the counts of the same day. Whoever reads many
-- changes adds them to the counts.
CREATE TABLE appointment_count_changes (
    tenant_id TEXT        NOT NULL,
    -- When the quarter begins.
    starts_at TIMESTAMPTZ NOT NULL,
    confirmed INTEGER     NOT NULL,
    pending   INTEGER     NOT NULL,
    cancelled INTEGER     NOT NULL
);

-- Without a key, a publication for all tables would otherwise let nobody delete.
ALTER TABLE appointment_count_changes REPLICA IDENTITY FULL;

CREATE INDEX appointment_count_changes_by_tenant ON appointment_count_changes (tenant_id);

-- When the day or the quarter that `instant` is in begins, by UTC. They are reckoned from PostgreSQL's first day.
CREATE FUNCTION start_of_period(instant TIMESTAMPTZ, minutes INTEGER) RETURNS TIMESTAMPTZ
    IMMUTABLE LANGUAGE sql
    AS $$ SELECT date_bin(make_interval(mins => minutes), instant, TIMESTAMPTZ '4713-11-24 00:00Z BC') $$;

-- Adds the rows that a statement inserted (argument 1), or takes off those that it deleted (argument -1).
CREATE FUNCTION count_changed_appointments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN
        INSERT INTO appointment_count_changes
        SELECT tenant_id, start_of_period(starts_at, 15),
               TG_ARGV[0]::INTEGER * count(*) FILTER (WHERE status = 'confirmed'),
               TG_ARGV[0]::INTEGER * count(*) FILTER (WHERE status = 'pending'),
               TG_ARGV[0]::INTEGER * count(*) FILTER (WHERE status = 'cancelled')
        FROM changed
        GROUP BY 1, 2;
        RETURN NULL;
    END $$;

CREATE TRIGGER appointments_inserted AFTER INSERT ON appointments
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_changed_appointments('1');

CREATE TRIGGER appointments_deleted AFTER DELETE ON appointments
    REFERENCING OLD TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION count_changed_appointments('-1');

CREATE FUNCTION count_updated_appointments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN
        INSERT INTO appointment_count_changes
        SELECT tenant_id, start_of_period(starts_at, 15),
               sum(confirmed), sum(pending), sum(cancelled)
        FROM (
            SELECT tenant_id, starts_at, (status = 'confirmed')::INTEGER AS confirmed,
                   (status = 'pending')::INTEGER AS pending, (status = 'cancelled')::INTEGER AS cancelled
            FROM new_rows
            UNION ALL
            SELECT tenant_id, starts_at, -(status = 'confirmed')::INTEGER,
                   -(status = 'pending')::INTEGER, -(status = 'cancelled')::INTEGER
            FROM old_rows
        ) AS changed
        GROUP BY 1, 2
        HAVING sum(confirmed) <> 0 OR sum(pending) <> 0 OR sum(cancelled) <> 0;
        RETURN NULL;
    END $$;

-- Not only of the counted columns: a trigger of somebody else may set these.
CREATE TRIGGER appointments_updated AFTER UPDATE ON appointments
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_updated_appointments();

CREATE FUNCTION count_no_appointments() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    AS $$ BEGIN
        -- Nobody moves changes to the counts meanwhile.
        LOCK TABLE appointment_count_changes, appointment_counts IN SHARE ROW EXCLUSIVE MODE;
        DELETE FROM appointment_count_changes;
        DELETE FROM appointment_counts;
        RETURN NULL;
    END $$;

CREATE TRIGGER appointments_truncated AFTER TRUNCATE ON appointments
    FOR EACH STATEMENT EXECUTE FUNCTION count_no_appointments();

-- Also in a session that loads what was replicated or dumped.
ALTER TABLE appointments
    ENABLE ALWAYS TRIGGER appointments_inserted,
    ENABLE ALWAYS TRIGGER appointments_deleted,
    ENABLE ALWAYS TRIGGER appointments_updated,
    ENABLE ALWAYS TRIGGER appointments_truncated;

-- The triggers run as the owner of the tables, so that whoever may write appointments needs no other right.
-- Therefore they look into this schema first, and not into a temporary one of whoever writes; and nobody else
-- may make a trigger of these functions for a table of their own.
DO $$
DECLARE
    counting TEXT;
BEGIN
    FOREACH counting IN ARRAY ARRAY['count_changed_appointments', 'count_updated_appointments', 'count_no_appointments'] LOOP
        EXECUTE format('ALTER FUNCTION %I SET search_path = %I, pg_temp', counting, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %I FROM PUBLIC', counting);
    END LOOP;
END $$;

-- What would have to be added to the counts to make them equal to the rows: nothing, unless somebody
-- changed rows while the triggers were off, or changed the counts.
CREATE VIEW appointment_count_differences AS
    SELECT tenant_id, minutes, start_of_period(instant, 1440) AS day,
           start_of_period(instant, minutes) AS starts_at, sum(confirmed)::INTEGER AS confirmed,
           sum(pending)::INTEGER AS pending, sum(cancelled)::INTEGER AS cancelled
    FROM (
        SELECT tenant_id, period.minutes, starts_at AS instant,
               (status = 'confirmed')::INTEGER AS confirmed, (status = 'pending')::INTEGER AS pending,
               (status = 'cancelled')::INTEGER AS cancelled
        FROM appointments, (VALUES (15), (1440)) AS period (minutes)
        UNION ALL
        SELECT tenant_id, period.minutes, starts_at, -confirmed, -pending, -cancelled
        FROM appointment_count_changes, (VALUES (15), (1440)) AS period (minutes)
        UNION ALL
        SELECT tenant_id, minutes, starts_at, -confirmed, -pending, -cancelled
        FROM appointment_counts
    ) AS rows_without_counts
    GROUP BY 1, 2, 3, 4
    HAVING sum(confirmed) <> 0 OR sum(pending) <> 0 OR sum(cancelled) <> 0;
