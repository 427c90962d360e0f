//! `AlignWork`'s database files, in all the forms they have in the field.

use std::path::{Path, PathBuf};

use harness::Sqlite;
use serde_json::{Value, json};

/// `patient_id` is text, and `status` must be there.
const OLDEST: &str = "CREATE TABLE appointments (
    id INTEGER NOT NULL, tenant_id VARCHAR NOT NULL, patient_id VARCHAR NOT NULL,
    starts_at DATETIME NOT NULL, duration_min INTEGER NOT NULL, status VARCHAR NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME, PRIMARY KEY (id));
    CREATE INDEX ix_appointments_tenant_id ON appointments (tenant_id)";

/// `patient_id` is a number, and `status` may be NULL.
const NUMBERED: &str = "CREATE TABLE appointments (
    id INTEGER NOT NULL, tenant_id VARCHAR NOT NULL, patient_id INTEGER NOT NULL,
    starts_at DATETIME NOT NULL, duration_min INTEGER NOT NULL, status VARCHAR DEFAULT 'pending',
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP, updated_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    PRIMARY KEY (id))";

/// And there are consulting rooms.
const WITH_ROOMS: &str = "CREATE TABLE appointments (
    id INTEGER NOT NULL, tenant_id VARCHAR NOT NULL, patient_id INTEGER NOT NULL,
    consultorio_id INTEGER, starts_at DATETIME NOT NULL, duration_min INTEGER NOT NULL,
    status VARCHAR DEFAULT 'pending', created_at DATETIME DEFAULT CURRENT_TIMESTAMP,
    updated_at DATETIME DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (id))";

/// What a copy by hand may come to: no key, no types, and a column of somebody's own.
const COPIED: &str = "CREATE TABLE appointments (
    status, notes, id, tenant_id, patient_id, starts_at, duration_min, consultorio_id, created_at,
    updated_at)";

/// Which tables `AlignWork` made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    Oldest,
    Numbered,
    WithRooms,
    Copied,
}

impl Schema {
    /// Those that `AlignWork` itself made.
    pub const FIELD: [Self; 3] = [Self::Oldest, Self::Numbered, Self::WithRooms];

    fn tables(self) -> &'static str {
        match self {
            Self::Oldest => OLDEST,
            Self::Numbered => NUMBERED,
            Self::WithRooms => WITH_ROOMS,
            Self::Copied => COPIED,
        }
    }
}

/// A file to import.
pub struct AlignWork {
    pub path: PathBuf,
    pub sqlite: Sqlite,
}

impl AlignWork {
    /// Makes `alignwork.db` in `folder`, without appointments.
    pub fn new(folder: &Path, schema: Schema) -> Self {
        Self::at(folder.join("alignwork.db"), schema)
    }

    /// Makes a file at `path`.
    pub fn at(path: PathBuf, schema: Schema) -> Self {
        let mut sqlite = Sqlite::open(&path);
        // These files need not survive a power cut.
        sqlite.execute("PRAGMA synchronous = OFF");
        sqlite.execute(schema.tables());
        Self { path, sqlite }
    }

    /// Adds an appointment with `id` by itself; `columns` gives some of them other values, in SQL.
    pub fn add(&mut self, id: i64, columns: &[(&str, &str)]) {
        let id = id.to_string();
        let mut values = vec![
            ("id", id.as_str()),
            ("tenant_id", "'clinica'"),
            ("patient_id", "7"),
            ("starts_at", "'2025-10-31 17:30:00.000000'"),
            ("duration_min", "30"),
            ("status", "'confirmed'"),
            ("created_at", "'2025-10-01 09:00:00.123456'"),
            ("updated_at", "'2025-10-02 09:00:00.000000'"),
        ];
        for (name, value) in columns {
            values.retain(|(other, _)| other != name);
            values.push((name, value));
        }
        let (names, values): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        let (names, values) = (names.join(", "), values.join(", "));
        self.sqlite.execute(&format!(
            "INSERT INTO appointments ({names}) VALUES ({values})"
        ));
    }

    /// Adds appointments with the ids from 1 to `last`, no two with the same content.
    pub fn fill(&mut self, last: i64) {
        self.fill_from(1, last);
    }

    /// Adds those of [`AlignWork::fill`] with the ids from `first` on.
    pub fn fill_from(&mut self, first: i64, last: i64) {
        self.sqlite.execute(&format!(
            "WITH RECURSIVE n(id) AS
                 (SELECT {first} UNION ALL SELECT id + 1 FROM n WHERE id < {last})
             INSERT INTO appointments (id, tenant_id, patient_id, starts_at, duration_min, status,
                 created_at, updated_at)
             SELECT id, 'clinica', id, datetime('2025-01-01', id || ' minutes') || '.000000', 30,
                 CASE id % 3 WHEN 0 THEN 'pending' WHEN 1 THEN 'confirmed' ELSE 'cancelled' END,
                 '2025-01-01 00:00:00', NULL FROM n"
        ));
    }

    /// How many appointments there are.
    pub fn count(&mut self) -> i64 {
        self.sqlite.number("SELECT count(*) FROM appointments")
    }

    /// What `AlignWork` answered for `tenant` on 2025-10-31 in America/Recife, as JSON: a text
    /// comparison with the bounds of each bucket, and no other status than these two.
    pub fn mega_stats(&mut self, tenant: &str) -> Value {
        let buckets = [
            ("today", "2025-10-31", "2025-11-01"),
            ("week", "2025-10-26", "2025-11-02"),
            ("month", "2025-10-01", "2025-11-01"),
            ("nextMonth", "2025-11-01", "2025-12-01"),
        ];
        let mut answer = serde_json::Map::new();
        for (bucket, from, to) in buckets {
            let mut count = |status: &str| {
                self.sqlite.number(&format!(
                    "SELECT count(*) FROM appointments WHERE tenant_id = '{tenant}'
                     AND starts_at >= '{from} 03:00:00.000000'
                     AND starts_at < '{to} 03:00:00.000000' AND status = '{status}'"
                ))
            };
            let (confirmed, pending) = (count("confirmed"), count("pending"));
            answer.insert(
                bucket.to_owned(),
                json!({ "confirmed": confirmed, "pending": pending }),
            );
        }
        answer.into()
    }
}
