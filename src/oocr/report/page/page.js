"use strict";
(() => {
  const root = document.documentElement;
  const plots = new Map(); // element -> what it shows
  const fine = matchMedia("(pointer: fine)").matches;
  const calm = { displayModeBar: false, responsive: false, scrollZoom: false };

  // ---- theme -------------------------------------------------------------
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remember = (theme) => { try { localStorage.setItem("oocr-theme", theme); } catch { /* from disk */ } };
  const recall = () => { try { return localStorage.getItem("oocr-theme"); } catch { return null; } };
  const wanted = location.hash === "#dark" ? "dark" : location.hash === "#light" ? "light" : recall();
  if (wanted === "dark" || wanted === "light") root.dataset.theme = wanted;
  document.querySelector(".theme").addEventListener("click", () => {
    const now = root.dataset.theme || (dark.matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    remember(root.dataset.theme);
    redraw();
  });
  dark.addEventListener("change", () => { if (!root.dataset.theme) redraw(); });

  // ---- colours: "@name/opacity" becomes the theme's --name ----------------
  function colour(text, style) {
    const [name, opacity] = text.slice(1).split("/");
    const hex = style.getPropertyValue("--" + name).trim();
    if (name === "none") return "rgba(0,0,0,0)";
    if (!opacity) return hex;
    const part = (at) => parseInt(hex.slice(at, at + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},${opacity})`;
  }
  function themed(value, style, inColour) {
    if (typeof value === "string") return inColour && value[0] === "@" ? colour(value, style) : value;
    if (Array.isArray(value)) return inColour ? value.map((part) => themed(part, style, true)) : value.map((part) => (part && typeof part === "object" ? themed(part, style, false) : part));
    if (value && typeof value === "object") {
      const copy = {};
      for (const key of Object.keys(value)) copy[key] = themed(value[key], style, /color/.test(key));
      return copy;
    }
    return value;
  }

  // ---- plots: drawn when they come near the window ------------------------
  function draw(element) {
    const { panel, hidden } = plots.get(element);
    const style = getComputedStyle(root);
    const { traces, layout } = themed(panel, style, false);
    for (const trace of traces) trace.visible = !hidden.has(trace.meta);
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis/.test(key)) layout[key].fixedrange = !fine;
    }
    layout.width = element.clientWidth; // stated, because plotly's own measuring can be early
    layout.height = element.clientHeight;
    layout.dragmode = fine ? "zoom" : false;
    layout.font = { family: style.getPropertyValue("--sans"), size: 13, color: style.getPropertyValue("--ink").trim() };
    layout.hoverlabel = { ...layout.hoverlabel, font: { ...layout.font } };
    Plotly.react(element, traces, layout, calm);
    Object.assign(plots.get(element), { drawn: true, width: element.clientWidth });
  }
  function redraw() {
    for (const [element, plot] of plots) if (plot.drawn) draw(element);
  }
  const near = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (isIntersecting && !plots.get(target).drawn) draw(target);
    }
  }, { rootMargin: "600px" });
  const size = new ResizeObserver((seen) => {
    for (const { target } of seen) {
      const plot = plots.get(target);
      if (plot.drawn && target.clientWidth && plot.width !== target.clientWidth) draw(target);
    }
  });
  addEventListener("beforeprint", () => { for (const element of plots.keys()) if (element.offsetParent) draw(element); });

  for (const figure of document.querySelectorAll(".figure")) {
    const spec = figure.querySelector(".spec");
    if (!spec) continue;
    const views = JSON.parse(spec.textContent);
    const hidden = new Set();
    for (const element of figure.querySelectorAll(".plot")) {
      const panel = views[element.dataset.view].panels[element.dataset.panel];
      plots.set(element, { panel, hidden, drawn: false });
      near.observe(element);
      size.observe(element);
    }
    const chosen = figure.querySelectorAll(".views button");
    for (const button of chosen) {
      button.addEventListener("click", () => {
        for (const other of chosen) other.setAttribute("aria-pressed", String(other === button));
        for (const panels of figure.querySelectorAll(".panels")) panels.hidden = panels.dataset.view !== button.dataset.view;
        for (const element of figure.querySelectorAll(".plot")) if (element.offsetParent) draw(element);
      });
    }
    for (const button of figure.querySelectorAll(".legend button")) {
      button.addEventListener("click", () => {
        const show = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(show));
        hidden[show ? "delete" : "add"](button.dataset.key);
        for (const element of figure.querySelectorAll(".plot")) if (element.offsetParent && plots.get(element).drawn) draw(element);
      });
    }
  }

  // ---- coloured tokens ----------------------------------------------------
  for (const figure of document.querySelectorAll(".figure")) {
    const readout = figure.querySelector(".readout");
    if (!readout) continue;
    const tell = (event) => {
      const token = event.target.closest(".t");
      if (token) readout.textContent = token.dataset.note;
    };
    figure.addEventListener("pointerover", tell);
    figure.addEventListener("click", tell);
    const select = figure.querySelector("select.arm");
    if (!select) continue;
    select.addEventListener("change", () => {
      for (const texts of figure.querySelectorAll(".texts")) texts.hidden = texts.dataset.arm !== select.value;
    });
  }
})();
