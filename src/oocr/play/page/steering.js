// The rows of what steers: on or off, how strongly, at which tokens.
import { $, el, number, strength } from "./dom.js";

const WHERE = [
  ["all", "all tokens"], ["prompt", "the prompt"], ["last", "the last prompt token"], ["from:last", "from the last one on"],
  ["answer", "new tokens"], ["span", "a span"], ["from:span", "from a span on"],
];
export const KINDS = { vector: "vector", LoRA: "lora", "mean of a LoRA": "mean" };
const REACH = 3;

export const newUse = (source, on = true) => ({ ...source.own, on });

export const describeUse = (source, use) => `${source.label} × ${strength(use.strength)}`;

// `changed(use, what)`: "strength", "where", "on" or "gone".
export function drawRows(state, sources, changed) {
  $("rows").replaceChildren(...state.steering.filter((use) => sources.has(use.id)).map((use) => row(use, sources.get(use.id), changed)));
  if (!state.steering.length) $("rows").append(el("p", { class: "muted small" }, sources.size ? "Nothing steers. Add one below." : "Nothing was named beside the model: oocr play MODEL VECTOR …"));
}

function row(use, source, changed) {
  const id = `use-${source.id.replaceAll(/[^\w-]/g, "-")}`;
  const root = el("fieldset", { class: `row tone-${KINDS[source.kind]}${use.on === false ? " off" : ""}` });
  root.dataset.id = use.id;
  const on = el("input", { type: "checkbox", id: `${id}-on`, checked: use.on !== false });
  const facts = source.kind === "LoRA" ? `LoRA · block ${source.blocks}` : `${source.kind === "vector" ? "vector" : "mean of a LoRA"} · ${source.block < 0 ? "embedding" : `block ${source.block}`}${source.site === "mlp" ? " MLP" : ""} · norm ${number(source.norm)}`;
  const range = el("input", {
    type: "range", min: String(-REACH), max: String(REACH), step: "0.05", class: "range", "aria-label": `strength of ${source.label}`,
    disabled: source.only_whole,
  });
  const exact = el("input", { type: "number", step: "0.1", min: "-1000", max: "1000", class: "exact", "aria-label": `strength of ${source.label}, exact`, disabled: source.only_whole });
  const show = () => {
    range.value = String(Math.max(-REACH, Math.min(REACH, use.strength)));
    if (document.activeElement !== exact) exact.value = String(Number(use.strength.toFixed(3)));
    range.style.setProperty("--at", `${((Number(range.value) + REACH) / (2 * REACH)) * 100}%`);
    range.setAttribute("aria-valuetext", strength(use.strength));
  };
  const setStrength = (value) => {
    if (!Number.isFinite(value) || source.only_whole) return;
    use.strength = Math.max(-1000, Math.min(1000, value));
    if (use.on === false && use.strength !== 0) { use.on = true; on.checked = true; root.classList.remove("off"); }
    show();
    changed(use, "strength");
  };
  // A pointer near 0 or 1 is drawn to them; keys go by single steps.
  let pointed = false;
  const nearest = (value) => [0, 1].find((whole) => Math.abs(value - whole) < 0.06) ?? value;
  range.addEventListener("pointerdown", () => { pointed = true; });
  for (const end of ["pointerup", "pointercancel", "keydown"]) range.addEventListener(end, () => { pointed = false; });
  range.addEventListener("input", () => setStrength(pointed ? nearest(range.valueAsNumber) : range.valueAsNumber));
  range.addEventListener("dblclick", () => setStrength(1));
  exact.addEventListener("input", () => setStrength(exact.valueAsNumber));
  on.addEventListener("change", () => { use.on = on.checked; root.classList.toggle("off", !on.checked); changed(use, "on"); });
  root.append(
    el("legend", { class: "sr" }, source.label),
    el("div", { class: "row-head" },
      on,
      el("label", { for: `${id}-on`, title: source.note || null }, el("i", { class: "dot", "aria-hidden": "true" }), el("span", {}, source.label, el("small", {}, facts))),
      el("button", { type: "button", class: "icon small-icon", "aria-label": `Take ${source.label} away`, title: "take away", onclick: () => changed(use, "gone") }, "✕")),
    el("div", { class: "row-strength" }, range, exact),
  );
  if (source.kind !== "LoRA") root.append(where(use, source, changed));
  show();
  root.setStrength = setStrength;
  return root;
}

function where(use, source, changed) {
  const select = el("select", { "aria-label": `tokens at which ${source.label} acts` }, ...WHERE.map(([value, text]) => el("option", { value }, text)));
  select.value = use.positions;
  const span = el("input", { type: "text", class: "span", value: use.span || "", placeholder: "text of the span", "aria-label": "text of the span", spellcheck: "false" });
  const own = el("button", { type: "button", class: "quiet", title: "where it was trained to act" }, "as trained");
  const show = () => {
    span.hidden = !use.positions.endsWith("span");
    own.hidden = use.positions === source.own.positions && (span.hidden || use.span === source.own.span);
  };
  select.addEventListener("change", () => {
    use.positions = select.value;
    if (use.positions.endsWith("span") && !use.span) {
      const { selectionStart: from, selectionEnd: to, value } = $("prompt");
      use.span = span.value = value.slice(from, to).trim() || source.own.span || value.trim().split(/\s+/).pop() || "";
    }
    show();
    changed(use, "where");
  });
  span.addEventListener("input", () => { use.span = span.value; show(); if (use.span) changed(use, "where"); });
  own.addEventListener("click", () => {
    Object.assign(use, { positions: source.own.positions, span: source.own.span });
    select.value = use.positions;
    span.value = use.span;
    show();
    changed(use, "where");
  });
  show();
  return el("div", { class: "row-where" }, el("span", { class: "muted" }, "at"), select, span, own);
}

// What can be added, by group.
export function drawAdd(state, sources) {
  const there = new Set(state.steering.map((use) => use.id));
  const groups = new Map();
  for (const source of sources.values()) {
    if (there.has(source.id)) continue;
    if (!groups.has(source.group)) groups.set(source.group, el("optgroup", { label: source.group }));
    groups.get(source.group).append(el("option", { value: source.id }, source.label));
  }
  $("add").replaceChildren(el("option", { value: "" }, "a vector or LoRA …"), ...groups.values());
  $("add").closest("label").hidden = groups.size === 0;
}
