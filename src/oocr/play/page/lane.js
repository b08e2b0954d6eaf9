// One text on the page: its tokens as they come, coloured, each with its numbers.
import { el, number, percent, seconds, visible } from "./dom.js";
import { events, Refused } from "./api.js";
import { hide, inspect } from "./inspect.js";

export class Lane {
  constructor(name, title, buttons = []) {
    this.name = name;
    this.tokens = [];
    this.options = null;
    this.key = "";
    this.done = false;
    this.title = el("h3", {}, title);
    this.status = el("span", { class: "status muted" });
    this.text = el("div", {
      class: "tokens", role: "listbox", tabindex: "0", "aria-label": `${title}, token by token`,
    });
    this.note = el("p", { class: "lane-note", hidden: true });
    this.foot = el("div", { class: "lane-foot" }, this.status, ...buttons);
    this.root = el("article", { class: "lane tone-base" }, el("header", {}, el("i", { class: "dot", "aria-hidden": "true" }), this.title), this.text, this.note, this.foot);
    this.scale = 1;
    this.toneName = "base";
    this.listen();
  }

  get newText() {
    return this.tokens.filter((token) => token.new).map((token) => token.text).join("");
  }

  setTitle(text) {
    this.title.textContent = text;
    this.text.setAttribute("aria-label", `${text}, token by token`);
  }

  // Its colour, by the name of a tone.
  set tone(name) {
    this.root.classList.replace(`tone-${this.toneName}`, `tone-${name}`);
    this.toneName = name;
  }

  // ---- running -----------------------------------------------------------
  stop() {
    this.abort?.abort();
    this.abort = null;
    this.root.classList.remove("running");
  }

  // Ask for a text; the old one stays until the first event of the new one. Resolves true at its end.
  async run(key, settings, on) {
    if (key === this.key && (this.done || this.abort)) return false;
    this.stop();
    this.key = key;
    this.done = this.answered = false; // answered: its first token is there
    const abort = (this.abort = new AbortController());
    this.root.classList.add("running");
    try {
      for await (const event of events("text", { lane: this.name, settings }, abort.signal)) {
        if (abort.signal.aborted) return false;
        this.take(event);
        on(event);
      }
      this.done = true;
      return true;
    } catch (error) {
      if (abort.signal.aborted) return false;
      this.key = "";
      this.fail(error instanceof Refused ? error.message : null);
      if (!(error instanceof Refused)) on({ type: "gone" });
      return false;
    } finally {
      if (this.abort === abort) this.stop();
    }
  }

  take(event) {
    if (event.type === "token" || event.type === "end" || event.type === "error") this.answered = true;
    switch (event.type) {
      case "waiting":
        this.status.textContent = `waits for ${event.ahead} other${event.ahead > 1 ? "s" : ""}`;
        break;
      case "prompt": this.begin(event); break;
      case "token": this.add(event); break;
      case "after": this.last().next = event.top; break;
      case "read":
        event.values.forEach(([projection, cosine], i) => this.read(event.from + i, projection, cosine));
        break;
      case "options": this.options = event.shares; break;
      case "next": event.top.forEach((top, i) => { this.tokens[event.from + i].next = top; }); break;
      case "end":
        this.ended(true);
        this.status.textContent = `first token ${seconds(event.first)} · all ${seconds(event.all)}${event.why === "end token" ? " · it ended the text" : ""}`;
        break;
      case "error": this.key = ""; this.fail(event.message); break;
    }
  }

  // Whether all its tokens are there, and it can be replied to.
  ended(yes) {
    this.whole = yes;
    for (const button of this.foot.querySelectorAll(".chat-only")) button.disabled = !yes;
  }

  begin(event) {
    this.tokens = [];
    this.options = null;
    this.newSteered = event.new_steered;
    this.ended(false);
    this.text.replaceChildren();
    this.status.textContent = "";
    this.say("");
    for (const token of event.tokens) this.append({ ...token, new: false });
  }

  add(event) {
    this.last().next = event.top;
    this.append({
      text: event.text, special: false, steered: this.newSteered, new: true,
      probability: event.probability, inPlace: event.top,
    });
  }

