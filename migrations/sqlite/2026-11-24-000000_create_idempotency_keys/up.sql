-- The answers to creates that carried a key, so that each takes place once.
CREATE TABLE idempotency_keys (
    tenant_id      TEXT    NOT NULL,
    key            TEXT    NOT NULL,
    -- Of what was asked for: SHA-256.
    fingerprint    BLOB    NOT NULL,
    appointment_id INTEGER NOT NULL,
    -- The body of the answer, as it was sent.
    answer         TEXT    NOT NULL,
    created_at     TEXT    NOT NULL CHECK (length(created_at) = 26),
    PRIMARY KEY (tenant_id, key)
);

-- Finds those that are too old.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);
