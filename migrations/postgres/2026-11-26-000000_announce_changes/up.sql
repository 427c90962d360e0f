-- Invalidations that a writer could not deliver to Redis: other instances raise their fences for it.
CREATE TABLE pending_invalidations (
    id         BIGINT      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id  TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    -- Whether an instance has raised a fence in Redis for it.
    is_raised  BOOLEAN     NOT NULL DEFAULT FALSE
);

-- Announces whose appointments a statement has changed, each tenant once. An empty text stands for all
-- tenants. A tenant longer than 128 characters is none that the service knows.
CREATE FUNCTION megastats_announce_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tenants TEXT[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(DISTINCT tenant_id) INTO tenants FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(DISTINCT tenant_id) INTO tenants FROM old_rows;
    ELSIF TG_OP = 'UPDATE' THEN
        SELECT array_agg(tenant_id) INTO tenants
        FROM (SELECT tenant_id FROM old_rows UNION SELECT tenant_id FROM new_rows) AS changed;
    END IF;
    IF TG_OP = 'TRUNCATE' OR cardinality(tenants) > 100 THEN
        PERFORM pg_notify('megastats_changes', '');
    ELSE
        PERFORM pg_notify('megastats_changes', tenant)
        FROM unnest(tenants) AS tenant WHERE length(tenant) BETWEEN 1 AND 128;
    END IF;
    RETURN NULL;
END
$$;

-- A session whose writer tells Redis itself says `SET megastats.announce = off`.
CREATE TRIGGER megastats_announce_insert AFTER INSERT ON appointments
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_setting('megastats.announce', TRUE) IS DISTINCT FROM 'off')
    EXECUTE FUNCTION megastats_announce_change();
CREATE TRIGGER megastats_announce_update AFTER UPDATE ON appointments
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT WHEN (current_setting('megastats.announce', TRUE) IS DISTINCT FROM 'off')
    EXECUTE FUNCTION megastats_announce_change();
CREATE TRIGGER megastats_announce_delete AFTER DELETE ON appointments
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT WHEN (current_setting('megastats.announce', TRUE) IS DISTINCT FROM 'off')
    EXECUTE FUNCTION megastats_announce_change();
CREATE TRIGGER megastats_announce_truncate AFTER TRUNCATE ON appointments
    FOR EACH STATEMENT EXECUTE FUNCTION megastats_announce_change();

-- Also in a session that loads what was replicated or dumped.
ALTER TABLE appointments
    ENABLE ALWAYS TRIGGER megastats_announce_insert,
    ENABLE ALWAYS TRIGGER megastats_announce_update,
    ENABLE ALWAYS TRIGGER megastats_announce_delete,
    ENABLE ALWAYS TRIGGER megastats_announce_truncate;
