// Signing in and out, and what is shown to whom.

import * as api from "./api.js";
import { Detail } from "./detail.js";
import { byId, setAttribute, setNotice, setText } from "./dom.js";
import { duration } from "./format.js";
import { PeriodicTasks } from "./periodic.js";
import { Poller } from "./poller.js";
import { ask } from "./question.js";
import { wireRedactForm } from "./redact.js";
import { ReportList } from "./reports.js";
import { RoomList } from "./rooms.js";
import { Runners } from "./runners.js";
import { TaskList } from "./tasks.js";
import { UserList } from "./users.js";

const TASKS_EVERY_MS = 1000;
const LISTS_EVERY_MS = 3000;
const TOLD_MS = 10_000;
const NOT_ADMIN = "This account is not an administrator of this server.";
const ENDED = "Your session has ended. Please sign in again.";
const STATES = { live: "Live", paused: "Paused", failing: "No answer" };

const problems = new Map(); // words, by who has them: a poller, or ASKED
const ASKED = "something that was asked for once";

const list = new TaskList({ onOpen: open, onChange: refresh, onDone: refresh, onError: show });
const detail = new Detail({ onChange: refresh, onError: show });
const runners = new Runners({ onActions: (names) => list.offerActions(names) });
const periodic = new PeriodicTasks({ onOpen: open });
const rooms = new RoomList({ onStarted: begin, onError: show });
const users = new UserList({ onStarted: begin, onError: show });
const reports = new ReportList({ onStarted: begin, onUser: askToRedact, onChange: refresh, onError: show });
// Each by itself: on a large server one list takes longer than another, and one may fail.
const pollers = [
  poll(TASKS_EVERY_MS, () => Promise.all([list.refresh(), detail.refresh()])),
  ...[runners, periodic, rooms, users, reports].map((part) => poll(LISTS_EVERY_MS, () => part.refresh())),
];

wireRedactForm({ onStarted: begin, onError: show });
wireSignIn("password-form", (form) => api.logIn(form.user.value.trim(), form.password.value));
wireSignIn("token-form", (form) => api.adopt(form.token.value.trim()));
byId("sign-out").addEventListener("click", signOut);
if (api.session.value) enter();
else leave();

function poll(everyMs, work) {
  const poller = new Poller({
    everyMs,
    work,
    onState: (state) => showState(poller, state),
    onError: (error, waitMs) => fail(poller, error, waitMs),
  });
  return poller;
}

function refresh() {
  for (const poller of pollers) poller.now();
}

function open(id) {
  detail.open(id);
}

function begin(id) {
  refresh();
  open(id);
}

function askToRedact(userId) {
  const field = byId("redact-user");
  field.value = userId;
  field.focus();
}

function showState(poller, state) {
  if (state === "live") problems.delete(poller);
  const isFailing = state === "live" && pollers.some((one) => problems.has(one));
  const shown = isFailing ? "failing" : state;
  setText(byId("live"), STATES[shown]);
  setAttribute(byId("live"), "data-state", shown);
  showProblem();
}

function showProblem() {
  setNotice(byId("problem"), problems.get(ASKED) ?? problems.values().next().value ?? null);
}

/** Whether it is worth to ask again. */
function fail(poller, error, waitMs) {
  if (error.status === 401 || error.status === 403) {
    leave(error.status === 401 ? ENDED : NOT_ADMIN);
    return false;
  }
  problems.set(poller, `${error.message.replace(/\.?$/, ".")} Next try in ${duration(waitMs)}.`);
  showState(poller, "failing");
  return true;
}

/** An error of something that was asked for once: it stays long enough to be read. */
function show(error) {
  if (!api.session.value) return;
  if (error.status === 401) return leave(ENDED);
  const words = error.message;
  problems.set(ASKED, words);
  showProblem();
  setTimeout(() => {
    if (problems.get(ASKED) === words) problems.delete(ASKED);
    showProblem();
  }, TOLD_MS);
}

function wireSignIn(id, signIn) {
  const form = byId(id);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    setNotice(byId("sign-in-problem"), null);
    try {
      const session = await signIn(form);
      await checkAdmin(session);
      api.session.value = session;
      form.reset();
      enter();
    } catch (error) {
      setNotice(byId("sign-in-problem"), signInWords(error, id));
    } finally {
      button.disabled = false;
    }
  });
}

/** A session that we opened and cannot use is closed again. */
async function checkAdmin(session) {
  try {
    await api.checkAdmin(session.token);
  } catch (error) {
    if (error.isMissing) return;
    if (!session.pasted) await api.logOut(session.token).catch(() => {});
    throw error.status === 403 ? new Error(NOT_ADMIN) : error;
  }
}

function signInWords(error, form) {
  if (error.status === 429) return `Too many tries. Wait ${duration(error.retryAfterMs ?? 60_000)}.`;
  if (error.status === 401) return "This token is not valid.";
  if (error.errcode === "M_FORBIDDEN" && form === "password-form") return "Wrong user or password.";
  if (error.isMissing) return "This address does not lead to a Matrix server.";
  return error.message;
}

function enter() {
  setText(byId("who-name"), api.session.value.userId);
  for (const id of ["who", "console", "live"]) byId(id).hidden = false;
  byId("sign-in").hidden = true;
  for (const poller of pollers) poller.start();
  byId("content").focus();
}

function leave(words = null) {
  for (const poller of pollers) poller.stop();
  problems.clear();
  showProblem();
  api.session.value = null;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  list.clear();
  runners.clear();
  periodic.clear();
  rooms.clear();
  users.clear();
  reports.clear();
  for (const id of ["who", "console", "live"]) byId(id).hidden = true;
  byId("sign-in").hidden = false;
  setNotice(byId("sign-in-problem"), words);
  byId("user").focus();
}

async function signOut() {
  const { token, pasted } = api.session.value;
  const chosen = pasted ? await askAboutToken() : "end";
  if (chosen === null) return;
  leave();
  if (chosen === "forget") return;
  try {
    await api.logOut(token);
  } catch (error) {
    if (error.status !== 401) setNotice(byId("sign-in-problem"), `Signed out here, but the session may live on: ${error.message}`);
  }
}

/** The token came from elsewhere, and may be in use there. */
function askAboutToken() {
  return ask("Sign out", "You pasted this token. Ending its session makes it useless everywhere.", [
    { label: "Stay", value: null },
    { label: "Only forget it here", value: "forget" },
    { label: "End the session", value: "end", tone: "danger" },
  ]);
}
