// The four figures: today, this week, this month and the next, each with its confirmed share.

import { writeLongDate } from "./dates.js";
import { byId, make, write } from "./dom.js";
import { words, writeNumber, writeShare } from "./words.js";

const BUCKETS = ["today", "week", "month", "nextMonth"];

function figure(bucket) {
  const part = (name) => make("span", { class: name });
  const parts = {
    date: part("date"),
    total: part("total"),
    share: part("share"),
    confirmed: part("count"),
    pending: part("count"),
    bar: make("span", { class: "bar", "aria-hidden": "true" }, part("fill")),
  };
  const element = make(
    "article", { class: `figure ${bucket}`, "data-bucket": bucket },
    make("div", { class: "label" }, make("h3", {}, words[bucket]), parts.date),
    make("p", { class: "number" }, parts.total),
    parts.bar,
    make("p", { class: "parts" },
      make("span", { class: "part" }, make("span", { class: "key confirmed" }), parts.confirmed,
        ` ${words.confirmed}`),
      make("span", { class: "part" }, make("span", { class: "key pending" }), parts.pending,
        ` ${words.pending}`)),
    make("p", { class: "hidden" }, parts.share),
  );
  return { element, ...parts };
}

const figures = Object.fromEntries(BUCKETS.map((bucket) => [bucket, figure(bucket)]));
byId("figures").append(...BUCKETS.map((bucket) => figures[bucket].element));

// Says which day today is; nothing while that is not known.
export function showToday(date) {
  write(figures.today.date, date ? writeLongDate(date) : "");
}

// Shows an answer of /mega-stats; without one, nothing is known.
export function showFigures(counts) {
  for (const bucket of BUCKETS) {
    const { total, share, confirmed, pending, bar } = figures[bucket];
    if (!counts) {
      for (const element of [total, confirmed, pending]) write(element, "–");
      write(share, "");
      bar.style.setProperty("--share", 0);
      continue;
    }
    const { confirmed: sure, pending: open } = counts[bucket];
    const all = sure + open;
    write(total, writeNumber(all));
    write(confirmed, writeNumber(sure));
    write(pending, writeNumber(open));
    write(share, all ? words.confirmedShare(writeShare(sure / all)) : words.noneYet);
    bar.style.setProperty("--share", all ? sure / all : 0);
    bar.classList.toggle("empty", all === 0);
  }
  const name = words.today;
  document.title = counts
    ? `${writeNumber(counts.today.confirmed + counts.today.pending)} ${name} · megastats`
    : "megastats";
}
