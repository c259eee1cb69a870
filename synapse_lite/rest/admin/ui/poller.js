// Asks again and again, while somebody looks.

const MAX_WAIT_MS = 30_000;

/**
 * Calls `work()` `everyMs` after it last ended, later when it fails, not while the tab is hidden.
 * `onState("live" | "paused")`; `onError(error, waitMs)` returns false to stop.
 */
export class Poller {
  #everyMs;
  #work;
  #onState;
  #onError;
  #timer = null;
  #round = 0; // a run that was overtaken by another says nothing
  #failures = 0;
  #started = false;

  constructor({ everyMs, work, onState, onError }) {
    this.#everyMs = everyMs;
    this.#work = work;
    this.#onState = onState;
    this.#onError = onError;
    document.addEventListener("visibilitychange", () => this.#started && this.now());
  }

  start() {
    this.#started = true;
    this.#failures = 0;
    this.now();
  }

  stop() {
    this.#started = false;
    this.#round++;
    clearTimeout(this.#timer);
  }

  /** At once, when the tab is seen. */
  async now() {
    if (!this.#started) return;
    clearTimeout(this.#timer);
    const round = ++this.#round;
    if (document.visibilityState === "hidden") {
      this.#onState("paused");
      return;
    }
    let wait = this.#everyMs;
    try {
      await this.#work();
      if (round !== this.#round) return;
      this.#failures = 0;
      this.#onState("live");
    } catch (error) {
      if (round !== this.#round) return;
      wait = error.retryAfterMs ?? Math.min(this.#everyMs * 2 ** ++this.#failures, MAX_WAIT_MS);
      if (!this.#onError(error, wait)) return this.stop();
    }
    this.#timer = setTimeout(() => this.now(), wait);
  }
}
