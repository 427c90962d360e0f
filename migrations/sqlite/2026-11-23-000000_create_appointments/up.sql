CREATE TABLE appointments (
    id             INTEGER NOT NULL PRIMARY KEY,
    tenant_id      TEXT    NOT NULL,
    patient_id     TEXT    NOT NULL,
    consultorio_id INTEGER,
    -- Instants are UTC, always 'YYYY-MM-DD HH:MM:SS.ffffff': of one length, so that they compare as text.
    starts_at      TEXT    NOT NULL CHECK (length(starts_at) = 26),
    duration_min   INTEGER NOT NULL,
    status         TEXT    NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled')),
    created_at     TEXT    NOT NULL,
    updated_at     TEXT    NOT NULL
);

-- Answers the counting statement by itself (tenant, range of starts, status), and lists a tenant's
-- appointments in their order (starts_at, then id) without sorting.
CREATE INDEX appointments_by_tenant_and_start
    ON appointments (tenant_id, starts_at, id, status);
