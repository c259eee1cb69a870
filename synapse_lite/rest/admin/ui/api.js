// The server's API, with the token of this tab.

const ADMIN = "/_synapse/admin/v1";
const ADMIN_V2 = "/_synapse/admin/v2";
const CLIENT = "/_matrix/client/v3";
const STORAGE_KEY = "synapse-lite.session";
const TIMEOUT_MS = 15_000;

/** The server refused, or did not answer (status 0). */
export class ApiError extends Error {
  constructor(status, body = {}) {
    super(body.error ?? (status === 0 ? "The server does not answer." : `The server answered ${status}.`));
    this.status = status;
    this.errcode = body.errcode ?? "";
    this.retryAfterMs = body.retry_after_ms ?? null;
  }

  /** The server is of a version that has no such endpoint. */
  get isMissing() {
    return this.status === 501 || ([404, 405].includes(this.status) && this.errcode !== "M_NOT_FOUND");
  }
}

/** Who is signed in: {token, userId, pasted}. It ends with the tab. */
class Session {
  #value = null;
  #ended = new AbortController();

  constructor() {
    try {
      this.#value = JSON.parse(sessionStorage.getItem(STORAGE_KEY));
    } catch {
      // A browser that keeps nothing: it works until the page is loaded again.
    }
  }

  get value() {
    return this.#value;
  }

  /** Aborts when another session begins, or none: no answer outlives its session. */
  get ended() {
    return this.#ended.signal;
  }

  set value(value) {
    this.#ended.abort();
    this.#ended = new AbortController();
    this.#value = value;
    try {
      if (value) sessionStorage.setItem(STORAGE_KEY, JSON.stringify(value));
      else sessionStorage.removeItem(STORAGE_KEY);
    } catch {
      // As above.
    }
  }
}

export const session = new Session();

let clockOffset = 0;

/** Milliseconds since 1970 by the clock of the server. */
export const now = () => Date.now() + clockOffset;

async function call(method, path, { body, token = session.value?.token } = {}) {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  let response;
  let answer;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT_MS), session.ended]),
    });
    answer = await response.text();
  } catch {
    throw new ApiError(0);
  }
  noteClock(response.headers.get("Date"));
  const value = parse(answer);
  if (!response.ok) throw new ApiError(response.status, value);
  return value;
}

function parse(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {}; // a proxy's page
  }
}

function noteClock(date) {
  const offset = Date.parse(date) - Date.now();
  // The header counts whole seconds: less than that is no difference.
  clockOffset = Math.abs(offset) > 2000 ? offset : 0;
}

export async function logIn(user, password) {
  const answer = await call("POST", `${CLIENT}/login`, {
    token: null,
    body: {
      type: "m.login.password",
      identifier: { type: "m.id.user", user },
      password,
      initial_device_display_name: "Admin page",
    },
  });
  return { token: answer.access_token, userId: answer.user_id, pasted: false };
}

export async function adopt(token) {
  const answer = await call("GET", `${CLIENT}/account/whoami`, { token });
  return { token, userId: answer.user_id, pasted: true };
}

export const logOut = (token) => call("POST", `${CLIENT}/logout`, { token, body: {} });

/** Throws what an account that is no administrator gets. */
export const checkAdmin = (token) => call("GET", `${ADMIN}/scheduled_tasks?limit=1`, { token });

export const tasks = (query) => call("GET", `${ADMIN}/scheduled_tasks?${query}`);
export const task = (id) => call("GET", `${ADMIN}/scheduled_tasks/${encodeURIComponent(id)}`);
export const cancel = (id) => call("POST", `${ADMIN}/scheduled_tasks/${encodeURIComponent(id)}/cancel`, { body: {} });
export const retry = (id, from) =>
  call("POST", `${ADMIN}/scheduled_tasks/${encodeURIComponent(id)}/retry`, { body: { from } });
export const runners = () => call("GET", `${ADMIN}/task_runners`);
export const actions = () => call("GET", `${ADMIN}/task_actions`);

export const rooms = (query) => call("GET", `${ADMIN}/rooms?${query}`);
export const shutDown = (roomId, body) => call("DELETE", `${ADMIN_V2}/rooms/${encodeURIComponent(roomId)}`, { body });
export const users = (query) => call("GET", `${ADMIN_V2}/users?${query}`);
export const roomsOf = (userId) => call("GET", `${ADMIN}/users/${encodeURIComponent(userId)}/joined_rooms`);
export const devicesOf = (userId) => call("GET", `${ADMIN_V2}/users/${encodeURIComponent(userId)}/devices`);
export const erase = (userId, body) => call("POST", `${ADMIN}/users/${encodeURIComponent(userId)}/erase`, { body });
export const reports = (kind, query) => call("GET", `${ADMIN}/${kind}_reports?${query}`);
export const deleteReport = (kind, id) => call("DELETE", `${ADMIN}/${kind}_reports/${id}`);

export function redact(userId, { reason, dryRun }) {
  const body = { rooms: [], ...(reason && { reason }), ...(dryRun && { dry_run: true }) };
  return call("POST", `${ADMIN}/user/${encodeURIComponent(userId)}/redact`, { body });
}
