// Every page at a desk, on a tablet and on a phone, in light and dark: nothing that a
// program can see is wrong with it. How it looks is for people: `npm run screens`.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWell, SCHEMES, scene, WIDTHS } from "./support.js";
import { CONFIG, PAGES, populate } from "./world.js";

describe("every page, at every width, in light and dark", () => {
  const here = scene(CONFIG, populate);
  for (const [name, path] of Object.entries(PAGES)) {
    test(name, async (t) => {
      for (const scheme of SCHEMES) {
        const visitor = await here.visit(t, path, { scheme });
        for (const width of WIDTHS) {
          await visitor.page.setViewportSize({ width, height: 900 });
          await isWell(visitor, `${name} at ${width}, ${scheme}`);
        }
        assert.deepEqual(await visitor.page.evaluate(bareNumbers), [], name);
      }
    });
  }
});

/** Numbers of four digits or more without a mark, in all that is read or heard. Ids,
 * addresses, times and what stands in code or configuration are no numbers. */
function bareNumbers() {
  const isBare = (text) => /(?<![\w.:-])\d{4,}(?![\w:-])/.test(text);
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const { data, parentElement } = texts.currentNode;
    if (isBare(data) && !parentElement.closest("script, time, pre, code, .mono")) {
      found.push(data.trim());
    }
  }
  for (const element of document.body.querySelectorAll("*:not(time, option)")) {
    for (const name of ["title", "aria-label", "placeholder"]) {
      found.push(element.getAttribute(name) ?? "");
    }
    if (element.matches("input:not([type=hidden])")) {
      found.push(element.value);
    }
  }
  return found.filter(isBare);
}
