// What pages do by script, and can do without: follow changes, show times where one
// is, draw curves, and keep the theme that was chosen.

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// ---- times ------------------------------------------------------------------

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone ?? "UTC";
const today = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const otherDay = new Intl.DateTimeFormat(undefined, {
  month: "short", day: "numeric", hour: "2-digit", minute: "2-digit",
});
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/** Writes times as the reader's clock has them; the server writes UTC. */
function localise(root) {
  const now = new Date();
  for (const time of all("time[datetime]", root)) {
    const moment = new Date(time.dateTime);
    if (Number.isNaN(moment.getTime())) continue;
    const isToday = moment.toDateString() === now.toDateString();
    time.textContent = (isToday ? today : otherDay).format(moment);
    time.title = whole.format(moment);
  }
  for (const place of all("[data-zone]", root)) place.textContent = zone;
}

// ---- theme ------------------------------------------------------------------

const THEMES = ["auto", "light", "dark"];
const ICONS = { auto: "◐", light: "☀", dark: "☾" };
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function themeSwitch(button) {
  const root = document.documentElement;
  const show = () => {
    const chosen = root.dataset.theme ?? "auto";
    button.textContent = ICONS[chosen];
    button.setAttribute("aria-label", `Theme: ${chosen}`);
    button.title = `Theme: ${chosen}`;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") {
      delete root.dataset.theme;
      localStorage.removeItem("theme");
    } else {
      root.dataset.theme = next;
      localStorage.setItem("theme", next);
    }
    show();
    redrawCurves();
  });
  show();
  button.hidden = false;
}

// ---- what scrolls -----------------------------------------------------------

/** What does not fit can be scrolled by keyboard, and has a name. */
function reach() {
  for (const place of all(".scroll, pre")) {
    if (place.scrollWidth <= place.clientWidth) {
      for (const name of ["tabindex", "role", "aria-label"]) place.removeAttribute(name);
      continue;
    }
    const title = place.querySelector("caption") ?? place.closest("section")?.querySelector("h2, h3");
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", title?.textContent.trim() || "Scrolls sideways");
  }
}

// ---- changes ----------------------------------------------------------------

const isForm = (node) => node instanceof HTMLInputElement || node instanceof HTMLSelectElement
  || node instanceof HTMLTextAreaElement;

/** True if somebody is at work in this form: it is left as it is. */
const isBusy = (form) =>
  (isForm(document.activeElement) && form.contains(document.activeElement))
  || [...form.elements].some((field) =>
    field.type !== "hidden" && "defaultValue" in field && field.value !== field.defaultValue);

/** Makes `old` what `next` is and keeps every node that can stay: with it stay focus,
 *  selection, what was scrolled and what was opened. */
function morph(old, next) {
  if (old.nodeType !== next.nodeType || old.nodeName !== next.nodeName || old.id !== next.id) {
    old.replaceWith(next);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  if (old.isEqualNode(next) || (old.nodeName === "FORM" && isBusy(old))) return;
  for (const { name } of [...old.attributes]) {
    const isOpened = name === "open" && old.nodeName === "DETAILS";
    if (!next.hasAttribute(name) && !isOpened) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  // A row that has moved is found by its id.
  let place = old.firstChild;
  for (const child of [...next.childNodes]) {
    const known = child.id ? [...old.children].find((other) => other.id === child.id) : undefined;
    if (known && known !== place) old.insertBefore(known, place);
    const here = known ?? place;
    if (!here) {
      old.append(child);
      continue;
    }
    place = here.nextSibling;
    if (!known && here.id && here.id !== child.id) {
      // It belongs further down, or is gone: what is new stands before it.
      old.insertBefore(child, here);
      place = here;
      continue;
    }
    morph(here, child);
  }
  while (place) {
    const rest = place.nextSibling;
    place.remove();
    place = rest;
  }
}

function follow() {
  const stale = document.getElementById("stale");
  let source;
  let heard = Date.now();
  let again;
  const say = (text) => {
    stale.textContent = text;
    stale.hidden = text === "";
  };
  const clock = () => today.format(new Date(heard));
  const listen = () => {
    clearTimeout(again);
    source = new EventSource(location.href);
    source.addEventListener("open", () => say(""));
    source.addEventListener("regions", (event) => {
      heard = Date.now();
      say("");
      for (const [id, html] of Object.entries(JSON.parse(event.data))) swap(id, html);
      drawCurves();
      reach();
    });
    source.addEventListener("trouble", (event) => {
      const text = JSON.parse(event.data);
      say(text && `${text} These are the numbers of ${clock()}.`);
    });
    source.addEventListener("error", () => {
      // It tries again by itself, unless it was refused.
      if (source.readyState !== EventSource.CLOSED) {
        again = setTimeout(() => say(`No connection. These are the numbers of ${clock()}.`), 3000);
        source.addEventListener("open", () => clearTimeout(again), { once: true });
        return;
      }
      say(`This page is not followed any more. These are the numbers of ${clock()}.`);
      again = setTimeout(async () => {
        const answer = await fetch(location.href).catch(() => undefined);
        if (answer?.redirected) location.reload();
        else listen();
      }, 5000);
    });
  };
  // A page that nobody sees costs nothing, and holds no connection.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(again);
      source.close();
    } else if (source.readyState === EventSource.CLOSED) {
      listen();
    }
  });
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
  listen();
}

