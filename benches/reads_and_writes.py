"""What a MISS, a create and an update take on both databases, and what the database's counts bring and cost."""

import json
import os
import subprocess
import time
import zoneinfo

from databases import Postgresql, Sqlite
from extent import Extent
from load import Case, connections_in_words, in_turns
from report import Section, Target
from servers import SERVER_CORE, Servers, Service, get, program

API = "/api/v1/appointments"
WRITERS = (1, 8)


def measure(servers: Servers, extent: Extent) -> list[Section]:
    """Measures on both databases."""
    port = servers.postgresql()

    def sqlite(name: str) -> Sqlite:
        return Sqlite(servers.folder / f"{name}.db")

    def postgresql(name: str) -> Postgresql:
        return Postgresql(program("psql"), port, name)

    measured = [Measured(servers, new, extent) for new in (sqlite, postgresql)]
    for database in measured:
        requests = [database.miss, database.create, database.update]
        in_turns(extent.rounds, requests, extent.connections)
        in_turns(extent.rounds, database.growing(), (1,))
        in_turns(extent.rounds, database.writes(), WRITERS)
    imports = [import_ratio(servers, new, extent.imported) for new in (sqlite, postgresql)]
    return [
        all_requests(measured, extent),
        growing_clinic(measured, extent),
        growing_tenants(measured, extent),
        cost_of_counts(measured, imports),
    ]


class Measured:
    """One kind of database: one to read from, and two to write to, the second without counts."""

    def __init__(self, servers: Servers, new, extent: Extent):
        reads, counted, uncounted = new("reads"), new("counted"), new("uncounted")
        self.kind = reads.kind
        for database in (reads, counted, uncounted):
            servers.service("migration", DATABASE__URL=database.url).stop()
        # Two clinics of the smallest size: as many keys as there are connections at once.
        for clinic in ("a", "b"):
            reads.fill(f"'clinic-{clinic}'", extent.appointments[0])
        for size in extent.appointments:
            reads.fill(f"'clinic-{size}'", size)
        reads.fill(f"'tenant-' || (n % {extent.clinics[-1]} + 1)", 2 * extent.clinics[-1])
        for database in (counted, uncounted):
            database.fill("'default-tenant'", 1_000)
        uncounted.stop_counting()

        # It keeps next to nothing, so that requests for many zones or tenants miss.
        reader = servers.service(f"{self.kind}-reads", DATABASE__URL=reads.url, CACHE__MAX_ENTRIES=1)
        writer = servers.service(f"{self.kind}-counted", DATABASE__URL=counted.url)
        uncounting = servers.service(f"{self.kind}-uncounted", DATABASE__URL=uncounted.url)
        zones = known_zones(reader)

        def miss(*clinics: str) -> Case:
            path = f"GET {API}/mega-stats?tenantId=clinic-"
            requests = [f"{path}{clinic}&tz={zone}" for clinic in clinics for zone in zones]
            return Case("MISS", reader.port, requests=requests)

        def last_page(size: int) -> Case:
            path = f"{API}/?tenantId=clinic-{size}&page={size // 50}"
            return Case("last page", reader.port, path)

        def miss_of_clinics(number: int) -> Case:
            request = f"GET {API}/mega-stats?tenantId=tenant-NUMBER"
            return Case("MISS", reader.port, requests=[request], numbers=number)

        self.miss = miss("a", "b")
        self.misses = [miss(str(size)) for size in extent.appointments]
        self.last_pages = [last_page(size) for size in extent.appointments]
        self.misses_of_clinics = [miss_of_clinics(number) for number in extent.clinics]
        self.create, self.create_counted = create(writer), create(writer)
        self.update, self.update_counted = update(writer), update(writer)
        self.create_uncounted = create(uncounting)
        self.update_uncounted = update(uncounting)

    def growing(self) -> list[Case]:
        return [*self.misses, *self.last_pages, *self.misses_of_clinics]

    def writes(self) -> list[Case]:
        return [
            self.create_counted,
            self.create_uncounted,
            self.update_counted,
            self.update_uncounted,
        ]


def known_zones(service: Service) -> list[str]:
    """The zones of this machine that the service knows."""
    zones = sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone)
    path = f"{API}/mega-stats?tenantId=nobody&tz="
    return [zone for zone in zones if get(service.port, path + zone)[0].status == 200]


def starts() -> list[str]:
    return [f"2025-10-{day:02}T{hour:02}:00:00-03:00" for day in range(1, 29) for hour in range(8, 18)]


def create(service: Service) -> Case:
    body = {"tenantId": "default-tenant", "patientId": 7, "durationMin": 30}
    requests = [f"POST {API}/ " + json.dumps(body | {"startsAt": start}) for start in starts()]
    return Case("create", service.port, headers={"Content-Type": "application/json"}, requests=requests)


