// What openapi-typescript makes of the description, used by openapi-fetch.
import createClient from "openapi-fetch";
import type { paths } from "./generated/openapi-typescript/schema.js";
import { check, served, startsAt, tenantId } from "./check.js";

const client = createClient<paths>({ baseUrl: served });

const made = await client.POST("/api/v1/appointments/", {
  body: { tenantId, patientId: 7, startsAt, durationMin: 30 },
});
check(made.data?.status === "pending", made);
const id = made.data!.id;

const changed = await client.PATCH("/api/v1/appointments/{id}", {
  params: { path: { id } },
  body: { status: "confirmed" },
});
check(changed.data?.status === "confirmed", changed);

const counts = await client.GET("/api/v1/appointments/mega-stats", {
  params: { query: { tenantId, tz: "America/Sao_Paulo" } },
});
check(counts.data?.today.confirmed === 1, counts);

const refused = await client.PATCH("/api/v1/appointments/{id}", {
  params: { path: { id } },
  body: {},
});
check(refused.error?.errors?.[0]?.field === "body", refused);
