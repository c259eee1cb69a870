// Shutting down a room.

import * as api from "./api.js";
import { countedButton } from "./counted.js";
import { number } from "./format.js";
import { ask } from "./question.js";

/** `onStarted(id)`: the task to show; `onError(error)`. */
export function shutDownButton({ onStarted, onError }) {
  return countedButton({
    words: "Shut down…",
    name: (roomId) => `Shut down ${roomId}`,
    count: async (roomId) => (await api.shutDown(roomId, { dry_run: true })).delete_id,
    isSure,
    start: async (roomId, block) => (await api.shutDown(roomId, { block })).delete_id,
    onStarted,
    onError,
  });
}

/** Whether to block the room too; null: leave it. */
function isSure(roomId, { members = 0, rows = {} }) {
  const total = Object.values(rows).reduce((sum, one) => sum + one, 0);
  const words =
    `${number(members)} users of this server are brought out, and ${number(total)} rows are deleted` +
    `, among them ${number(rows.events ?? 0)} events. It cannot be undone.`;
  return ask(`Shut down ${roomId}?`, words, [
    { label: "Leave it", value: null },
    { label: "Shut down", value: false, tone: "danger" },
    { label: "Shut down and block", value: true, tone: "danger" },
  ]);
}
