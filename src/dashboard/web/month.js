// The days of the month as columns. Each is a button that opens the day in the agenda; arrow keys go
// from day to day.

import { byId, make, write } from "./dom.js";
import { writeDate, writeLongDate } from "./dates.js";
import { words } from "./words.js";

const list = byId("days");
let choose = () => {};
let chosen;

// Calls `chosenDay` with the date of a day that is clicked.
export function watchDays(chosenDay) {
  choose = chosenDay;
}

// Shows an answer of /days: { today, days: [{ date, confirmed, pending }] }.
export function showDays({ today, days }) {
  write(byId("month-title"), writeDate(today, { month: "long", year: "numeric" }));
  const highest = Math.max(1, ...days.map(({ confirmed, pending }) => confirmed + pending));
  if (list.firstElementChild?.dataset.date !== days[0].date || list.children.length !== days.length) {
    list.replaceChildren(...days.map(column));
  }
  days.forEach(({ date, confirmed, pending }, index) => {
    const item = list.children[index];
    const button = item.firstElementChild;
    item.style.setProperty("--confirmed-part", confirmed / highest);
    item.style.setProperty("--pending-part", pending / highest);
    button.setAttribute("aria-label", words.dayCounts(writeLongDate(date), confirmed, pending));
    button.title = words.dayCounts(writeDate(date, { day: "numeric", month: "short" }), confirmed, pending);
    if (date === today) button.setAttribute("aria-current", "date");
    else button.removeAttribute("aria-current");
  });
  markDay(chosen ?? today);
}

// Marks the day that the agenda shows.
export function markDay(date) {
  chosen = date;
  const items = [...list.children];
  const there = items.find((item) => item.dataset.date === date) ?? items[0];
  for (const item of items) {
    item.firstElementChild.setAttribute("aria-pressed", item.dataset.date === date);
    // Tab leads to one of them, and arrow keys to the others.
    item.firstElementChild.tabIndex = item === there ? 0 : -1;
  }
}

function column({ date }) {
  const day = Number(date.slice(8));
  const button = make(
    "button", { type: "button", class: "day", onclick: () => choose(date) },
    make("span", { class: "column", "aria-hidden": "true" },
      make("span", { class: "open" }), make("span", { class: "sure" })),
    make("span", { class: "name", "aria-hidden": "true" }, String(day)),
  );
  return make("li", { "data-date": date }, button);
}

list.addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -7, ArrowDown: 7 };
  const items = [...list.children];
  const index = items.indexOf(document.activeElement.closest("li"));
  const next = { Home: 0, End: items.length - 1 }[event.key] ?? index + steps[event.key];
  if (index < 0 || !(next in items)) return;
  event.preventDefault();
  for (const item of items) item.firstElementChild.tabIndex = -1;
  items[next].firstElementChild.tabIndex = 0;
  items[next].firstElementChild.focus();
});
