-- Makes the counts equal to the rows. On PostgreSQL others may write meanwhile: what they change is
-- counted by the triggers, and is not in the one snapshot that this statement reads.
INSERT INTO appointment_counts
SELECT tenant_id, minutes, day, starts_at, confirmed, pending, cancelled
FROM appointment_count_differences
WHERE true
ORDER BY tenant_id, minutes, day, starts_at
ON CONFLICT (tenant_id, minutes, day, starts_at) DO UPDATE
SET confirmed = appointment_counts.confirmed + excluded.confirmed,
    pending = appointment_counts.pending + excluded.pending,
    cancelled = appointment_counts.cancelled + excluded.cancelled;
