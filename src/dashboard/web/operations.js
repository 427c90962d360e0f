// The cache's figures for whoever operates the service, of the instance that answers. They are read
// only while the panel is open.

import { Problem, purge, read, send } from "./api.js";
import { byId, make, write } from "./dom.js";
import { place } from "./place.js";
import { words, writeMilliseconds, writeNumber, writeShare } from "./words.js";

const BETWEEN_READS = 5_000;
// Ten minutes.
const SAMPLES = 120;

const panel = byId("operations-panel");
const samples = [];
let timer;
let parts;

export function startOperations() {
  const details = byId("operations");
  details.addEventListener("toggle", () => {
    clearInterval(timer);
    if (!details.open) return;
    refresh();
    timer = setInterval(refresh, BETWEEN_READS);
  });
}

async function refresh() {
  if (document.hidden) return;
  try {
    const [figures, metrics] = await Promise.all([
      read("/cache-metrics", { limit: 1 }),
      send("metrics").then((answer) => answer.text()).then(parse),
    ]);
    show(figures, metrics);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    const isRefused = [401, 403].includes(error.status);
    const text = isRefused ? words.forAdministrators : error.detail;
    parts = undefined;
    panel.replaceChildren(make("p", { class: "note" }, text));
  }
}

// The samples of Prometheus' text format: [{ name, labels, value }].
function parse(text) {
  const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
  return lines.map((line) => {
    const [, name, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)/.exec(line);
    return { name, labels, value: Number(value) };
  });
}

function show({ cache_size: size, last_minute: minute }, metrics) {
  const find = (name) => metrics.find((metric) => metric.name === name);
  if (minute.total_requests > 0) samples.push(minute.hit_rate / 100);
  samples.splice(0, samples.length - SAMPLES);
  parts ??= build();
  const backend = /backend="(\w+)"/.exec(find("megastats_cache_requests_total")?.labels ?? "")?.[1];
  const silent = find("megastats_redis_breaker_open")?.value;
  const pending = find("megastats_redis_undelivered_generations")?.value ?? 0;
  const redis = {
    undefined: words.redisNone,
    0: pending > 0 ? words.redisPending(writeNumber(pending)) : words.redisOk,
    1: words.redisSilent,
  }[silent];
  const waiting = find("megastats_relay_waiting_invalidations")?.value;
  const isMeasured = minute.total_requests > 0;
  write(parts.hitShare, isMeasured ? writeShare(minute.hit_rate / 100) : "–");
  write(parts.hitTime, minute.hits ? writeMilliseconds(minute.avg_hit_time_ms) : "–");
  write(parts.missTime, minute.misses ? writeMilliseconds(minute.avg_miss_time_ms) : "–");
  write(parts.entries, writeNumber(size));
  write(parts.backend, words.backends[backend] ?? backend ?? "–");
  write(parts.redis, redis);
  write(parts.relay, words.relayState(waiting));
  write(parts.viewers, writeNumber(find("megastats_event_streams")?.value ?? 0));
  draw();
}

function build() {
  const value = () => make("dd");
  const shown = {
    hitShare: value(), hitTime: value(), missTime: value(), entries: value(),
    backend: value(), redis: value(), relay: value(), viewers: value(),
  };
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 600 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", words.hitShareOver(SAMPLES * BETWEEN_READS / 60_000));
  const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
  svg.append(line);
  const note = make("p", { class: "note", role: "status" });
  const button = (label, query) => make(
    "button", { type: "button", class: "quiet", onclick: () => clear(query(), note) }, label);
  panel.replaceChildren(
    svg,
    make("dl", {}, ...Object.entries(shown).map(([name, element]) =>
      make("div", {}, make("dt", {}, words[name]), element))),
    make("p", { class: "tools" },
      button(words.purge, () => ({ tenantId: place.tenantId })), button(words.purgeAll, () => ({}))),
    note,
  );
  return { ...shown, line };
}

function draw() {
  const step = 600 / (SAMPLES - 1);
  const points = samples.map((share, index) => {
    const x = 600 - (samples.length - 1 - index) * step;
    return `${x.toFixed(1)},${(98 - 96 * share).toFixed(1)}`;
  });
  parts.line.setAttribute("points", points.join(" "));
}

async function clear(query, note) {
  try {
    await purge(query);
    write(note, words.purged);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    write(note, error.detail);
  }
}
