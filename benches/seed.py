"""AlignWork's endpoint with the cache that its plan describes: FastAPI, SQLAlchemy, cachetools.

Run by uvicorn; DATABASE is the path of a SQLite file of the service.
"""

import os
import threading
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from cachetools import TTLCache
from fastapi import Depends, FastAPI, Query, Response
from sqlalchemy import case, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, sessionmaker


class Base(DeclarativeBase):
    pass


class Appointment(Base):
    __tablename__ = "appointments"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    starts_at: Mapped[str]
    status: Mapped[str]


engine = create_engine(f"sqlite:///{os.environ['DATABASE']}")
sessions = sessionmaker(engine)
app = FastAPI()
cache = TTLCache(maxsize=100, ttl=float(os.environ.get("TTL_SECONDS", "30")))
cache_lock = threading.Lock()


def session():
    with sessions() as opened:
        yield opened


def count(db: Session, tenant: str, start: datetime, end: datetime) -> dict[str, int]:
    def stored(instant: datetime) -> str:
        return instant.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")

    def of(status: str):
        return func.coalesce(func.sum(case((Appointment.status == status, 1), else_=0)), 0)

    confirmed, pending = db.execute(
        select(of("confirmed"), of("pending")).where(
            Appointment.tenant_id == tenant,
            Appointment.starts_at >= stored(start),
            Appointment.starts_at < stored(end),
        )
    ).one()
    return {"confirmed": confirmed, "pending": pending}


@app.get("/api/v1/appointments/mega-stats")
def mega_stats(
    response: Response,
    tenantId: str = Query(...),
    tz: str = Query("America/Recife"),
    db: Session = Depends(session),
):
    response.headers["Cache-Control"] = "no-store"
    now = datetime.now(ZoneInfo(tz))
    key = f"mega_stats:{tenantId}:{tz}:{now:%Y-%m-%d}"
    with cache_lock:
        cached = cache.get(key)
    if cached is not None:
        response.headers["X-Cache"] = "HIT"
        return cached
    response.headers["X-Cache"] = "MISS"
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    sunday = today - timedelta(days=(today.weekday() + 1) % 7)
    month = today.replace(day=1)
    next_month = (month + timedelta(days=32)).replace(day=1)
    stats = {
        "today": count(db, tenantId, today, today + timedelta(days=1)),
        "week": count(db, tenantId, sunday, sunday + timedelta(days=7)),
        "month": count(db, tenantId, month, next_month),
        "nextMonth": count(db, tenantId, next_month, (next_month + timedelta(days=32)).replace(day=1)),
    }
    with cache_lock:
        cache[key] = stats
    return stats
