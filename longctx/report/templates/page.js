"use strict";
(() => {
  const details = JSON.parse(document.getElementById("details").textContent);
  const tip = document.getElementById("tip");

  // Everything below is put into the page as text, never as markup.
  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const cellAt = (event) => (event.target instanceof Element ? event.target.closest("button.cell") : null);

  let shown = null;

  const showTip = (event) => {
    shown = cellAt(event);
    tip.hidden = !shown;
    if (!shown) return;
    tip.textContent = shown.getAttribute("aria-label").split("; ").join("\n");
    placeTip();
  };

  const placeTip = () => {
    if (!shown) return;
    const at = shown.getBoundingClientRect();
    const left = Math.min(at.left, document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(8, left)}px`;
    const below = at.bottom + tip.offsetHeight + 8 < window.innerHeight;
    tip.style.top = `${below ? at.bottom + 4 : at.top - tip.offsetHeight - 4}px`;
  };

  const marked = (text, targets) => {
    const made = element("p", undefined, "text");
    let rest = text;
    while (rest) {
      const found = targets.map((target) => [rest.indexOf(target), target]).filter(([at, target]) => at >= 0 && target);
      if (!found.length) break;
      const [at, target] = found.reduce((first, other) => (other[0] < first[0] ? other : first));
      made.append(rest.slice(0, at), element("mark", target));
      rest = rest.slice(at + target.length);
    }
    made.append(rest);
    return made;
  };

  const entry = (list, name, value) => {
    const term = element("dd");
    term.dir = "auto";
    term.append(value);
    list.append(element("dt", name), term);
  };

  const sampleCard = (sample) => {
    const card = element("article");
    card.append(element("h4", `${sample.outcome} · trial ${sample.trial} · ${sample.tokens.toLocaleString("en")} prompt tokens`));
    const list = element("dl");
    entry(list, "prompt, around what is asked for", sample.prompt ? marked(sample.prompt, sample.targets) : "not kept in the rows of this run");
    if (sample.question) entry(list, "its end", element("p", sample.question, "text"));
    entry(list, "wanted", element("p", sample.targets.join(" · "), "text"));
    entry(list, "answered", element("p", sample.answer || "(nothing)", "text"));
    if (sample.logprob !== null) entry(list, "log-probability of the wanted", String(sample.logprob));
    entry(list, "sample", element("code", sample.id));
    card.append(list);
    return card;
  };

  const openPanel = (cell) => {
    const panel = document.getElementById(cell.dataset.panel);
    const wasOpen = cell.getAttribute("aria-expanded") === "true";
    for (const other of document.querySelectorAll(`button.cell[data-panel="${cell.dataset.panel}"]`)) other.setAttribute("aria-expanded", "false");
    panel.hidden = wasOpen;
    if (wasOpen) return;
    cell.setAttribute("aria-expanded", "true");
    const found = details[cell.dataset.cell];
    panel.replaceChildren(element("h3", cell.getAttribute("aria-label")));
    if (!found) panel.append(element("p", "No samples of this cell are in the page; they are in rows.jsonl."));
    else {
      panel.append(...found.samples.map(sampleCard));
      if (found.more) panel.append(element("p", `${found.more} more in rows.jsonl.`));
    }
  };

  document.addEventListener("mouseover", showTip);
  document.addEventListener("focusin", showTip);
  document.addEventListener("scroll", placeTip, { passive: true, capture: true });
  document.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) openPanel(cell);
  });
})();
