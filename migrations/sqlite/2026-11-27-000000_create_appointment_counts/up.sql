-- How many appointments of a tenant start in each UTC day (1440 minutes) and in each quarter of an hour
-- (15 minutes). Triggers keep it equal to the rows, whoever changes them.
CREATE TABLE appointment_counts (
    tenant_id TEXT    NOT NULL,
    minutes   INTEGER NOT NULL CHECK (minutes IN (15, 1440)),
    -- The UTC midnight at which the day begins, or the day that the quarter is in.
    day       TEXT    NOT NULL,
    -- When the day or the quarter begins. An appointment whose start has another form is refused.
    starts_at TEXT    NOT NULL CHECK (datetime(starts_at) || '.000000' = starts_at),
    confirmed INTEGER NOT NULL,
    pending   INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    PRIMARY KEY (tenant_id, minutes, day, starts_at)
) WITHOUT ROWID;

-- What is inserted here is added to the counts at once. So nothing can be read here; on PostgreSQL it can.
CREATE VIEW appointment_count_changes AS
    SELECT '' AS tenant_id, '' AS starts_at, 0 AS confirmed, 0 AS pending, 0 AS cancelled WHERE false;

CREATE TRIGGER appointment_count_changes_inserted INSTEAD OF INSERT ON appointment_count_changes
BEGIN
    INSERT INTO appointment_counts
    VALUES (NEW.tenant_id, 1440, substr(NEW.starts_at, 1, 10) || ' 00:00:00.000000',
            substr(NEW.starts_at, 1, 10) || ' 00:00:00.000000',
            NEW.confirmed, NEW.pending, NEW.cancelled),
           (NEW.tenant_id, 15, substr(NEW.starts_at, 1, 10) || ' 00:00:00.000000',
            substr(NEW.starts_at, 1, 14)
                || printf('%02d:00.000000', substr(NEW.starts_at, 15, 2) / 15 * 15),
            NEW.confirmed, NEW.pending, NEW.cancelled)
    ON CONFLICT (tenant_id, minutes, day, starts_at) DO UPDATE
    SET confirmed = confirmed + excluded.confirmed,
        pending = pending + excluded.pending,
        cancelled = cancelled + excluded.cancelled;
END;

CREATE TRIGGER appointments_inserted AFTER INSERT ON appointments
BEGIN
    INSERT INTO appointment_count_changes
    VALUES (NEW.tenant_id, NEW.starts_at,
            NEW.status = 'confirmed', NEW.status = 'pending', NEW.status = 'cancelled');
END;

-- A row that is older than the counts may have a start of another form. It was not counted.
CREATE TRIGGER appointments_deleted AFTER DELETE ON appointments
WHEN datetime(substr(OLD.starts_at, 1, 16)) IS substr(OLD.starts_at, 1, 16) || ':00'
BEGIN
    INSERT INTO appointment_count_changes
    VALUES (OLD.tenant_id, OLD.starts_at,
            -(OLD.status = 'confirmed'), -(OLD.status = 'pending'), -(OLD.status = 'cancelled'));
END;

CREATE TRIGGER appointments_updated AFTER UPDATE OF tenant_id, starts_at, status ON appointments
WHEN (OLD.tenant_id, OLD.starts_at, OLD.status) IS NOT (NEW.tenant_id, NEW.starts_at, NEW.status)
BEGIN
    INSERT INTO appointment_count_changes
    SELECT OLD.tenant_id, OLD.starts_at,
           -(OLD.status = 'confirmed'), -(OLD.status = 'pending'), -(OLD.status = 'cancelled')
    WHERE datetime(substr(OLD.starts_at, 1, 16)) IS substr(OLD.starts_at, 1, 16) || ':00';
    INSERT INTO appointment_count_changes
    VALUES (NEW.tenant_id, NEW.starts_at,
            NEW.status = 'confirmed', NEW.status = 'pending', NEW.status = 'cancelled');
END;

-- INSERT OR REPLACE removes the row that has the new one's id without running its DELETE trigger (unless
-- recursive_triggers is on). So this trigger removes that row beforehand. Whether the statement says OR
-- REPLACE it learns from a row that is always there: SQLite uses the statement's OR ... in place of the
-- trigger's own, so only then does the new id get into that row.
CREATE TABLE replaced_appointment (
    number INTEGER NOT NULL PRIMARY KEY CHECK (number = 1),
    id     INTEGER
);

INSERT INTO replaced_appointment VALUES (1, NULL);

CREATE TRIGGER appointments_replaced BEFORE INSERT ON appointments
-- -1 stands for no id.
WHEN NEW.id <> -1 AND EXISTS (SELECT 1 FROM appointments WHERE id = NEW.id)
BEGIN
    INSERT OR IGNORE INTO replaced_appointment VALUES (1, NEW.id);
    DELETE FROM appointments WHERE id = (SELECT id FROM replaced_appointment);
    UPDATE replaced_appointment SET id = NULL WHERE id IS NOT NULL;
END;

-- UPDATE OR REPLACE would remove the other row in the same way.
CREATE TRIGGER appointments_renumbered BEFORE UPDATE OF id ON appointments
WHEN OLD.id IS NOT NEW.id
BEGIN
    SELECT RAISE(ABORT, 'UNIQUE constraint failed: appointments.id')
    WHERE EXISTS (SELECT 1 FROM appointments WHERE id = NEW.id);
END;

-- What would have to be added to the counts to make them equal to the rows: nothing, unless somebody
-- changed rows while the triggers were off, or changed the counts. Rows whose start has another form, which
-- may be older than the counts, are not counted.
CREATE VIEW appointment_count_differences AS
    SELECT tenant_id, minutes, day, starts_at,
           sum(confirmed) AS confirmed, sum(pending) AS pending, sum(cancelled) AS cancelled
    FROM (
        SELECT tenant_id, minutes, day, iif(minutes = 1440, day, quarter) AS starts_at,
               status = 'confirmed' AS confirmed, status = 'pending' AS pending,
               status = 'cancelled' AS cancelled
        FROM (
            SELECT tenant_id, substr(starts_at, 1, 10) || ' 00:00:00.000000' AS day,
                   substr(starts_at, 1, 14)
                       || printf('%02d:00.000000', substr(starts_at, 15, 2) / 15 * 15) AS quarter,
                   status
            FROM appointments
        ), (SELECT 15 AS minutes UNION ALL SELECT 1440)
        WHERE datetime(quarter) || '.000000' = quarter
        UNION ALL
        SELECT tenant_id, minutes, day, starts_at, -confirmed, -pending, -cancelled
        FROM appointment_counts
    )
    GROUP BY tenant_id, minutes, day, starts_at
    HAVING sum(confirmed) <> 0 OR sum(pending) <> 0 OR sum(cancelled) <> 0;
