// PAGE PORT PROTOCOL TEXT: a page of another origin makes the call in Chromium; prints the scores.
'use strict';
const { chromium } = require('playwright-core');

const [page, port, protocol, text] = process.argv.slice(2);
(async () => {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
  try {
    const tab = await browser.newPage();
    await tab.goto(page);
    const scores = await tab.evaluate(([port, protocol, text]) => window.call(port, protocol, text), [Number(port), protocol, text]);
    console.log(JSON.stringify(scores));
  } finally {
    await browser.close();
  }
})();
