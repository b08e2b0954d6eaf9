// What was chosen becomes a state, the state becomes texts.
import { $, el, signed } from "./dom.js";
import { showCode } from "./code.js";
import { active, asked, forServer, ofPrompt, settings, toFragment } from "./state.js";
import { Curve } from "./curve.js";
import { Lane } from "./lane.js";
import { describeUse, drawAdd, drawRows, KINDS, newUse } from "./steering.js";
import { drawBars, drawFacets, findPreset } from "./questions.js";

const MOST_PINS = 2;
export let start, state, sources, sets;

// What the server knows when the page opens.
export function receive(given) {
  start = given;
  sources = new Map(start.sources.map((source) => [source.id, source]));
  sets = new Map(start.probe_sets.map((set) => [set.id, set]));
}

export function setState(given) { state = given; }

const later = { run: 0, curve: 0, address: 0, say: 0 };
const after = (name, wait, act) => { clearTimeout(later[name]); later[name] = setTimeout(act, wait); };

// ---- lanes ---------------------------------------------------------------
const reply = (lane) => el("button", { type: "button", class: "quiet chat-only", title: "Go on from this answer, in all lanes", onclick: () => goOn(lane()) }, "Reply");
const untouched = new Lane("untouched", "Untouched", [reply(() => untouched)]);
const pinButton = el("button", { type: "button", class: "quiet", title: "Keep this beside what comes next (P)", onclick: pin }, "Pin");
const steered = new Lane("steered", "Steered", [reply(() => steered), pinButton]);
let pinned = [];
const lanes = () => [untouched, ...pinned, steered];

export function layLanes() {
  while (pinned.length > state.pins.length) pinned.pop().stop();
  while (pinned.length < state.pins.length) {
    const place = pinned.length;
    const gone = el("button", { type: "button", class: "quiet", onclick: () => { state.pins.splice(place, 1); layLanes(); drawArms(); run(); } }, "Unpin");
    pinned.push(new Lane(`pinned-${place}`, "Pinned", [gone]));
  }
  layTitles();
  $("lanes").replaceChildren(...lanes().map((lane) => lane.root));
}

function titleOf(uses) {
  const known = active(uses).filter((use) => sources.has(use.id));
  return known.map((use) => describeUse(sources.get(use.id), use)).join(" + ") || "Steered";
}

export function pin() {
  const uses = active(state.steering);
  if (!uses.length || state.pins.length >= MOST_PINS) return;
  state.pins.push(structuredClone(uses));
  layLanes();
  drawArms();
  run();
}

// ---- running -------------------------------------------------------------
const preset = () => findPreset(sets.get(state.set), state.preset);

// Texts of what changed; `only`: the steered one.
export function run(only = false) {
  if (!state.prompt.trim()) return;
  const options = preset()?.options || [];
  layTitles();
  const ask = (lane, uses) => {
    const wanted = settings(state, uses, options);
    return lane.run(JSON.stringify(wanted), wanted, (event) => seen(lane, event, uses));
  };
  const work = [];
  if (!only) {
    work.push(ask(untouched, []));
    pinned.forEach((lane, i) => work.push(ask(lane, state.pins[i].filter((use) => sources.has(use.id)))));
  }
  const uses = state.steering.filter((use) => sources.has(use.id));
  if (active(uses).length) work.push(ask(steered, uses));
  else { steered.mirror(untouched); bars(); }
  refresh();
  after("address", 250, () => history.replaceState(null, "", toFragment(state)));
  Promise.all(work).then((ended) => { refresh(); if (drawn) runSteered(); if (ended.some(Boolean)) after("say", 900, say); });
  after("curve", 350, drawCurve);
}

// While the slider is drawn: a text that has no token yet is waited for, then the latest is asked for.
let drawn = false;
function runSteered() {
  if (steered.abort && !steered.answered) drawn = true;
  else { drawn = false; run(true); }
}

function seen(lane, event, uses) {
  if (event.type === "gone") { gone(); return; }
  if (drawn && lane === steered && steered.answered) setTimeout(runSteered);
  $("notice").hidden = true;
  if (lane === untouched && !active(state.steering).length) steered.mirror(untouched);
  if (event.type === "options") bars();
  if (event.type === "prompt" && event.unknown) lane.say(`The model has no token for ${event.unknown === 1 ? "a word" : `${event.unknown} words`} of this prompt.`);
  if (event.type === "prompt") {
    const spans = event.nowhere.map((id) => uses.find((use) => use.id === id)).filter((use) => use?.positions.endsWith("span")).map((use) => use.span);
    if (event.nowhere.length) lane.say(spans.length ? `“${spans[0]}” does not stand in the prompt: nothing is added there.` : "It acts at no token of this text.");
    bars();
  }
  refresh();
}

