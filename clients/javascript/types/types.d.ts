/** By hand, beside the declarations that `npm run types` makes: names for what goes in and comes out. */

export type * from "../src/types.js";
