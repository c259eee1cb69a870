// What a task says of itself, in the list and in the panel.

import * as api from "./api.js";
import { isPending } from "./commands.js";
import { element, setAttribute, setText } from "./dom.js";
import { duration, progressWords } from "./format.js";

const WAITING = {
  no_runner: "no process is able to run it",
  paused: "its action is paused",
  lock: "waits for another task",
};

const ETA_WINDOW_MS = 30_000;

export function isUnserved(task) {
  return isPending(task) && (task.waiting_reason === "no_runner" || task.runnable_by?.length === 0);
}

/** Why it does not run, its phase, how often it was tried. */
export function notes(task) {
  const reason = isUnserved(task) ? WAITING.no_runner : WAITING[task.waiting_reason] ?? start(task);
  const attempts = task.attempt > 1 ? `attempt ${task.attempt}${task.max_attempts ? ` of ${task.max_attempts}` : ""}` : "";
  return [reason, task.status === "active" && task.progress?.phase, attempts].filter(Boolean).join(" · ");
}

/** While a task is scheduled, its timestamp is when it may run: a periodic task's next time, or the next try. */
function start(task) {
  const wait = task.status === "scheduled" ? task.timestamp_ms - api.now() : 0;
  return wait > 0 ? `begins in ${duration(wait)}` : null;
}

export function badge() {
  const node = element("span", { className: "badge" });
  return {
    node,
    update(task) {
      setText(node, task.status);
      setAttribute(node, "data-tone", isUnserved(task) ? "failed" : task.status);
    },
  };
}

export function progressBar() {
  const bar = element("progress", { max: 1, value: 0 });
  const words = element("span", { className: "muted small" });
  const node = element("div", { className: "progress" }, bar, words);
  return {
    node,
    update(task) {
      const progress = task.progress ?? { done: 0, total: null };
      const known = progress.total > 0;
      bar.hidden = !known;
      if (known) bar.value = Math.min(1, progress.done / progress.total);
      setAttribute(bar, "data-tone", task.status);
      setAttribute(bar, "aria-label", `Progress of ${task.action}`);
      setText(words, progressWords(progress));
    },
  };
}

/** Milliseconds left, from how fast a task went while it was watched. */
export class Estimates {
  #samples = new Map();

  estimate(task, time) {
    const { done = 0, total = null } = task.progress ?? {};
    if (task.status !== "active" || total === null) {
      this.#samples.delete(task.id);
      return null;
    }
    const samples = (this.#samples.get(task.id) ?? []).filter((sample) => time - sample.time < ETA_WINDOW_MS);
    samples.push({ time, done });
    this.#samples.set(task.id, samples);
    const first = samples[0];
    const speed = (done - first.done) / (time - first.time);
    return speed > 0 ? Math.max(0, (total - done) / speed) : null;
  }

  /** Forget the tasks that are no longer shown. */
  keep(ids) {
    for (const id of this.#samples.keys()) if (!ids.has(id)) this.#samples.delete(id);
  }
}
