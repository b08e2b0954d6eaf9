// Scores against strength, drawn point by point: the run's probes, the question alone, random directions.
import { $, el, number, strength, svg } from "./dom.js";
import { events, Refused } from "./api.js";

const LEFT = 44, RIGHT = 12, TOP = 10, BOTTOM = 34, HEIGHT = 236;
const FROM = -1.15, TO = 3.15;

export class Curve {
  constructor(onStrength) {
    this.onStrength = onStrength;
    this.points = [];
    this.bands = [];
    this.about = null;
    this.now = null;
    this.key = "";
    new ResizeObserver(() => this.draw()).observe($("plot"));
    const choose = (event) => {
      if (!this.about || event.buttons !== 1 || !event.target.closest("svg")) return;
      const box = $("plot").getBoundingClientRect();
      const value = FROM + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (TO - FROM);
      this.onStrength(Math.round(Math.max(-1, Math.min(3, value)) * 20) / 20);
    };
    $("plot").addEventListener("pointerdown", choose);
    $("plot").addEventListener("pointermove", choose);
  }

  stop() {
    this.abort?.abort();
    this.abort = null;
    this.key = "";
    $("curve").classList.remove("running");
  }

  clear() {
    this.stop();
    $("curve").hidden = true;
  }

  // Ask for the scores of a use; the old ones stay until the first point of the new ones.
  async run(use, label, tone, preset, on) {
    const key = JSON.stringify([use.id, use.positions, use.span, preset]);
    if (key === this.key) return;
    this.stop();
    this.key = key;
    const abort = (this.abort = new AbortController());
    $("curve").hidden = false;
    $("curve").className = `card curve running tone-${tone}`;
    try {
      const body = { lane: "curve", steering: { ...use, strength: 1 }, preset };
      for await (const event of events("curve", body, abort.signal)) {
        if (abort.signal.aborted) return;
        if (event.type === "about") Object.assign(this, { about: { ...event, steers: label }, points: [], bands: [] });
        else if (event.type === "point") this.points.push(event);
        else if (event.type === "band") this.bands.push(event);
        else if (event.type === "error") $("curve-about").textContent = event.message;
        if (event.type !== "waiting" && event.type !== "error") this.draw();
      }
    } catch (error) {
      if (abort.signal.aborted) return;
      this.key = "";
      if (error instanceof Refused) $("curve-about").textContent = error.message;
      else on({ type: "gone" });
    } finally {
      if (this.abort === abort) { this.abort = null; $("curve").classList.remove("running"); }
    }
  }

  at(value) { this.now = value; this.mark(); }

