/** The examples of the README run. */

import assert from "node:assert/strict";
import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { files, url, withServer } from "./support/server.js";

const INDEX = new URL("../src/index.js", import.meta.url).href;

test("the README's examples run", withServer, async (t) => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const examples = Array.from(readme.matchAll(/```javascript\n(.*?)```/gs), ([, code]) => code);
  assert.ok(examples.length >= 5);
  const folder = await mkdtemp(join(tmpdir(), "loddis-readme-"));
  process.chdir(files);
  t.mock.method(console, "log", () => undefined);
  for (const [number, example] of examples.entries()) {
    const code = example.replaceAll('"loddis-client"', `"${INDEX}"`).replaceAll("http://127.0.0.1:8080", url);
    const path = join(folder, `${number}.mjs`);
    await writeFile(path, code);
    await import(pathToFileURL(path));
  }
});
