/** The trust file: whom and what a reader trusts, outside every bundle (docs/bundle-format.md, section 6). */

import { Refusal } from "../engine/interface.js";
import { isSha256 } from "./bytes.js";
import { publicKey, type PublicKey } from "./envelope.js";
import { Record } from "./record.js";
import { parseUtc, utcOf } from "./time.js";
import { parseToml } from "./toml.js";

const SCHEMA = "verifai/trust/v1";
export const TRUST_ROLES = ["release", "prover", "voter", "consensus", "gate", "notary"] as const;
export type TrustRole = (typeof TRUST_ROLES)[number];

export interface RoleRule {
  readonly keys: readonly PublicKey[];
  readonly threshold: number;
}

export interface TrustedCircuit {
  readonly lockSha256: string | null;
  /** `re-derive`, or the SHA-256 that the circuit must have. */
  readonly verificationKey: string;
}

export interface LogTrust {
  readonly origin: string;
  readonly key: PublicKey;
  readonly witnesses: readonly { readonly name: string; readonly key: PublicKey }[];
  readonly witnessThreshold: number;
  readonly required: boolean;
}

export interface Trust {
  readonly keys: ReadonlyMap<string, PublicKey>;
  readonly roles: ReadonlyMap<TrustRole, RoleRule>;
  readonly circuits: ReadonlyMap<string, TrustedCircuit>;
  readonly srsSha256: ReadonlySet<string> | null;
  readonly allowTestSrs: boolean;
  readonly log: LogTrust | null;
  readonly maximumAgeDays: number | null;
  readonly expires: string | null;
  readonly keyless: { readonly identity: string; readonly issuer: string } | null;
  readonly hardware: number;
  readonly modelSigners: number;
}

/** Throws Refusal of kind `usage` (`bad-trust`). */
export async function parseTrust(data: Uint8Array, where: string): Promise<Trust> {
  const root = new Record(parseToml(data, where, "bad-trust"), where, "usage", "bad-trust");
  if (!root.has("schema") || root.take("schema") !== SCHEMA) throw root.refuse(`the first field of a trust file is: schema = "${SCHEMA}"`, "schema", "Name another file.");
  const keys = await keysOf(root.subOrEmpty("keys"));
  const roles = rolesOf(root.subOrEmpty("roles"), keys);
  const circuits = root.subOrEmpty("circuits");
  const [srs, fresh] = [root.subOrEmpty("srs"), root.subOrEmpty("freshness")];
  for (const field of ["keys", "roles", "circuits", "srs", "freshness"]) if (root.has(field)) root.take(field);
  const trust: Trust = {
    keys,
    roles,
    circuits: new Map(circuits.names().map((name) => [name, circuitOf(circuits.sub(name))])),
    srsSha256: srs.has("sha256") ? digestsOf(srs) : null,
    allowTestSrs: srs.flag("allow_test_srs", false),
    log: root.has("log") ? await logOf(root.sub("log")) : null,
    maximumAgeDays: fresh.has("maximum_age_days") ? fresh.integer("maximum_age_days", 1, 36_500) : null,
    expires: fresh.has("expires") ? utcOf(fresh, "expires") : null,
    keyless: root.has("sigstore") ? keylessOf(root.sub("sigstore")) : null,
    hardware: root.subsOrNone("hardware", 64).length,
    modelSigners: root.subsOrNone("model_signers", 64).length,
  };
  for (const record of [circuits, srs, fresh, root]) record.done();
  if (!(roles.size || trust.circuits.size || trust.log || trust.keyless || trust.hardware || trust.modelSigners)) throw root.refuse("it names no role, circuit, log, identity or hardware to trust");
  return trust;
}

export function expired(trust: Trust, now: number): boolean {
  return trust.expires !== null && now >= parseUtc(trust.expires);
}

async function keysOf(record: Record): Promise<Map<string, PublicKey>> {
  const keys = new Map<string, PublicKey>();
  for (const name of record.names()) {
    const key = await keyOf(record, name);
    // One key under two names would fill a threshold of two on paper.
    for (const [other, known] of keys) if (known.keyid === key.keyid) throw record.refuse(`this is the key of ${JSON.stringify(other)}`, name);
    keys.set(name, key);
  }
  return keys;
}

