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

  async asks_for_a_token(page, wrong) {
    const token = process.env.TOKEN, stored = () => page.evaluate(() => [sessionStorage.getItem("token"),
      localStorage.length, document.cookie]);
    await page.goto("/");
    await page.locator("#door").waitFor();
    assert.equal(await page.innerText("#refused"), "");
    await page.fill("#token", "wrong");
    await page.getByRole("button", { name: "Use in this tab" }).click();
    await shows(page, "#refused", /^The service does not know this token\.$/);
    assert.deepEqual(await stored(), [null, 0, ""]);
    await page.fill("#token", token);
    await page.getByRole("button", { name: "Use in this tab" }).click();
    await page.locator("#door").waitFor({ state: "hidden" });
    await shows(page, "#scores li:first-child", /^alarm/);
    await page.reload();
    await shows(page, "#scores li:first-child", /^alarm/);
    assert.ok(!(await page.locator("#door").isVisible()));
    assert.deepEqual(await stored(), [token, 0, ""]);
    assert.ok(!(await page.content()).includes(token));
    assert.match(await page.innerText("#curl"), /-H "Authorization: Bearer \$TOKEN"$/);
    const other = await page.context().newPage();  // the tab alone keeps it
    await other.goto("/");
    await other.locator("#door").waitFor();
    assert.deepEqual(new Set(wrong.splice(0).map((text) => text.replace(/\(.*/, ""))), new Set([
      "Failed to load resource: the server responded with a status of 401 ",
    ]));
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
    await shows(page, "#note", /^413: doc: the text has more than 4096 tokens \(setting max_tokens\)$/);
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
    await shows(page, ".info .title", /^Text generation/);
    await executes(page, "post", "/text-generation/generate", /"input": "Artificial Intelligence is a"/);
    await page.getByLabel("Description").selectOption("openapi.json");
    await shows(page, ".info .title", /^Prediction service/);
    for (const [method, path, answer] of [["get", "/predict", /"alarm\/set_alarm"/],
      ["post", "/v1/completions", /"object": "text_completion"/], ["get", "/readyz", /"ready": true/]]) {
      await executes(page, method, path, answer);
    }
    await page.reload();
    await shows(page, ".info .title", /^Prediction service/);
  },

  async works_behind_a_prefix(page) {
    await page.goto("/tools/predictor/");
    await shows(page, "#health", /^ready$/);
    await shows(page, "#scores li:first-child", /^alarm\/set_alarm/);
    assert.match(await page.innerText("#curl"), /^curl -G http:\S+\/tools\/predictor\//);
    await page.getByRole("link", { name: "Models" }).click();
    await shows(page, "body", /"models":/);
    await page.goBack();
    await page.getByRole("link", { name: "HTTP interface" }).click();
    await shows(page, ".info .title", /^Prediction service/);
    await executes(page, "get", "/predict", /"alarm\/set_alarm"/);
    await page.goto("/tools/predictor/swagger/");
    await shows(page, ".info .title", /^Text generation/);
    await executes(page, "post", "/text-generation/generate", /"generated":/);
    await page.getByRole("link", { name: "Try the models" }).click();
    await shows(page, "#scores li:first-child", /^alarm\/set_alarm/);
  },

  async shows_what_fits_the_model(page) {
    await page.goto("/");
    await shows(page, "#examples", /remind me to call mum/);
    for (const [model, text, heading] of [["replies", "How are you?", "Replies"], ["texts", "Artificial Intelligence is a", "Text"],
      ["vectors", "set an alarm for tomorrow at seven", "Similarity"], ["tags", "We met Ada Lovelace in Berlin.", "Parts with a label"],
      ["ranks", "what is the capital of France?", "Ranks"], ["topics", "set an alarm for tomorrow at seven", "Scores"]]) {
      await page.selectOption("#model", model);
      assert.equal(await page.inputValue("#text"), text);
      await shows(page, "#what", new RegExp(`^${heading}$`));
      assert.notEqual(await page.innerText("#examples"), "");
    }
    await page.selectOption("#model", "ranks");
    await shows(page, "#scores li:nth-child(3)", /\d\.\d{3}$/);
    await page.getByRole("button", { name: "when does the ferry leave?" }).click();
    await shows(page, "#scores", /harbour/);
    await page.fill("#other", "");
    await shows(page, "#note", /^there is nothing to rank/);
    await page.selectOption("#model", "tags");
    await shows(page, "#note", /network included$/);
    await page.fill("#text", "my own words");
    await page.selectOption("#model", "replies");
    assert.equal(await page.inputValue("#text"), "my own words");
    await page.fill("#text", "remind me to call mum");
    await shows(page, "#note", /^no reply to this: the model knows none/);
    await page.selectOption("#model", "texts");
    await page.getByRole("button", { name: "Stop" }).click();
    const postData = JSON.stringify({ prompt: "a", max_tokens: 0, stream: true, model: "texts" });
    await page.route("**/generate", (route) => route.continue({ postData }));
    await page.getByRole("button", { name: "Generate" }).click();
    await shows(page, "#note", /^no text: there was room for no more tokens$/);
  },

  async calls_from_another_origin(page, wrong) {
    const service = process.env.SERVICE, json = { "Content-Type": "application/json", "X-Request-Id": "mine" };
    const asks = (path, options) => page.evaluate(async ([url, how]) => {
      try {
        const answer = await fetch(url, how);
        return [answer.status, await answer.text(), answer.headers.get("X-Request-Id")];
      } catch (error) {
        return [0, String(error), null];
      }
    }, [service + path, options]);
    await page.goto("/");
    for (const [path, options, status, wanted] of [
      ["/predict", { method: "POST", headers: json, body: '{"doc": "set an alarm"}' }, 200, /alarm\/set_alarm/],
      ["/?doc=set+an+alarm", {}, 200, /alarm\/set_alarm/],
      ["/?doc=set+an+alarm", { headers: { "X-Request-Id": "mine" } }, 200, /alarm\/set_alarm/],
      ["/", { method: "POST", headers: json, body: '{"inputs": "a"}' }, 200, /^\[\[/],
      ["/v1/completions", { method: "POST", headers: json, body: '{"prompt": "a", "max_tokens": 2, "stream": true}' }, 200, /\[DONE\]/],
      ["/predict", { method: "POST", headers: json, body: "{" }, 400, /JSON/],
      ["/nothing", {}, 404, /there is no path/],
      ["/batches/none", { method: "DELETE" }, 404, /none/],
    ]) {
      const [got, body, id] = await asks(path, options);
      assert.equal(got, status, `${path}: ${body}`);
      assert.match(body, wanted);
      assert.ok(id);
    }
    await page.goto(page.url().replace("127.0.0.1", "localhost"));  // another origin, which may not
    for (const options of [{}, { headers: { "X-Request-Id": "mine" } }]) {
      const [got, body] = await asks("/?doc=a", options);
      assert.deepEqual([got, body], [0, "TypeError: Failed to fetch"]);
    }
    wrong.splice(0);  // the calls to the service, and what the browser says of those that it refused
  },
};

// Open one of Swagger UI's operations, send its example, and look at the answer.
async function executes(page, method, path, wanted) {
  const operation = page.locator(`.opblock-${method}`, { has: page.locator(`[data-path="${path}"]`) }).first();
  const tag = page.locator(".opblock-tag-section", { has: page.locator(`[data-path="${path}"]`) });
  if (!(await operation.isVisible())) {
    for (const one of await page.locator(".opblock-tag-section:not(.is-open) h3").all()) {
      await one.click();
      if (await operation.isVisible()) break;
    }
  }
  await tag.first().waitFor();
  if (!(await operation.locator(".execute").isVisible())) await operation.locator(".opblock-summary-control").click();
  await operation.locator(".execute").click();
  await shows(operation, ".live-responses-table .response .response-col_status", /^200/);
  await shows(operation, ".live-responses-table .response .response-col_description", wanted);
}

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
  const page = await (await browser.newContext({ baseURL, viewport: PHONE })).newPage();
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
