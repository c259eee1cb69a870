// The list of tasks: filters, pages, rows.

import * as api from "./api.js";
import { commandButton } from "./commands.js";
import { Rows, byId, element, setAttribute, setNotice, setText } from "./dom.js";
import { duration, moment } from "./format.js";
import { Estimates, badge, isUnserved, notes, progressBar } from "./task_words.js";

const PAGE = 25;
const TYPING_MS = 300;
const MAX_ERROR = 160;
const DEFAULT_STATUSES = ["scheduled", "active", "failed"];
const MISSING = "This server has no list of tasks.";

export class TaskList {
  #form = byId("filters");
  #rows;
  #estimates = new Estimates();
  #tokens = [null]; // of the pages up to this one
  #next = null;
  #asked = 0;
  #typing = null;
  #onChange;

  /** `onOpen(id)`: a task is to be shown; `onChange()`: the list is to be read again. */
  constructor({ onOpen, onChange, onDone, onError }) {
    this.#onChange = onChange;
    this.#rows = new Rows(
      byId("task-rows"),
      (task) => task.id,
      (task) => row(task, this.#estimates, { onOpen, onDone, onError }),
    );
    this.#form.addEventListener("submit", (event) => event.preventDefault());
    this.#form.addEventListener("change", () => this.#filter());
    this.#form.resource.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#filter(), TYPING_MS);
    });
    byId("previous").addEventListener("click", () => this.#turn(this.#tokens.slice(0, -1)));
    byId("next").addEventListener("click", () => this.#turn([...this.#tokens, this.#next]));
    this.#readAddress();
  }

  async refresh() {
    const asked = ++this.#asked;
    let page;
    try {
      page = await api.tasks(this.#query());
    } catch (error) {
      if (!error.isMissing) throw error;
      page = { scheduled_tasks: [], missing: true };
    }
    if (asked === this.#asked) this.#show(page);
  }

  /** Names of actions to choose from; those that are there stay. */
  offerActions(names) {
    const select = this.#form.action;
    const known = new Set([...select.options].map((option) => option.value));
    for (const name of names) {
      if (!known.has(name)) select.append(element("option", { value: name, textContent: name }));
    }
  }

  clear() {
    this.#asked++;
    this.#rows.show([]);
  }

  #show(page) {
    const tasks = page.scheduled_tasks;
    this.#next = page.next_token ?? null;
    this.#rows.show(tasks);
    this.#estimates.keep(new Set(tasks.map((task) => task.id)));
    this.offerActions(tasks.map((task) => task.action));
    setNotice(byId("tasks-notice"), page.missing ? MISSING : null);
    byId("tasks").hidden = tasks.length === 0;
    byId("tasks-empty").hidden = tasks.length > 0 || Boolean(page.missing);
    byId("previous").disabled = this.#tokens.length === 1;
    byId("next").disabled = this.#next === null;
    setText(byId("page"), `Page ${this.#tokens.length}, newest first`);
  }

  #query() {
    const query = this.#filters();
    query.set("limit", PAGE);
    query.set("order_by", "created_ts");
    query.set("dir", "b");
    if (!query.has("action_name")) query.set("periodic", "false"); // those have a section of their own
    const token = this.#tokens.at(-1);
    if (token) query.set("from", token);
    return query;
  }

  #filters() {
    const query = new URLSearchParams();
    const fields = new FormData(this.#form);
    for (const status of fields.getAll("status")) query.append("status", status);
    if (fields.get("action")) query.set("action_name", fields.get("action"));
    const resource = fields.get("resource").trim();
    if (resource) query.set("resource_id", resource);
    return query;
  }

  #filter() {
    clearTimeout(this.#typing);
    history.replaceState(null, "", `#${this.#filters()}`);
    this.#turn([null]);
  }

  #turn(tokens) {
    this.#tokens = tokens;
    this.#onChange();
  }

  /** The filters are in the address, so that they outlive a reload and can be sent to a colleague. */
  #readAddress() {
    const query = new URLSearchParams(location.hash.slice(1));
    const statuses = location.hash ? query.getAll("status") : DEFAULT_STATUSES;
    for (const box of this.#form.querySelectorAll("[name=status]")) box.checked = statuses.includes(box.value);
    const action = query.get("action_name") ?? "";
    if (action) this.offerActions([action]);
    this.#form.action.value = action;
    this.#form.resource.value = query.get("resource_id") ?? "";
  }
}

function row(task, estimates, { onOpen, onDone, onError }) {
  const status = badge();
  const title = element("button", {
    type: "button",
    className: "link",
    textContent: task.action,
    onclick: () => onOpen(task.id),
  });
  const resource = element("span", { className: "resource" });
  const remarks = element("span", { className: "remarks small" });
  const progress = progressBar();
  const runner = element("span");
  const requester = element("span");
  const age = element("span");
  const left = element("span");
  const command = commandButton(onDone, onError);
  const node = element(
    "tr",
    { role: "row" },
    cell("Status", status.node),
    cell("Task", title, resource, remarks),
    cell("Progress", progress.node),
    cell("Runner", runner),
    cell("Asked by", requester),
    cell("Age", age),
    cell("Left", left),
    cell("", command.node),
  );
  const update = (now) => {
    const time = api.now();
    const eta = estimates.estimate(now, time);
    for (const part of [status, progress, command]) part.update(now);
    node.classList.toggle("unserved", isUnserved(now));
    node.classList.toggle("failed", now.status === "failed");
    setAttribute(title, "aria-label", `Details of ${now.action} ${now.resource_id ?? now.id}`);
    setText(resource, now.resource_id ?? now.id);
    setText(remarks, now.status === "failed" && now.error ? cut(now.error) : notes(now));
    setText(runner, now.runner ?? "");
    setText(requester, now.requester ?? "");
    setText(age, now.created_ts ? duration(time - now.created_ts) : "");
    setAttribute(age, "title", now.created_ts ? moment(now.created_ts) : "");
    setText(left, eta === null ? "" : `≈ ${duration(eta)}`);
  };
  return { node, update };
}

const cut = (text) => (text.length > MAX_ERROR ? `${text.slice(0, MAX_ERROR)}…` : text);

function cell(label, ...children) {
  return element("td", { role: "cell", "data-label": label }, ...children);
}
