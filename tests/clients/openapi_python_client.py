"""What openapi-python-client makes of the description."""

import os
from datetime import datetime, timezone

from generated_python_client import Client
from generated_python_client.api.appointments import create_appointment, update_appointment
from generated_python_client.api.statistics import mega_stats
from generated_python_client.models import (
    AppointmentChanges,
    NewAppointment,
    Problem,
    Status,
)

TENANT = os.environ["TENANT"]
client = Client(base_url=os.environ["SERVED"])

made = create_appointment.sync(
    client=client,
    body=NewAppointment(
        tenant_id=TENANT, patient_id="7", starts_at=datetime.now(timezone.utc), duration_min=30
    ),
)
assert made.status == Status.PENDING, made

changed = update_appointment.sync(
    made.id, client=client, body=AppointmentChanges(status=Status.CONFIRMED)
)
assert changed.status == Status.CONFIRMED, changed

counts = mega_stats.sync(client=client, tenant_id=TENANT, tz="America/Sao_Paulo")
assert counts.today.confirmed == 1, counts

refused = update_appointment.sync(made.id, client=client, body=AppointmentChanges())
assert isinstance(refused, Problem) and refused.errors[0].field == "body", refused
