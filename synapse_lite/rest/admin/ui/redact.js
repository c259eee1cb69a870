// The form that redacts a user.

import * as api from "./api.js";
import { byId, setNotice, setText } from "./dom.js";
import { ask } from "./question.js";

const USER_ID = /^@[^:\s]*:\S+$/;
const NO_USER_ID = "A user id looks like @user:example.com.";
const NO_DRY_RUN = "This server is not able to do a dry run.";

/** `onStarted(id)`: the task to show. `onError(error)` gets what ends the session. */
export function wireRedactForm({ onStarted, onError }) {
  const form = byId("redact");
  const button = byId("redact-button");
  const problem = byId("redact-problem");
  form.dry.addEventListener("change", () => {
    setText(button, form.dry.checked ? "Count" : "Redact…");
    button.className = form.dry.checked ? "primary" : "danger";
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    setNotice(problem, null);
    button.disabled = true;
    try {
      const id = await start(form.user.value.trim(), form.reason.value.trim(), form.dry.checked);
      if (id) onStarted(id);
    } catch (error) {
      if (error.status === 401) onError(error);
      else setNotice(problem, error.message);
    } finally {
      button.disabled = false;
    }
  });
}

async function start(userId, reason, dryRun) {
  if (!USER_ID.test(userId)) throw new Error(NO_USER_ID);
  if (dryRun) await checkDryRun();
  else if (!(await isSure(userId))) return null;
  return (await api.redact(userId, { reason, dryRun })).redact_id;
}

/** A server that does not know the word would redact: those that do have the list of actions, too. */
async function checkDryRun() {
  try {
    await api.actions();
  } catch (error) {
    throw error.isMissing ? new Error(NO_DRY_RUN) : error;
  }
}

function isSure(userId) {
  return ask(`Redact ${userId}?`, "Every message of this user in every room is redacted. It cannot be undone.", [
    { label: "Leave them", value: null },
    { label: "Redact everything", value: "redact", tone: "danger" },
  ]);
}
