// The appointments of one day: seeing them, confirming, cancelling, moving them, and making new ones.

import { Problem, read, update } from "./api.js";
import { openForm } from "./appointment-form.js";
import { dateAt, daysAfter, instantOf, timeAt, writeLongDate } from "./dates.js";
import { byId, make, write } from "./dom.js";
import { markDay } from "./month.js";
import { isZoneKnown, place } from "./place.js";
import { words } from "./words.js";

const PAGE_SIZE = 100;

const list = byId("appointments");
const note = byId("agenda-note");
const more = byId("more");

let today;
let day;
let pages = 1;
let reading;
let hooks = { changed: () => {}, signedOut: () => {} };

// Calls `changed` after each appointment that is made or changed here, and `signedOut` with the problem
// if the token is no longer valid.
export function startAgenda(given) {
  hooks = given;
  byId("day").addEventListener("change", (event) => {
    if (event.target.value) openDay(event.target.value);
  });
  byId("day-before").addEventListener("click", () => day && openDay(daysAfter(day, -1)));
  byId("day-after").addEventListener("click", () => day && openDay(daysAfter(day, 1)));
  byId("day-today").addEventListener("click", () => today && openDay(today));
  byId("add").addEventListener("click", () => day && edit());
  more.addEventListener("click", () => {
    pages += 1;
    refreshAgenda();
  });
}

// Tells the agenda which day it is; it goes with the day if it shows today.
export function setToday(date) {
  const wasToday = day === today;
  today = date;
  if (day === undefined || wasToday) openDay(date);
}

// Another clinic or zone was chosen: nothing of the last one may be seen.
export function resetAgenda() {
  today = undefined;
  day = undefined;
  reading?.abort();
  list.replaceChildren();
  write(note, words.loading);
}

export function openDay(date) {
  if (date !== day) {
    list.replaceChildren();
    write(note, words.loading);
    pages = 1;
  }
  day = date;
  byId("day").value = date;
  write(byId("agenda-title"), words.agendaOf(writeLongDate(date)));
  markDay(date);
  refreshAgenda();
}

// Reads the day anew.
export async function refreshAgenda() {
  if (!day || !isZoneKnown()) return;
  reading?.abort();
  reading = new AbortController();
  const { signal } = reading;
  const query = {
    tenantId: place.tenantId,
    from: instantOf(day, "00:00", place.tz).toISOString(),
    to: instantOf(daysAfter(day, 1), "00:00", place.tz).toISOString(),
    page_size: PAGE_SIZE,
  };
  try {
    const found = [];
    let last = 1;
    for (let page = 1; page <= Math.min(pages, last); page += 1) {
      const answer = await read("/", { ...query, page }, { signal });
      found.push(...answer.data);
      last = answer.total_pages;
    }
    show(found);
    more.hidden = pages >= last;
  } catch (error) {
    if (!signal.aborted) fail(error);
  }
}

function show(appointments) {
  const zone = place.tz;
  if (note.textContent === words.loading || note.textContent === words.noAppointments) write(note, "");
  if (appointments.length === 0) write(note, words.noAppointments);
  const focused = document.activeElement?.closest("#appointments li")?.dataset.id;
  const action = document.activeElement?.dataset.action;
  list.replaceChildren(...appointments.map((appointment) => row(appointment, zone)));
  // Whoever stood on a row stands there still.
  const again = focused && list.querySelector(`li[data-id="${focused}"]`);
  const button = again && (again.querySelector(`[data-action="${action}"]`) ?? again.querySelector("button"));
  if (button) button.focus();
}

function row(appointment, zone) {
  const { id, status, patient_id: patient, duration_min: minutes } = appointment;
  const time = timeAt(appointment.starts_at, zone);
  const what = `${patient}, ${time}`;
  const button = (action, label, onclick) => make(
    "button", { type: "button", class: "quiet", "data-action": action, "aria-label": label(what), onclick },
    words[action]);
  const actions = [];
  if (status === "pending") {
    actions.push(button("confirm", words.confirmOf, () => change(appointment, "confirmed")));
  }
  if (status !== "cancelled") {
    actions.push(button("move", words.moveOf, () => edit(appointment)));
    actions.push(button("cancel", words.cancelOf, () => change(appointment, "cancelled")));
  }
  return make(
    "li", { "data-id": id, class: status },
    make("time", { datetime: appointment.starts_at }, time),
    make("span", { class: "who" }, patient,
      make("span", { class: "length" }, words.minutesOf(minutes))),
    make("span", { class: "state" }, words.statusOf[status]),
    make("span", { class: "actions" }, ...actions),
  );
}

async function change({ id }, status) {
  try {
    await update(id, { status });
    await done(words.done[status]);
  } catch (error) {
    fail(error);
  }
}

// Opens the form for an appointment, or for a new one on this day.
function edit(appointment) {
  openForm({
    appointment,
    date: appointment ? dateAt(appointment.starts_at, place.tz) : day,
    place,
    signedOut: hooks.signedOut,
    saved: (stored) => {
      const date = dateAt(stored.starts_at, place.tz);
      if (date !== day) openDay(date);
      done(appointment ? words.moved : words.added);
    },
  });
}

async function done(text) {
  hooks.changed();
  await refreshAgenda();
  write(note, text);
}

function fail(error) {
  if (!(error instanceof Problem)) throw error;
  if (error.isSignedOut) hooks.signedOut(error);
  else write(note, error.detail);
}