  draw() {
    if (!this.about || $("curve").hidden) return;
    const width = Math.max(260, $("plot").clientWidth);
    const points = [...this.points].sort((a, b) => a.strength - b.strength);
    const bands = [...this.bands, { strength: 0, scores: [this.about.untouched] }].filter((band) => band.scores.every(Number.isFinite)).sort((a, b) => a.strength - b.strength);
    const values = [this.about.untouched, ...points.flatMap((p) => [p.score, p.question]), ...bands.flatMap((b) => b.scores)].filter(Number.isFinite);
    let [low, high] = this.about.bounded ? [0, 1] : [Math.min(0, ...values), Math.max(0, ...values)];
    if (!this.about.bounded) { const room = 0.08 * (high - low || 1); low -= room; high += room; }
    const x = (value) => LEFT + ((value - FROM) / (TO - FROM)) * (width - LEFT - RIGHT);
    const y = (value) => TOP + ((high - value) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    this.x = x;
    const root = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": this.words(points) });
    for (const tick of ticks(low, high)) {
      root.append(svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }), label(LEFT - 8, y(tick) + 4, number(tick, 2), "end"));
    }
    for (const tick of [-1, 0, 1, 2, 3]) root.append(label(x(tick), HEIGHT - BOTTOM + 18, strength(tick), "middle"), svg("line", { class: "grid", x1: x(tick), x2: x(tick), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }));
    root.append(label((LEFT + width - RIGHT) / 2, HEIGHT - 2, "strength", "middle"));
    if (bands.length > 1) {
      const upper = bands.map((b) => `${x(b.strength)},${y(Math.max(...b.scores))}`);
      const lower = bands.map((b) => `${x(b.strength)},${y(Math.min(...b.scores))}`).reverse();
      root.append(svg("polygon", { class: "band", points: [...upper, ...lower].join(" ") }));
    }
    if (Number.isFinite(this.about.untouched)) root.append(svg("line", { class: "untouched", x1: LEFT, x2: width - RIGHT, y1: y(this.about.untouched), y2: y(this.about.untouched) }));
    const path = (key) => points.filter((p) => Number.isFinite(p[key])).map((p) => `${x(p.strength)},${y(p[key])}`).join(" ");
    root.append(svg("polyline", { class: "question", points: path("question") }), svg("polyline", { class: "line", points: path("score") }));
    for (const point of points) if (Number.isFinite(point.score)) root.append(svg("circle", { class: "point", cx: x(point.strength), cy: y(point.score), r: 3.5 }));
    this.marker = svg("line", { class: "now", y1: TOP, y2: HEIGHT - BOTTOM });
    this.handle = svg("circle", { class: "handle", cy: HEIGHT - BOTTOM, r: 5 });
    root.append(this.marker, this.handle);
    $("plot").replaceChildren(root, this.legend(bands));
    this.mark();
    this.tell(points);
  }

  mark() {
    if (!this.marker || !this.x) return;
    const shown = this.now !== null && this.now >= FROM && this.now <= TO;
    this.marker.style.display = this.handle.style.display = shown ? "" : "none";
    if (shown) { this.handle.setAttribute("cx", this.x(this.now)); this.marker.setAttribute("x1", this.x(this.now)); this.marker.setAttribute("x2", this.x(this.now)); }
  }

  legend(bands) {
    const { n, of, bounded } = this.about;
    const asked = n < of ? `${n} of ${of} questions` : `${n} questions`;
    const entry = (kind, text) => el("span", {}, el("i", { class: `sign ${kind}`, "aria-hidden": "true" }), text);
    return el("p", { class: "legend" },
      entry("line", `${asked}, ${bounded ? "share right" : this.about.label}`),
      entry("question", bounded ? "this one: its right option’s share" : "this one"),
      bands.length > 1 ? entry("band", `${bands[bands.length - 1].scores.length} random directions of the same norm`) : null,
      entry("untouched", "untouched"));
  }

  words(points) {
    return `Score against strength. ${points.map((p) => `at ${p.strength}: ${number(p.score)}`).join("; ")}`;
  }

  tell(points) {
    $("curve-about").textContent = `${this.about.steers}, asked about ${this.about.member}. Drag in the picture to set the strength.`;
    const band = (value) => this.bands.find((b) => b.strength === value);
    const cell = (tag, text) => el(tag, {}, text);
    $("numbers").replaceChildren(el("table", {},
      el("thead", {}, el("tr", {}, cell("th", "strength"), cell("th", "score"), cell("th", "this question"), cell("th", "random directions"))),
      el("tbody", {}, ...points.map((p) => {
        const b = band(p.strength);
        return el("tr", {}, cell("th", strength(p.strength)), cell("td", number(p.score)), cell("td", number(p.question)), cell("td", b ? `${number(Math.min(...b.scores), 2)} to ${number(Math.max(...b.scores), 2)}` : ""));
      }))));
  }
}

const label = (x, y, text, anchor) => { const node = svg("text", { x, y, "text-anchor": anchor }); node.textContent = text; return node; };

function ticks(low, high) {
  const step = [0.25, 0.5, 1, 2, 5, 10, 20, 50, 100].find((size) => (high - low) / size <= 5) ?? 200;
  const list = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + 1e-9; tick += step) list.push(Math.abs(tick) < 1e-9 ? 0 : tick);
  return list;
}
