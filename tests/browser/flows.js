// What a user does on the pages: `node flows.js FLOW URL`, with playwright-core on NODE_PATH.
"use strict";
const assert = require("node:assert/strict");
const { chromium } = require("playwright-core");

const ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const PHONE = { width: 360, height: 740 };
const TIMEOUT_MS = 30000;

const FLOWS = {
  async classifies(page) {
    await page.goto("/");
    await shows(page, "#health", /^ready$/);
    await page.getByRole("textbox", { name: "Text" }).fill("will it rain in Zürich, y'all?");
    await shows(page, "#scores li:first-child", /^weather\/find/);
    assert.match(await page.innerText("#curl"), /--data-urlencode 'doc=will it rain in Zürich, y'\\''all\?'$/);
    await page.getByRole("button", { name: "remind me to call mum" }).click();
    await shows(page, "#scores li:first-child", /^reminder\/set_reminder/);
    await shows(page, "#note", /^[\d.]+ ms, network included$/);
  },

  async replies_and_embeds(page) {
    await page.goto("/");
    await page.selectOption("#model", "replies");
    await page.fill("#text", "Hello");
    await shows(page, "#scores", /How are you sir\?/);
    await page.fill("#text", "remind me to call mum");
    await shows(page, "#note", /^no reply to this/);
    await page.selectOption("#model", "vectors");
    await page.fill("#text", "the same words");
    await page.fill("#other", "the same words");
    await shows(page, "#scores", /^cosine of two vectors of \d+ numbers\s+1\.000$/);
    await page.fill("#other", "others");
    await shows(page, "#scores", /numbers\s+(0\.\d+|-\d\.\d+)$/);
  },

  async generates_until_stopped(page) {
    await page.goto("/");
    await shows(page, "#health", /^ready$/);
    await page.fill("#text", "Every evening");
    await page.selectOption("#model", "texts");
    await shows(page, "#note", /^60 tokens, \d+ a second$/);
    assert.match(await page.innerText("#generated"), /^Every evening.{20,}/s);
    const postData = JSON.stringify({ prompt: "Every evening", max_tokens: 1000, stream: true, model: "texts" });
    await page.route("**/generate", (route) => route.continue({ postData }));
    await page.getByRole("button", { name: "Generate" }).click();
    await shows(page, "#note", /^[2-9]\d tokens/);
    await page.getByRole("button", { name: "Stop" }).click();
    const note = await shows(page, "#note", /^\d+ tokens, \d+ a second stopped$/);
    const text = await page.innerText("#generated");
    await page.waitForTimeout(300);
    assert.equal(await page.innerText("#generated"), text);
    assert.ok(parseInt(note) < 1000, note);
    await page.getByRole("button", { name: "Generate" }).waitFor();
  },

  async chats(page) {
    await page.goto("/");
    await shows(page, "#health", /^ready$/);
    await page.selectOption("#model", "chat");
    await page.fill("#text", "will it rain?");
    assert.match(await page.innerText("#curl"), /v1\/chat\/completions.*"content":"will it rain\?"/s);
    await page.getByRole("button", { name: "Send" }).click();
    await shows(page, "#note", /^[\d.]+ ms, network included$/);
    const first = await page.innerText("#generated");
    assert.match(first, /^You\s+will it rain\?\s+The model\s+\S/);
    assert.equal(await page.inputValue("#text"), "");
    await page.fill("#text", "and tomorrow?");
    await page.press("#text", "Enter");
    await shows(page, "#generated", /and tomorrow\?\s+The model\s+\S/);
    assert.ok((await page.innerText("#generated")).startsWith(first));
    assert.match(await page.innerText("#curl"), /"role":"assistant"/);
    await shows(page, "#note", /^[\d.]+ ms, network included$/);
    await page.getByRole("button", { name: "New conversation" }).click();
    await shows(page, "#generated", /^$/);
    await page.fill("#text", "");
    await page.selectOption("#model", "texts");
    await page.getByRole("button", { name: "Generate" }).waitFor();
  },

  async tells_what_is_wrong(page, wrong) {
    await page.goto("/");
    await shows(page, "#health", /^ready$/);
    await page.fill("#text", "a ".repeat(5000));
    await shows(page, "#note", /^413: the text has more than 4096 tokens \(setting max_tokens\)$/);
    assert.equal(await page.locator("#scores li").count(), 0);
    await page.context().setOffline(true);
    await page.fill("#text", "set an alarm");
    await shows(page, "#note", /^the service does not answer$/);
    await shows(page, "#health", /^no answer$/);
    await page.context().setOffline(false);
    await shows(page, "#scores li:first-child", /^alarm\/set_alarm/);
    await shows(page, "#health", /^ready$/);
    assert.deepEqual(new Set(wrong.splice(0).map((text) => text.replace(/\(.*/, ""))), new Set([
      "Failed to load resource: the server responded with a status of 413 ",
      "Failed to load resource: net::ERR_INTERNET_DISCONNECTED",
    ]));
  },

  async tries_the_routes(page) {
    await page.goto("/swagger");
    await shows(page, "#title", /^Text generation$/);
    await page.getByRole("button", { name: "Send" }).click();
    await shows(page, "output", /^200 OK$/);
    assert.equal(JSON.parse(await page.innerText("form pre")).input, "Artificial Intelligence is a");
    await page.getByLabel("Description").selectOption("All routes");
    for (const [route, answer] of [["GET/predict", /"alarm\/set_alarm"/], ["POST/v1/embeddings", /"model":"vectors"/],
      ["POST/v1/completions", /"model":"texts"/], ["GET/readyz", /^\{"ready":true\}/]]) {
      const operation = page.locator("details").filter({ has: page.locator("summary", { hasText: route }) }).first();
      await operation.locator("summary").click();
      await operation.getByRole("button", { name: "Send" }).click();
      await shows(operation, "output", /^200 OK$/);
      await shows(operation, "pre", answer);
    }
    await page.reload();
    await shows(page, "#title", /^Prediction service$/);
  },
};

// The text of an element, as soon as it is like this.
async function shows(place, selector, wanted) {
  const element = place.locator(selector), end = Date.now() + TIMEOUT_MS;
  for (let text; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    text = await element.innerText({ timeout: 100 }).catch(() => "");
    if (wanted.test(text)) return text;
    if (Date.now() > end) assert.match(text, wanted, selector);
  }
}

async function main(name, baseURL) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS });
  const page = await browser.newPage({ baseURL, viewport: PHONE });
  const wrong = [];
  page.on("console", (message) => message.type() === "error" && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(error.stack));
  page.on("request", (request) => {
    if (!request.url().startsWith(`${baseURL}/`)) wrong.push(`a request to another place: ${request.url()}`);
  });
  try {
    await FLOWS[name](page, wrong);
    assert.deepEqual(wrong, []);
    const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(tooWide <= 0, `the page is ${tooWide} pixels wider than a phone`);
  } finally {
    await browser.close();
  }
}

main(...process.argv.slice(2));
