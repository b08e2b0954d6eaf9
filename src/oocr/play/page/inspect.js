// The card beside a token: its numbers, what could stand in its place, and what may follow.
import { $, el, percent, signed, visible } from "./dom.js";

const narrow = matchMedia("(max-width: 640px)");

export function inspect(node, token, inPlace) {
  const card = $("card");
  const facts = el("dl", { class: "facts" });
  const fact = (name, value) => facts.append(el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  if (token.projection !== undefined) {
    fact("projection", signed(token.projection));
    fact("cosine", signed(token.cosine, 2));
  }
  if (token.probability !== undefined) fact("probability", percent(token.probability));
  if (token.steered.length) fact("steered by", token.steered.length === 1 ? "one vector" : `${token.steered.length} vectors`);
  const columns = el("div", { class: "tops" });
  if (inPlace) columns.append(top("here", inPlace, token.text));
  if (token.next) columns.append(top("next", token.next));
  card.replaceChildren(
    el("p", { class: "inspect-token" }, token.special ? `${token.text} (special)` : visible(token.text)),
    facts, columns,
  );
  card.hidden = false;
  place(card, node);
}

function top(title, entries, chosen) {
  return el("div", {},
    el("h4", {}, title),
    el("ol", {}, ...entries.map(([text, p]) => el("li", { class: chosen !== undefined && text.trim() === chosen.trim() ? "chosen" : "", "--p": `${(100 * p).toFixed(1)}%` },
      el("span", {}, visible(text.trim() || text)), el("b", {}, percent(p))))));
}

function place(card, node) {
  if (narrow.matches) {
    card.style.left = card.style.top = "";
    return; // a sheet at the bottom
  }
  const at = node.getClientRects()[0] || node.getBoundingClientRect();
  const { width, height } = card.getBoundingClientRect();
  const left = Math.min(Math.max(8, at.left), document.documentElement.clientWidth - width - 8);
  const below = at.bottom + 8 + height < innerHeight;
  card.style.left = `${left}px`;
  card.style.top = `${below ? at.bottom + 8 : Math.max(8, at.top - height - 8)}px`;
}

export function hide() { $("card").hidden = true; }
addEventListener("scroll", () => { if (!narrow.matches) hide(); }, { passive: true });
