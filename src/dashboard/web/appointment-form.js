// The form in which an appointment is made or moved. What the service says of a field stands beside it.

import { Problem, create, randomKey, update } from "./api.js";
import { instantOf, timeAt } from "./dates.js";
import { byId, make, write } from "./dom.js";
import { words } from "./words.js";

// The names by which the service calls what the form's fields hold.
const FIELDS = ["patientId", "startsAt", "durationMin"];

function field(name, label, input) {
  input.id = `form-${name}`;
  input.setAttribute("aria-describedby", `form-${name}-error`);
  return make(
    "div", { class: "field" },
    make("label", { for: input.id }, label), input,
    make("p", { class: "error", id: `form-${name}-error` }),
  );
}

// Opens the form for `appointment`, or for a new one on `date`; calls `saved` with what the service
// answered, or `signedOut` with its problem.
export function openForm({ appointment, date, place, saved, signedOut }) {
  const start = appointment
    ? timeAt(appointment.starts_at, place.tz)
    : "09:00";
  // If an answer is lost, whoever saves again makes no second appointment.
  const key = randomKey();
  const patient = make("input", { maxlength: 64, autocomplete: "off", required: true });
  const at = make("input", { type: "datetime-local", required: true, value: `${date}T${start}` });
  const duration = make("input", {
    type: "number", inputmode: "numeric", step: 5, required: true,
    value: appointment?.duration_min ?? 30,
  });
  const note = make("p", { class: "error", role: "alert" });
  const submit = make("button", { class: "main" }, words.save);
  const title = appointment ? words.moveTitle(appointment.patient_id) : words.add;

  const showErrors = (errors, text = "") => {
    write(note, text);
    for (const name of FIELDS) {
      const input = byId(`form-${name}`);
      if (!input) continue;
      input.setAttribute("aria-invalid", name in errors);
      write(byId(`form-${name}-error`), errors[name] ?? "");
    }
    byId(`form-${FIELDS.find((name) => name in errors)}`)?.focus();
  };

  const save = async (event) => {
    event.preventDefault();
    submit.disabled = true;
    const [day, time] = at.value.split("T");
    const startsAt = at.value ? instantOf(day, time, place.tz).toISOString() : undefined;
    const when = { startsAt, durationMin: duration.value === "" ? undefined : duration.valueAsNumber };
    try {
      const answer = appointment
        ? await update(appointment.id, when)
        : await create({ tenantId: place.tenantId, patientId: patient.value, ...when }, key);
      const stored = await answer.json();
      dialog.close();
      saved(stored);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.isSignedOut) {
        dialog.close();
        signedOut(error);
      } else {
        const isNamed = FIELDS.some((name) => name in error.fields);
        showErrors(error.fields, isNamed ? "" : error.detail);
      }
    } finally {
      submit.disabled = false;
    }
  };

  const dialog = make(
    "dialog", { "aria-labelledby": "form-title" },
    // The service says what is wrong, in its own words.
    make("form", { onsubmit: save, novalidate: true },
      make("h2", { id: "form-title" }, title),
      ...(appointment ? [] : [field("patientId", words.patient, patient)]),
      field("startsAt", words.at, at),
      field("durationMin", words.duration, duration),
      note,
      make("div", { class: "actions" },
        make("button", { type: "button", class: "quiet", onclick: () => dialog.close() }, words.close),
        submit)),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
