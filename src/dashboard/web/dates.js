// Dates and times of a zone. A date is text like 2025-10-31, a time of day like 14:30.

import { locale } from "./words.js";

const clocks = new Map();

// What a clock on the wall of `zone` shows at `instant`, a Date or what makes one, as if that were UTC;
// in milliseconds.
function wallClock(instant, zone) {
  if (!clocks.has(zone)) {
    const options = {
      timeZone: zone, hourCycle: "h23", calendar: "gregory", numberingSystem: "latn",
      year: "numeric", month: "2-digit", day: "2-digit",
      hour: "2-digit", minute: "2-digit", second: "2-digit",
    };
    clocks.set(zone, new Intl.DateTimeFormat("en", options));
  }
  const parts = clocks.get(zone).formatToParts(new Date(instant));
  const part = Object.fromEntries(parts.map(({ type, value }) => [type, Number(value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second);
}

export const dateAt = (instant, zone) =>
  new Date(wallClock(instant, zone)).toISOString().slice(0, 10);

export const timeAt = (instant, zone) =>
  new Date(wallClock(instant, zone)).toISOString().slice(11, 16);

// The instant at which clocks of `zone` show that date and time. Where they skip it, a later one.
export function instantOf(date, time, zone) {
  const wall = Date.parse(`${date}T${time}:00Z`);
  const guess = 2 * wall - wallClock(wall, zone);
  return new Date(guess + wall - wallClock(guess, zone));
}

// The date `days` later.
export function daysAfter(date, days) {
  const later = new Date(`${date}T00:00:00Z`);
  later.setUTCDate(later.getUTCDate() + days);
  return later.toISOString().slice(0, 10);
}

// A date written as `options` of Intl.DateTimeFormat say.
export function writeDate(date, options) {
  const format = new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" });
  return format.format(new Date(`${date}T00:00:00Z`));
}

export const writeLongDate = (date) =>
  writeDate(date, { weekday: "long", day: "numeric", month: "long" });

export function isZone(name) {
  try {
    return Boolean(new Intl.DateTimeFormat("en", { timeZone: name }));
  } catch {
    return false;
  }
}
