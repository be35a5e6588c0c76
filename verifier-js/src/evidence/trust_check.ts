/** Steps T1 to T6 and L1 to L4 of docs/bundle-format.md, one finding each; false evidence is a finding, so that all is shown. */

import { Refusal } from "../engine/interface.js";
import type { Attestation } from "./attestation.js";
import { fromHex, sameBytes, short } from "./bytes.js";
import { checkSignatures, type Envelope, type PublicKey } from "./envelope.js";
import { finding, fromRefusal, holds, notChecked, type Finding } from "./findings.js";
import { checkInclusion, leafHash } from "./merkle.js";
import { checkCheckpoint, parseCheckpoint, parseLogProof } from "./note.js";
import type { OpenBundle } from "./reader.js";
import { parseUtc } from "./time.js";
import { expired, type LogTrust, type RoleRule, type Trust, type TrustRole } from "./trust.js";
import { MANIFEST_NAME } from "./manifest.js";

const SKEW = 10 * 60_000;
const DAY = 86_400_000;
const ROLES: { readonly [name: string]: TrustRole } = {
  circuit: "prover", proof: "prover", evaluation: "prover", "vote-commitment": "voter", vote: "voter", "vote-replay": "voter", "vote-opening": "voter",
  round: "consensus", "round-cut": "consensus", consensus: "consensus", gate: "gate", derivation: "notary",
};
/** The role that must sign an attestation, by its type. */
const ROLE_OF: ReadonlyMap<string, TrustRole> = new Map(Object.entries(ROLES).map(([name, role]) => [`urn:verifai:${name}:v1`, role]));

/** `now`: milliseconds since 1970. */
export async function checkTrust(bundle: OpenBundle, trust: Trust, now: number, told: (one: Finding) => void | Promise<void>): Promise<Finding[]> {
  const attestations = [...bundle.attestations].sort(([left], [right]) => (left < right ? -1 : 1));
  const checks: [string, () => Finding | Promise<Finding>][] = [
    ["T1", () => checkExpiry(trust, now)],
    ["T2", () => checkManifest(bundle, trust)],
    ...attestations.map(([, one]): [string, () => Promise<Finding>] => ["T3", () => checkAttestation(one, trust)]),
    ["T4", () => checkAge(bundle, trust, now)],
    ["T5", () => checkSrs(attestations.map(([, one]) => one), trust)],
    ["L", () => checkLog(bundle, trust.log)],
  ];
  if (trust.keyless) checks.push(["T6", () => { throw new Refusal("undecided", "not-checked-here", "Sigstore identities are not checked by this verifier", "", "Use `verifai audit`."); }]);
  const found: Finding[] = [];
  for (const [step, check] of checks) {
    let one: Finding;
    try {
      one = await check();
    } catch (problem) {
      one = fromRefusal(problem, step);
    }
    found.push(one);
    await told(one);
  }
  return found;
}

function checkExpiry(trust: Trust, now: number): Finding {
  if (expired(trust, now)) throw new Refusal("policy", "trust-expired", `the trust file expired at ${trust.expires!}`, "", "Review it, then give it a new date.");
  return holds("trust-current", `the trust file may be used ${trust.expires ? `until ${trust.expires}` : "without an end date"}`, "T1");
}

/** Enough distinct keys signed. Throws Refusal: `signature-invalid`, `unsigned`, `below-threshold`. */
async function requireSigners(envelope: Envelope, rule: RoleRule, role: TrustRole, trust: Trust, where: string, step: string): Promise<Finding> {
  const check = await checkSignatures(envelope, rule.keys, where);
  if (!check.signers.size && !check.unknown.length) {
    throw new Refusal("policy", "unsigned", `it has no signature; ${rule.threshold} of role '${role}' must sign`, where, "Sign it: `verifai seal BUNDLE --key KEY`");
  }
  if (check.signers.size < rule.threshold) {
    const others = check.unknown.length ? `; unknown keys: ${check.unknown.map(short).join(", ")}` : "";
    const message = `${check.signers.size} of the ${rule.threshold} required keys of role '${role}' signed${others}`;
    throw new Refusal("policy", "below-threshold", message, where, "Ask the missing signers, or check the trust file's keys.");
  }
  const names = new Map([...trust.keys].map(([name, key]) => [key.keyid, name]));
  const signers = [...check.signers].map((keyid) => names.get(keyid) ?? keyid).sort();
  return holds("signed", `signed by ${signers.join(", ")} (${role}: ${check.signers.size} of ${rule.threshold})`, step, { where });
}

