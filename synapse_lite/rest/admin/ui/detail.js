// The panel of one task: everything that is known of it, live.

import * as api from "./api.js";
import { commandButton } from "./commands.js";
import { Rows, byId, element, setNotice, setText } from "./dom.js";
import { duration, json, moment, number } from "./format.js";
import { badge, notes, progressBar } from "./task_words.js";

const GONE = "This task no longer exists: tasks that have ended are removed after a while.";
const MISSING = "This server has no details of tasks.";
const MAX_TEXT = 20_000;

const FACTS = [
  ["Id", (task) => task.id],
  ["Resource", (task) => task.resource_id],
  ["Runner", (task) => task.runner],
  ["Can be run by", (task) => task.runnable_by && (task.runnable_by.join(", ") || "no process")],
  ["Last seen on", (task) => (task.runnable_by?.length === 0 ? task.last_seen_runner : null)],
  ["Asked by", (task) => task.requester],
  ["Through", (task) => task.endpoint],
  ["Version", (task) => task.version],
  ["Priority", (task) => task.priority],
  ["Created", (task) => when(task.created_ts)],
  ["Changed", (task) => when(task.updated_ts)],
  ["Ended", (task) => when(task.finished_ts)],
  ["Left", (task) => (Number.isFinite(task.eta_ms) ? `about ${duration(task.eta_ms)}` : null)],
];

export class Detail {
  #dialog = byId("detail");
  #id = null;
  #view = null;

  /** `onChange()`: something was done to the task. */
  constructor({ onChange, onError }) {
    this.onChange = onChange;
    this.onError = onError;
    byId("detail-close").addEventListener("click", () => this.close());
    this.#dialog.addEventListener("close", () => {
      this.#id = null;
      byId("detail-body").replaceChildren();
    });
    this.#dialog.addEventListener("click", (event) => {
      if (event.target === this.#dialog) this.close(); // beside the panel
    });
  }

  open(id) {
    this.#id = id;
    this.#view = taskView({
      onDone: (task) => {
        this.onChange();
        if (task.id !== this.#id) this.open(task.id);
      },
      onError: (error) => setNotice(byId("detail-notice"), error.message),
    });
    setText(byId("detail-title"), "Task");
    setNotice(byId("detail-notice"), null);
    byId("detail-body").replaceChildren(this.#view.node);
    if (!this.#dialog.open) this.#dialog.showModal();
    byId("detail-title").focus();
    this.refresh().catch(this.onError);
  }

  close() {
    this.#dialog.close();
  }

  async refresh() {
    const id = this.#id;
    if (id === null) return;
    try {
      const task = await api.task(id);
      if (id === this.#id) this.#show(task);
    } catch (error) {
      if (error.status !== 404 && !error.isMissing) throw error;
      if (id === this.#id) setNotice(byId("detail-notice"), error.isMissing ? MISSING : GONE);
    }
  }

  #show(task) {
    setText(byId("detail-title"), task.action);
    this.#view.node.hidden = false;
    this.#view.update(task);
  }
}

function taskView({ onDone, onError }) {
  const status = badge();
  const remarks = element("span", { className: "remarks" });
  const progress = progressBar();
  const command = commandButton(onDone, onError);
  const facts = FACTS.map(([label, read]) => fact(label, read));
  const error = block("Error", (task) => task.error, "bad");
  const result = block("Result", (task) => task.result && json(task.result));
  const items = listing("Items", itemRow, (task) => Object.entries(task.items ?? {}), ([outcome]) => outcome);
  const events = listing("History", eventRow, numbered, ({ index }) => index);
  const params = block("Parameters", (task) => task.params && json(task.params));
  const node = element(
    "div",
    { hidden: true },
    element("p", { className: "headline" }, status.node, remarks, command.node),
    progress.node,
    error.node,
    element("dl", { className: "facts" }, ...facts.map((part) => part.node)),
    result.node,
    items.node,
    events.node,
    params.node,
  );
  const parts = [status, progress, command, error, ...facts, result, items, events, params];
  return {
    node,
    update(task) {
      setText(remarks, notes(task));
      for (const part of parts) part.update(task);
    },
  };
}

function fact(label, read) {
  const value = element("dd");
  const node = element("div", {}, element("dt", { textContent: label }), value);
  return {
    node,
    update(task) {
      const words = read(task) ?? "";
      setText(value, String(words));
      node.hidden = words === "";
    },
  };
}

function block(label, read, tone = "") {
  const text = element("pre", { className: tone, tabIndex: 0 });
  const node = element("section", {}, element("h3", { textContent: label }), text);
  return {
    node,
    update(task) {
      const words = read(task);
      const shown = words?.length > MAX_TEXT ? `${words.slice(0, MAX_TEXT)}\n… (cut here)` : words;
      setText(text, shown ?? "");
      node.hidden = !words;
    },
  };
}

function listing(label, create, read, keyOf) {
  const list = element("ul", { className: "listing" });
  const rows = new Rows(list, keyOf, create);
  const node = element("section", {}, element("h3", { textContent: label }), list);
  return {
    node,
    update(task) {
      const items = read(task);
      rows.show(items);
      node.hidden = items.length === 0;
    },
  };
}

const numbered = (task) => (task.history ?? []).map((event, index) => ({ ...event, index })).reverse();

function itemRow([outcome]) {
  const count = element("span", { className: "number" });
  return {
    node: element("li", {}, element("span", { textContent: outcome }), count),
    update: ([, value]) => setText(count, number(value)),
  };
}

function eventRow() {
  const time = element("time", { className: "muted small" });
  const kind = element("strong");
  const who = element("span", { className: "muted" });
  const detail = element("span", { className: "wide" });
  return {
    node: element("li", {}, kind, who, time, detail),
    update(event) {
      setText(time, moment(event.ts));
      setText(kind, event.kind.replaceAll("_", " "));
      setText(who, event.runner ?? "");
      setText(detail, words(event.detail));
      detail.hidden = !event.detail;
    },
  };
}

const words = (detail) => (typeof detail === "string" ? detail : detail ? JSON.stringify(detail) : "");

const when = (ms) => (ms ? `${moment(ms)} (${duration(api.now() - ms)} ago)` : null);
