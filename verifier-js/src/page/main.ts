/**
 * The evidence page. One script in two places: in the document it draws, in a worker (made from the same text) it checks.
 *
 * What the page holds is data of whoever made it; it is decoded, checked, and shown as text, never as markup.
 */

import { decodeBase64 } from "../evidence/bytes.js";
import type { Finding } from "../evidence/findings.js";
import { visible } from "../evidence/visible.js";
import type { Verdict } from "../evidence/verify.js";
import { NOT_CLAIMED } from "../evidence/words.js";
import { coded, el, fill, part, svg } from "./dom.js";
import type { Job, Message, NamedFile, OutcomeView, StatementView } from "./messages.js";
import { conclusion, valueView } from "./values.js";
import { work } from "./work.js";

/** `partly`: all that this page can check holds, and there is more that it cannot. `rebuild`: all that is missing is an audit's work. */
type State = Verdict | "partly" | "rebuild" | "waiting" | "working";

const WORDS: { readonly [state in State]: readonly [word: string, lead: string] } = {
  waiting: ["Not checked yet", "Nothing was checked so far."],
  working: ["Checking\u2026", "Every step is checked now, on this device. Nothing is fetched."],
  accepted: ["Verified", "Every step that was asked for holds. This page checked it just now, on this device."],
  partly: ["Proof verified, not the rest", "The proof holds. This page cannot check everything that comes with it or that you ask for, so it gives no verdict for the whole."],
  rebuild: ["Proof verified, one step left", "The proof holds, and so does all else that you asked for. One thing is left that no page can do: your trust file wants the circuit to be built again from the model, so that nobody has to take the lock\u2019s word for it. That says nothing against the evidence."],
  rejected: ["Rejected", "A check failed: this evidence is false, damaged, or about something else. Do not rely on it."],
  "policy-not-met": ["Not enough", "The evidence is genuine as far as it goes, but something that you ask for is missing."],
  undecided: ["Could not be checked", "This page could not decide. That says nothing for the evidence and nothing against it."],
  "not-checked": ["Not checked", "What was given does not fit together, so nothing was decided."],
};

/** Steps in the order of the format document; those of a trust file only where there is one. */
const STEPS: readonly (readonly [number: string, title: string, trust: boolean])[] = [
  ["V1", "The bundle is complete and unchanged", false],
  ["V2", "One proof, and who signed it", false],
  ["V3", "The circuit is the one that your lock pins", false],
  ["V4", "The model is the one that your lock pins", false],
  ["V5.1", "The circuit keeps every rule", false],
  ["V5.2", "The weights are the pinned ones", false],
  ["V5.3", "Input, output and context are bound by the proof", false],
  ["V5.4", "The proof holds", false],
  ["V6", "What is said in plain text is what was proven", false],
  ["V7", "The context that you asked for", false],
  ["V8", "Your input is the proven one", false],
  ["V9", "Your output is the proven one", false],
  ["T1", "The trust file is in force", true],
  ["T2", "The release was signed by whom you trust", true],
  ["T3", "Each part was signed by whom you trust", true],
  ["T4", "Neither too old nor from the future", true],
  ["T5", "The set-up material is accepted", true],
  ["L", "The evidence is in the public log", true],
  ["A3", "The circuit is the one that your trust file pins", true],
];

const MARKS: { readonly [outcome in Finding["outcome"] | "waiting"]: readonly [path: string, word: string] } = {
  holds: ["M3 9.5 7 13.5 15 4.5", "holds"],
  rejected: ["M4 4 14 14 M14 4 4 14", "failed"],
  "policy-not-met": ["M9 3 V10 M9 13.5 V14.5", "missing"],
  undecided: ["M6 6.5 A3 3 0 1 1 9 9.5 V11 M9 13.7 V14.5", "not decided"],
  "not-checked": ["M4 9 H14", "not checked"],
  waiting: ["M9 9 H9.01", "not yet"],
};

