// Puts the parts of the page together: which clinic, its counts, its month, its agenda.

import { openDay, refreshAgenda, resetAgenda, setToday, startAgenda } from "./agenda.js";
import { Problem, read } from "./api.js";
import { showFigures, showToday } from "./figures.js";
import { Live } from "./live.js";
import { showDays, watchDays } from "./month.js";
import { startOperations } from "./operations.js";
import { place, rememberPlace, showPlaceErrors, watchPlace } from "./place.js";
import { askForToken } from "./sign-in.js";
import { showSource, showState } from "./status.js";
import { translate } from "./words.js";

// How long a page waits at most before it reads the month and the agenda anew because somebody else has
// written: not all pages of a clinic at once.
const LONGEST_WAIT = 400;

let monthTimer;

const live = new Live({
  show: ({ counts, cache, age }) => {
    showFigures(counts);
    showSource({ cache, age });
    showPlaceErrors({});
    rememberPlace();
    clearTimeout(monthTimer);
    monthTimer = setTimeout(refreshMonth, Math.random() * LONGEST_WAIT);
  },
  tell: (told) => {
    showState(told);
    const { state, problem } = told;
    if (state === "signedOut") signedOut(problem);
    if (state === "failed") showPlaceErrors(problem.fields);
    if (state === "failed" && problem.status < 500) showFigures();
  },
});

// Reads the month and the agenda anew. If that fails, the counts' own state says so.
async function refreshMonth() {
  const { tenantId, tz } = place;
  try {
    const month = await read("/days", { tenantId, tz });
    if (tenantId !== place.tenantId || tz !== place.tz) return;
    showToday(month.today);
    showDays(month);
    setToday(month.today);
    refreshAgenda();
  } catch (error) {
    if (error instanceof Problem && error.isSignedOut) signedOut(error);
  }
}

// What was saved here is counted at once, also while the stream is down.
async function refreshCounts() {
  const ended = new AbortController().signal;
  await live.poll(place, ended).catch(() => {});
}

function follow() {
  resetAgenda();
  showFigures();
  showToday();
  showPlaceErrors({});
  live.follow({ ...place });
}

function signedOut(problem) {
  live.stop();
  showState({ state: "signedOut", problem });
  askForToken(problem.detail, follow);
}

translate();
watchDays(openDay);
startAgenda({ changed: refreshCounts, signedOut });
startOperations();
watchPlace(follow);
