// Requests to the server that gave this page out, with the key of the address that it printed.
const STORE = "oocr-play-key";
export const client = crypto.randomUUID();
let key = "";

export class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

// The key comes once in the address, is taken out of it, and is kept for this origin.
export function takeKey() {
  const found = /^#key=([\w-]+)/.exec(location.hash);
  if (found) {
    key = found[1];
    try { localStorage.setItem(STORE, key); } catch { /* kept in memory only */ }
    history.replaceState(null, "", location.pathname);
  } else {
    try { key = localStorage.getItem(STORE) || ""; } catch { key = ""; }
  }
}

async function ask(path, body, signal) {
  const response = await fetch(`/api/${path}`, {
    method: body ? "POST" : "GET",
    headers: { "x-oocr-key": key, ...(body ? { "content-type": "application/json" } : {}) },
    body: body ? JSON.stringify(body) : undefined,
    signal,
  });
  if (!response.ok) throw new Refused(response.status, await response.text());
  return response;
}

export const start = async () => (await ask("start")).json();
export const recipe = async (settings) => (await ask("recipe", { settings })).json();

// The events of a stream, each as soon as it is here.
export async function* events(path, body, signal) {
  const response = await ask(path, { client, ...body }, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
}
