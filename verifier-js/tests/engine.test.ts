import assert from "node:assert/strict";
import test from "node:test";

import { Refusal, STATUS } from "../src/engine/interface.js";

test("only a failed check has the status of false evidence", () => {
  const refused = Object.entries(STATUS).filter(([, status]) => status === 1);
  assert.deepEqual(refused.map(([kind]) => kind), ["rejected"]);
  assert.equal(new Refusal("usage", "bad-lock", "no").kind, "usage");
});