let queued = false;
function refresh() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const source = sources.get(state.colour);
    // One depth of colour for all lanes, and the same at every strength of the slider.
    const scale = Math.max(untouched.largest, source?.norm || 0) || Math.max(...lanes().map((lane) => lane.largest)) || 1;
    for (const lane of lanes()) lane.repaint(scale);
    $("low").textContent = signed(-scale, 2);
    $("high").textContent = signed(scale, 2);
    const running = lanes().some((lane) => lane.abort);
    $("run").textContent = running ? "Stop" : "Run";
    $("run").classList.toggle("stop", running);
  });
}

const bars = () => drawBars(preset(), lanes());

function layTitles() {
  const uses = active(state.steering).filter((use) => sources.has(use.id));
  steered.setTitle(titleOf(state.steering));
  const taken = new Set();
  const toneOf = (lane, its) => {
    const own = KINDS[sources.get(active(its).find((use) => sources.has(use.id))?.id)?.kind] || "vector";
    lane.tone = [own, "other", "more"].find((tone) => !taken.has(tone));
    taken.add(lane.toneName);
  };
  toneOf(steered, state.steering);
  pinned.forEach((lane, i) => { lane.setTitle(titleOf(state.pins[i])); toneOf(lane, state.pins[i]); });
  pinButton.hidden = state.pins.length >= MOST_PINS || !uses.length;
}

function say() {
  const words = lanes().map((lane) => `${lane.title.textContent}: ${lane.newText}`);
  $("say").textContent = words.join(". ");
}

// Ask for the texts anew, also where nothing changed.
export function again() {
  untouched.key = steered.key = "";
  run();
}

export function stop() {
  for (const name of ["run", "curve"]) clearTimeout(later[name]);
  drawn = false;
  for (const lane of lanes()) if (lane.abort) { lane.stop(); lane.key = ""; lane.status.textContent = "stopped"; }
  curve.stop();
  refresh();
}

function gone() {
  $("notice").textContent = "The server does not answer. Was oocr play ended? Start it again and open the address that it prints.";
  $("notice").hidden = false;
}

// ---- the curve -------------------------------------------------------------
export const focus = () => active(state.steering).find((use) => sources.has(use.id)) || state.steering.find((use) => sources.has(use.id));
const curve = new Curve((value) => { const use = focus(); if (use) setStrength(use, value); });

function drawCurve() {
  const use = focus();
  if (!preset() || !use || (use.positions.endsWith("span") && !use.span)) { curve.clear(); return; }
  if (lanes().some((lane) => lane.abort)) { after("curve", 300, drawCurve); return; }
  curve.at(use.on === false ? 0 : use.strength);
  curve.run(forServer(use), sources.get(use.id).label, KINDS[sources.get(use.id).kind], state.preset, (event) => { if (event.type === "gone") gone(); });
}

export const code = () => showCode(settings(state, state.steering.filter((use) => sources.has(use.id)), preset()?.options));

// ---- what is chosen --------------------------------------------------------
export function setStrength(use, value) {
  [...document.querySelectorAll(".row")].find((row) => row.dataset.id === use.id).setStrength(value);
}

function changed(use, what) {
  if (what === "gone") {
    state.steering = state.steering.filter((other) => other !== use);
    drawSteering();
  }
  if (what === "on") { drawArms(); layTitles(); }
  if (use === focus()) curve.at(use.on === false ? 0 : use.strength);
  const colour = colourOf(state.steering);
  if (what !== "strength" && what !== "where" && colour !== state.colour) { state.colour = colour; $("colour").value = colour; run(); return; }
  if (what === "strength") runSteered();
  else run(true);
}

export const colourOf = (uses) => {
  const use = active(uses).find(({ id }) => sources.get(id)?.colour);
  return use ? sources.get(use.id).colour : state.colour;
};

export function drawSteering() {
  drawRows(state, sources, changed);
  drawAdd(state, sources);
  drawArms();
  drawColours();
}

// What the tokens can be coloured by: the vectors that are there, and the means of the LoRAs.
function drawColours() {
  const ids = [...new Set([state.colour, ...state.steering.map((use) => sources.get(use.id)?.colour)])].filter((id) => sources.has(id));
  const labels = ids.map((id) => sources.get(id).label);
  const name = ({ group, label }) => (labels.filter((other) => other === label).length > 1 ? `${group}: ${label}` : label);
  $("colour").replaceChildren(...ids.map((id) => el("option", { value: id }, name(sources.get(id)))));
  $("colour").value = state.colour;
  $("key").hidden = !ids.length;
}

