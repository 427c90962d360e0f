// The counts, always fresh: from the stream of events, and while that cannot be had by asking every 30
// seconds. It tries again by itself, and at once when somebody looks at the page again.

import { Problem, appointmentsPath, send } from "./api.js";

// With the pauses between attempts, about 30 seconds.
const BETWEEN_POLLS = 25_000;
// The service sends something every 15 seconds; a stream that is silent for longer is gone.
const LONGEST_SILENCE = 40_000;
const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 10_000;

// The fields of each event of a stream of Server-Sent Events, as they come.
async function* events(answer, heard) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    heard();
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => /^([^:]*): ?(.*)$/.exec(line) ?? []);
      yield Object.fromEntries(fields.map(([, name, content]) => [name, content]));
    }
  }
}

// A stream that breaks off fails with an error of the browser's.
function problemOf(error) {
  return error instanceof Problem ? error : new Problem({ status: 0, detail: error.message });
}

function stateAfter(problem) {
  if (problem.isSignedOut) return "signedOut";
  return problem.isUnreachable ? "offline" : "failed";
}

export class Live {
  // `show` gets { counts, cache, age }, an answer; `tell` gets { state, problem } when the state changes:
  // connecting, live, polling, stale, failed, offline or signedOut.
  constructor({ show, tell }) {
    this.show = show;
    this.tell = tell;
    for (const name of ["focus", "online", "pageshow"]) addEventListener(name, () => this.hurry());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.hurry();
    });
  }

  // Follows the clinic `query` says, and no other any more.
  follow(query) {
    this.stop();
    this.run = new AbortController();
    this.keepFollowing(query, this.run.signal);
  }

  stop() {
    this.run?.abort();
    this.hurry();
  }

  // Ends the current pause.
  hurry() {
    this.endPause?.();
  }

  async keepFollowing(query, ended) {
    let pause = FIRST_PAUSE;
    this.polled = -Infinity;
    this.tell({ state: "connecting" });
    while (!ended.aborted) {
      const began = performance.now();
      let problem = await this.stream(query, ended).catch(problemOf);
      if (ended.aborted) return;
      if (performance.now() - began > LONGEST_PAUSE) pause = FIRST_PAUSE;
      // An older service has no stream, and a full one has no room for another; both answer polls.
      if (problem && !problem.isSignedOut) {
        problem = await this.pollIfDue(query, ended).catch(problemOf);
        if (ended.aborted) return;
      }
      if (problem) {
        this.tell({ state: stateAfter(problem), problem });
        // What was asked for is wrong, or a token is missing: asking again changes nothing.
        if (problem.status >= 400 && problem.status < 500) return;
      }
      await this.pause(pause * (0.75 + Math.random() / 2));
      pause = Math.min(2 * pause, LONGEST_PAUSE);
    }
  }

  // Shows what the stream tells until it ends; fails if it cannot be had.
  async stream(query, ended) {
    const stream = new AbortController();
    const abort = () => stream.abort();
    ended.addEventListener("abort", abort);
    let silence;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(abort, LONGEST_SILENCE);
    };
    heard();
    try {
      const answer = await send(appointmentsPath("/mega-stats/events", query), {
        signal: stream.signal,
      });
      for await (const event of events(answer, heard)) {
        if (ended.aborted) return undefined;
        if (!event.data) continue;
        const data = JSON.parse(event.data);
        if (event.event === "problem") {
          const problem = new Problem(data);
          if (problem.isSignedOut) return problem;
          this.tell({ state: "failed", problem });
        } else {
          this.showAnswer(data, event["x-cache"], Number(event.age), "live");
        }
      }
      return undefined;
    } finally {
      clearTimeout(silence);
      ended.removeEventListener("abort", abort);
    }
  }

  async pollIfDue(query, ended) {
    if (performance.now() - this.polled < BETWEEN_POLLS) return;
    await this.poll(query, ended);
    this.polled = performance.now();
  }

  async poll(query, ended) {
    const answer = await send(appointmentsPath("/mega-stats", query), { signal: ended });
    const age = Number(answer.headers.get("Age"));
    this.showAnswer(await answer.json(), answer.headers.get("X-Cache"), age, "polling");
  }

  showAnswer(counts, cache, age, state) {
    this.show({ counts, cache, age });
    this.tell({ state: cache === "STALE" ? "stale" : state, age });
  }

  pause(time) {
    return new Promise((resolve) => {
      this.endPause = resolve;
      setTimeout(resolve, time);
    });
  }
}
