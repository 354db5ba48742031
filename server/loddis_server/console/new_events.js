/** What is new among the events of all streams. */

import { server } from "./session.js";

/** @import { Event } from "./client/types.js" */

const OVERLAP_MS = 30_000;
const KINDS = ["track.confirmed"];

/**
 * Targets that were not known when it was last asked. Frames of one camera may come later than those of another: what was
 * captured in the last half minute is asked for each time, and told by its id from what is known.
 */
export class NewTargets {
  /** @type {Map<string, number> | null} id -> when it was captured, milliseconds since 1970; null before the first time */
  #known = null;

  /** @returns {Promise<Event[]>} the oldest first; none the first time */
  async ask() {
    const since = await this.#start();
    /** @type {Event[]} */
    const events = [];
    for await (const event of server().eventsAll({ kinds: KINDS, order: "oldest", since })) {
      events.push(event);
    }
    // Only now: where a page fails, all of them are asked for again.
    const before = this.#known;
    this.#known = new Map(events.map((event) => [event.id, Date.parse(event.occurred_at)]));
    return before ? events.filter((event) => !before.has(event.id)) : [];
  }

  /** Give the time to ask from, none for all that there is. The clock that counts is that of the events. */
  async #start() {
    const known = [...(this.#known?.values() ?? [])];
    if (this.#known === null) {
      const { events } = await server().events({ kinds: KINDS, limit: 1 });
      known.push(...events.map((event) => Date.parse(event.occurred_at)));
    }
    return known.length ? new Date(Math.max(...known) - OVERLAP_MS) : undefined;
  }
}
