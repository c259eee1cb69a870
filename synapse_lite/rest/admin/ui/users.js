// The newest users, or those that somebody looks for: their rooms and sessions, and what is done about them.

import * as api from "./api.js";
import { countedButton } from "./counted.js";
import { Rows, byId, element, setAttribute, setNotice, setText } from "./dom.js";
import { duration, number } from "./format.js";
import { ask } from "./question.js";
import { wireSearch } from "./search.js";

const SHOWN = 10;
const FLAGS = [
  ["admin", "admin"],
  ["is_guest", "guest"],
  ["locked", "locked"],
  ["suspended", "suspended"],
  ["shadow_banned", "shadow-banned"],
  ["deactivated", "deactivated"],
  ["erased", "erased"],
];

export class UserList {
  #search = byId("user-search");
  #rows;
  #asked = 0;

  /** `onStarted(id)`: a task to show; `onError(error)`. */
  constructor({ onStarted, onError }) {
    this.#rows = new Rows(
      byId("users"),
      (user) => user.name,
      () => row({ onStarted, onError }),
    );
    byId("user-filter").addEventListener("submit", (event) => event.preventDefault());
    wireSearch("user-search", "users", () => this.refresh(), onError);
  }

  async refresh() {
    const asked = ++this.#asked;
    const query = new URLSearchParams({ order_by: "creation_ts", dir: "b", locked: "true", limit: SHOWN });
    const words = this.#search.value.trim();
    if (words) query.set(words.startsWith("@") ? "user_id" : "name", words);
    try {
      const page = await api.users(query);
      if (asked === this.#asked) this.#show(page);
    } catch (error) {
      if (!error.isMissing) throw error;
      byId("users-card").hidden = true;
    }
  }

  clear() {
    this.#asked++;
    this.#rows.show([]);
    byId("users-card").hidden = true;
  }

  #show({ users, total }) {
    byId("users-card").hidden = false;
    this.#rows.show(users);
    setNotice(byId("users-notice"), words(users.length, total));
  }
}

function words(shown, total) {
  if (total === 0) return "No user matches.";
  return total > shown ? `The newest ${number(shown)} of ${number(total)}.` : null;
}

function row({ onStarted, onError }) {
  const name = element("strong");
  const id = element("span", { className: "id" });
  const facts = element("span", { className: "muted small" });
  const redact = redactButton({ onStarted, onError });
  const erase = eraseButton({ onStarted, onError });
  const more = whereabouts(onError);
  const buttons = element("p", {}, redact.node, erase.node);
  return {
    node: element("li", {}, element("p", {}, name, facts), element("p", {}, id), more.node, buttons),
    update(user) {
      setText(name, user.displayname ?? user.name);
      setText(id, user.name);
      setAttribute(id, "title", user.name);
      setText(facts, [...flags(user), seen(user)].join(", "));
      for (const part of [redact, erase, more]) part.update(user.name);
      erase.node.hidden = user.erased;
    },
  };
}

const flags = (user) => FLAGS.filter(([key]) => user[key]).map(([, word]) => word);

const seen = (user) =>
  user.last_seen_ts ? `seen ${duration(api.now() - user.last_seen_ts)} ago` : "never seen";

/** Rooms and sessions, asked for when somebody opens it. */
function whereabouts(onError) {
  let userId = null;
  const list = element("ul", { className: "listing" });
  const summary = element("summary", { textContent: "Rooms and sessions" });
  const node = element("details", {}, summary, list);
  node.addEventListener("toggle", async () => {
    if (!node.open) return;
    const chosen = userId;
    try {
      const [{ joined_rooms: rooms }, { devices }] = await Promise.all([api.roomsOf(chosen), api.devicesOf(chosen)]);
      if (chosen !== userId) return;
      list.replaceChildren(...rooms.map(roomItem), ...devices.map(deviceItem));
      if (list.children.length === 0) list.append(element("li", { textContent: "None." }));
    } catch (error) {
      onError(error);
    }
  });
  return {
    node,
    update(id) {
      userId = id;
      setAttribute(summary, "aria-label", `Rooms and sessions of ${id}`);
    },
  };
}

const roomItem = (roomId) => element("li", {}, element("span", { className: "id", title: roomId, textContent: roomId }));

function deviceItem(device) {
  const name = device.display_name ?? device.device_id;
  const when = device.last_seen_ts ? `${duration(api.now() - device.last_seen_ts)} ago` : "not used yet";
  const from = [device.last_seen_ip, when].filter(Boolean).join(", ");
  return element("li", {}, element("span", { textContent: name }), element("span", { className: "muted small", textContent: from }));
}

function redactButton({ onStarted, onError }) {
  return countedButton({
    words: "Redact everything…",
    name: (userId) => `Redact everything by ${userId}`,
    count: async (userId) => (await api.redact(userId, { dryRun: true })).redact_id,
    isSure: (userId, result) =>
      ask(`Redact everything by ${userId}?`, `${redactions(result)} It cannot be undone.`, [
        { label: "Leave them", value: null },
        { label: "Redact everything", value: true, tone: "danger" },
      ]),
    start: async (userId) => (await api.redact(userId, {})).redact_id,
    onStarted,
    onError,
  });
}

function eraseButton({ onStarted, onError }) {
  return countedButton({
    words: "Erase…",
    name: (userId) => `Erase ${userId}`,
    count: async (userId) => (await api.erase(userId, { dry_run: true })).task_id,
    isSure: (userId, { redact, media }) => {
      const files = media?.result?.would_delete ?? 0;
      const rest = `${number(files)} files are deleted, the user leaves all rooms, and the account is closed for good.`;
      const choices = [
        { label: "Leave them", value: null },
        { label: "Erase the user", value: true, tone: "danger" },
      ];
      const text = `${redactions(redact?.result ?? {})} ${rest} It cannot be undone.`;
      return ask(`Erase ${userId}?`, text, choices, userId);
    },
    start: async (userId) => (await api.erase(userId, {})).task_id,
    onStarted,
    onError,
  });
}

const redactions = ({ would_redact: events = 0, rooms = {} }) =>
  `${number(events)} events in ${number(Object.keys(rooms).length)} rooms are redacted.`;