// The arms of the member that is asked about: one of them steers.
function drawArms() {
  const arms = Object.entries(sets.get(state.set)?.arms || {}).filter(([, id]) => sources.has(id));
  const names = { vector: "vector", LoRA: "LoRA", "mean of a LoRA": "LoRA’s mean" };
  const on = active(state.steering).map((use) => use.id);
  $("arms").hidden = arms.length < 2;
  $("arms").replaceChildren(...arms.map(([kind, id]) => {
    const pressed = on.length === 1 && on[0] === id;
    return el("button", { type: "button", "aria-pressed": String(pressed), onclick: () => solo(id) }, names[kind]);
  }), el("button", { type: "button", "aria-pressed": String(state.pins.length > 0), title: "all of them beside each other", onclick: () => compare(arms.map(([, id]) => id)) }, "all"));
}

// The member's other arms are pinned beside the first, or let go again.
function compare([first, ...others]) {
  state.pins = state.pins.length ? [] : others.slice(0, MOST_PINS).map((id) => [newUse(sources.get(id))]);
  layLanes();
  solo(first);
}

function solo(id) {
  for (const use of state.steering) use.on = use.id === id;
  if (!state.steering.some((use) => use.id === id)) state.steering.push(newUse(sources.get(id)));
  state.colour = colourOf(state.steering);
  $("colour").value = state.colour;
  drawSteering();
  run();
}

export function chooseSet(id) {
  const set = sets.get(id);
  const kinds = active(state.steering).map((use) => sources.get(use.id)?.kind);
  state.set = id;
  const arms = Object.entries(set.arms).filter(([, source]) => sources.has(source));
  const kept = arms.find(([kind]) => kinds.includes(kind)) || arms[0];
  state.steering = arms.map(([, source]) => newUse(sources.get(source), source === kept?.[1]));
  state.pins = [];
  state.colour = colourOf(state.steering);
  layLanes();
  $("set").value = id;
  $("colour").value = state.colour;
  choosePreset(findPreset(set, set.opening) || set.presets[0]);
  drawSteering();
}

export function choosePreset(chosen) {
  state.preset = chosen.id;
  Object.assign(state, ofPrompt(chosen.prompt));
  showPrompt();
  drawFacets(sets.get(state.set), state, choosePreset);
  run();
}

// An answer becomes a turn of the chat.
function goOn(lane) {
  if (!lane.whole || !state.prompt.trim()) return;
  state.turns.push({ role: "user", content: state.prompt }, { role: "assistant", content: state.begun + lane.newText });
  state.prompt = state.begun = state.preset = "";
  showPrompt();
  if (state.set) drawFacets(sets.get(state.set), state, choosePreset);
  $("prompt").focus();
}

export function showPrompt() {
  $("prompt").value = state.prompt;
  $("system").value = state.system;
  $("begun").value = state.begun;
  const chat = state.mode === "chat";
  $("system").hidden = !chat;
  $("begun").hidden = !chat || !state.begun;
  for (const button of $("mode").children) button.setAttribute("aria-pressed", String(button.dataset.mode === state.mode));
  $("turns").replaceChildren(...(chat ? state.turns : []).map((turn, i) => el("p", { class: `turn ${turn.role}` }, el("b", {}, turn.role), el("span", {}, turn.content),
    el("button", { type: "button", class: "icon small-icon", "aria-label": "Take this turn and those after it away", onclick: () => { state.turns.splice(i); showPrompt(); run(); } }, "✕"))));
  for (const lane of lanes()) lane.root.classList.toggle("chat", chat);
  grow();
}

export const grow = () => { const box = $("prompt"); box.style.height = "auto"; box.style.height = `${Math.min(260, box.scrollHeight + 2)}px`; };

export function written() {
  state.prompt = $("prompt").value;
  state.system = $("system").value;
  state.begun = $("begun").value;
  if (state.preset && preset() && JSON.stringify(asked(state)) !== JSON.stringify(preset().prompt)) {
    state.preset = "";
    drawFacets(sets.get(state.set), state, choosePreset);
    bars();
    curve.clear();
  }
  grow();
  after("run", start.model.quick ? 120 : 500, run);
}

export function showFields() {
  $("new-tokens").value = state.newTokens;
  $("temperature").value = state.temperature;
  $("seed").value = state.seed;
  $("seed-field").hidden = !state.temperature;
  $("colour").value = state.colour;
}
