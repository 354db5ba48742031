/** The choice among the models that are served. */

import { h } from "./dom.js";
import { server } from "./session.js";

/**
 * Offer the models; the first choice, an empty value, is the server's default.
 *
 * @param {object} [options]
 * @param {() => void} [options.change] told of each choice
 * @param {(fault: unknown) => void} [options.onFault] told why there are no others; the default is still to be had
 * @param {AbortSignal} [options.signal]
 */
export function modelChoice({ change, onFault = () => undefined, signal } = {}) {
  const select = h("select", { name: "model", change }, h("option", { value: "" }, "the default"));
  server()
    .models({ signal })
    .then(({ models }) => select.append(...models.map((one) => h("option", {}, `${one.name}:${one.version}`))))
    .catch(onFault);
  return select;
}