const SEALS: { readonly [state in State]: string } = {
  waiting: "M12 5 V12 L16 15",
  working: "M12 3 A9 9 0 1 1 3.5 9",
  accepted: "M5 12.5 10 17.5 19.5 7",
  partly: "M5 12.5 10 17.5 19.5 7",
  rebuild: "M5 12.5 10 17.5 19.5 7",
  rejected: "M6 6 18 18 M18 6 6 18",
  "policy-not-met": "M12 5 V14 M12 18 V19",
  undecided: "M8.5 9 A3.5 3.5 0 1 1 12 12.8 V15 M12 18.4 V19.2",
  "not-checked": "M6 12 H18",
};

function seal(state: State): SVGElement {
  return svg({ viewBox: "0 0 24 24", fill: "none", stroke: "currentColor", "stroke-width": "2.4", "stroke-linecap": "round", "stroke-linejoin": "round" }, { d: SEALS[state] });
}

function mark(outcome: Finding["outcome"] | "waiting"): HTMLElement {
  const [path, word] = MARKS[outcome];
  const drawn = svg({ viewBox: "0 0 18 18", fill: "none", stroke: "currentColor", "stroke-width": "2.2", "stroke-linecap": "round", "stroke-linejoin": "round", "aria-hidden": "true" }, { d: path });
  return el("span", { class: "mark" }, drawn, el("span", { class: "visually-hidden" }, `${word}: `));
}

// --- what the page holds ---

interface Held {
  bundles: NamedFile[];
  lock: NamedFile | null;
  trust: NamedFile | null;
  tokenizer: NamedFile | null;
}

function embedded(): Held {
  const found: Held = { bundles: [], lock: null, trust: null, tokenizer: null };
  for (const node of document.querySelectorAll("script[type='application/octet-stream']")) {
    const name = new TextDecoder().decode(decodeBase64(node.getAttribute("data-name") ?? ""));
    const file = { name, data: new Blob([decodeBase64(node.textContent.trim())]) };
    const kind = node.getAttribute("data-kind");
    if (kind === "bundle") found.bundles.push(file);
    else if (kind === "lock") found.lock = file;
    else if (kind === "trust") found.trust = file;
    else if (kind === "tokenizer") found.tokenizer = file;
    node.textContent = ""; // the text is kept once, as bytes
  }
  return found;
}

// --- one run ---

class BundleCard {
  readonly root = el("article", { class: "panel bundle" });
  private readonly tag = el("span", { class: "tag", "data-state": "working" }, "checking");
  private readonly body = el("div", {});
  private readonly list = el("ol", { class: "steps" });
  private readonly rows = new Map<string, HTMLLIElement>();
  private reached = "V1";
  held = 0;

  constructor(name: string, bytes: number, trusted: boolean, private readonly alone: boolean, expects: { input: boolean; output: boolean }) {
    for (const [number, title, needsTrust] of STEPS) {
      if ((needsTrust && !trusted) || (number === "V2" && trusted) || (number === "V8" && !expects.input) || (number === "V9" && !expects.output)) continue;
      const row = el("li", { class: "step", "data-outcome": "waiting" }, mark("waiting"), el("span", { class: "number" }, number), el("div", { class: "what" }, el("span", { class: "title" }, title)));
      this.rows.set(number, row);
      this.list.append(row);
    }
    const head = el("header", {}, el("h2", {}, name), this.tag);
    const size = el("p", { class: "quiet" }, `${bytes.toLocaleString("en")} bytes`);
    fill(this.root, head, size, this.body, el("h3", {}, "Step by step"), this.list);
  }

  progress(step: string, what: string, done: number, total: number): void {
    this.reached = step;
    const row = this.rows.get(step);
    if (!row || row.dataset["outcome"] !== "waiting") return;
    const text = `${what} ${done.toLocaleString("en")} of ${total.toLocaleString("en")}`;
    const tick = row.querySelector(".tick");
    if (tick) tick.textContent = visible(text);
    else row.querySelector(".what")?.append(" ", el("span", { class: "tick" }, text));
  }