async function keyOf(record: Record, name: string): Promise<PublicKey> {
  const text = record.text(name, { max: 100 });
  try {
    return await publicKey(text);
  } catch (problem) {
    if (problem instanceof RangeError) throw record.refuse(problem.message, name, "Write: ed25519:BASE64, as `verifai key show FILE` prints it.");
    throw problem;
  }
}

function rolesOf(record: Record, keys: ReadonlyMap<string, PublicKey>): Map<TrustRole, RoleRule> {
  const roles = new Map<TrustRole, RoleRule>();
  for (const name of record.names()) {
    const role = TRUST_ROLES.find((one) => one === name);
    if (!role) throw record.refuse("no such role", name, `Roles: ${TRUST_ROLES.join(", ")}`);
    const rule = record.sub(name);
    const names = rule.texts("keys", 256);
    const found = names.map((one) => {
      const key = keys.get(one);
      if (!key) throw rule.refuse(`no key is named ${JSON.stringify(one)}`, "keys", "Name it in [keys].");
      return key;
    });
    if (!names.length || new Set(names).size !== names.length) throw rule.refuse("expected at least one key, each once", "keys");
    roles.set(role, { keys: found, threshold: rule.has("threshold") ? rule.integer("threshold", 1, names.length) : 1 });
    rule.done();
  }
  record.done();
  return roles;
}

function circuitOf(record: Record): TrustedCircuit {
  const named = record.has("lock") && record.text("lock") !== "";
  const found = {
    lockSha256: record.has("lock_sha256") ? record.sha256("lock_sha256") : null,
    verificationKey: record.has("verification_key") ? record.text("verification_key") : "re-derive",
  };
  record.done();
  if (!named && found.lockSha256 === null) throw record.refuse("neither lock nor lock_sha256 says which lock is trusted", "lock");
  if (found.verificationKey !== "re-derive" && !isSha256(found.verificationKey)) throw record.refuse("expected 're-derive' or a SHA-256", "verification_key");
  return found;
}

function digestsOf(record: Record): Set<string> {
  const found = record.texts("sha256", 256);
  if (!found.length || !found.every(isSha256)) throw record.refuse("expected a list of at least one SHA-256", "sha256");
  return new Set(found);
}

function keylessOf(record: Record): { identity: string; issuer: string } {
  const found = { identity: record.text("identity", { max: 512 }), issuer: record.text("issuer", { max: 512 }) };
  record.done();
  return found;
}

async function logOf(record: Record): Promise<LogTrust> {
  const witnesses: { name: string; key: PublicKey }[] = [];
  for (const item of record.subsOrNone("witnesses", 64)) {
    witnesses.push({ name: item.text("name", { max: 255 }), key: await keyOf(item, "key") });
    item.done();
  }
  if (new Set(witnesses.map((one) => one.key.keyid)).size !== witnesses.length) throw record.refuse("one key is two witnesses", "witnesses");
  const log = {
    origin: record.text("origin", { max: 255 }),
    key: await keyOf(record, "key"),
    witnesses,
    witnessThreshold: record.has("witness_threshold") ? record.integer("witness_threshold", 0, witnesses.length) : 0,
    required: record.flag("required", true),
  };
  record.done();
  return log;
}

/** That the lock at hand is the one that the trust file means. Throws Refusal: `circuit-not-trusted`, `lock-changed`. */
export function requireLock(trust: Trust, name: string, lockSha256: string): TrustedCircuit {
  const circuit = trust.circuits.get(name);
  if (!circuit) {
    throw new Refusal("policy", "circuit-not-trusted", `the trust file does not name circuit ${JSON.stringify(name.slice(0, 64))}`, "trust file", "Add [circuits.NAME] with its lock, once you have reviewed it.");
  }
  if (circuit.lockSha256 !== null && circuit.lockSha256 !== lockSha256) {
    throw new Refusal("usage", "lock-changed", `the lock's SHA-256 is ${lockSha256}, but the trust file pins ${circuit.lockSha256}`, "circuit.lock", "Review the lock, then pin its new digest; or get back the old lock.");
  }
  return circuit;
}
