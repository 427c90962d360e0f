"""How often dashboards make the service ask its database, on a clock that runs faster.

libfaketime gives the service a clock that runs `SPEED` times as fast, so that an hour takes seconds: its
settings and its timers stay as they are.
"""

import glob

from load import Case, printed
from report import Section
from servers import Servers, fail

# Users, and what AlignWork's plan says of them: queries in an hour without its cache and with it.
USERS = [1, 10, 100, 1_000]
ALIGNWORK = {1: (480, 24), 10: (4_800, 240), 100: (48_000, 2_400), 1_000: (480_000, 24_000)}
SPEED = 200
SECONDS = 3600 // SPEED


def measure(servers: Servers) -> Section:
    """Lets users of one clinic poll every 30 seconds for an hour."""
    libraries = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not libraries:
        fail("libfaketime is missing")
    clock = {"LD_PRELOAD": libraries[0], "FAKETIME": f"+0 x{SPEED}"}
    services = [
        servers.service(
            f"polls-{users}-{warming}", clock, CACHE__TTL_SECONDS=30,
            CACHE__WARMING__ENABLED=warming, LOG__REQUESTS="false",
        )
        for users in USERS
        for warming in ("false", "true")
    ]
    running = [
        Case(f"{users} users", service.port).wrk(users, SECONDS, INTERVAL=30_000 // SPEED)
        for users, service in zip([users for users in USERS for _ in range(2)], services)
    ]
    polls = [round(printed(wrk)["per_second"] * SECONDS) for wrk in running]
    rows = []
    for index, users in enumerate(USERS):
        plain, warmed = services[2 * index : 2 * index + 2]
        before, after = ALIGNWORK[users]
        rows.append(
            [f"{users:,}", f"{polls[2 * index]:,}", f"{before:,}", f"{after:,}"]
            + [f"{queries(plain):,.0f}", f"{queries(warmed):,.0f}", f"{misses(warmed):,.0f}"]
        )
    for service in services:
        service.stop()
    text = """
Users of one clinic poll every 30 seconds for an hour, each from another moment on, while nothing is written.
An entry lives for 30 seconds, so there are at most 120 computations in an hour, however many users there are.
AlignWork's plan takes 5 % of its queries to be left, and counts four for each computation; here a computation
is one statement. With warming an entry is computed anew after 25 seconds, before a user finds it expired.
"""
    columns = ["users", "polls", "AlignWork's plan, queries without cache", "with cache"]
    columns += ["statements", "statements with warming", "polls that waited for one"]
    return Section("Queries in an hour", text, columns, rows)


def queries(service) -> float:
    return service.metric('megastats_cache_computation_duration_seconds_count{result="ok"}')


def misses(service) -> float:
    return service.metric('megastats_cache_requests_total{backend="memory",outcome="miss"}')
