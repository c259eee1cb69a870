// What can be done to a task: cancel it, or let it run again.

import * as api from "./api.js";
import { element, setAttribute } from "./dom.js";
import { ask } from "./question.js";

export const isPending = (task) => task.status === "scheduled" || task.status === "active";

const name = (task) => (task.resource_id ? `${task.action} for ${task.resource_id}` : task.action);

async function askCancel(task) {
  const chosen = await ask(
    "Cancel this task?",
    `${name(task)} stops after its current step. What it has done stays done.`,
    [
      { label: "Keep it", value: null },
      { label: "Cancel the task", value: "cancel", tone: "danger" },
    ],
  );
  return chosen && api.cancel(task.id);
}

async function askRetry(task) {
  const choices = [
    { label: "Leave it", value: null },
    { label: "From the start", value: "start" },
  ];
  const hasMore = isUnfinished(task);
  if (hasMore) choices.push({ label: "Go on where it stopped", value: "cursor", tone: "primary" });
  const words = hasMore ? "can go on where it stopped, or do everything again from the start" : "is complete. It can be done again from the start";
  const from = await ask("Run this task again?", `${name(task)} ${words}.`, choices);
  return from && api.retry(task.id, from);
}

/** Whether anything is left to go on with: of a task that is complete, only parts that are not. */
const isUnfinished = ({ status, children }) => status !== "complete" || children?.failed > 0 || children?.cancelled > 0;

/** One button that cancels a pending task and retries another; `onDone(task)` and `onError(error)`. */
export function commandButton(onDone, onError) {
  let current = null;
  const node = element("button", { type: "button" });
  node.addEventListener("click", async () => {
    const task = current;
    try {
      const after = await (isPending(task) ? askCancel(task) : askRetry(task));
      if (after) onDone(after);
    } catch (error) {
      onError(error);
    }
  });
  return {
    node,
    update(task) {
      current = task;
      const pending = isPending(task);
      const word = pending ? (task.cancel_requested ? "Cancelling…" : "Cancel") : "Retry";
      if (node.textContent !== word) node.textContent = word;
      node.disabled = pending && Boolean(task.cancel_requested);
      setAttribute(node, "aria-label", `${word} ${name(task)}`);
    },
  };
}
