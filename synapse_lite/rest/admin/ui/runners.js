// Processes that run tasks, what each can run, what nobody can, and who follows the stream.

import * as api from "./api.js";
import { Rows, byId, element, setAttribute, setNotice, setText } from "./dom.js";
import { duration, moment, number } from "./format.js";

const MISSING = "This server has no list of runners.";
const NOBODY = "No process runs tasks. Name at least one in run_background_tasks_on.";

export class Runners {
  #runners = new Rows(byId("runners"), (runner) => runner.runner ?? runner.name, runnerRow);
  #unserved = new Rows(byId("unserved-list"), ({ action, version }) => `${action}/${version}`, unservedRow);
  #followers = new Rows(byId("followers"), ({ name, shard }) => `${name}/${shard}`, followerRow);
  #onActions;

  /** `onActions(names)`: actions that the processes know. */
  constructor({ onActions }) {
    this.#onActions = onActions;
  }

  async refresh() {
    let answer;
    try {
      answer = await api.runners();
    } catch (error) {
      if (!error.isMissing) throw error;
      this.clear();
      setNotice(byId("runners-notice"), MISSING);
      return;
    }
    this.#show(answer.runners, answer.unserved);
    this.#followers.show(answer.followers ?? []);
  }

  clear() {
    this.#runners.show([]);
    this.#unserved.show([]);
    this.#followers.show([]);
    byId("unserved").hidden = true;
  }

  #show(runners, unserved) {
    const ordered = [...runners].sort((a, b) => b.alive - a.alive || a.name.localeCompare(b.name));
    this.#runners.show(ordered);
    this.#unserved.show(unserved);
    byId("unserved").hidden = unserved.length === 0;
    setNotice(byId("runners-notice"), runners.some((runner) => runner.alive) ? null : NOBODY);
    this.#onActions(runners.flatMap((runner) => runner.actions.map(({ action }) => action)));
  }
}

function runnerRow() {
  const state = element("span", { className: "badge" });
  const name = element("strong");
  const load = element("span", { className: "muted small" });
  const actions = element("ul", { className: "tags", "aria-label": "Can run" });
  const tags = new Rows(actions, label, (action) => ({
    node: element("li", { textContent: label(action) }),
    update() {},
  }));
  return {
    node: element("li", {}, element("p", {}, name, state, load), actions),
    update(runner) {
      setText(name, runner.name);
      setAttribute(name, "title", runner.runner ?? "");
      setText(state, runner.alive ? "alive" : "gone");
      setAttribute(state, "data-tone", runner.alive ? "complete" : "cancelled");
      const since = runner.alive ? runner.started_ts : runner.expires_ts;
      setText(load, runnerWords(runner, duration(api.now() - since)));
      setAttribute(load, "title", moment(since));
      tags.show(runner.actions);
    },
  };
}

const label = ({ action, version }) => `${action} v${version}`;

function runnerWords(runner, time) {
  if (!runner.alive) return `for ${time}`;
  return `${runner.running} running · up ${time}`;
}

function followerRow() {
  const state = element("span", { className: "badge" });
  const name = element("strong");
  const words = element("span", { className: "muted small" });
  const problem = element("p", { className: "small" });
  return {
    node: element("li", {}, element("p", {}, name, state, words), problem),
    update(follower) {
      const [word, tone] = followerState(follower);
      setText(name, `${follower.name}/${follower.shard}`);
      setAttribute(name, "title", follower.runner ?? "");
      setText(state, word);
      setAttribute(state, "data-tone", tone);
      setText(words, `${number(follower.lag)} behind, at ${number(follower.position)}`);
      setText(problem, follower.error ?? "");
    },
  };
}

function followerState(follower) {
  if (follower.paused) return ["paused", "scheduled"];
  if (follower.error) return ["failing", "failed"];
  return follower.alive ? ["following", "complete"] : ["nobody", "failed"];
}

function unservedRow() {
  const name = element("strong");
  const words = element("span");
  return {
    node: element("li", {}, name, words),
    update(row) {
      setText(name, label(row));
      const waiting = row.oldest_ts ? `, the oldest for ${duration(api.now() - row.oldest_ts)}` : "";
      const seen = row.last_seen_runner ? `last seen on ${row.last_seen_runner}` : "never seen on any process";
      setText(words, `: ${number(row.count)} waiting${waiting}; ${seen}.`);
    },
  };
}