  found(one: Finding): void {
    if (one.outcome === "holds") this.held++;
    // A refusal carries no number: it came from the step that was being checked.
    const open = [...this.rows].find(([, row]) => row.dataset["outcome"] === "waiting")?.[0] ?? "";
    const stopped = !one.step && one.outcome !== "holds" && one.outcome !== "not-checked";
    const number = one.step ?? (this.rows.get(this.reached)?.dataset["outcome"] === "waiting" ? this.reached : open);
    let row = this.rows.get(number);
    if (!row || row.dataset["outcome"] !== "waiting") {
      // A step that says two things, or one that the list does not know: a row of its own, after its like.
      const after = row;
      row = el("li", { class: "step" });
      if (after) after.after(row);
      else this.list.append(row);
    }
    const known = STEPS.find(([found]) => found === number)?.[1] ?? (number === "P1" ? "Which release the model comes from" : "Also");
    const title = one.code === REBUILD ? "Left to do: building the circuit again from the model" : stopped && one.code === "not-checked-here" ? "What this page cannot check" : stopped ? `${one.outcome === "rejected" ? "Failed" : "Stopped"} at: ${known.charAt(0).toLowerCase()}${known.slice(1)}` : known;
    const shownNumber = stopped && one.code === "not-checked-here" ? "" : number;
    row.dataset["outcome"] = one.outcome;
    const where = one.where ? ` (${one.where})` : "";
    fill(
      row, mark(one.outcome), el("span", { class: "number" }, shownNumber || "\u2013"),
      el("div", { class: "what" }, el("span", { class: "title" }, title), " ", el("span", { class: "code" }, one.code), el("p", {}, `${one.message}${where}`), one.remedy ? el("p", {}, ...coded(one.remedy)) : null),
    );
  }

  outcome(view: OutcomeView): void {
    const state = stateOf(view);
    this.tag.dataset["state"] = state;
    fill(this.tag, WORDS[state][0]);
    this.list.replaceChildren(...[...this.list.children].filter((row) => (row as HTMLElement).dataset["outcome"] !== "waiting"));
    // Values of a proof that holds are shown even where something that was asked for is missing; of false evidence nothing is.
    const { statement } = view;
    if (statement && view.verdict !== "rejected") this.proven(statement, view);
    else if (view.holdings.length && view.verdict !== "rejected") this.holdings(view);
    else fill(this.body, el("p", { class: "sentence" }, "Nothing is shown of it, because nothing of it was proven here."));
    this.list.after(el("p", { class: "quiet" }, `${counted(view.findings.length, "finding", "findings")} in ${(view.milliseconds / 1000).toFixed(2)} seconds${view.bundleId ? `; bundle ${view.bundleId}` : ""}`));
  }

  /** Of a bundle that holds more than a proof: what, and nothing of what it says. */
  private holdings(view: OutcomeView): void {
    const rows = view.holdings.map(({ words, count }) => el("li", {}, count > 1 ? `${words} (${count.toLocaleString("en")} attestations)` : words));
    fill(
      this.body, el("p", { class: "sentence" }, "This bundle holds more than a proof of one computation. What it says, such as a figure of merit or an agreement, was not checked here, so none of it is shown."),
      el("h3", {}, "What it holds"), el("ul", {}, ...rows), el("p", {}, "To have all of it checked: ", el("code", {}, "verifai audit BUNDLE --trust trust.toml")),
    );
  }

