"""What the description cannot say of a valid request, so that valid ones are accepted."""

import re
from datetime import datetime

import schemathesis
from hypothesis import strategies

# Years within the service's range whatever the offset.
INSTANTS = strategies.builds(
    lambda at, offset: at.isoformat() + offset,
    strategies.datetimes(datetime(1970, 1, 2), datetime(2199, 12, 30)),
    strategies.sampled_from(["Z", "z", "+00:00", "-03:00", "+05:30", "-23:59"]),
)
schemathesis.openapi.format("date-time", INSTANTS)

ZONES = ["America/Recife", "Europe/Lisbon", "Africa/Cairo", "Etc/GMT+3", "UTC"]
CHANGES = ["status", "startsAt", "durationMin"]

# What each clinic's keys were first sent with.
FIRST = {}


@schemathesis.hook
def before_call(context, case, kwargs):
    """Makes valid what only its shape makes look valid; what is to be refused stays as it is."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    query, body = case.query, case.body
    if query:
        # There is no page after the last one, and mostly there is one.
        if "page" in query:
            query["page"] = 1
        # Any other text may be no zone.
        if "tz" in query and query["tz"] not in ZONES:
            query["tz"] = ZONES[len(query["tz"]) % len(ZONES)]
        if "from" in query and "to" in query:
            query["from"], query["to"] = sorted([query["from"], query["to"]], key=_instant)
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(body, dict):
        # A change of nothing, or to null, is none.
        if case.method == "PATCH" and all(body.get(name) is None for name in CHANGES):
            body["status"] = "confirmed"
        # A key that was for another appointment is refused.
        if key and FIRST.setdefault((body["tenantId"], _plain(key)), body) != body:
            del case.headers["Idempotency-Key"]


def _plain(key):
    return re.sub(r"\\(.)", r"\1", key[1:-1]) if key.startswith('"') else key


def _instant(text):
    return datetime.fromisoformat(text.upper().replace("Z", "+00:00"))
