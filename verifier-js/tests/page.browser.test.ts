/** The evidence page in real headless Chromium, opened from `file:`. Skipped, saying so, where no Chromium is installed. */

import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { after, before, describe } from "node:test";

import puppeteer, { type Browser, type ElementHandle, type Page } from "puppeteer-core";

const CHROMIUM = [process.env["VERIFAI_CHROMIUM"] ?? "", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
const FIXTURES = "../fixtures/bundles/sumcheck-2";
const MINUTES = 240_000;

interface Held {
  readonly kind: "bundle" | "lock" | "trust" | "tokenizer";
  readonly name: string;
  readonly data: Uint8Array;
}

const file = (name: string): Buffer => readFileSync(join(FIXTURES, name));
const base64 = (data: Uint8Array | string): string => Buffer.from(data).toString("base64");
const held = (kind: Held["kind"], name: string, data: Uint8Array = file(name)): Held => ({ kind, name, data });
const ANSWER = "../sumcheck-2-answer";
const GOOD = [held("lock", "public.lock"), held("trust", "trust.toml"), held("bundle", "public.vbundle")];

function composed(files: readonly Held[]): string {
  const blocks = files.map((one) => `<script type="application/octet-stream" data-kind="${one.kind}" data-name="${base64(one.name)}">${base64(one.data)}</script>`);
  return readFileSync("dist/page.html", "utf8").replace("<!--verifai:data-->", () => blocks.join("\n"));
}

describe("the evidence page in Chromium", { skip: CHROMIUM ? false : "Chromium is not installed here" }, () => {
  let browser: Browser;
  let folder: string;
  let number = 0;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "verifai-page-"));
    // Without the sandbox of the operating system, which containers do not offer; the page's own policy is what is tested.
    browser = await puppeteer.launch({ executablePath: CHROMIUM!, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"], protocolTimeout: MINUTES });
  });
  after(async () => {
    await browser.close();
    rmSync(folder, { recursive: true });
  });

  const save = (name: string, data: Uint8Array | string): string => {
    const path = join(folder, `${number++}-${name}`);
    writeFileSync(path, data);
    return path;
  };

  async function opened(html: string, wait = true): Promise<{ page: Page; foreign: string[]; errors: string[] }> {
    const page = await browser.newPage();
    const [foreign, errors]: [string[], string[]] = [[], []];
    page.on("request", (request) => {
      if (!/^(?:file|blob|data):/.test(request.url())) foreign.push(request.url());
    });
    page.on("pageerror", (problem) => errors.push(String(problem)));
    page.on("dialog", (dialog) => {
      errors.push(`dialog: ${dialog.message()}`);
      void dialog.dismiss();
    });
    await page.goto(`file://${save("page.html", html)}`);
    if (wait) await settled(page);
    return { page, foreign, errors };
  }

  /** Until a run later than `after` has its verdict. */
  async function settled(page: Page, after = 0): Promise<void> {
    const done = (past: number): boolean => {
      const { state = "waiting", run = "0" } = document.getElementById("verdict")?.dataset ?? {};
      return Number(run) > past && !["waiting", "working"].includes(state);
    };
    await page.waitForFunction(done, { timeout: MINUTES }, after);
  }

  const runOf = (page: Page): Promise<number> => page.$eval("#verdict", (node) => Number((node as HTMLElement).dataset["run"] ?? "0"));

  const word = (page: Page): Promise<string> => page.$eval("#verdict-word", (node) => node.textContent);
  const text = (page: Page): Promise<string> => page.$eval("body", (node) => node.innerText);
  const codes = (page: Page): Promise<string[]> => page.$$eval(".step .code", (nodes) => nodes.map((node) => node.textContent));

  async function give(page: Page, id: string, path: string): Promise<void> {
    const before = await runOf(page);
    await ((await page.$(`#${id}`)) as ElementHandle<HTMLInputElement>).uploadFile(path);
    await settled(page, before);
  }

  test("says that nothing was checked before anything was checked", () => {
    const html = composed(GOOD);
    assert.match(html, /<h1 id="verdict-word">Not checked yet<\/h1>/);
    assert.match(html, /<title>Not checked yet/);
    assert.doesNotMatch(html.slice(0, html.indexOf("<script")), /Verified/);
  });

  test("verifies what it holds, shows it, and asks the network for nothing", async () => {
    const { page, foreign, errors } = await opened(composed(GOOD));
    assert.equal(await word(page), "Verified");
    const shown = await text(page);
    for (const words of ["class 7", "Who signed", "What is hidden", "What is not claimed", "Trust this page only from where you trust"]) assert.ok(shown.includes(words), words);
    assert.ok(await page.$("canvas.picture"));
    assert.deepEqual([foreign, errors], [[], []]);
    assert.match(await page.title(), /^Verified/);
    await page.close();
  });

  for (const kind of ["hashed", "private"]) {
    test(`verifies a bundle whose input is ${kind}, and shows no input`, async () => {
      const { page } = await opened(composed([held("lock", `${kind}.lock`), held("trust", "trust.toml"), held("bundle", `${kind}.vbundle`)]));
      assert.equal(await word(page), "Verified");
      assert.equal((await page.$$(".value.input")).length, 0);
      assert.equal((await page.$$(".withheld")).length, 1);
      await page.close();
    });
  }

  const answer = (tokenizer: Uint8Array | null): Held[] => [
    held("lock", "circuit.lock", file(`${ANSWER}/circuit.lock`)), held("bundle", "answer.vbundle", file(`${ANSWER}/answer.vbundle`)),
    ...(tokenizer ? [held("tokenizer", "tokenizer.json", tokenizer)] : []),
  ];

  test("shows prompt and answer of a language model as text, with special tokens marked", async () => {
    const { page, foreign, errors } = await opened(composed(answer(file(`${ANSWER}/tokenizer.json`))));
    assert.equal(await word(page), "Verified");
    const told = await page.$$eval(".told", (nodes) => nodes.map((node) => node.textContent));
    assert.deepEqual(told.slice(0, 1), ["The capital of France is"]);
    assert.ok(told.includes(" Paris.<|end|>"), told.join(" / "));
    assert.ok((await page.$$eval(".special", (nodes) => nodes.map((node) => node.textContent))).includes("<|end|>"));
    assert.match(await text(page), /put out the answer shown here, token by token, after the prompt shown here/);
    assert.deepEqual([foreign, errors], [[], []]);
    await page.close();
  });

  test("shows text of several lines as lines, and folds what would push the page out of sight", async () => {
    const files = answer(file(`${ANSWER}/tokenizer.json`)).map((one) => (one.kind === "bundle" ? held("bundle", "lines.vbundle", file(`${ANSWER}/lines.vbundle`)) : one));
    const { page, errors } = await opened(composed(files));
    assert.equal(await word(page), "Verified");
    const prompt = await page.$eval(".told", (node) => ({ text: node.textContent, box: node.getBoundingClientRect().height, line: Number.parseFloat(getComputedStyle(node).lineHeight) }));
    assert.equal(prompt.text, "The capital\n\tof\n4 empty lines\nFrance is");
    assert.equal(Math.round(prompt.box / prompt.line), 4);
    assert.doesNotMatch(await text(page), /\\x0a/);
    assert.deepEqual(errors, []);
    await page.close();
  });

  test("a demand to build the circuit again is told as a step that is left, with what to do, and is no green word", async () => {
    const trust = file("trust.toml").toString().replace(/verification_key = "[^"]*"/, 'verification_key = "re-derive"');
    assert.match(trust, /re-derive/);
    const { page } = await opened(composed([held("lock", "public.lock"), held("trust", "trust.toml", Buffer.from(trust)), held("bundle", "public.vbundle")]));
    assert.equal(await word(page), "Proof verified, one step left");
    assert.equal(await page.$eval("#verdict", (node) => (node as HTMLElement).dataset["state"]), "rebuild");
    assert.match(await page.$eval("#verdict-more", (node) => node.textContent), /What this means: .*What to do: run verifai audit/);
    assert.ok((await codes(page)).includes("key-rederivation-missing"));
    // With anything else missing it is not the only step that is left.
    const more = Buffer.from(trust.replace("threshold = 2", "threshold = 1").replace(/"release",\n\s*"second",?/, '"stranger"').replace("[keys]", '[keys]\nstranger = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="'));
    await give(page, "file-trust", save("trust.toml", more));
    assert.equal(await word(page), "Not enough");
    await page.close();
  });

  for (const [how, tokenizer] of [["missing", null], ["another one", Buffer.from("{}")]] as const) {
    test(`shows numbers and says why where the tokenizer is ${how}`, async () => {
      const { page } = await opened(composed(answer(tokenizer)));
      assert.equal(await word(page), "Verified");
      assert.equal((await page.$$(".told")).length, 0);
      assert.match(await text(page), tokenizer ? /tokenizer\.json is not the tokenizer that the lock pins, and was not used/ : /the tokenizer that the lock pins .* is not here/);
      await page.close();
    });
  }

  test("gives no green word where something comes with the proof that it cannot check", async () => {
    const lock = Buffer.concat([file("public.lock"), Buffer.from("\n[provenance]\nrelease = 1\n")]);
    const { page } = await opened(composed([held("lock", "public.lock", lock), held("bundle", "public.vbundle")]));
    assert.equal(await word(page), "Proof verified, not the rest");
    assert.match(await page.$eval("#verdict-lead", (node) => node.textContent), /Not checked here: from which release the model comes/);
    assert.equal(await page.$eval("#verdict", (node) => (node as HTMLElement).dataset["state"]), "partly");
    assert.doesNotMatch(await page.title(), /^Verified/);
    await page.close();
  });

  test("refuses a flipped byte anywhere, and shows no value of it", async () => {
    const data = file("public.vbundle");
    for (const at of [5, Math.floor(data.length / 3), Math.floor(data.length / 2), data.length - 30]) {
      const flipped = Buffer.from(data);
      flipped[at] = flipped[at]! ^ 1;
      const { page } = await opened(composed([held("lock", "public.lock"), held("bundle", "public.vbundle", flipped)]));
      assert.equal(await word(page), "Rejected", `byte ${at}`);
      assert.equal((await page.$$(".value")).length, 0);
      await page.close();
    }
  });

  test("refuses a wrong lock, and says which model the evidence is about", async () => {
    const { page } = await opened(composed([held("lock", "hashed.lock"), held("bundle", "public.vbundle")]));
    assert.equal(await word(page), "Rejected");
    assert.ok((await codes(page)).includes("model-not-pinned"));
    await page.close();
  });

  test("a missing signature is not enough, and not a rejection", async () => {
    const trust = file("trust.toml").toString().replace("threshold = 2", "threshold = 1").replace(/"release",\n\s*"second",?/, '"stranger"').replace("[keys]", '[keys]\nstranger = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="');
    const { page } = await opened(composed([held("lock", "public.lock"), held("trust", "trust.toml", Buffer.from(trust)), held("bundle", "public.vbundle")]));
    assert.equal(await word(page), "Not enough");
    assert.ok((await codes(page)).includes("below-threshold"));
    await page.close();
  });

  test("junk, an empty file, a broken lock and a file of 100 MB get a clear word", async () => {
    for (const junk of [Buffer.alloc(0), Buffer.from("hello"), Buffer.alloc(5000, 0x50)]) {
      const { page } = await opened(composed([held("lock", "public.lock"), held("bundle", "junk", junk)]));
      assert.equal(await word(page), "Rejected");
      await page.close();
    }
    const broken = await opened(composed([held("lock", "public.lock", Buffer.from("x = = 1")), held("bundle", "public.vbundle")]));
    assert.equal(await word(broken.page), "Not checked");
    assert.match(await text(broken.page), /bad-lock/);
    const large = save("large.vbundle", "x");
    truncateSync(large, 100 * 2 ** 20);
    await give(broken.page, "file-lock", join(FIXTURES, "public.lock"));
    assert.equal(await word(broken.page), "Verified");
    await give(broken.page, "file-bundle", large);
    assert.equal(await word(broken.page), "Rejected");
    assert.ok((await codes(broken.page)).includes("bad-archive"));
    await give(broken.page, "file-bundle", join(FIXTURES, "public.vbundle"));
    assert.equal(await word(broken.page), "Verified");
    await give(broken.page, "file-lock", large);
    assert.equal(await word(broken.page), "Not checked");
    await broken.page.close();
  });

  test("text of the evidence, of names and of files is text, whatever it says", async () => {
    const evil = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script></script><!--';
    const label = "<img src=x onerror=window.hit=1>";
    const labels = `[circuit.labels]\nlogits = [${Array.from({ length: 10 }, (_, at) => JSON.stringify(at === 7 ? label : `<b>${at}</b>`)).join(", ")}]\n\n[engine`;
    const lock = file("public.lock").toString().replace("[engine", labels);
    const { page, foreign, errors } = await opened(composed([held("lock", evil, Buffer.from(lock)), held("bundle", evil, Buffer.from("junk"))]));
    // The bundle named so is junk; the good one is then dropped under another such name.
    const path = save("x.vbundle", file("public.vbundle"));
    await give(page, "file-bundle", path);
    assert.equal(await word(page), "Verified");
    assert.ok((await text(page)).includes(label));
    assert.equal(await page.evaluate(() => (window as unknown as { hit?: number }).hit ?? 0), 0);
    assert.equal((await page.$$("img, iframe, object, embed")).length, 0);
    assert.equal((await page.$$("script")).length, 3);
    assert.deepEqual([foreign, errors], [[], []]);
    await page.close();
  });

  test("the policy forbids the network, other scripts and evaluation", async () => {
    const { page } = await opened(composed(GOOD));
    const tried = await page.evaluate(async () => {
      const results: string[] = [];
      await fetch("https://example.org/").then(() => results.push("fetch"), () => undefined);
      await new Promise<void>((resolve) => {
        const picture = new Image();
        picture.onload = (): void => { results.push("image"); resolve(); };
        picture.onerror = (): void => { resolve(); };
        picture.src = "https://example.org/x.png";
      });
      try {
        new Worker("https://example.org/x.js");
        results.push("worker");
      } catch {
        // refused
      }
      const script = document.createElement("script");
      script.textContent = "window.hit = 1";
      document.body.append(script);
      if ((window as unknown as { hit?: number }).hit) results.push("script");
      return results;
    });
    assert.deepEqual(tried, []);
    await page.close();
  });

  test("an empty page checks what is dropped, and compares the reader's own input, output and context", async () => {
    const { page } = await opened(composed([]), false);
    await page.waitForFunction(() => document.getElementById("verdict-lead")?.textContent.includes("Drop a bundle"), { timeout: MINUTES });
    assert.equal(await word(page), "Not checked yet");
    await give(page, "file-bundle", join(FIXTURES, "public.vbundle"));
    assert.equal(await word(page), "Not checked");
    await give(page, "file-lock", join(FIXTURES, "public.lock"));
    assert.equal(await word(page), "Verified");
    const numbers = (await page.$eval("details .numbers", (node) => node.textContent)).split(/\s+/).map(Number);
    // The shown digits are rounded; the circuit's steps are sixteenths, so the nearest one is meant.
    const pixels = numbers.map((value) => Math.round(value * 16) / 16);
    await give(page, "file-input", save("input.json", JSON.stringify({ pixels: [pixels] })));
    assert.equal(await word(page), "Verified");
    assert.ok((await codes(page)).includes("input-matches"));
    pixels[20] = (pixels[20]! + 0.5) % 1;
    await give(page, "file-input", save("other.json", JSON.stringify({ pixels: [pixels] })));
    assert.equal(await word(page), "Rejected");
    assert.ok((await codes(page)).includes("input-mismatch"));
    await page.click("#reset");
    await give(page, "file-lock", join(FIXTURES, "public.lock"));
    await give(page, "file-bundle", join(FIXTURES, "public.vbundle"));
    await page.type("#context", "another");
    const earlier = await runOf(page);
    await page.keyboard.press("Enter");
    await settled(page, earlier);
    assert.ok((await codes(page)).includes("context-mismatch"));
    await page.close();
  });

  test("is usable by keyboard and told to a screen reader", async () => {
    const { page } = await opened(composed(GOOD));
    const reached: string[] = [];
    for (let at = 0; at < 14; at++) {
      await page.keyboard.press("Tab");
      reached.push(await page.evaluate(() => document.activeElement?.id ?? ""));
    }
    for (const id of ["file-bundle", "file-lock", "file-trust", "file-input", "file-output", "context", "again", "reset"]) assert.ok(reached.includes(id), id);
    assert.match(await page.$eval("#announcer[aria-live=polite]", (node) => node.textContent), /^Verified\. It is proven/);
    const tree = JSON.stringify(await page.accessibility.snapshot({ interestingOnly: false }));
    for (const words of ["Verified", "as a picture", "Skip to the verdict", "holds:"]) assert.ok(tree.includes(words), words);
    await page.close();
  });

  test("fits a phone, in light and dark, without scrolling sideways", async () => {
    for (const scheme of ["light", "dark"]) {
      for (const width of [320, 390, 1100]) {
        const { page } = await opened(composed(GOOD));
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await page.setViewport({ width, height: 800 });
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)) <= 0, `${scheme} ${width}`);
        await page.close();
      }
    }
  });
});
