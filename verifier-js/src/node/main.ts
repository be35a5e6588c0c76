/** `node verifier.mjs BUNDLE --lock LOCK`: the verifier at the command line. */

import { verifyProof } from "../engine/index.js";

if (typeof verifyProof !== "function") throw new Error("no engine");
process.stderr.write("not written yet: nothing is checked, so nothing is accepted\n");
process.exitCode = 70;
