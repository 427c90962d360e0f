// Which clinic is shown, and in which time zone: chosen in the header, kept in the page's address,
// and remembered for the next visit.

import { isZone } from "./dates.js";
import { byId, make, write } from "./dom.js";

const KEY = "megastats.clinics";
const DEFAULT = { tenantId: "default-tenant", tz: "America/Recife" };
const REMEMBERED = 20;

// The clinics shown before, the latest first: [{ tenantId, tz }].
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? [];
  } catch {
    return [];
  }
}

function remember(place) {
  const others = remembered().filter(({ tenantId }) => tenantId !== place.tenantId);
  try {
    localStorage.setItem(KEY, JSON.stringify([place, ...others].slice(0, REMEMBERED)));
  } catch {
    // A browser that keeps nothing forgets the clinic.
  }
}

function zoneOf(tenantId) {
  return remembered().find((known) => known.tenantId === tenantId)?.tz;
}

// The clinic and zone of the page's address; what is missing there is what was last shown.
function fromAddress() {
  const query = new URLSearchParams(location.search);
  const tenantId = query.get("tenantId") ?? remembered()[0]?.tenantId ?? DEFAULT.tenantId;
  return { tenantId, tz: query.get("tz") ?? zoneOf(tenantId) ?? DEFAULT.tz };
}

const address = () => `?${new URLSearchParams(place)}`;

const tenantField = byId("tenant");
const zoneField = byId("zone");

// The current choice.
export let place = fromAddress();

// Calls `changed` whenever another clinic or zone is chosen.
export function watchPlace(changed) {
  const show = () => {
    tenantField.value = place.tenantId;
    zoneField.value = place.tz;
    byId("tenants").replaceChildren(
      ...remembered().map(({ tenantId }) => make("option", { value: tenantId })));
    showPlaceErrors({});
    changed();
  };
  const choose = (event) => {
    event.preventDefault();
    const tenantId = tenantField.value.trim();
    // Another clinic is shown in the zone in which it was shown before.
    const isOther = tenantId !== place.tenantId;
    const tz = (isOther && zoneOf(tenantId)) || zoneField.value.trim();
    if (tenantId === place.tenantId && tz === place.tz) return;
    place = { tenantId, tz };
    show();
  };
  byId("place").addEventListener("change", choose);
  byId("place").addEventListener("submit", choose);
  addEventListener("popstate", () => {
    place = fromAddress();
    show();
  });
  byId("zones").replaceChildren(
    ...Intl.supportedValuesOf("timeZone").map((name) => make("option", { value: name })));
  history.replaceState(null, "", address());
  show();
}

// The service knows the clinic and the zone: they are worth an address of their own and remembering.
export function rememberPlace() {
  if (location.search !== address()) history.pushState(null, "", address());
  remember(place);
}

// Shows what the service says of the two fields, in its own words.
export function showPlaceErrors({ tenantId = "", tz = "" }) {
  for (const [field, error, text] of [
    [tenantField, "tenant-error", tenantId],
    [zoneField, "zone-error", tz],
  ]) {
    field.setAttribute("aria-invalid", text !== "");
    write(byId(error), text);
  }
}

// Whether the browser can tell the time in the chosen zone.
export const isZoneKnown = () => isZone(place.tz);