  last() { return this.tokens[this.tokens.length - 1]; }

  append(token) {
    const place = this.tokens.push(token) - 1;
    const classes = ["t"];
    if (token.new) classes.push("new");
    if (token.special) classes.push("special");
    if (token.steered.length) classes.push("steered");
    token.node = el("span", { class: classes.join(" "), role: "option", id: `${this.name}-${place}`, "aria-label": visible(token.text) });
    token.node.dataset.place = place;
    // The space before a word stays outside of its colour.
    const [, space, rest] = /^( ?)([^]*)$/.exec(token.text);
    token.node.textContent = (rest || "·").replaceAll("\n", "⏎\n").replace(/^\t+$/, "⇥");
    if (!rest && !token.text) token.node.textContent = "";
    this.text.append(rest ? space : "", token.node);
  }

  read(place, projection, cosine) {
    const token = this.tokens[place];
    if (!token) return;
    Object.assign(token, { projection, cosine });
    token.node.setAttribute("aria-label", `${visible(token.text)}, projection ${number(projection)}${token.new ? `, probability ${percent(token.probability)}` : ""}`);
    this.paint(token);
  }

  // The same text as another lane's: nothing steers it.
  mirror(lane) {
    this.stop();
    this.key = "";
    this.done = lane.done;
    this.options = lane.options;
    this.text.replaceChildren();
    const tokens = lane.tokens;
    this.tokens = [];
    for (const token of tokens) {
      this.append({ ...token, node: null, steered: [] });
      if (token.projection !== undefined) this.read(this.tokens.length - 1, token.projection, token.cosine);
    }
    this.status.textContent = lane.tokens.length ? "nothing steers: the untouched text" : "";
    this.say("");
  }

  say(text) {
    this.note.textContent = text;
    this.note.hidden = !text;
  }

  fail(message) {
    this.status.textContent = "";
    if (message) this.say(message);
  }

  // ---- colours -----------------------------------------------------------
  get largest() {
    // The first token's is huge in many models, and does not count.
    return this.tokens.slice(1).reduce((most, token) => Math.max(most, Math.abs(token.projection ?? 0)), 0);
  }

  repaint(scale) {
    if (scale === this.scale) return;
    this.scale = scale;
    for (const token of this.tokens) this.paint(token);
  }

  paint(token) {
    if (token.projection === undefined) return;
    const depth = Math.min(1, Math.abs(token.projection) / (this.scale || 1));
    token.node.style.setProperty("--d", `${(100 * depth).toFixed(0)}%`);
    token.node.classList.toggle("minus", token.projection < 0);
  }

  // ---- pointing and keys ---------------------------------------------------
  listen() {
    const at = (event) => event.target.closest?.(".t");
    this.text.addEventListener("pointerover", (event) => { const node = at(event); if (node && event.pointerType === "mouse") this.show(node); });
    this.text.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== this.text) this.unshow(); });
    this.text.addEventListener("click", (event) => { const node = at(event); if (node) this.show(node); });
    this.text.addEventListener("blur", () => this.unshow());
    this.text.addEventListener("keydown", (event) => {
      const now = this.shown ?? -1;
      const to = { ArrowRight: now + 1, ArrowLeft: Math.max(0, now - 1), Home: 0, End: this.tokens.length - 1 }[event.key];
      if (to === undefined || !this.tokens[to]) return;
      event.preventDefault();
      this.tokens[to].node.scrollIntoView({ block: "nearest" });
      this.show(this.tokens[to].node);
    });
  }

  show(node) {
    this.unshow();
    this.shown = Number(node.dataset.place);
    node.classList.add("shown");
    this.text.setAttribute("aria-activedescendant", node.id);
    const before = this.tokens[this.shown - 1];
    inspect(node, this.tokens[this.shown], before?.next);
  }

  unshow() {
    this.tokens[this.shown]?.node.classList.remove("shown");
    this.shown = undefined;
    this.text.removeAttribute("aria-activedescendant");
    hide();
  }
}
