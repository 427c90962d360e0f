-- SQLite has no notifications. The databases have the same migrations.
SELECT 1;
