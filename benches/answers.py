"""A cached answer beside an empty handler, other caches and AlignWork's own."""

import base64
import hashlib
import hmac
import json

from databases import Sqlite
from extent import Extent
from load import Case, connections_in_words, in_turns
from report import Section, Target
from servers import PATH, SECRET, Servers, get, wait_for


def token() -> str:
    def encoded(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    claims = {"sub": "ana", "type": "access", "exp": 2**32 - 1, "tenants": ["default-tenant"]}
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(encoded(json.dumps(part).encode()) for part in parts)
    signature = hmac.new(SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encoded(signature)}"


def measure(servers: Servers, extent: Extent) -> list[Section]:
    """Measures HITs from memory and from Redis beside what they are compared to."""
    migrated = servers.service("seed")
    migrated.stop()
    redis_url = servers.redis()
    memory = servers.service("memory")
    quiet = servers.service("quiet", LOG__REQUESTS="false")
    jwt = servers.service("jwt", AUTH__MODE="jwt", AUTH__SECRET=SECRET)
    uncached = servers.service("uncached", CACHE__BACKEND="none")
    shared = servers.service("shared", CACHE__BACKEND="redis", CACHE__REDIS__URL=redis_url)

    limit = Case("limit", servers.limit("limit", memory))
    hit_quiet = Case("HIT, no request log", quiet.port)
    hit = Case("HIT", memory.port)
    nginx = Case("nginx proxy_cache", servers.nginx(uncached))
    in_memory = [
        limit,
        hit_quiet,
        hit,
        Case("HIT with a token", jwt.port, headers={"Authorization": f"Bearer {token()}"}),
        nginx,
        Case("Varnish", servers.varnish(uncached)),
        Case("no cache", uncached.port),
        Case("AlignWork's cache", servers.seed(Sqlite(servers.folder / "seed.db"))),
    ]
    limit_mget = Case("limit + MGET", servers.limit("limit-mget", shared, redis_url))
    hit_redis = Case("HIT in Redis", shared.port)
    in_redis = [limit_mget, hit_redis]

    for case in in_memory + in_redis:
        wait_for(case.name, lambda: get(case.port, PATH, case.headers)[0].status == 200)
    in_turns(extent.rounds_of_hits, in_memory + in_redis, extent.connections)
    # The targets are about 64 connections. Single rounds differ by up to a tenth: more of them are measured.
    in_turns(extent.rounds_of_hits, in_memory + in_redis, (64,))

    return [
        Section(
            "HIT in memory",
            """
Answers per second, as multiples of *limit*: an Actix handler that sends the same bytes and does nothing
else; ± half of the spread between the rounds; and the time that 50, 99 and 99.9 % of the requests took, in
milliseconds. nginx and Varnish keep what the service answers without its cache (*no cache*), for 30 s
whatever is written meanwhile. *AlignWork's cache* is its endpoint as its plan describes it (FastAPI,
SQLAlchemy, cachetools, uvicorn). The request log is on unless a line says that it is not.
""",
            ["", *map(connections_in_words, extent.connections)],
            rows(in_memory, extent),
            [
                Target("HIT without request log / limit", hit_quiet.ratio(limit, 64), at_least=0.90),
                Target("HIT / limit", hit.ratio(limit, 64), at_least=0.80),
                Target("HIT without request log / nginx", hit_quiet.ratio(nginx, 64), at_least=1.0),
                Target("HIT / nginx", hit.ratio(nginx, 64), at_least=1.0),
            ],
            {case.name: case.ratio(limit, 64) for case in in_memory},
        ),
        Section(
            "HIT in Redis",
            """
The same beside *limit + MGET*: that handler, which first looks up three keys in Redis in one round trip.
""",
            ["", *map(connections_in_words, extent.connections)],
            rows(in_redis, extent),
            [Target("HIT in Redis / limit + MGET", hit_redis.ratio(limit_mget, 64), at_least=1.2)],
            {case.name: case.ratio(limit, 64) for case in in_redis},
        ),
    ]


def rows(cases: list[Case], extent: Extent) -> list[list[str]]:
    lines = []
    for case in cases:
        line = [case.name]
        for number in extent.connections:
            line.append(f"{case.multiple(cases[0], number)}; {case.times(number)}")
        lines.append(line)
    return lines
