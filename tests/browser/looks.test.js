// Every page at a desk, on a tablet and on a phone, in light and dark: nothing that a
// program can see is wrong with it. How it looks is for people: `npm run screens`.
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
      }
    });
  }
});