async function checkManifest(bundle: OpenBundle, trust: Trust): Promise<Finding> {
  const rule = trust.roles.get("release");
  if (rule) return requireSigners(bundle.envelope, rule, "release", trust, MANIFEST_NAME, "T2");
  // An invalid signature of any key we know is false evidence, whatever role the key has.
  await checkSignatures(bundle.envelope, trust.keys.values(), MANIFEST_NAME);
  return notChecked("signature-not-required", "the trust file demands no signature on releases", "T2");
}

async function checkAttestation(one: Attestation, trust: Trust): Promise<Finding> {
  const where = `attestations/${one.envelope.id}.dsse.json`;
  const role = ROLE_OF.get(one.type);
  const rule = role && trust.roles.get(role);
  if (rule) return requireSigners(one.envelope, rule, role, trust, where, "T3");
  await checkSignatures(one.envelope, trust.keys.values(), where);
  return notChecked("signature-not-required", `the trust file demands no signature on ${one.type}`, "T3", { where });
}

async function signersOf(envelope: Envelope, trust: Trust, role: TrustRole): Promise<number> {
  try {
    return (await checkSignatures(envelope, trust.roles.get(role)?.keys ?? ([] as PublicKey[]), MANIFEST_NAME)).signers.size;
  } catch (problem) {
    if (problem instanceof Refusal && problem.kind === "rejected") return 0; // T2 or T3 reports it
    throw problem;
  }
}

async function checkAge(bundle: OpenBundle, trust: Trust, now: number): Promise<Finding> {
  const written = parseUtc(bundle.manifest.created);
  const release = await signersOf(bundle.envelope, trust, "release");
  const dates: { kind: string; made: number; signers: number }[] = [];
  for (const one of bundle.attestations.values()) {
    if (one.predicate.kind !== "proof") continue;
    dates.push({ kind: "proof", made: parseUtc(one.predicate.created), signers: release || (await signersOf(one.envelope, trust, "prover")) });
  }
  if (!dates.length) dates.push({ kind: "bundle", made: written, signers: release });
  for (const claimed of [...dates.map((one) => one.made), written]) {
    if (claimed > now + SKEW) throw new Refusal("rejected", "from-the-future", "it says it was made later than it is now");
  }
  for (const one of dates) if (one.made > written + SKEW) throw new Refusal("rejected", "from-the-future", `a ${one.kind} says it was made after the bundle that holds it`, MANIFEST_NAME);
  const days = (now - Math.min(written, ...dates.map((one) => one.made))) / DAY;
  const limit = trust.maximumAgeDays;
  if (limit === null) return notChecked("age-not-limited", `made ${days.toFixed(1)} days ago by its maker's clock; no maximum age is set`, "T4");
  if (days > limit) throw new Refusal("policy", "stale", `made ${days.toFixed(1)} days ago, the limit is ${limit} days`, "", "Ask for a fresh proof.");
  if ([...bundle.attestations.values()].some((one) => one.predicate.kind === "other")) {
    return notChecked("not-checked-here", "the bundle is not too old by its own date; dates in what is not read here were not looked at", "T4");
  }
  const unsigned = dates.find((one) => !one.signers);
  if (unsigned) {
    const message = `at most ${limit} days are allowed, but no trusted key signed the ${unsigned.kind}'s date: it could be written anew`;
    throw new Refusal("policy", "date-not-signed", message, MANIFEST_NAME, "Ask for a signature, and name its key in the trust file: [roles.release]");
  }
  return holds("fresh", `made ${days.toFixed(1)} days ago by its maker's clock, the limit is ${limit} days`, "T4");
}