def update(service: Service) -> Case:
    """Moves appointments, and confirms every second one."""
    requests = [
        f"PATCH {API}/NUMBER " + json.dumps({"startsAt": start, "status": status})
        for start in starts()
        for status in ("confirmed", "pending")
    ]
    headers = {"Content-Type": "application/json"}
    return Case("update", service.port, headers=headers, requests=requests, numbers=1_000)


def import_ratio(servers: Servers, new, appointments: int) -> float:
    """The speed of an import of so many appointments, as a multiple of that without counts."""
    source = Sqlite(servers.folder / f"alignwork-{new.__name__}.db")
    source.execute("""CREATE TABLE appointments (id INTEGER PRIMARY KEY, tenant_id, patient_id,
        consultorio_id, starts_at, duration_min, status, created_at, updated_at)""")
    source.fill("'clinic'", appointments)
    seconds = []
    for name in ("import_counted", "import_uncounted"):
        database = new(name)
        servers.service("migration", DATABASE__URL=database.url).stop()
        if name == "import_uncounted":
            database.stop_counting()
        began = time.monotonic()
        subprocess.run(
            ["taskset", "-c", SERVER_CORE, os.environ["MEGASTATS"], "import", str(source.file)],
            env=os.environ | {"MEGASTATS__DATABASE__URL": database.url},
            check=True, cwd=servers.folder, stdout=subprocess.DEVNULL,
        )
        seconds.append(time.monotonic() - began)
    counted, uncounted = seconds
    return uncounted / counted


def all_requests(measured: list[Measured], extent: Extent) -> Section:
    rows = []
    for database in measured:
        for case in (database.miss, database.create, database.update):
            rows.append([f"{case.name}, {database.kind}"])
            for number in extent.connections:
                rows[-1].append(
                    f"{case.figure(number):,.0f} ± {case.spread(number):.0%}; {case.times(number)}"
                )
    return Section(
        "MISS, create and update",
        """
Answers per second; ± half of the spread; and the time that 50, 99 and 99.9 % took, in milliseconds. The
clinic that is read has 1,000 appointments in this month and the next. All writes are of one clinic, and on
the disk before they are acknowledged. The database shares the core of the service.
""",
        ["", *map(connections_in_words, extent.connections)],
        rows,
    )


def growing_clinic(measured: list[Measured], extent: Extent) -> Section:
    sizes = extent.appointments
    rows, targets = [], []
    for what in ("misses", "last_pages"):
        for database in measured:
            took = [case.figure(1, "p50") for case in getattr(database, what)]
            name = {"misses": "MISS", "last_pages": "last page of the list"}[what]
            cells = [f"{time / 1000:.2f} ms ({time / took[0]:.1f})" for time in took]
            rows.append([f"{name}, {database.kind}", *cells])
            if what == "misses":
                text = f"MISS at {sizes[-1]:,} appointments / at {sizes[0]:,}, {database.kind}"
                targets.append(Target(text, took[-1] / took[0], at_most=3.0))
    return Section(
        "As a clinic grows",
        """
The median time at one connection, and what it is as a multiple of the first, by the number of appointments
of the clinic in this month and the next.
""",
        ["", *(f"{size:,}" for size in sizes)],
        rows,
        targets,
    )


def growing_tenants(measured: list[Measured], extent: Extent) -> Section:
    rows = []
    for database in measured:
        took = [case.figure(1, "p50") for case in database.misses_of_clinics]
        cells = [f"{time / 1000:.2f} ms ({time / took[0]:.1f})" for time in took]
        rows.append([f"MISS, {database.kind}", *cells])
    return Section(
        "As clinics become more",
        "The same by the number of clinics that ask at random.",
        ["", *(f"{number:,} clinics" for number in extent.clinics)],
        rows,
    )


def cost_of_counts(measured: list[Measured], imports: list[float]) -> Section:
    rows, targets = [], []
    for what in ("create", "update"):
        for writers in WRITERS:
            name = f"{what}, {writers} " + ("writer" if writers == 1 else "writers")
            rows.append([name])
            for database in measured:
                counted = getattr(database, f"{what}_counted")
                ratio = counted.ratio(getattr(database, f"{what}_uncounted"), writers)
                rows[-1].append(f"{ratio:.2f}")
                text = f"{name}, with counts / without, {database.kind}"
                targets.append(Target(text, ratio, at_least=0.7))
    rows.append(["import", *(f"{ratio:.2f}" for ratio in imports)])
    for database, ratio in zip(measured, imports):
        text = f"import, with counts / without, {database.kind}"
        targets.append(Target(text, ratio, at_least=0.5))
    return Section(
        "What counting costs a write",
        """
The database keeps counts of the appointments, from which a MISS is answered. Writes per second, as multiples
of those to a database whose triggers do not count.
""",
        ["", *(database.kind for database in measured)],
        rows,
        targets,
    )
