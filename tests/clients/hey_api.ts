// What hey-api's openapi-ts makes of the description.
import { client } from "./generated/hey-api/client.gen.js";
import {
  createAppointment,
  megaStats,
  updateAppointment,
} from "./generated/hey-api/sdk.gen.js";
import { check, served, startsAt, tenantId } from "./check.js";

client.setConfig({ baseUrl: served });

const made = await createAppointment({
  body: { tenantId, patientId: "7", startsAt, durationMin: 30 },
});
check(made.data?.status === "pending", made);
const id = made.data!.id;

const changed = await updateAppointment({
  path: { id },
  body: { status: "confirmed" },
});
check(changed.data?.status === "confirmed", changed);

const counts = await megaStats({
  query: { tenantId, tz: "America/Sao_Paulo" },
});
check(counts.data?.today.confirmed === 1, counts);

const refused = await updateAppointment({ path: { id }, body: {} });
check(refused.error?.errors?.[0]?.field === "body", refused);
