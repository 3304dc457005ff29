// Pictures of every page at every width, in light and dark, to be looked at.
// Usage: npm run screens [-- FOLDER [NAME…]]   (FOLDER: screens)
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { SCHEMES, startBrowser, startService, WIDTHS } from "./support.js";
import { CONFIG, PAGES, populate } from "./world.js";

const [folder = "screens", ...names] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const [service, browser] = await Promise.all([startService(CONFIG), startBrowser()]);
try {
  await populate(service);
  for (const name of names.length > 0 ? names : Object.keys(PAGES)) {
    for (const scheme of SCHEMES) {
      for (const width of WIDTHS) {
        const { page, problems, close } = await browser.visitor({ width, scheme });
        await page.goto(service.url + PAGES[name]);
        const path = join(folder, `${name}-${width}-${scheme}.png`);
        await page.screenshot({ path, fullPage: true });
        console.log([path, ...problems].join("\n  "));
        await close();
      }
    }
  }
} finally {
  await browser.stop();
  await service.stop();
}
