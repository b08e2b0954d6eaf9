// The same in Python, or as a file that brings the page back: shown, copied, saved.
import { $, el } from "./dom.js";
import { recipe } from "./api.js";

export async function copied(button, text) {
  const before = button.dataset.words || (button.dataset.words = button.textContent);
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; } catch { button.textContent = "Not allowed here"; }
  setTimeout(() => { button.textContent = before; }, 1400);
}

// Show what these settings are in Python and as a file.
export async function showCode(settings) {
  const kinds = $("code-kind").children;
  let made;
  try { made = await recipe(settings); } catch (error) { made = { python: error.message, yaml: error.message }; }
  const show = (kind) => {
    for (const button of kinds) button.setAttribute("aria-pressed", String(button.dataset.kind === kind));
    $("code-text").textContent = made[kind];
    $("code-note").textContent = kind === "python" ? "prints the steered text" : "oocr play play.yaml opens this page again";
    $("save-code").textContent = kind === "python" ? "Save play.py" : "Save play.yaml";
    $("copy-code").onclick = () => copied($("copy-code"), made[kind]);
    $("save-code").onclick = () => save(kind === "python" ? "play.py" : "play.yaml", made[kind]);
  };
  for (const button of kinds) button.onclick = () => show(button.dataset.kind);
  show("python");
  $("code-dialog").showModal();
}

function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
