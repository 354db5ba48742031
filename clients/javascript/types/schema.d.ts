/** By hand, beside the declarations that `npm run types` makes: the server's answers. */

export type * from "../src/schema.js";