  private proven(statement: StatementView, view: OutcomeView): void {
    const side = (role: "input" | "output"): HTMLElement => {
      const hidden = statement.tensors.filter((one) => one.role === role && one.visibility !== "public");
      const found = statement.shown.filter((one) => one.role === role);
      // Of an answer, prompt and answer are what a reader wants; the rows that they were cut from are for those who ask.
      const cut = found.filter((one) => one.part), rest = found.filter((one) => !one.part).map(valueView);
      const whole = cut.length && rest.length ? [el("details", {}, el("summary", {}, "All positions, as the circuit has them"), ...rest)] : rest;
      const shown = [...cut.map(valueView), ...whole];
      const boxes = hidden.map((one) =>
        el("section", { class: "value withheld" }, el("h4", {}, `${role === "input" ? "Input" : "Output"} `, el("code", {}, one.name), ` is ${one.visibility}`), el("p", {}, `${one.shape.join(" \u00d7 ")} numbers: ${one.words}`), one.digest ? el("p", {}, "bound by ", el("code", {}, one.digest)) : null),
      );
      return el("div", { class: "side" }, el("h3", {}, role === "input" ? "What went in" : "What came out"), ...shown, ...boxes);
    };
    const [label, hidden, notHidden] = statement.privacy;
    const signatures = view.findings.filter((one) => one.code === "signed").map((one) => `${one.message.replace(/^signed by /, "")}${one.step === "T3" ? ", a part" : ", the whole"}`);
    const signed = [...new Set(signatures)].map((one) => {
      const count = signatures.filter((other) => other === one).length;
      return count > 1 ? `${one.replace(/, a part$/, "")}, ${count.toLocaleString("en")} parts` : one;
    });
    const unsigned = view.findings.find((one) => one.code === "signatures-not-judged" || one.code === "signature-not-required");
    const list = (items: readonly string[]): HTMLElement => el("ul", {}, ...items.map((item) => el("li", {}, item)));
    fill(
      this.body,
      this.alone ? null : el("p", { class: "sentence" }, sentence(statement)),
      statement.generation ? el("p", {}, statement.generation) : null,
      el("div", { class: "sides" }, side("input"), side("output")),
      el(
        "div", { class: "facts" },
        el("div", {}, el("h3", {}, "Who signed"), signed.length ? list(signed) : el("p", {}, after(unsigned?.message ?? "nobody's signature was asked for", "")), view.created ? el("p", { class: "quiet" }, `made ${view.created.replace("T", ", ").replace("Z", " UTC")}, by its maker's clock`) : null),
        el("div", {}, el("h3", {}, "What is hidden"), el("p", {}, after(hidden, "Hidden: ")), el("p", {}, statement.weights), ...statement.openings.map((one) => el("p", {}, one))),
        el("div", {}, el("h3", {}, "What is not hidden"), el("p", {}, after(notHidden, "Not hidden: ")), el("p", { class: "quiet" }, label ?? "")),
        el("div", {}, el("h3", {}, "What is not claimed"), el("p", {}, after(NOT_CLAIMED, "Not claimed: "))),
        el("div", {}, el("h3", {}, "How near the circuit is to the model"), el("p", {}, `As the lock says: ${statement.fidelity}.`)),
        el("div", {}, el("h3", {}, "How strong the proof is"), el("p", {}, statement.soundness)),
      ),
      statement.context ? el("p", {}, "Context: ", el("code", {}, statement.context)) : null,
    );
  }
}

/** The code of a trust file's demand that the circuit is made again, which only an audit does. */
const REBUILD = "key-rederivation-missing";

function stateOf(view: OutcomeView): State {
  if (view.verdict === "accepted") return view.unjudged.length ? "partly" : "accepted";
  const missing = view.findings.filter((one) => one.outcome === "policy-not-met");
  return view.verdict === "policy-not-met" && view.statement && !view.unjudged.length && missing.length === 1 && missing[0]!.code === REBUILD && !view.findings.some((one) => one.outcome === "undecided") ? "rebuild" : view.verdict;
}

/** What a reader does about a demand that only an audit meets. */
function rebuildWords(): HTMLElement[] {
  return [
    el("p", {}, "What this means: the lock says which circuit stands for the model. The proof was checked against that circuit. Whether it is the model\u2019s is shown by building it again, which takes the model and verifai."),
    el("p", {}, "What to do: run ", el("code", {}, "verifai audit BUNDLE --trust trust.toml"), ", or ask somebody whom you trust to do it. It builds the circuit again and says its SHA-256. Write that into your trust file in the place of \u201cre-derive\u201d (", el("code", {}, "verification_key"), "), and this page will compare it."),
  ];
}

