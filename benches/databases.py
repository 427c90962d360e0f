"""Databases of the service: how they are made and filled."""

import os
import pathlib
import sqlite3
import subprocess

# The triggers by which the database counts appointments.
COUNT_TRIGGERS = ["inserted", "replaced", "updated", "deleted", "renumbered", "truncated"]

# Quarters of an hour in this month and the next, which are 59 days at least.
QUARTERS = 59 * 24 * 4


class Sqlite:
    """A SQLite file. SQL may change it while no service with a cache in memory has it."""

    kind = "SQLite"

    def __init__(self, file: pathlib.Path):
        self.file = file
        self.url = f"sqlite://{file}"

    def execute(self, sql: str) -> None:
        connection = sqlite3.connect(self.file)
        connection.executescript(sql)
        connection.close()

    def stop_counting(self) -> None:
        """Drops the triggers that count appointments."""
        for name in COUNT_TRIGGERS:
            self.execute(f"DROP TRIGGER IF EXISTS appointments_{name}")

    def fill(self, tenant: str, number: int) -> None:
        """Adds appointments; `tenant` is SQL of their number `n`."""
        self.execute(f"""
            WITH RECURSIVE numbers(n) AS
                (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number})
            INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status,
                                      created_at, updated_at)
            SELECT {tenant}, n,
                   strftime('%Y-%m-%d %H:%M:%S.000000', 'now', 'start of month',
                            (n * 7919 % {QUARTERS} * 15) || ' minutes'),
                   30, iif(n % 2, 'pending', 'confirmed'), '2025-10-31 12:00:00.000000',
                   '2025-10-31 12:00:00.000000'
            FROM numbers""")


class Postgresql:
    """A new database of a PostgreSQL server."""

    kind = "PostgreSQL"

    def __init__(self, psql: str, port: int, name: str):
        self.psql = psql
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self.execute(f"CREATE DATABASE {name}")
        self.url = f"postgres://postgres@127.0.0.1:{port}/{name}"

    def execute(self, sql: str) -> None:
        command = [self.psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", self.url]
        quietly = os.environ | {"PGOPTIONS": "-c client_min_messages=warning"}
        subprocess.run(command, env=quietly, input=sql, text=True, check=True, stdout=subprocess.DEVNULL)

    def stop_counting(self) -> None:
        """Drops the triggers that count appointments."""
        for name in COUNT_TRIGGERS:
            self.execute(f"DROP TRIGGER IF EXISTS appointments_{name} ON appointments")

    def fill(self, tenant: str, number: int) -> None:
        """Adds appointments; `tenant` is SQL of their number `n`."""
        self.execute(f"""
            INSERT INTO appointments (tenant_id, patient_id, starts_at, duration_min, status,
                                      created_at, updated_at)
            SELECT {tenant}, n,
                   date_trunc('month', now()) + n * 7919 % {QUARTERS} * INTERVAL '15 minutes',
                   30, CASE n % 2 WHEN 1 THEN 'pending' ELSE 'confirmed' END, now(), now()
            FROM generate_series(1, {number}::BIGINT) AS numbers (n);
            VACUUM ANALYZE appointments""")
