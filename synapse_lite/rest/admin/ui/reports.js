// What users have reported: events, rooms, users; the newest first, or those that somebody looks for.

import * as api from "./api.js";
import { Rows, byId, element, setAttribute, setText } from "./dom.js";
import { duration, moment, number } from "./format.js";
import { ask } from "./question.js";
import { wireSearch } from "./search.js";
import { shutDownButton } from "./shutdown.js";

const KINDS = ["event", "room", "user"];
const SHOWN = 10;

export class ReportList {
  #search = byId("report-search");
  #rows;
  #asked = 0;

  /** `onStarted(id)`: a task to show; `onUser(id)`: somebody is to be redacted; `onChange()`, `onError(error)`. */
  constructor(doing) {
    this.#rows = new Rows(
      byId("reports"),
      ({ kind, id }) => `${kind}/${id}`,
      (report) => row(report, doing),
    );
    byId("report-filter").addEventListener("submit", (event) => event.preventDefault());
    wireSearch("report-search", "reports", () => this.refresh(), doing.onError);
  }

  async refresh() {
    const asked = ++this.#asked;
    try {
      const words = this.#search.value.trim();
      const pages = await Promise.all(KINDS.map((kind) => api.reports(kind, query(kind, words))));
      if (asked === this.#asked) this.#show(pages);
    } catch (error) {
      if (!error.isMissing) throw error;
      byId("reports-card").hidden = true;
    }
  }

  clear() {
    this.#asked++;
    this.#rows.show([]);
    byId("reports-card").hidden = true;
  }

  #show(pages) {
    const found = pages.flatMap((page, index) =>
      page[`${KINDS[index]}_reports`].map((report) => ({ ...report, kind: KINDS[index] })),
    );
    found.sort((a, b) => b.received_ts - a.received_ts);
    const total = pages.reduce((sum, page) => sum + page.total, 0);
    byId("reports-card").hidden = false;
    this.#rows.show(found.slice(0, SHOWN));
    const none = this.#search.value.trim() ? "No report matches." : "Nothing is reported.";
    setText(byId("reports-count"), total === 0 ? none : `${number(total)} reported`);
  }
}

/** By the room, or by who reported; reports of users have no room, so that their ids match nothing. */
function query(kind, words) {
  const found = new URLSearchParams({ limit: SHOWN });
  if (words) found.set(words.startsWith("!") && kind !== "user" ? "room_id" : "user_id", words);
  return found;
}

function row(report, { onStarted, onUser, onChange, onError }) {
  const accused = report.sender ?? report.target_user_id ?? null;
  const age = element("span", { className: "muted small", title: moment(report.received_ts) });
  const parts = [element("span", { className: "badge", textContent: report.kind })];
  if (accused) parts.push(element("strong", { className: "id", textContent: accused, title: accused }));
  if (report.room_id) {
    parts.push(element("span", { className: "id", textContent: report.name ?? report.room_id, title: report.room_id }));
  }
  const buttons = [];
  if (accused) {
    const redact = element("button", { type: "button", textContent: "Redact…", onclick: () => onUser(accused) });
    setAttribute(redact, "aria-label", `Redact ${accused}`);
    buttons.push(redact);
  }
  if (report.room_id) {
    const shutDown = shutDownButton({ onStarted, onError });
    shutDown.update(report.room_id);
    buttons.push(shutDown.node);
  }
  buttons.push(dismissButton(report, { onChange, onError }));
  return {
    node: element(
      "li",
      {},
      element("p", {}, ...parts, age),
      element("p", { textContent: report.reason || "No reason was given." }),
      element("p", { className: "muted small", textContent: `by ${report.user_id}` }),
      element("p", {}, ...buttons),
    ),
    update: () => setText(age, `${duration(api.now() - report.received_ts)} ago`),
  };
}

function dismissButton(report, { onChange, onError }) {
  const node = element("button", { type: "button", textContent: "Dismiss…" });
  setAttribute(node, "aria-label", `Dismiss the report by ${report.user_id}`);
  node.addEventListener("click", async () => {
    const chosen = await ask("Dismiss this report?", "It is deleted. What it is about stays.", [
      { label: "Keep it", value: null },
      { label: "Dismiss", value: "dismiss", tone: "danger" },
    ]);
    if (!chosen) return;
    try {
      await api.deleteReport(report.kind, report.id);
      onChange();
    } catch (error) {
      onError(error);
    }
  });
  return node;
}
