/**
 * Attestations: in-toto Statements v1 of a known type. This verifier reads those that a proof stands on: circuit and proof. Of any
 * other it knows the type, what it is about, and its signatures.
 */

import { Refusal } from "../engine/interface.js";
import { requireCanonical, type Envelope } from "./envelope.js";
import { parseJson, type Json } from "./json.js";
import { MAX_PAYLOAD, STATEMENT_TYPE } from "./manifest.js";
import { decimal, ratio, type Ratio } from "./ratio.js";
import { ascending, Record } from "./record.js";
import { ENGINES, statementOf, WEIGHTS, type EngineName, type Statement, type Weights } from "./statement.js";
import { utcOf } from "./time.js";

export const CIRCUIT_TYPE = "urn:verifai:circuit:v1";
export const PROOF_TYPE = "urn:verifai:proof:v1";
/** Types that the format knows and whose contents this verifier does not read, each in words: it gives no verdict about bundles that hold one. */
const OTHERS: { readonly [name: string]: string } = {
  gate: "a gate's verdict", calibration: "a calibration of fingerprints", round: "a round of votes", "vote-commitment": "votes", vote: "votes", "vote-replay": "votes",
  consensus: "an agreement of voters", tee: "an attestation of hardware", evaluation: "an evaluation", release: "a model's release", derivation: "a circuit that someone derived again",
  beacon: "a value of a public beacon", "round-cut": "a round of votes", "vote-opening": "votes",
};
const OTHER_TYPES = new Map(Object.entries(OTHERS).map(([name, words]) => [`urn:verifai:${name}:v1`, words]));

export interface Subject {
  readonly name: string;
  readonly sha256: string;
}

export interface FidelityFigures {
  readonly samples: number;
  readonly top1Matches: number | null;
  readonly maxAbsError: Ratio;
  readonly meanAbsError: Ratio;
  readonly worstSample: number;
  readonly spreadError: Ratio | null;
  readonly columnError: Ratio | null;
  readonly r2: Ratio | null;
  readonly closeDecisions: number | null;
  /** Of a language model: positions of its texts, those that agree, and both perplexities. */
  readonly positions: number | null;
  readonly positionMatches: number | null;
  readonly perplexity: Ratio | null;
  readonly circuitPerplexity: Ratio | null;
}

export interface CircuitPredicate {
  readonly kind: "circuit";
  readonly name: string;
  readonly engine: EngineName;
  readonly engineVersion: string;
  readonly modelSha256: string;
  readonly circuitSha256: string;
  readonly sectionSha256: string;
  readonly weights: Weights;
  readonly pins: ReadonlyMap<string, string>;
  readonly fidelity: FidelityFigures | null;
  readonly insecure: readonly string[];
}

export interface ProofPredicate {
  readonly kind: "proof";
  readonly circuit: string;
  readonly statement: Statement;
  readonly statementDocument: Json;
  readonly engineVersion: string;
  readonly created: string;
  readonly insecure: readonly string[];
  readonly clampedCells: number | null;
}

/** Of a type whose contents are not read here. */
export interface OtherPredicate {
  readonly kind: "other";
  readonly words: string;
}

export interface Attestation {
  readonly envelope: Envelope;
  readonly type: string;
  readonly subjects: readonly Subject[];
  readonly predicate: CircuitPredicate | ProofPredicate | OtherPredicate;
}

/** R8. Throws Refusal: `malformed`, `unknown-predicate`, `not-canonical`. */
export function parseAttestation(envelope: Envelope, where: string): Attestation {
  const document = parseJson(envelope.payload, where, MAX_PAYLOAD);
  const root = new Record(document, where);
  if (root.text("_type") !== STATEMENT_TYPE) throw root.refuse("not an in-toto Statement v1", "_type");
  const subjects = root.subs("subject", 1024).map((item): Subject => {
    const digest = item.sub("digest");
    const found = { name: item.text("name", { max: 256 }), sha256: digest.sha256("sha256") };
    digest.done();
    item.done();
    return found;
  });
  if (!subjects.length) throw root.refuse("an attestation is about something", "subject");
  if (!ascending(subjects.map((one) => one.name))) throw root.refuse("the subjects are not in ascending order of name, each name once", "subject");
  const type = root.text("predicateType");
  const predicate = predicateOf(type, root.sub("predicate"), where);
  root.done();
  // Every field that is read was taken in its one spelling, so what is left to compare is the spelling of the whole.
  requireCanonical(envelope.payload, document, `${where}: payload`);
  return { envelope, type, subjects, predicate };
}

