"""What grows with entries, instances and connections: time and memory. And the size and start of the program."""

import os
import pathlib
import resource
import socket
import statistics
import subprocess
import time

from databases import Postgresql
from extent import Extent
from load import Case, in_turns, printed
from reads_and_writes import API, create
from report import Section, Target
from servers import SERVER_CORE, PATH, Servers, Service, get, program, wait_for

INSTANCES = [1, 2, 4]
CLIENTS = 1_000
# `server.max_connections`.
MAX_CONNECTIONS = 10_000
# What clients that read nothing ask for.
UNREAD_PATHS = ["/docs/swagger-ui-bundle.js", "/openapi.json", "/metrics"]
MIB = 2**20


def entries(servers: Servers, extent: Extent) -> Section:
    """Measures HITs among ever more entries, each of another tenant."""
    sizes = extent.entries
    cases, services = [], []
    for size in sizes:
        service = servers.service(f"entries-{size}", CACHE__MAX_ENTRIES=2 * size, LOG__REQUESTS="false")
        requests = [f"GET {API}/mega-stats?tenantId=tenant-NUMBER"]
        case = Case(f"{size} entries", service.port, requests=requests, numbers=size)
        fill(service, case)
        cases.append(case)
        services.append(service)
    in_turns(extent.rounds, cases, (64,))
    resident = [service.resident() for service in services]
    rows = [
        ["HIT, as a multiple of the first"]
        + [case.multiple(cases[0], 64) for case in cases],
        ["resident memory, MiB", *(f"{size / MIB:.0f}" for size in resident)],
        ["bytes for each entry", "", *(
            f"{(bytes - resident[0]) / (size - sizes[0]):,.0f}" if size > 1_000 else ""
            for bytes, size in zip(resident[1:], sizes[1:])
        )],
    ]
    for service in services:
        service.stop()
    text = "HITs of clinics chosen at random, 64 connections, without request log."
    return Section("As entries become more", text, ["", *(f"{size:,}" for size in sizes)], rows)


def fill(service: Service, case: Case) -> None:
    """Asks for each of the case's numbers once, with both cores."""
    subprocess.run(["taskset", "-a", "-c", "-p", "0-1", str(service.process.pid)],
                   check=True, stdout=subprocess.DEVNULL)
    wrk = case.wrk(32, 600, EACH=1)
    name = 'megastats_cache_requests_total{backend="memory",outcome="miss"}'
    while service.metric(name) < case.numbers:
        time.sleep(0.1)
    wrk.terminate()
    wrk.wait()
    subprocess.run(["taskset", "-a", "-c", "-p", SERVER_CORE, str(service.process.pid)],
                   check=True, stdout=subprocess.DEVNULL)


def instances(servers: Servers, extent: Extent) -> Section:
    """Measures several instances on one Redis and one PostgreSQL, all on one core."""
    redis_url = servers.redis()
    port = servers.postgresql()
    hits, creates = [], []
    for number in INSTANCES:
        database = Postgresql(program("psql"), port, f"instances_{number}")
        started = [
            servers.service(
                f"instance-{number}-{index}",
                DATABASE__URL=database.url,
                CACHE__BACKEND="redis",
                CACHE__REDIS__URL=redis_url,
                CACHE__REDIS__KEY_PREFIX=f"{number}:",
            )
            for index in range(number)
        ]
        hits.append([])
        creates.append([])
        for _ in range(extent.rounds):
            for service in started:
                wait_for("a HIT", lambda: get(service.port, PATH)[0].getheader("x-cache") == "HIT")
            running = [Case("HIT", service.port).wrk(64 // number, 1) for service in started]
            hits[-1].append(sum(printed(wrk)["per_second"] for wrk in running))
            running = [create(service).wrk(8 // number, 1) for service in started]
            creates[-1].append(sum(printed(wrk)["per_second"] for wrk in running))
        for service in started:
            service.stop()
    rows = []
    for name, rates in (("HIT", hits), ("create", creates)):
        medians = [statistics.median(rate) for rate in rates]
        rows.append([name, *(f"{median / medians[0]:.2f}" for median in medians)])
    text = """
Answers per second of all instances together, as multiples of one instance's, all on the same core as Redis
and PostgreSQL: what is below 1 is what instances cost each other. 64 connections read, and 8 write to one clinic.
"""
    return Section("As instances become more", text, ["", *(f"{n}" for n in INSTANCES)], rows)


def process(servers: Servers) -> Section:
    """Measures the program's size, its start, and its memory."""
    size = pathlib.Path(os.environ["MEGASTATS"]).stat().st_size
    new_file = seconds_to_start(servers, "started")
    old_file = statistics.median(seconds_to_start(servers, "started") for _ in range(9))

    service = servers.service("idle")
    idle = service.resident()
    clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(CLIENTS)]
    for client in clients:
        client.sendall(f"GET {PATH} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    for client in clients:
        client.recv(65536)
    connected = service.resident()
    for client in clients:
        client.close()
    service.stop()

    rows = [
        ["size of the program", f"{size / 1e6:.1f} MB"],
        ["start until it answers, new file", f"{new_file * 1000:.0f} ms"],
        ["start until it answers, old file", f"{old_file * 1000:.0f} ms"],
        ["resident memory, idle", f"{idle / MIB:.0f} MiB"],
        ["for each open connection", f"{(connected - idle) / CLIENTS / 1024:.1f} KiB"],
    ]
    for path in UNREAD_PATHS:
        resident = resident_with_unreading_clients(servers, path) / MIB
        rows.append([f"resident memory, all ask for `{path}` and read nothing", f"{resident:,.0f} MiB"])
    targets = [Target("size of the program, MB", size / 1e6, at_most=20.0)]
    text = f"Open connections: {CLIENTS:,}; those that read nothing: {MAX_CONNECTIONS:,}, all that there may be."
    return Section("The program", text, ["", ""], rows, targets)


def seconds_to_start(servers: Servers, name: str) -> float:
    began = time.monotonic()
    service = servers.service(name)
    took = time.monotonic() - began
    service.stop()
    return took


def resident_with_unreading_clients(servers: Servers, path: str) -> int:
    """The service's memory, in bytes, while as many clients as it takes ask for `path` and read nothing."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    service = servers.service("unread")
    clients = [unreading_client(service.port, path) for _ in range(MAX_CONNECTIONS)]
    last, now = 0, service.resident()
    while now > last + MIB:
        time.sleep(1)
        last, now = now, service.resident()
    for client in clients:
        client.close()
    service.stop()
    return now


def unreading_client(port: int, path: str) -> socket.socket:
    """A client that asks until it is let no more, and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.setblocking(False)
    client.send(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode() * 1000)
    return client
