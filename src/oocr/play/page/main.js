// The page is set up: from the address or the saved page to a state; buttons and keys.
import { $ } from "./dom.js";
import { start as askStart, takeKey } from "./api.js";
import { copied } from "./code.js";
import { theme } from "./theme.js";
import { fresh, fromFragment, fromSaved, toFragment } from "./state.js";
import { newUse } from "./steering.js";
import { drawExamples, drawFacets, drawSets } from "./questions.js";
import {
  again, choosePreset, chooseSet, code, colourOf, drawSteering, focus, grow, layLanes, pin, receive, run,
  setState, setStrength, sets, showFields, showPrompt, sources, start, state, stop, written,
} from "./page.js";

function begin() {
  const { model } = start;
  $("model").textContent = `${model.name} · ${model.parameters} · ${model.blocks} blocks · ${model.dtype} on ${model.device}`;
  document.title = `${model.name} · oocr play`;
  $("mode").hidden = !model.chat;
  setState(fromFragment(location.hash) || { ...fresh(), newTokens: start.new_tokens, ...fromSaved(start.opening, start.probe_sets) });
  if (!sets.has(state.set)) state.set = "";
  drawSets(start, state, chooseSet);
  if (!state.prompt && start.probe_sets.length) {
    layLanes();
    chooseSet((start.probe_sets.find((set) => set.opening) || start.probe_sets[0]).id);
  } else {
    if (!state.prompt) {
      state.prompt = start.examples[0] || "";
      state.steering = start.sources.slice(0, 4).map((source, i) => newUse(source, i === 0));
    }
    if (!sources.has(state.colour)) state.colour = colourOf(state.steering);
    if (!state.set && start.probe_sets.length) state.set = start.probe_sets[0].id;
    layLanes();
    drawSteering();
    showPrompt();
    if (state.set) { $("set").value = state.set; drawFacets(sets.get(state.set), state, choosePreset); }
    else drawExamples(start.examples, (text) => { state.prompt = text; showPrompt(); run(); });
    run();
  }
  showFields();
  if (start.notes.length) { $("notice").textContent = start.notes.join(" "); $("notice").hidden = false; }
  $("main").hidden = false;
  grow();
  listen();
}

function listen() {
  for (const id of ["prompt", "system", "begun"]) $(id).addEventListener("input", written);
  $("write").addEventListener("submit", (event) => { event.preventDefault(); if ($("run").classList.contains("stop")) stop(); else again(); });
  const field = (id, name) => $(id).addEventListener("change", () => {
    if ($(id).reportValidity() && Number.isFinite($(id).valueAsNumber)) { state[name] = $(id).valueAsNumber; showFields(); run(); }
  });
  field("new-tokens", "newTokens"); field("temperature", "temperature"); field("seed", "seed");
  $("colour").addEventListener("change", () => { state.colour = $("colour").value; run(); });
  for (const button of $("mode").children) button.addEventListener("click", () => { state.mode = button.dataset.mode; showPrompt(); written(); });
  $("add").addEventListener("change", () => {
    const source = sources.get($("add").value);
    if (!source || state.steering.length >= 8) return;
    state.steering.push(newUse(source));
    if (!state.colour) state.colour = source.colour;
    drawSteering();
    run();
  });
  $("link").addEventListener("click", () => { history.replaceState(null, "", toFragment(state)); copied($("link"), location.href); });
  $("code").addEventListener("click", code);
  $("help").addEventListener("click", () => $("help-dialog").showModal());
  addEventListener("keydown", keys);
}

function nextQuestion() {
  const set = sets.get(state.set);
  if (!set) return;
  const at = set.presets.findIndex(({ id }) => id === state.preset);
  choosePreset(set.presets[(at + 1) % set.presets.length]);
}

function keys(event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); again(); return; }
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) { stop(); return; }
  const writing = event.target.matches("textarea, select, input:not([type=range]):not([type=checkbox])");
  if (writing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const use = focus();
  const act = {
    "[": () => use && setStrength(use, Math.round((use.strength - 0.1) * 100) / 100),
    "]": () => use && setStrength(use, Math.round((use.strength + 0.1) * 100) / 100),
    0: () => use && setStrength(use, 0), 1: () => use && setStrength(use, 1), 2: () => use && setStrength(use, 2),
    n: nextQuestion, p: pin, c: code, l: () => $("link").click(), t: () => $("theme").click(), "?": () => $("help-dialog").showModal(),
  }[event.key.toLowerCase()];
  if (act) { event.preventDefault(); act(); }
}

// Another address in the same tab: with the key of a server that was started anew, or with another state.
addEventListener("hashchange", () => { if (location.hash.startsWith("#key=") || fromFragment(location.hash)) location.reload(); });
takeKey();
theme();
try {
  receive(await askStart());
  begin();
} catch (error) {
  $("notice").textContent = error.status === 403 ? "This page needs the key of its address. Open the address that oocr play printed." : `The page could not begin: ${error.message}`;
  $("notice").hidden = false;
  if (!error.status) console.error(error);
}
