// Times of evidence pages in headless Chromium: node measure.mjs PAGE.html... (after npm ci). One line each: verdict, seconds from
// opening the file to the verdict, CPU seconds and peak memory of the largest renderer process, bytes of the page.
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";

import puppeteer from "puppeteer-core";

const timeout = 600_000;
for (const path of process.argv.slice(2)) {
  const executablePath = process.env.VERIFAI_CHROMIUM ?? "/usr/bin/chromium";
  const browser = await puppeteer.launch({ executablePath, headless: true, args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"], protocolTimeout: timeout });
  const [page, session, began] = [await browser.newPage(), await browser.target().createCDPSession(), performance.now()];
  await page.goto(`file://${resolve(path)}`, { timeout });
  await page.waitForFunction(() => !["waiting", "working"].includes(document.getElementById("verdict").dataset.state), { timeout });
  const seconds = (performance.now() - began) / 1000;
  const { processInfo } = await session.send("SystemInfo.getProcessInfo");
  const peak = (one) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${one.id}/status`, "utf8"))[1]) / 1024;
  const [largest] = processInfo.filter((one) => one.type === "renderer").sort((left, right) => peak(right) - peak(left));
  const verdict = await page.$eval("#verdict-word", (node) => node.textContent);
  console.log(`${path}: ${verdict}, ${seconds.toFixed(2)} s, ${largest.cpuTime.toFixed(2)} s CPU, ${peak(largest).toFixed(0)} MiB, ${statSync(path).size} bytes`);
  await browser.close();
}