/** Leaves what is said in peace, also for those who listen, until there is more to say. */
function askAgain(seconds) {
  setTimeout(async () => {
    const answer = await fetch(location.href).catch(() => undefined);
    if (answer?.ok) location.replace(location.pathname + location.search);
    else if (!answer || [429, 503, 504].includes(answer.status)) askAgain(seconds);
  }, seconds * 1000);
}

function swap(id, html) {
  const old = document.getElementById(id);
  const template = document.createElement("template");
  template.innerHTML = html;
  const next = template.content.firstElementChild;
  if (!old || !next) return;
  localise(next);
  morph(old, next);
}

// ---- curves -----------------------------------------------------------------

/** By the id of the element with the data. */
const curves = new Map();

/** A token's colour in the theme that holds: the token itself names both. */
function token(name) {
  const painted = document.createElement("i");
  painted.style.color = `var(${name})`;
  document.body.append(painted);
  const { color } = getComputedStyle(painted);
  painted.remove();
  return color;
}
const thousands = new Intl.NumberFormat(undefined);

/** Draws what stands in `<script type="application/json" data-curve="ID">` in the
 *  element ID: `{x: [seconds], series: [{name, colour, values}], lines: [{at, text}], max}`.
 *  `colour` is a token's name; series are drawn one above the other's ground. */
function drawCurves() {
  if (!window.uPlot) return;
  for (const island of all("script[data-curve]")) {
    const place = document.getElementById(island.dataset.curve);
    if (!place) continue;
    const known = curves.get(island.dataset.curve);
    if (known?.text === island.textContent && known.place === place) continue;
    const data = JSON.parse(island.textContent);
    const values = [data.x, ...data.series.map((series) => series.values)];
    if (known?.place === place && known.plot.series.length === values.length) {
      known.text = island.textContent;
      known.data = data;
      known.plot.setData(values);
      continue;
    }
    known?.plot.destroy();
    curves.set(island.dataset.curve, { text: island.textContent, place, data });
    draw(curves.get(island.dataset.curve), values);
  }
}

const tint = (colour) => `color-mix(in srgb, ${token(colour)} 22%, transparent)`;
const hours = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function draw(curve, values) {
  const { place, data } = curve;
  const ink = token("--muted");
  const axis = { stroke: ink, grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
  const size = () => ({ width: place.clientWidth, height: place.clientWidth < 500 ? 180 : 240 });
  curve.plot = new uPlot({
    ...size(),
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    legend: { live: true },
    scales: { x: { time: true, range: (_, first, last) => [Math.min(first, last - 3600), last] }, y: { range: (_, __, high) => [0, Math.max(curve.data.max ?? 0, high, 1) * 1.06] } },
    axes: [
      { ...axis, grid: { show: false }, values: (_, marks) => marks.map((mark) => hours.format(new Date(mark * 1000))) },
      { ...axis, size: 62, values: (_, marks) => marks.map((mark) => thousands.format(mark)) },
    ],
    series: [
      { value: (_, at) => (at == null ? "–" : otherDay.format(new Date(at * 1000))) },
      ...data.series.map(({ name, colour }, index) => ({
        label: name,
        stroke: token(colour),
        fill: index === data.series.length - 1 ? tint(colour) : undefined,
        width: 2,
        points: { show: curve.data.x.length < 12, size: 4 },
        value: (_, number) => (number == null ? "–" : thousands.format(number)),
      })),
    ],
    // Each is the ground of what stands above the next one.
    bands: data.series.slice(1).map((_, index) => (
      { series: [index + 1, index + 2], fill: tint(data.series[index].colour) }
    )),
    hooks: { draw: [(plot) => drawLines(plot, curve.data.lines ?? [])] },
  }, values, place);
  curve.size ??= new ResizeObserver(() => curve.plot.setSize(size()));
  curve.size.disconnect();
  curve.size.observe(place);
}

/** Thresholds: a thin line each, with its words above it. */
function drawLines(plot, lines) {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "right";
  ctx.setLineDash([4 * scale, 3 * scale]);
  ctx.lineWidth = scale;
  for (const { at, text, below } of lines) {
    const y = plot.valToPos(at, "y", true);
    if (y < bbox.top) continue;
    ctx.strokeStyle = ctx.fillStyle = token("--tick");
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    ctx.textBaseline = below ? "top" : "bottom";
    ctx.fillText(text, bbox.left + bbox.width - 4 * scale, y + (below ? 4 : -3) * scale);
  }
  ctx.restore();
}

/** In the colours of another theme. */
function redrawCurves() {
  for (const curve of curves.values()) {
    curve.plot.destroy();
    const { x, series } = curve.data;
    draw(curve, [x, ...series.map(({ values }) => values)]);
  }
}

// ---- all of it --------------------------------------------------------------

localise(document);
reach();
addEventListener("resize", reach);
themeSwitch(document.getElementById("theme"));
prefersDark.addEventListener("change", redrawCurves);
drawCurves();
if (document.body.hasAttribute("data-live")) follow();
if (document.body.hasAttribute("data-again")) askAgain(Number(document.body.dataset.again));
