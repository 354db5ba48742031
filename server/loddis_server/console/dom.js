/** Elements, built. Text is always set as text: nothing that a server or a camera says becomes markup. */

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * Build an element.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, unknown>} [properties] attributes; functions listen to the event of their name; `false` and
 *   `null` leave an attribute away, `true` sets it without a value
 * @param {...(Child | Child[])} children text or elements; those that are none are left out
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") {
      element.addEventListener(name, /** @type {EventListener} */ (value));
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...shown(children));
  return element;
}

/**
 * Put children into an element in place of those it has.
 *
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...shown(children));
}

/**
 * Build a table.
 *
 * @param {string[]} columns their heads; one that ends in ` #` holds numbers
 * @param {Child[][]} rows
 * @param {string} empty said where there are no rows
 */
export function table(columns, rows, empty) {
  const isNumber = columns.map((column) => column.endsWith(" #"));
  /** @type {(at: number) => Record<string, unknown>} */
  const kind = (at) => (isNumber[at] ? { class: "number" } : {});
  const heads = columns.map((column, at) => h("th", { scope: "col", ...kind(at) }, column.replace(/ #$/, "")));
  const body = rows.map((row) => h("tr", {}, ...row.map((cell, at) => h("td", kind(at), cell))));
  const none = h("tr", {}, h("td", { colspan: columns.length, class: "quiet" }, empty));
  return h(
    "div",
    { class: "table" },
    h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, body.length ? body : none)),
  );
}

/**
 * Find an element of the page by its id.
 *
 * @param {string} id
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) {
    throw new Error(`the page has no #${id}`);
  }
  return element;
}

/**
 * @param {(Child | Child[])[]} children
 * @returns {(Node | string)[]}
 */
function shown(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
