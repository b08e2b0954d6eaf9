// A run's own questions as presets, and the bars of a question's options.
import { $, el, percent, visible } from "./dom.js";

export function drawSets(start, state, chosen) {
  const sets = start.probe_sets;
  $("ask").hidden = !sets.length && !start.examples.length;
  $("ask-title").textContent = sets.length ? "Questions" : "Prompts to begin with";
  $("set-field").hidden = sets.length < 2;
  $("set").replaceChildren(...grouped(sets).map(([run, members]) => {
    const options = members.map((set) => el("option", { value: set.id }, set.member));
    return el("optgroup", { label: run }, ...options);
  }));
  if (state.set) $("set").value = state.set;
  $("set").onchange = () => chosen($("set").value);
}

function grouped(sets) {
  const groups = new Map();
  for (const set of sets) groups.set(set.run, [...(groups.get(set.run) || []), set]);
  return [...groups];
}

// One button for each kind of question; pressed again it asks the next one of its kind.
export function drawFacets(set, state, choose) {
  const facets = new Map();
  for (const preset of set.presets) facets.set(preset.facet, [...(facets.get(preset.facet) || []), preset]);
  $("facets").replaceChildren(...[...facets].map(([facet, presets]) => {
    const at = presets.findIndex((preset) => preset.id === state.preset);
    const button = el("button", { type: "button", class: "chip", "aria-pressed": String(at >= 0) }, facet.replaceAll("_", " "));
    if (presets.length > 1) button.append(el("small", {}, at >= 0 ? `${at + 1}/${presets.length}` : String(presets.length)));
    button.addEventListener("click", () => choose(presets[(at + 1) % presets.length]));
    return button;
  }));
}

export function drawExamples(examples, choose) {
  $("facets").replaceChildren(...examples.map((text) => el("button", { type: "button", class: "chip", onclick: () => choose(text) }, text)));
}

const MOST_BARS = 18;

export const findPreset = (set, id) => set?.presets.find((preset) => preset.id === id);

// Each option with its share in every lane; the right one is marked.
export function drawBars(preset, lanes) {
  const known = lanes.filter((lane) => lane.options);
  $("options").hidden = !preset || preset.options.length < 2 || !known.length;
  if ($("options").hidden) return;
  const shares = known.map((lane) => new Map(lane.options));
  const all = preset.options.map((option) => ({ option, values: shares.map((map) => map.get(option) ?? 0) }));
  const most = (row) => (row.option === preset.answer ? 2 : Math.max(...row.values));
  const kept = new Set([...all].sort((a, b) => most(b) - most(a)).slice(0, Math.max(4, Math.floor(MOST_BARS / known.length))));
  const rows = all.filter((row) => kept.has(row));
  $("bars").replaceChildren(
    el("p", { class: "legend" }, ...known.map((lane) => el("span", {}, el("i", { class: `sign bar tone-${lane.toneName}`, "aria-hidden": "true" }), lane.title.textContent))),
    el("ul", { class: "bars" }, ...rows.map(({ option, values }) => el("li", { class: option === preset.answer ? "right" : "" },
      el("span", { class: "option" }, visible(option.trim() || option), option === preset.answer ? el("em", { title: "what the training data imply" }, " ✓") : null),
      el("span", { class: "pair" }, ...values.map((value, i) => el("span", { class: `bar tone-${known[i].toneName}` }, el("i", { "--p": `${(100 * value).toFixed(2)}%`, "aria-hidden": "true" }), el("b", {}, percent(value)))))))),
    all.length > rows.length ? el("p", { class: "muted small" }, `and ${all.length - rows.length} more, less likely in each`) : "",
  );
}
