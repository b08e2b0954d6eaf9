// What the page shows, as one object that the address can hold.
export const DEFAULTS = {
  mode: "raw", prompt: "", system: "", begun: "", turns: [], set: "", preset: "",
  steering: [], pins: [], colour: "", newTokens: 24, temperature: 0, seed: 0,
};

export const fresh = () => structuredClone(DEFAULTS);

export function toFragment(state) {
  const short = {};
  for (const [name, value] of Object.entries(state)) {
    if (JSON.stringify(value) !== JSON.stringify(DEFAULTS[name])) short[name] = value;
  }
  // Legible where an address may be: ' for ", + for a space.
  const text = encodeURIComponent(JSON.stringify(short)).replaceAll("'", "%27");
  return "#" + text.replaceAll("%22", "'").replaceAll("%2C", ",").replaceAll("%3A", ":").replaceAll("%20", "+");
}

export function fromFragment(fragment) {
  if (fragment.length < 2) return null;
  try {
    const text = fragment.slice(1).replaceAll("+", "%20").replaceAll("'", "%22");
    const value = JSON.parse(decodeURIComponent(text));
    const state = fresh();
    for (const name of Object.keys(DEFAULTS)) {
      if (typeof value[name] === typeof DEFAULTS[name] && Array.isArray(value[name]) === Array.isArray(DEFAULTS[name])) state[name] = value[name];
    }
    state.steering = state.steering.filter(isUse);
    state.pins = state.pins.filter((pin) => Array.isArray(pin) && pin.every(isUse));
    return state;
  } catch {
    return null;
  }
}

const isUse = (use) => use && typeof use.id === "string" && Number.isFinite(use.strength) && typeof use.positions === "string";

// The prompt as the server takes it.
export function asked(state) {
  if (state.mode !== "chat") return state.prompt;
  const turns = [...state.turns, { role: "user", content: state.prompt }];
  if (state.begun) turns.push({ role: "assistant", content: state.begun });
  return state.system.trim() ? [{ role: "system", content: state.system }, ...turns] : turns;
}

export const active = (uses) => uses.filter((use) => use.on !== false && use.strength !== 0);

export const forServer = (use) => ({
  id: use.id, strength: use.strength, positions: use.positions,
  span: use.positions.endsWith("span") ? use.span || "" : "",
});

export function settings(state, uses, options) {
  return {
    prompt: asked(state), steering: active(uses).map(forServer), colour: state.colour, options: options || [],
    new_tokens: state.newTokens, temperature: state.temperature, seed: state.seed,
  };
}

// A prompt of the server's as parts of the state; an assistant's last turn is the beginning of the answer.
export function ofPrompt(prompt) {
  if (typeof prompt === "string") return { mode: "raw", prompt, system: "", begun: "", turns: [] };
  const turns = prompt.filter((turn) => turn.role !== "system");
  const system = prompt.find((turn) => turn.role === "system")?.content || "";
  const begun = turns.at(-1)?.role === "assistant" ? turns.pop().content : "";
  return { mode: "chat", prompt: turns.at(-1)?.content || "", system, begun, turns: turns.slice(0, -1) };
}

// The state of a saved page; the question that it asks is found among the runs'.
export function fromSaved(saved, sets) {
  if (!saved) return {};
  const same = ({ prompt }) => JSON.stringify(prompt) === JSON.stringify(saved.prompt);
  const set = sets.find(({ presets }) => presets.some(same));
  return {
    ...ofPrompt(saved.prompt), set: set?.id || "", preset: set?.presets.find(same).id || "",
    steering: saved.steering.map((use) => ({ ...use, on: true })),
    colour: saved.colour, newTokens: saved.new_tokens, temperature: saved.temperature, seed: saved.seed,
  };
}
