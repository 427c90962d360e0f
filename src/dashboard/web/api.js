// Requests to the service, below the path that this page has.

import { words } from "./words.js";

const PREFIX = "api/v1/appointments";

// The access token, unless a cookie has it. It is kept here and nowhere else.
let token = "";

export function useToken(text) {
  token = text;
}

// An answer other than a good one, with the members that the service sends (RFC 9457), or none at all: then
// the status is 0.
export class Problem extends Error {
  constructor({ status, detail, errors = [] }) {
    super(detail);
    this.status = status;
    this.detail = detail;
    // By field: what is allowed there.
    this.fields = Object.fromEntries(errors.map(({ field, message }) => [field, message]));
  }

  get isUnreachable() {
    return this.status === 0;
  }

  get isSignedOut() {
    return this.status === 401;
  }
}

// Sends a request and returns the answer, if it is a good one. Fails with a Problem.
export async function send(path, { method = "GET", body, signal, headers = {} } = {}) {
  const request = { method, signal, headers: { ...headers }, cache: "no-store" };
  if (token) request.headers.Authorization = `Bearer ${token}`;
  if (body) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  const answer = await fetch(path, request).catch(() => {
    throw new Problem({ status: 0, detail: words.offlineNotice });
  });
  if (answer.ok) return answer;
  const plain = { status: answer.status, detail: `${answer.status} ${answer.statusText}` };
  throw new Problem(await answer.json().catch(() => plain));
}

export const appointmentsPath = (path, query = {}) =>
  `${PREFIX}${path}?${new URLSearchParams(query)}`;

export async function read(path, query, options) {
  const answer = await send(appointmentsPath(path, query), options);
  return answer.json();
}

// Makes an appointment, once for each `key`, however often this is sent.
export function create(appointment, key) {
  const headers = { "Idempotency-Key": key };
  return send(`${PREFIX}/`, { method: "POST", body: appointment, headers });
}

export function update(id, changes) {
  return send(`${PREFIX}/${id}`, { method: "PATCH", body: changes });
}

export function purge(query) {
  return send(appointmentsPath("/cache", query), { method: "DELETE" });
}

export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
