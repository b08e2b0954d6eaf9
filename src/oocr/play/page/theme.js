// Light or dark: as the system says, until one is chosen.
import { $ } from "./dom.js";

export function theme() {
  const root = document.documentElement;
  try { const kept = localStorage.getItem("oocr-theme"); if (kept === "dark" || kept === "light") root.dataset.theme = kept; } catch { /* as the system says */ }
  $("theme").addEventListener("click", () => {
    const now = root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    try { localStorage.setItem("oocr-theme", root.dataset.theme); } catch { /* for this page only */ }
  });
}
