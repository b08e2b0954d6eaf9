// Elements from text only: nothing here ever reads text as markup.
export const $ = (id) => document.getElementById(id);

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  set(node, props);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
export function svg(tag, props = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(props)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function set(node, props) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (name in node && typeof value !== "string") node[name] = value;
    else node.setAttribute(name, value);
  }
}

export const number = (value, digits = 3) => {
  if (!Number.isFinite(value)) return "–";
  const text = Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : Number(value.toPrecision(digits)).toString();
  return text.replace("-", "−");
};
export const signed = (value, digits = 3) => (value > 0 ? "+" : "") + number(value, digits);
export const strength = (value) => value.toFixed(2).replace(/0$/, "").replace("-", "−");
export const percent = (value) => {
  const p = 100 * value;
  if (p > 0 && p < 0.1) return "<0.1 %";
  return `${p >= 10 || p === 0 ? p.toFixed(0) : p.toFixed(1)} %`;
};
export const seconds = (value) => (value < 1 ? `${Math.round(1000 * value)} ms` : `${value.toFixed(1)} s`);

// A token with signs for what does not show.
export const visible = (text) => {
  const shown = text.replaceAll("\n", "⏎").replaceAll("\t", "⇥");
  return shown.trim() ? shown : "·".repeat(Math.max(1, shown.length));
};
