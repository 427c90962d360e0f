DELETE FROM appointment_counts;
