/* Keeps a page up to date: fetches it again and again, and changes in it what has changed.

   What the reader opened, selected or is at stays. A page that cannot be fetched says so: nobody should take an old
   picture for a calm one. Without this script the page says when it was made, and is reloaded by hand. */
"use strict";
(() => {
  const EVERY = 5000, LONGEST = 60000;
  const main = document.querySelector("main");
  const state = document.getElementById("live");
  const news = document.getElementById("news");
  let skew = Number(main.dataset.now) - Date.now();  // of this machine's clock
  let refreshed = Date.now(), wait = EVERY, known = alarms(main), timer;

  function alarms(place) {
    return new Set(Array.from(place.querySelectorAll("[data-alarm]"), (one) => one.dataset.alarm));
  }

  function span(seconds) {
    for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]])
      if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
    return `${Math.max(seconds, 0)} s`;
  }

  function tick() {
    const now = Date.now() + skew;
    for (const one of main.querySelectorAll("time")) {
      const text = span(Math.floor((now - Date.parse(one.dateTime)) / 1000));
      if (one.textContent !== text) one.textContent = text;  // or all of it would be laid out again
    }
    const old = Math.floor((Date.now() - refreshed) / 1000);
    const lost = old * 1000 > 4 * EVERY;
    document.documentElement.classList.toggle("lost", lost);
    state.textContent = lost ? `Not reached for ${span(old)}: what you see is old.` : `Live: refreshed ${span(old)} ago.`;
  }

  function same(one, other) {
    return one.nodeType === other.nodeType && one.nodeName === other.nodeName && one.id === other.id;
  }

  function change(old, fresh) {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of fresh.attributes)
      if (name !== "open" && old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of Array.from(old.attributes))
      if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    const before = Array.from(old.childNodes), after = Array.from(fresh.childNodes);
    after.forEach((child, at) => {
      if (at >= before.length) old.append(document.adoptNode(child));
      else if (same(before[at], child)) change(before[at], child);
      else before[at].replaceWith(document.adoptNode(child));
    });
    before.slice(after.length).forEach((child) => child.remove());
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-cache", signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      const there = fresh.querySelector("main");
      if (getSelection().isCollapsed) {  // somebody may be copying a command
        const now = alarms(there);
        const added = Array.from(now).filter((one) => !known.has(one));
        if (added.length) news.textContent = `New: ${added.length === 1 ? added[0] : `${added.length} alarms`}`;
        known = now;
        skew = Number(there.dataset.now) - Date.now();
        document.title = fresh.title;
        change(main, there);
      }
      refreshed = Date.now();
      wait = EVERY;
    } catch {
      wait = Math.min(2 * wait, LONGEST);
    }
    tick();
    timer = setTimeout(refresh, wait);
  }

  main.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    state.textContent = "Copied.";
  });
  if (navigator.clipboard) document.documentElement.classList.add("copies");
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
  requestAnimationFrame(() => setTimeout(tick));  // what the monitor made is painted first
  setInterval(tick, 1000);
  timer = setTimeout(refresh, EVERY);
})();