/** A sentence of ours without its first words, beginning with a capital letter. */
function after(text: string | undefined, start: string): string {
  const rest = (text ?? "").slice(text?.startsWith(start) ? start.length : 0);
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

function sentence(statement: StatementView): string {
  const outputs = statement.shown.filter((one) => one.role === "output");
  const model = `the model ${statement.modelSha256.slice(0, 12)}\u2026 (circuit \u201c${statement.circuitName}\u201d)`;
  const kinds = new Set(statement.tensors.filter((one) => one.role === "input").map((one) => one.visibility));
  const from = kinds.has("private") ? "an input that stays hidden" : kinds.has("hashed") ? "an input that is bound by its digest and not shown" : "the input shown here";
  if (statement.batch) return `It is proven that ${model} computed ${statement.batch.items.toLocaleString("en")} inferences, each by itself, from ${from}.`;
  const said = outputs.map((one) => ({ one, text: conclusion(one) }));
  if (statement.shown.some((one) => one.part === "answer")) return `It is proven that ${model} put out the answer shown here, token by token, after ${statement.shown.some((one) => one.part === "prompt") ? "the prompt shown here" : "a prompt that stays hidden"}.`;
  if (said.length === 1 && said[0]!.text) return `It is proven that ${model} computed ${said[0]!.one.decisions ? "" : `${said[0]!.one.name} = `}${said[0]!.text} from ${from}.`;
  return `It is proven that ${model} computed ${outputs.length ? "the output shown here" : "an output that is not shown"} from ${from}.`;
}

// --- the page ---

class Page {
  private readonly held = embedded();
  private files: Omit<Job, "run" | "context"> = { ...this.held, input: null, output: null };
  private run = 0;
  private worker: Worker | null = null;
  private cards: BundleCard[] = [];
  private outcomes: OutcomeView[] = [];
  private programSha256 = "";

  constructor(private readonly program: string) {
    for (const [id, key] of [["file-bundle", "bundles"], ["file-lock", "lock"], ["file-trust", "trust"], ["file-tokenizer", "tokenizer"], ["file-input", "input"], ["file-output", "output"]] as const) {
      const field = part(id) as HTMLInputElement;
      field.addEventListener("change", () => {
        const chosen = [...(field.files ?? [])].map((file) => ({ name: file.name, data: file }));
        if (chosen.length) this.take({ [key]: key === "bundles" ? chosen : chosen[0]! });
      });
    }
    part("again").addEventListener("click", () => { this.start(); });
    part("reset").addEventListener("click", () => {
      for (const field of document.querySelectorAll("input")) field.value = "";
      this.take({ ...this.held, input: null, output: null });
    });
    part("context").addEventListener("keydown", (event) => { if (event.key === "Enter") this.start(); });
    document.addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dropping"); });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dropping"); });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      this.dropped([...(event.dataTransfer?.files ?? [])]);
    });
    window.addEventListener("beforeprint", () => { for (const one of document.querySelectorAll("details")) one.open = false; });
  }

  async begin(): Promise<void> {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(this.program)));
    this.programSha256 = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.pins(null);
    this.state("waiting");
    if (this.files.bundles.length) this.start();
    else fill(part("verdict-lead"), "This page holds no bundle. Drop a bundle and the circuit.lock that you trust.");
  }

  /** Files by their names: locks and trust files say what they are, tensors end like tensors, anything else is a bundle. */
  private dropped(files: readonly File[]): void {
    const taken: { -readonly [key in keyof Omit<Job, "run" | "context">]?: Job[key] } = {};
    for (const file of files) {
      const one = { name: file.name, data: file };
      if (/\.lock$/i.test(file.name)) taken.lock = one;
      else if (/\.toml$/i.test(file.name)) taken.trust = one;
      else if (/tokenizer\.json$/i.test(file.name)) taken.tokenizer = one;
      else if (/\.(?:npz|npy|json)$/i.test(file.name)) taken.input = one;
      else taken.bundles = [...(taken.bundles ?? []), one];
    }
    if (files.length) this.take(taken);
  }

  private take(files: Partial<Omit<Job, "run" | "context">>): void {
    this.files = { ...this.files, ...files };
    this.start();
  }

  private start(): void {
    const run = ++this.run;
    part("verdict").dataset["run"] = String(run);
    this.worker?.terminate();
    this.worker = null;
    this.cards = [];
    this.outcomes = [];
    fill(part("bundles"));
    part("problem").hidden = true;
    this.pins(null);
    this.state("working");
    const context = (part("context") as HTMLInputElement).value;
    const job: Job = { ...this.files, run, context: context === "" ? null : context };
    const hear = (message: Message): void => { if (message.run === this.run) this.hear(message); };
    try {
      const worker = new Worker(URL.createObjectURL(new Blob([this.program], { type: "text/javascript" })));
      this.worker = worker;
      worker.addEventListener("message", (event: MessageEvent<Message>) => { hear(event.data); });
      worker.addEventListener("error", (event) => { event.preventDefault(); hear({ kind: "done", run, problem: bug(event.message) }); });
      worker.postMessage(job);
    } catch {
      void work(job, hear); // a browser without workers here: the page stands still meanwhile, and checks all the same
    }
  }

  private hear(message: Message): void {
    const card = "bundle" in message ? this.cards[message.bundle] : undefined;
    switch (message.kind) {
      case "pins":
        this.pins(message);
        break;
      case "begin": {
        const made = new BundleCard(message.name, message.bytes, this.files.trust !== null, this.files.bundles.length === 1, { input: this.files.input !== null, output: this.files.output !== null });
        this.cards.push(made);
        part("bundles").append(made.root);
        break;
      }
      case "progress":
        card?.progress(message.step, message.what, message.done, message.total);
        break;
      case "finding":
        card?.found(message.finding);
        this.count();
        break;
      case "outcome":
        this.outcomes.push(message.outcome);
        card?.outcome(message.outcome);
        break;
      case "done":
        this.done(message.problem);
        break;
    }
  }

  private count(): void {
    const held = this.cards.reduce((total, card) => total + card.held, 0);
    part("count").hidden = false;
    fill(part("count"), `${counted(held, "check holds", "checks hold")} so far`);
  }

  private done(problem: Finding | null): void {
    if (problem) {
      fill(part("problem"), `${problem.message}${problem.where ? ` (${problem.where})` : ""} `, el("code", {}, problem.code), ...coded(problem.remedy ? ` ${problem.remedy}` : ""));
      part("problem").hidden = false;
      this.state(problem.outcome === "rejected" ? "rejected" : problem.code === "bug" ? "undecided" : "not-checked", `${problem.message}${problem.where ? ` (${problem.where})` : ""}. ${problem.remedy ?? ""}`);
      return;
    }
    const verdicts = this.outcomes.map((one) => one.verdict);
    // The order of statuses for several bundles: 1 before 3 before 4 before 2. No bundle at all is never an acceptance.
    const states = this.outcomes.map(stateOf);
    const worst = (["rejected", "policy-not-met", "undecided", "not-checked"] as const).find((one) => verdicts.includes(one));
    const whole = this.outcomes.length && this.outcomes.every((one) => stateOf(one) === "accepted");
    const onlyRebuild = worst === "policy-not-met" && states.every((one) => one === "rebuild" || one === "accepted");
    const verdict: State = onlyRebuild ? "rebuild" : worst ?? (whole ? "accepted" : this.outcomes.length ? "partly" : "undecided");
    const unjudged = [...new Set(this.outcomes.flatMap((one) => one.unjudged))];
    const failed = this.outcomes.flatMap((one) => one.findings).find((one) => one.outcome !== "holds" && one.outcome !== "not-checked");
    const first = this.outcomes[0];
    const single = this.outcomes.length === 1 && first?.statement && (verdict === "accepted" || verdict === "partly" || verdict === "rebuild") ? sentence(first.statement) : "";
    const lead = failed && verdict !== "rebuild" ? `${WORDS[verdict][1]} The first thing found: ${failed.message}${failed.where ? ` (${failed.where})` : ""}.` : [single, WORDS[verdict][1], verdict === "partly" ? `Not checked here: ${unjudged.join("; ")}. Use \`verifai audit\` for it.` : ""].filter(Boolean).join(" ");
    this.state(verdict, lead);
    fill(part("verdict-more"), ...(verdict !== "rejected" && this.outcomes.some((one) => one.findings.some((found) => found.code === REBUILD)) ? rebuildWords() : []));
    const held = this.cards.reduce((total, card) => total + card.held, 0);
    const open = this.outcomes.flatMap((one) => one.findings).filter((one) => one.outcome === "not-checked").length;
    const many = this.outcomes.length > 1 ? `${this.outcomes.length} bundles: ${this.outcomes.filter((one) => stateOf(one) === "accepted").length} verified. ` : "";
    fill(part("count"), `${many}${counted(held, "check holds", "checks hold")}${open ? `; ${counted(open, "thing was not checked, and is", "things were not checked, and are")} named below` : ""}.`);
    part("count").hidden = false;
  }

  private state(state: State, lead = WORDS[state][1]): void {
    part("verdict").dataset["state"] = state;
    part("seal").replaceChildren(seal(state));
    fill(part("verdict-word"), WORDS[state][0]);
    fill(part("verdict-lead"), ...coded(lead));
    fill(part("verdict-more"));
    if (state === "working") part("count").hidden = true;
    document.title = `${WORDS[state][0]}: evidence page`;
    fill(part("announcer"), `${WORDS[state][0]}. ${state === "working" ? "" : lead}`);
  }

  private pins(found: Extract<Message, { kind: "pins" }> | null): void {
    const rows: [string, string][] = [];
    const given = (one: NamedFile, own: NamedFile | null): string => (own && own !== one ? "; you gave it, and it is not the one that this page holds" : "");
    if (this.files.lock) rows.push(["Lock", `${this.files.lock.name}${found ? `, circuit \u201c${found.lockName}\u201d` : ""}${given(this.files.lock, this.held.lock)}`]);
    if (found) rows.push(["Lock, SHA-256", found.lockSha256]);
    if (found?.tokenizerSha256) rows.push(["Tokenizer, SHA-256", found.tokenizerSha256]);
    if (found?.untold) rows.push(["Texts of tokens", `not shown: ${found.untold}`]);
    if (this.files.trust) rows.push(["Trust file", `${this.files.trust.name}${found?.signers.length ? ` (${found.signers.join("; ")})` : ""}${given(this.files.trust, this.held.trust)}`]);
    else rows.push(["Trust file", "none: nobody's signature is judged"]);
    if (found?.trustSha256) rows.push(["Trust file, SHA-256", found.trustSha256]);
    if (this.programSha256) rows.push(["Program, SHA-256", this.programSha256]);
    fill(part("pins"), ...rows.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, /^[0-9a-f]{64}$/.test(value) ? el("code", {}, value) : value)]));
  }
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

function bug(message: string): Finding {
  return { code: "bug", outcome: "undecided", message: `this page failed: ${message.slice(0, 300)}`, remedy: "Report it, and use another verifier." };
}

if (typeof document === "undefined") {
  self.addEventListener("message", (event: MessageEvent<Job>) => {
    void work(event.data, (message) => { self.postMessage(message); });
  });
} else {
  const program = document.getElementById("program")?.textContent ?? "";
  const page = new Page(program);
  page.begin().catch((problem: unknown) => {
    fill(part("verdict-lead"), bug(String(problem)).message);
  });
}
