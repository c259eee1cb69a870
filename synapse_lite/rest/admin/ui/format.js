// Numbers and times for people.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const number = (value) => value.toLocaleString("en");

export function duration(ms) {
  if (ms < MINUTE) return `${Math.max(0, Math.round(ms / 1000))} s`;
  if (ms < HOUR) return pair(ms, MINUTE, "min", 1000, "s", 10 * MINUTE);
  if (ms < DAY) return pair(ms, HOUR, "h", MINUTE, "min", DAY);
  return pair(ms, DAY, "d", HOUR, "h", 10 * DAY);
}

/** The smaller unit is left out from `coarse` on, and when it is zero. */
function pair(ms, large, largeName, small, smallName, coarse) {
  const first = Math.floor(ms / large);
  const second = Math.floor((ms % large) / small);
  const words = `${first} ${largeName}`;
  return ms >= coarse || second === 0 ? words : `${words} ${second} ${smallName}`;
}

export const moment = (ms) =>
  new Date(ms).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const json = (value) => JSON.stringify(value, null, 2);

export function progressWords({ done, total }) {
  if (total === 0) return "nothing to do";
  if (total === null || total === undefined) return done > 0 ? `${number(done)} done` : "";
  const percent = Math.min(100, Math.floor((100 * done) / total));
  return `${number(done)} of ${number(total)} · ${percent} %`;
}
