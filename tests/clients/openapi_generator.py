"""What openapi-generator's python makes of the description."""

import os
from datetime import datetime, timezone

import generated_openapi_generator as generated

TENANT = os.environ["TENANT"]
client = generated.ApiClient(generated.Configuration(host=os.environ["SERVED"]))
appointments = generated.AppointmentsApi(client)

made = appointments.create_appointment(
    generated.NewAppointment(
        tenant_id=TENANT,
        patient_id=generated.Patient("7"),
        starts_at=datetime.now(timezone.utc),
        duration_min=30,
    )
)
assert made.status == generated.Status.PENDING, made

changed = appointments.update_appointment(
    made.id, generated.AppointmentChanges(status=generated.Status.CONFIRMED)
)
assert changed.status == generated.Status.CONFIRMED, changed

counts = generated.StatisticsApi(client).mega_stats(tenant_id=TENANT, tz="America/Sao_Paulo")
assert counts.today.confirmed == 1, counts

try:
    appointments.update_appointment(made.id, generated.AppointmentChanges())
except generated.ApiException as refused:
    assert refused.status == 422, refused
else:
    raise AssertionError("a change of nothing was taken")
