// How fresh the page is: the word in the header, the notice when something is wrong, and the line at the
// end that says where the latest answer came from.

import { byId, write } from "./dom.js";
import { words, writeAge } from "./words.js";

let answered;
let current = { state: "connecting" };

// Says how the counts come now, as Live tells it.
export function showState(told) {
  current = told;
  document.body.dataset.state = told.state;
  byId("status").dataset.state = told.state;
  write(byId("status-text"), words[told.state]);
  showNotice();
}

// Says where the latest answer came from.
export function showSource({ cache, age }) {
  answered = { cache, at: Date.now() - 1000 * age };
  showAges();
}

const sinceAnswer = () => Math.max(0, (Date.now() - answered.at) / 1000);

function showAges() {
  if (answered) write(byId("source"), words.source(answered.cache, writeAge(sinceAnswer())));
}

function showNotice() {
  const { state, problem } = current;
  const text = {
    stale: () => words.staleNotice(writeAge(sinceAnswer())),
    offline: () => words.offlineNotice,
    // What is wrong with the clinic or the zone stands beside their fields.
    failed: () => (problem.status < 500 ? problem.detail : words.failedNotice(problem.detail)),
  }[state]?.();
  byId("notice").hidden = !text;
  write(byId("notice"), text ?? "");
}

setInterval(showAges, 1000);
