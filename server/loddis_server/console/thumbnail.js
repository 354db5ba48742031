/** Pictures that are fetched, since an image element brings no key. */

import { h } from "./dom.js";
import { server } from "./session.js";

/**
 * Show a picture in an image, in place of the one that it shows.
 *
 * @param {HTMLImageElement} image
 * @param {Blob} picture
 */
export function showPicture(image, picture) {
  const address = URL.createObjectURL(picture);
  const forget = () => URL.revokeObjectURL(address); // what is drawn stays
  image.addEventListener("load", forget, { once: true });
  image.addEventListener("error", forget, { once: true });
  image.src = address;
}

/**
 * Show the target of an event.
 *
 * @param {string} eventId of one that has a picture
 */
export function thumbnail(eventId) {
  const image = h("img", { alt: "the target", width: 64, height: 64, class: "thumbnail" });
  server()
    .thumbnail(eventId)
    .then((picture) => showPicture(image, picture))
    .catch(() => image.remove()); // deleted meanwhile
  return image;
}
