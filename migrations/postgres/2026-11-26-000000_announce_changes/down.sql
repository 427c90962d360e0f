DROP TRIGGER megastats_announce_insert ON appointments;
DROP TRIGGER megastats_announce_update ON appointments;
DROP TRIGGER megastats_announce_delete ON appointments;
DROP TRIGGER megastats_announce_truncate ON appointments;
DROP FUNCTION megastats_announce_change();
DROP TABLE pending_invalidations;
