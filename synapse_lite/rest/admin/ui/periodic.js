// What the server does again and again by itself, and when it is due.

import * as api from "./api.js";
import { Rows, byId, element, setText } from "./dom.js";
import { duration } from "./format.js";

const QUERY = new URLSearchParams([
  ["periodic", "true"],
  ["status", "scheduled"],
  ["status", "active"],
  ["order_by", "timestamp_ms"],
  ["limit", "100"],
]);

export class PeriodicTasks {
  #rows;

  /** `onOpen(id)`: a task is to be shown. */
  constructor({ onOpen }) {
    this.#rows = new Rows(
      byId("periodic"),
      (task) => task.id,
      (task) => row(task, onOpen),
    );
  }

  async refresh() {
    try {
      this.#rows.show((await api.tasks(QUERY)).scheduled_tasks);
    } catch (error) {
      if (!error.isMissing) throw error;
      this.clear();
    }
  }

  clear() {
    this.#rows.show([]);
  }
}

function row(task, onOpen) {
  const when = element("span", { className: "number muted small" });
  const name = element("button", {
    type: "button",
    className: "link",
    textContent: task.action,
    onclick: () => onOpen(task.id),
  });
  return {
    node: element("li", {}, name, when),
    update: (now) => setText(when, now.status === "active" ? "running" : due(now.timestamp_ms - api.now())),
  };
}

const due = (ms) => (ms > 0 ? `in ${duration(ms)}` : "due");