function checkSrs(attestations: readonly Attestation[], trust: Trust): Finding {
  const circuits = attestations.flatMap((one) => (one.predicate.kind === "circuit" ? [one.predicate] : []));
  if (!trust.allowTestSrs && circuits.some((one) => one.insecure.includes("test-srs"))) {
    throw new Refusal("policy", "srs-test-only", "the circuit rests on a test SRS, whose maker can forge proofs", "", "Compile with an SRS of the public ceremony.");
  }
  if (trust.srsSha256 === null) return notChecked("srs-not-limited", "the trust file lists no SRS; the lock's is accepted", "T5");
  const pins = circuits.flatMap((one) => one.pins.get("srs_sha256") ?? []).sort();
  if (!pins.length) return notChecked("srs-not-limited", "the evidence rests on no SRS", "T5");
  for (const pin of pins) if (!trust.srsSha256.has(pin)) throw new Refusal("policy", "srs-not-trusted", `SRS ${pin} is not among those of the trust file`, "", "Review, then add it.");
  return holds("srs-trusted", "the SRS is one of the trust file's", "T5", { evidence: pins.join(", ") });
}

async function checkLog(bundle: OpenBundle, log: LogTrust | null): Promise<Finding> {
  if (!log) return notChecked("log-not-required", "the trust file names no audit log", "L");
  try {
    return await logged(bundle, log);
  } catch (problem) {
    if (log.required || !(problem instanceof Refusal) || problem.kind !== "policy") throw problem;
    return finding(problem.code, "not-checked", problem.message, "L", { where: problem.where });
  }
}

async function logged(bundle: OpenBundle, log: LogTrust): Promise<Finding> {
  const missing = (message: string, where: string): Refusal => new Refusal("policy", "not-logged", message, where, "Log it: `verifai seal BUNDLE --log LOG --log-key KEY -o NEW`");
  const data = bundle.log.get("checkpoint");
  if (!data) throw missing("the bundle carries no checkpoint of a log", "log/checkpoint");
  const checkpoint = parseCheckpoint(data, "log/checkpoint"); // L1
  const witnesses = log.witnesses.map((one) => ({ ...one, witness: true }));
  const cosigned = await checkCheckpoint(checkpoint, { name: log.origin, key: log.key, witness: false }, witnesses, "log/checkpoint"); // L2
  if (cosigned < log.witnessThreshold) {
    throw new Refusal("policy", "below-witnesses", `${cosigned} of the known witnesses cosigned, ${log.witnessThreshold} are required`, "log/checkpoint");
  }
  const positions: bigint[] = [];
  for (const id of [...bundle.attestations.keys()].sort()) {
    const where = `log/${id}.tlog-proof`;
    const file = bundle.log.get(`${id}.tlog-proof`);
    if (!file) throw missing(`there is no log proof for ${id}`, where);
    const proof = parseLogProof(file, where);
    // L3: one checkpoint with its signatures, so that all entries were seen in one history by the same witnesses.
    if (!sameBytes(proof.checkpoint.bytes, checkpoint.bytes)) {
      throw new Refusal("rejected", "log-proof-invalid", "the proof is about another checkpoint than log/checkpoint", where);
    }
    // L4: the leaf is computed from this attestation; a valid proof of some other entry leads to another root.
    await checkInclusion(await leafHash(fromHex(id)), proof.index, checkpoint.size, proof.hashes, checkpoint.root, where);
    positions.push(proof.index);
  }
  const message = `all ${positions.length} attestations are in log '${log.origin}' (${checkpoint.size} entries, ${cosigned} witnesses)`;
  return holds("logged", message, "L", { evidence: `positions ${positions.sort((a, b) => (a < b ? -1 : 1)).join(", ")}` });
}
