/** Numbers, times and faults, for people. Times are those of the browser's time zone. */

const TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

/**
 * @param {number | null | undefined} value
 * @param {number} [digits] after the point
 */
export function number(value, digits = 1) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/** @param {number | null | undefined} share of 1 */
export function percent(share) {
  return share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`;
}

/** @param {string | number} when an ISO time, or seconds since 1970 */
export function time(when) {
  return TIME.format(typeof when === "number" ? 1000 * when : new Date(when));
}

/**
 * Say why a source gives no frames, and when it is tried again.
 *
 * @param {{ state: string, cause: string | null, retry_at: number | null }} source
 */
export function causeOf({ state, cause, retry_at: at }) {
  if (at !== null) {
    return `${cause}; tried again ${time(at)}`;
  }
  return state === "failed" ? `${cause}; not tried again` : `${cause}`;
}

/** @param {readonly number[]} point x and y, pixels */
export function point([x = 0, y = 0]) {
  return `${x.toFixed(1)}, ${y.toFixed(1)}`;
}

/**
 * @param {number} count
 * @param {string} one its noun
 */
export function count(count, one) {
  return `${count} ${one}${count === 1 ? "" : "s"}`;
}

/**
 * Say what went wrong.
 *
 * @param {unknown} fault whatever was thrown
 */
export function messageOf(fault) {
  return fault instanceof Error ? fault.message : String(fault);
}