function predicateOf(type: string, record: Record, where: string): CircuitPredicate | ProofPredicate | OtherPredicate {
  if (type === CIRCUIT_TYPE) return circuitOf(record);
  if (type === PROOF_TYPE) return proofOf(record);
  const words = OTHER_TYPES.get(type);
  if (words !== undefined) return { kind: "other", words };
  throw new Refusal("rejected", "unknown-predicate", `the predicate type ${JSON.stringify(type.slice(0, 120))} is not known`, where, "Use a newer verifier, or ask the maker which release wrote it.");
}

function proofOf(record: Record): ProofPredicate {
  const found: ProofPredicate = {
    kind: "proof",
    circuit: record.sha256("circuit"),
    statement: statementOf(record.sub("statement")),
    statementDocument: record.take("statement") as Json,
    engineVersion: record.text("engine_version", { max: 64 }),
    created: utcOf(record, "created"),
    insecure: insecureOf(record),
    clampedCells: record.has("clamped_cells") ? record.integer("clamped_cells", 0, 2 ** 48) : null,
  };
  record.done();
  return found;
}

function circuitOf(record: Record): CircuitPredicate {
  const pins = record.sub("pins");
  const found: CircuitPredicate = {
    kind: "circuit",
    name: record.text("name", { pattern: /^[a-z0-9][a-z0-9-]{0,63}$/ }),
    engine: record.choice("engine", ENGINES),
    engineVersion: record.text("engine_version", { max: 64 }),
    modelSha256: record.sha256("model_sha256"),
    circuitSha256: record.sha256("circuit_sha256"),
    sectionSha256: record.sha256("section_sha256"),
    weights: record.choice("weights", WEIGHTS),
    pins: new Map(pins.names().map((name) => [name, pins.sha256(name)])),
    fidelity: record.has("fidelity") ? fidelityOf(record.sub("fidelity")) : null,
    insecure: insecureOf(record),
  };
  pins.done();
  record.done();
  const taken = new Set(["model_sha256", "circuit_sha256", "section_sha256"]);
  for (const name of found.pins.keys()) {
    if (!/^[a-z0-9_]{1,56}_sha256$/.test(name) || taken.has(name)) throw pins.refuse("this cannot be the name of a further digest", name);
  }
  return found;
}

function fidelityOf(record: Record): FidelityFigures {
  const samples = record.integer("samples", 1, 2 ** 40);
  const maybe = (field: string, signed = false): Ratio | null => (record.has(field) ? ratioOfRecord(record, field, signed) : null);
  const found: FidelityFigures = {
    samples,
    top1Matches: record.has("top1_matches") ? record.integer("top1_matches", 0, samples) : null,
    maxAbsError: ratioOfRecord(record, "max_abs_error"),
    meanAbsError: ratioOfRecord(record, "mean_abs_error"),
    worstSample: record.integer("worst_sample", 0, samples - 1),
    spreadError: maybe("spread_error"),
    columnError: maybe("column_error"),
    r2: maybe("r2", true),
    closeDecisions: record.has("close_decisions") ? record.integer("close_decisions", 0, samples) : null,
    positions: record.has("positions") ? record.integer("positions", 1, 1e12) : null,
    positionMatches: record.has("positions") ? record.integer("position_matches", 0, 1e12) : null,
    perplexity: maybe("perplexity"),
    circuitPerplexity: record.has("perplexity") ? ratioOfRecord(record, "circuit_perplexity") : null,
  };
  record.done();
  if (found.positions !== null && (found.positionMatches ?? 0) > found.positions) throw record.refuse("more positions agree than there are", "position_matches");
  const [mean, max] = [found.meanAbsError, found.maxAbsError];
  if (mean.numerator * max.denominator > max.numerator * mean.denominator) throw record.refuse("the mean error is larger than the largest error", "mean_abs_error");
  return found;
}

function ratioOfRecord(record: Record, field: string, signed = false): Ratio {
  const texts = record.texts(field, 2);
  try {
    if (texts.length !== 2) throw new RangeError("not a pair");
    const [numerator, denominator] = texts.map(decimal) as [bigint, bigint];
    const found = ratio(numerator, denominator);
    if (found.denominator !== denominator || (numerator < 0n && !signed)) throw new RangeError("not in lowest terms, or negative");
    return found;
  } catch (problem) {
    if (problem instanceof RangeError) throw record.refuse("expected a ratio of two integers in lowest terms", field);
    throw problem;
  }
}

function insecureOf(record: Record): string[] {
  const modes = record.texts("insecure", 16);
  if (!ascending(modes)) throw record.refuse("expected names in ascending order, each once", "insecure");
  return modes;
}
