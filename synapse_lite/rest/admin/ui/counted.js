// What cannot be undone: first a dry run counts what it would do, then somebody is asked.

import * as api from "./api.js";
import { element, setAttribute, setText } from "./dom.js";

const LOOK_MS = 300;
const PATIENCE_MS = 60_000;

/**
 * A button. `count(subject)` starts a dry run and says its id; `isSure(subject, result)` asks, and gives null for no;
 * `start(subject, answer)` begins, and says the id of the task; `name(subject)` is what the button does.
 */
export function countedButton({ words, name, count, isSure, start, onStarted, onError }) {
  let subject = null;
  const node = element("button", { type: "button", textContent: words });
  node.addEventListener("click", async () => {
    const chosen = subject;
    node.disabled = true;
    setText(node, "Counting…");
    try {
      const answer = await isSure(chosen, await resultOf(await count(chosen)));
      if (answer !== null) onStarted(await start(chosen, answer));
    } catch (error) {
      onError(error);
    } finally {
      node.disabled = false;
      setText(node, words);
    }
  });
  return {
    node,
    update(value) {
      subject = value;
      setAttribute(node, "aria-label", name(value));
    },
  };
}

async function resultOf(id) {
  const end = performance.now() + PATIENCE_MS;
  while (performance.now() < end) {
    const task = await api.task(id);
    if (task.status === "complete") return task.result;
    if (task.finished_ts !== null) throw new Error(task.error ?? `Counting was ${task.status}.`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Error("Counting takes long. See the list of tasks.");
}
