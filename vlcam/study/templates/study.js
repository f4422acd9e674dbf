"use strict";
(() => {
  const study = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const two = study.kind === "discrimination";
  const prefix = `vlcam-study-${study.study}/`;
  const known = new Set(study.items.map((item) => item.id));
  let rater = null, order = [], place = 0, since = 0, kept = { answers: {} };
  document.body.classList.add(two ? "two" : "five");

  /* Where answers are kept. A browser may refuse; then they last as long as the page. */
  const memory = new Map();
  let safe = true;
  function read(id) {
    try {
      const text = safe ? localStorage.getItem(prefix + id) : memory.get(id);
      const found = text ? JSON.parse(text) : null;
      return found && typeof found.answers === "object" && found.answers ? found : null;
    } catch { return null; }
  }
  function write(id, value) {
    memory.set(id, JSON.stringify(value));
    if (!safe) return;
    try { localStorage.setItem(prefix + id, JSON.stringify(value)); } catch { unsafe(); }
  }
  function unsafe() {
    safe = false;
    at("unsafe").textContent = "This browser can't save your answers: don't close or reload this page before you have downloaded them.";
  }
  function saved() {
    if (!safe) return [...memory.keys()].sort();
    const found = [];
    for (let n = 0; n < localStorage.length; n++) {
      const name = localStorage.key(n);
      if (name.startsWith(prefix)) found.push(name.slice(prefix.length));
    }
    return found.sort();
  }
  function session(id) {
    try {
      if (id === undefined) return sessionStorage.getItem(prefix);
      if (id === null) sessionStorage.removeItem(prefix); else sessionStorage.setItem(prefix, id);
    } catch { /* then a reload asks for the id again */ }
    return null;
  }

  /* The booklet and the order follow from the rater's id: FNV-1a, mulberry32 and Fisher-Yates. */
  function hash(text) {
    let value = 0x811c9dc5;
    for (const one of text) value = Math.imul(value ^ one.codePointAt(0), 0x01000193);
    return value >>> 0;
  }
  function random(seed) {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  function booklet(id) {
    const number = /(\d{1,9})$/.exec(id);
    return (number ? Number(number[1]) + study.booklets - 1 : hash(id)) % study.booklets;
  }
  function ordered(id) {
    const mine = study.items.filter((item) => item.booklet === booklet(id));
    const next = random(hash(`${study.study}/${id}`));
    for (let n = mine.length - 1; n > 0; n--) {
      const other = Math.floor(next() * (n + 1));
      [mine[n], mine[other]] = [mine[other], mine[n]];
    }
    return mine;
  }
  function done() { return order.filter((item) => item.id in kept.answers).length; }

  /* The three screens. */
  function show(which) {
    for (const id of ["start", "ask", "end"]) at(id).hidden = id !== which;
    const going = which !== "start";
    at("who").hidden = at("leave").hidden = at("bar").hidden = !going;
    if (!going) return;
    const count = done();
    at("who").textContent = `Rater ${rater} · ${count} of ${order.length} answered`;
    at("bar").setAttribute("aria-valuemax", order.length);
    at("bar").setAttribute("aria-valuenow", count);
    at("bar").firstElementChild.style.width = `${(100 * count) / order.length}%`;
  }
  function start() {
    rater = null;
    session(null);
    const list = at("raters");
    list.replaceChildren();
    for (const id of saved()) {
      const found = read(id);
      if (!found) continue;
      const mine = ordered(id), count = mine.filter((item) => item.id in found.answers).length;
      const row = document.createElement("li"), name = document.createElement("span");
      name.textContent = `${id}: ${count} of ${mine.length}`;
      row.append(name);
      if (count < mine.length) row.append(button("Continue", `Continue as ${id}`, () => enter(id)));
      if (count) row.append(button("Download", `Download the answers of ${id}`, () => download(id)));
      list.append(row);
    }
    at("saved").hidden = !list.childElementCount;
    show("start");
  }
  function button(text, label, action) {
    const found = document.createElement("button");
    found.type = "button";
    found.className = "quiet";
    found.textContent = text;
    found.setAttribute("aria-label", label);
    found.addEventListener("click", action);
    return found;
  }
  function enter(id) {
    rater = id;
    session(id);
    kept = read(id) || { answers: {} };
    for (const item of Object.keys(kept.answers)) if (!known.has(item)) delete kept.answers[item];
    write(id, kept);
    order = ordered(id);
    const open = order.findIndex((item) => !(item.id in kept.answers));
    if (open < 0) return end();
    place = open;
    ask();
  }
  function options(item) {
    return two ? item.choices.map((one) => [one, one]) : study.answers;
  }
  function picture(source, label, title) {
    const figure = document.createElement("figure"), image = document.createElement("img");
    if (title) {
      const caption = document.createElement("figcaption");
      caption.append(title);
      figure.append(caption);
    }
    image.alt = label;
    image.src = study.pictures[source];
    figure.append(image);
    return figure;
  }
  function strong(text) {
    const found = document.createElement("b");
    found.textContent = text;
    return found;
  }
  function ask() {
    const item = order[place];
    at("question").textContent = study.question;
    at("about").replaceChildren();
    if (two) {
      at("pictures").replaceChildren(picture(item.images[0], `Drawing of question ${place + 1}`));
    } else {
      at("about").append("Both programs said, and rightly: ", strong(item.about));
      at("pictures").replaceChildren(
        picture(item.images[0], "The picture", "The picture"),
        picture(item.images[1], "What mattered to program A", strong("A")),
        picture(item.images[2], "What mattered to program B", strong("B")),
      );
    }
    const given = kept.answers[item.id];
    at("choices").replaceChildren(...options(item).map(([value, text], n) => {
      const found = document.createElement("button"), key = document.createElement("kbd"), words = document.createElement("span");
      found.type = "button";
      key.textContent = n + 1;
      key.setAttribute("aria-hidden", "true");
      words.textContent = text;
      found.append(key, words);
      found.setAttribute("aria-pressed", String(Boolean(given) && given[0] === value));
      found.addEventListener("click", () => answer(value));
      return found;
    }));
    at("back").disabled = place === 0;
    show("ask");
    at("said").textContent = `Question ${place + 1} of ${order.length}`;
    at("question").focus({ preventScroll: true });
    window.scrollTo(0, 0);
    since = performance.now();
  }
  function answer(value) {
    const item = order[place], before = kept.answers[item.id];
    const seconds = Math.round((performance.now() - since) / 100) / 10 + (before ? before[1] : 0);
    kept.answers[item.id] = [value, seconds];
    write(rater, kept);
    if (place + 1 < order.length) { place += 1; ask(); } else if (done() < order.length) enter(rater); else end();
  }
  function back() {
    if (place > 0) { place -= 1; ask(); }
  }
  function end() {
    show("end");
    at("sum").textContent = `You have answered all ${order.length} questions.`;
    at("downloaded").textContent = "";
    at("said").textContent = "All questions are answered.";
    at("thanks").focus({ preventScroll: true });
  }

  /* The answers as a file. */
  function cell(value) {
    const plain = String(value), text = typeof value === "string" && /^'*[=+\-@\t\r\n]/.test(plain) ? `'${plain}` : plain;  /* no formula */
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }
  function table(id) {
    const answers = (read(id) || kept).answers, rows = [["study", "rater", "item", "answer", "place", "seconds"]];
    ordered(id).forEach((item, n) => {
      const given = answers[item.id];
      if (given) rows.push([study.study, id, item.id, given[0], n + 1, given[1].toFixed(1)]);
    });
    return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
  }
  function download(id) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table(id)], { type: "text/csv" }));
    link.download = `answers-${study.kind}-${id}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    at("downloaded").textContent = `Saved as ${link.download} in your downloads.`;
  }

  at("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = at("rater").value.trim().toLowerCase();
    const fits = /^[a-z0-9][a-z0-9_-]{0,39}$/.test(id);
    at("rater-wrong").textContent = fits ? "" : "Please give your rater id: letters, digits, - and _, beginning with a letter or digit.";
    at("rater").setAttribute("aria-invalid", String(!fits));
    if (fits) enter(id); else at("rater").focus();
  });
  at("back").addEventListener("click", back);
  at("leave").addEventListener("click", start);
  at("other").addEventListener("click", () => { at("rater").value = ""; start(); });
  at("review").addEventListener("click", () => { place = order.length - 1; ask(); });
  at("download").addEventListener("click", () => download(rater));
  document.addEventListener("keydown", (event) => {
    if (at("ask").hidden || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.key === "Backspace") { event.preventDefault(); back(); return; }
    const buttons = at("choices").children, n = Number(event.key);
    if (at("keys").checked && /^[1-9]$/.test(event.key) && n <= buttons.length) { event.preventDefault(); buttons[n - 1].click(); }
  });

  try {
    localStorage.setItem(`${prefix}`, "");
    localStorage.removeItem(`${prefix}`);
  } catch { unsafe(); }
  const before = session();
  if (before && read(before)) enter(before); else start();
})();
