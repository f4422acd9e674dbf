"use strict";
// Draws the page's cards from the JSON in #data. Text goes in by textContent only; nothing is ever parsed as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const look = { opacity: 0.9, shared: false, contour: true };
  const WIDE = 480; // the longer side of a heatmap's canvas; the maps are smooth, the browser enlarges them
  // How much of the photo a part of the scale covers, as in vlcam/render/overlay.py.
  const cover = (part) => Math.min(Math.abs(part) / 0.8, 1) ** 1.5;
  const STEPS = 32767;
  const SVG = "http://www.w3.org/2000/svg";

  // ---- small helpers -------------------------------------------------------------------------------------------
  const make = (tag, options = {}, ...children) => {
    const { ns, ...attributes } = options;
    const node = ns ? document.createElementNS(SVG, tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    for (const child of children) if (child !== null) node.append(child);
    return node;
  };
  const bytes = (base64) => Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const line = (label, cells) => make("tr", {}, make("th", { scope: "row", dir: "auto" }, label), ...cells);
  const fold = (title, kind, columns, rows, about) => {
    const head = columns.map(([name, side]) => make("th", { scope: "col", class: side }, name));
    const table = make("table", { class: "table" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
    return make("details", { class: kind }, make("summary", {}, title), about, make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, table));
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const number = (value) => String(Number(value.toPrecision(3))).replaceAll("-", "−");
  const tables = Object.fromEntries(Object.entries(data.colours).map(([name, text]) => [name, bytes(text)]));

  /** Raw values of a target's map, row by row, at grid resolution. */
  const decode = (target) => {
    const raw = new DataView(bytes(target.map).buffer);
    const unit = target.peak / STEPS;
    return Float64Array.from({ length: raw.byteLength / 2 }, (_, i) => raw.getInt16(2 * i, true) * unit);
  };

  /** For each of n pixel centres along an axis of the photo: the two grid cells around it and the weight of the second, or -1 if unseen. */
  const along = (n, cells, scale, offset) => {
    const low = new Int32Array(n), high = new Int32Array(n), weight = new Float64Array(n);
    for (let i = 0; i < n; i++) {
      const place = ((i + 0.5) / n) * scale + offset;
      if (place < -1e-9 || place > 1 + 1e-9) { low[i] = -1; continue; }
      const cell = clamp(place * cells - 0.5, 0, cells - 1);
      low[i] = Math.floor(cell);
      high[i] = Math.min(low[i] + 1, cells - 1);
      weight[i] = cell - low[i];
    }
    return { low, high, weight };
  };

  /** The map on a raster over the whole photo: bilinear, half-pixel centres; NaN where the model did not see the photo. */
  const onPhoto = (item, values, width, height) => {
    const [rows, columns] = item.grid;
    const [scale, offset] = item.toInput;
    const xs = along(width, columns, scale[0], offset[0]);
    const ys = along(height, rows, scale[1], offset[1]);
    const out = new Float64Array(width * height).fill(NaN);
    for (let y = 0; y < height; y++) {
      if (ys.low[y] < 0) continue;
      const top = ys.low[y] * columns, bottom = ys.high[y] * columns, down = ys.weight[y];
      for (let x = 0; x < width; x++) {
        const left = xs.low[x];
        if (left < 0) continue;
        const right = xs.high[x], across = xs.weight[x];
        const above = values[top + left] * (1 - across) + values[top + right] * across;
        const below = values[bottom + left] * (1 - across) + values[bottom + right] * across;
        out[y * width + x] = above * (1 - down) + below * down;
      }
    }
    return out;
  };

  /** Line pieces where the raster crosses a level (marching squares), as an SVG path in a box of the given size. */
  const contour = (raster, width, height, level, boxWidth, boxHeight) => {
    const at = (x, y) => Math.abs(raster[y * width + x]) - level;
    const px = (x) => (((x + 0.5) / width) * boxWidth).toFixed(2);
    const py = (y) => (((y + 0.5) / height) * boxHeight).toFixed(2);
    const parts = [];
    for (let y = 0; y + 1 < height; y++) {
      for (let x = 0; x + 1 < width; x++) {
        const a = at(x, y), b = at(x + 1, y), c = at(x + 1, y + 1), d = at(x, y + 1);
        if (Number.isNaN(a + b + c + d)) continue;
        const cuts = [];
        if (a < 0 !== b < 0) cuts.push(px(x + a / (a - b)) + " " + py(y));
        if (b < 0 !== c < 0) cuts.push(px(x + 1) + " " + py(y + b / (b - c)));
        if (d < 0 !== c < 0) cuts.push(px(x + d / (d - c)) + " " + py(y + 1));
        if (a < 0 !== d < 0) cuts.push(px(x) + " " + py(y + a / (a - d)));
        for (let i = 0; i + 1 < cuts.length; i += 2) parts.push("M" + cuts[i] + "L" + cuts[i + 1]);
      }
    }
    return parts.join("");
  };

  // ---- one photo -----------------------------------------------------------------------------------------------
  let active = null; // the card last pointed at or focused: the arrow keys are its own
  class Card {
    constructor(item, position) {
      this.item = item;
      this.buttons = new Map(); // target number -> button, in the order of the arrow keys
      this.pinned = null;
      this.near = position < 2; // on the screen or close to it; a card far away is painted when it comes near
      this.stale = false;
      this.values = item.targets.map((target) => (target.map ? decode(target) : null));
      const { ratio } = item.photo; // as drawn: never so thin that nothing could be seen
      this.box = [420, 420 / ratio];
      this.raster = ratio >= 1 ? [WIDE, Math.round(WIDE / ratio)] : [Math.round(WIDE * ratio), WIDE];
      this.node = make("article", { class: "card", id: "photo-" + (position + 1), "aria-label": item.task + ": " + item.photo.name });
      for (const event of ["pointerenter", "focusin"]) this.node.addEventListener(event, () => { active = this; });
      this.node.append(this.picture(), this.reading(position === 0), this.source());
      this.show(this.first());
    }

    picture() {
      const { item } = this;
      this.canvas = make("canvas", { width: this.raster[0], height: this.raster[1] });
      this.halo = make("path", { ns: true, class: "halo" });
      this.ring = make("path", { ns: true, class: "ring" });
      const [width, height] = this.box;
      const svg = make("svg", { ns: true, viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
      const [left, top, right, bottom] = item.seen;
      if (left > 0 || top > 0 || right < 1 || bottom < 1) {
        const [x0, y0, x1, y1] = [left * width, top * height, right * width, bottom * height];
        const inner = `M${x0} ${y0}V${y1}H${x1}V${y0}Z`;
        svg.append(make("path", { ns: true, class: "unseen", d: `M0 0H${width}V${height}H0Z${inner}`, "fill-rule": "evenodd", fill: "url(#hatch)" }));
        svg.append(make("path", { ns: true, class: "seam", d: inner }));
      }
      svg.append(this.halo, this.ring);
      const photo = make("img", { src: item.photo.uri, alt: "Photo: " + item.photo.name, decoding: "async" });
      this.stage = make("div", { class: "stage" }, photo, this.canvas, svg);
      this.stage.style.setProperty("--ratio", item.photo.ratio);
      this.stage.addEventListener("pointermove", (event) => this.point(event));
      this.stage.addEventListener("pointerleave", () => this.point(null));
      this.low = make("span");
      this.high = make("span");
      this.here = make("i", { hidden: true });
      this.what = make("span", { class: "what" });
      this.ramp = make("canvas", { width: 256, height: 1 });
      this.scale = make("div", { class: "scale" }, this.low, make("div", { class: "ramp" }, this.ramp, this.here), this.high, this.what);
      this.notice = make("p", { class: "notice", hidden: true });
      return make("div", { class: "picture" }, this.stage, this.scale, this.notice);
    }

    /** The colour bar: the colours as they look on a mid-grey photo. */
    drawRamp() {
      const context = this.ramp.getContext("2d");
      const pixels = context.createImageData(256, 1);
      const colours = tables[this.item.colours];
      for (let i = 0; i < 256; i++) {
        const opacity = look.opacity * cover(this.item.signed ? i / 127.5 - 1 : i / 255);
        for (let j = 0; j < 3; j++) pixels.data[4 * i + j] = Math.round(128 + (colours[3 * i + j] - 128) * opacity);
        pixels.data[4 * i + 3] = 255;
      }
      context.putImageData(pixels, 0, 0);
    }

    reading(first) {
      const { item } = this;
      const said = make("div", { class: "said", role: "toolbar", "aria-label": "What the model said. Arrow keys move, Enter pins, Escape releases." });
      const targets = item.targets.map((target, i) => [target, i]);
      if (item.pieces.length) {
        const words = make("div", { class: "words", dir: "auto" });
        for (const piece of item.pieces) {
          // A comma stays on its word's line; other text between the words stands by itself.
          if (typeof piece === "number") words.append(make("span", { class: "unit" }, this.button(piece, "word")));
          else {
            const [, mark, rest] = /^(\S*)\s*([^]*)$/.exec(piece);
            if (mark && words.lastChild) words.lastChild.append(make("span", { class: "mark" }, mark));
            if (rest.trim() || (mark && !words.lastChild)) words.append(make("span", { class: "between" }, words.lastChild ? rest.trim() : piece.trim()));
          }
        }
        said.append(words);
      }
      const rows = targets.filter(([target]) => target.kind === "class" || target.kind === "answer");
      if (rows.length) said.append(make("div", { class: "rows" }, ...rows.map(([, i]) => this.button(i, "row"))));
      const rest = targets.filter(([, i]) => !this.buttons.has(i));
      if (rest.length) said.append(make("div", { class: "more" }, ...rest.map(([, i]) => this.button(i, "chip"))));
      said.addEventListener("keydown", (event) => this.key(event));
      this.status = make("p", { class: "status", role: "status" });
      this.neurons = make("section", { class: "neurons", hidden: true });
      return make(
        "div", { class: "reading" },
        ...item.notes.map((note) => make("p", { class: "hint note", dir: "auto" }, note)),
        make(item.question === null ? "h2" : "p", { class: "eyebrow" }, make("b", {}, item.task), " · " + item.photo.name),
        this.question(),
        said, this.status,
        first ? make("p", { class: "hint" }, "Point at a word or row to see its map. Click to keep the map, press Escape to release it, and move with the arrow keys.") : null,
        this.neurons, this.matrix(), this.table(),
      );
    }

    question() {
      const { question, asked } = this.item;
      if (question === null) return null;
      this.words = [];
      const word = ([text]) => this.words[this.words.push(make("span", { class: "asked" }, text)) - 1];
      const pieces = asked.map((piece) => (typeof piece === "string" ? piece : word(piece)));
      return make("h2", { class: "question", dir: "auto" }, ...(pieces.length ? pieces : [question]));
    }

    /** The words of the question, tinted and underlined by what they speak for: on this target's own scale, or one for its kind. */
    weigh(target) {
      const rivals = look.shared ? this.item.targets.filter((one) => one.kind === target.kind) : [target];
      const top = Math.max(...rivals.flatMap((one) => one.reading.map(({ weight }) => Math.abs(weight))), 1e-300);
      target.reading.forEach(({ weight, text }, i) => {
        this.words[i].classList.toggle("against", weight < 0);
        this.words[i].style.setProperty("--part", Math.abs(weight) / top);
        this.words[i].dataset.weight = text;
      });
    }

    button(i, kind) {
      const target = this.item.targets[i];
      const flagged = target.flag !== "ok";
      const node = make("button", { type: "button", class: kind + (flagged ? " flagged" : ""), "aria-pressed": "false", tabindex: "-1", "data-target": i });
      const label = kind === "chip" && target.kind === "caption" ? "Whole caption" : target.label;
      const gain = target.gain ? target.gain + " from the image" : "";
      const small = kind === "row" ? [flagged ? target.notice : "", gain].filter(Boolean).join(", ") : "";
      const note = small ? make("small", {}, small) : null;
      node.append(make("span", { class: "name", dir: "auto" }, label, note));
      if (kind !== "chip") {
        // Under a word: how strong its map is beside the others. In a list: the probability.
        const part = kind === "word" ? (target.shared > 0 ? target.peak / target.shared : 0) : target.probability ?? 0;
        const fill = make("span");
        fill.style.width = 100 * clamp(part, 0, 1) + "%";
        node.append(make("span", { class: "meter", "aria-hidden": "true" }, fill));
      }
      if (target.percent || kind !== "chip") node.append(make("span", { class: "percent" }, target.percent));
      for (const text of [kind === "row" ? "" : target.gain, target.chance]) if (text) node.append(make("span", { class: "percent" }, text));
      node.addEventListener("pointerenter", (event) => { if (event.pointerType !== "touch" && this.pinned === null) this.show(i); });
      node.addEventListener("focus", () => { if (this.pinned === null) this.show(i); });
      node.addEventListener("click", () => {
        this.pin(this.pinned === i ? null : i);
        node.focus({ preventScroll: true }); // Safari doesn't
      });
      this.buttons.set(i, node);
      return node;
    }

    /** Where a card starts: the first class or answer, or the word with the strongest map. */
    first() {
      const order = [...this.buttons.keys()];
      const { targets } = this.item;
      if (!order.length || targets[order[0]].kind !== "word") return order[0] ?? 0;
      const words = order.filter((i) => targets[i].kind === "word");
      return words.reduce((best, i) => (targets[i].peak > targets[best].peak ? i : best), words[0]);
    }

    key(event) {
      const order = [...this.buttons.keys()];
      const now = order.indexOf(this.shown);
      const next = { ArrowRight: now + 1, ArrowDown: now + 1, ArrowLeft: now - 1, ArrowUp: now - 1, Home: 0, End: order.length - 1 }[event.key];
      if (next === undefined || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      const i = order[(next + order.length) % order.length];
      if (this.pinned !== null) this.pin(i); // a pin moves along with the arrow keys
      else this.show(i);
      this.buttons.get(i).focus();
    }

    pin(i) {
      this.pinned = i;
      for (const [j, node] of this.buttons) node.setAttribute("aria-pressed", String(j === i));
      if (i !== null) this.show(i);
      this.node.dispatchEvent(new CustomEvent("pin", { detail: i, bubbles: true }));
    }

    show(i) {
      this.shown = i;
      const target = this.item.targets[i];
      if (!target) return;
      for (const [j, node] of this.buttons) {
        node.classList.toggle("shown", j === i);
        node.tabIndex = j === i ? 0 : -1;
      }
      this.say(target);
      this.name(target.neurons);
      this.refresh();
    }

    say(target) {
      const parts = [];
      if (target.percent) parts.push("probability " + target.percent + (target.certain && " (" + target.certain + ")"));
      if (target.score !== "not a number") parts.push(target.scoreName + " " + target.score);
      if (target.gain) parts.push(target.gain + " from the image");
      let text = "“" + target.label + "”" + (parts.length ? ": " + parts.join(", ") : "") + ".";
      if (target.notice) text += " " + target.notice[0].toUpperCase() + target.notice.slice(1) + ".";
      else text += " Maximum " + number(target.peak) + (target.place ? ", " + target.place : "") + ".";
      this.status.textContent = text + (target.significance && " " + target.significance);
    }

    refresh() {
      if (this.near) this.draw();
      else this.stale = true;
    }

    /** Paint the shown target's map, its line and its colour bar. */
    draw() {
      this.stale = false;
      const { item } = this;
      const target = item.targets[this.shown];
      this.weigh(target);
      const values = this.values[this.shown];
      const context = this.canvas.getContext("2d");
      const [width, height] = this.raster;
      context.clearRect(0, 0, width, height);
      this.halo.removeAttribute("d");
      this.ring.removeAttribute("d");
      this.here.hidden = true;
      this.scale.hidden = !values;
      this.notice.hidden = !target.noticeLong;
      this.notice.textContent = target.noticeLong;
      this.heat = null;
      if (!values) return;
      const top = look.shared ? target.shared : target.peak;
      const heat = onPhoto(item, values, width, height);
      const colours = tables[item.colours];
      const pixels = context.createImageData(width, height);
      for (let i = 0; i < heat.length; i++) {
        const part = clamp(heat[i] / top, item.signed ? -1 : 0, 1);
        if (!part) continue; // nothing there, or not seen by the model
        const row = 3 * Math.round(item.signed ? (part + 1) * 127.5 : part * 255);
        pixels.data[4 * i] = colours[row];
        pixels.data[4 * i + 1] = colours[row + 1];
        pixels.data[4 * i + 2] = colours[row + 2];
        pixels.data[4 * i + 3] = 255 * look.opacity * cover(part);
      }
      context.putImageData(pixels, 0, 0);
      this.heat = heat;
      this.top = top;
      if (look.contour) {
        const [w, h] = [Math.ceil(width / 3), Math.ceil(height / 3)];
        const path = contour(onPhoto(item, values, w, h), w, h, target.peak / 2, ...this.box);
        for (const line of [this.halo, this.ring]) {
          line.setAttribute("d", path);
          line.style.opacity = 0.2 + (0.8 * target.peak) / top; // a weak map gets a faint line
        }
      }
      this.drawRamp();
      this.low.textContent = item.signed ? "−" + number(top) : "0";
      this.high.textContent = number(top);
      this.explainScale(target);
    }

    explainScale(target, value = null) {
      const kinds = { word: "all words", class: "all classes", answer: "all answers", contrast: "all contrasts" };
      const faint = target.fainter && kinds[target.kind] ? ", " + target.fainter + " times fainter than the strongest of " + kinds[target.kind] : "";
      const range = !look.shared ? "Scale of this map alone" + faint : kinds[target.kind] ? "One scale for " + kinds[target.kind] : "Scale of the whole caption";
      const side = this.item.against ? "Evidence against. " : "";
      this.what.textContent = side + (value === null ? range + ", in raw units of the " + target.scoreName + "." : value);
    }

    /** The value under the pointer, on the colour bar. */
    point(event) {
      if (!this.heat) return;
      const target = this.item.targets[this.shown];
      this.here.hidden = event === null;
      if (event === null) { this.explainScale(target); return; }
      const box = this.stage.getBoundingClientRect();
      const x = clamp(Math.floor(((event.clientX - box.left) / box.width) * this.raster[0]), 0, this.raster[0] - 1);
      const y = clamp(Math.floor(((event.clientY - box.top) / box.height) * this.raster[1]), 0, this.raster[1] - 1);
      const value = this.heat[y * this.raster[0] + x];
      this.here.hidden = Number.isNaN(value);
      const part = clamp(value / this.top, this.item.signed ? -1 : 0, 1);
      this.here.style.left = (this.item.signed ? 50 * (part + 1) : 100 * part) + "%";
      this.explainScale(target, Number.isNaN(value) ? "The model didn't see this part of the photo." : "Here: " + number(value));
    }

    /** The sentence and the channels behind the shown target. */
    name(neurons) {
      this.neurons.hidden = !neurons;
      this.neurons.replaceChildren();
      if (!neurons) return;
      const widest = Math.max(1e-12, ...neurons.top.concat(neurons.bottom).map((one) => one.share));
      const row = (one) => {
        const bar = make("span", { class: one.against ? "against" : "" });
        bar.style.width = (50 * one.share) / widest + "%";
        return make(
          "tr", { class: one.standing },
          make("td", { class: "unit" }, data.neurons ? make("a", { href: data.neurons + "#unit-" + one.unit }, one.unit) : one.unit),
          make("td", { dir: "auto" }, one.name ?? "unnamed"),
          make("td", { class: "says" }, one.sign + " " + one.says),
          make("td", { class: "bar" }, make("span", { class: "lever", "aria-hidden": "true" }, bar)),
          make("td", { class: "figure" }, one.shareText),
          make("td", { class: "match" }, one.match || "–"),
        );
      };
      const head = (text, kind, about) => make("th", { scope: "col", class: kind, title: about }, text);
      this.neurons.append(
        make("h3", {}, "Named neurons"),
        make("p", { class: "sentence", dir: "auto" }, neurons.sentence),
        ...(neurons.full.length ? [this.more(neurons)] : []),
        make(
          "table", { class: "evidence" },
          make("thead", {}, make("tr", {},
            head("Unit", "unit"), head("Named after", ""), head("A text may say", "says"), make("th", { scope: "col", class: "bar" }, make("span", {}, "Against"), make("span", {}, "For")),
            head("Share", "figure", "Of all evidence for, or of all evidence against"), head("Match", "match", "How well the name fits the unit"))),
          make("tbody", {}, ...neurons.top.map(row)),
          make("tbody", {}, ...neurons.bottom.map(row)),
        ),
      );
    }

    more(neurons) {
      const texts = neurons.full.map((text) => make("p", { class: "hint", dir: "auto" }, text));
      const node = make("details", { class: "more", open: this.open }, make("summary", {}, "With numbers and units"), ...texts);
      node.addEventListener("toggle", () => { this.open = node.open; });
      return node;
    }

    matrix() {
      const { matrix } = this.item;
      if (!matrix) return null;
      const cell = ([text, tint, kind]) => {
        const td = make("td", { class: kind }, text);
        td.style.background = tint;
        return td;
      };
      const rows = matrix.rows.map(([label, cells]) => line(label, cells.map(cell)));
      return fold("Words by named neurons", "names", matrix.heads, rows, make("p", { class: "hint" }, matrix.about));
    }

    /** Everything again without pictures. */
    table() {
      const { asked, targets } = this.item;
      const words = asked.flatMap((piece) => (Array.isArray(piece) ? piece : []));
      const columns = [
        ["Kind", "", (target) => target.kindText],
        ["Score", "end", (target) => target.score],
        ["Probability", "end", (target) => target.percent],
        targets.some((target) => target.gain) && ["Visual information gain", "end", (target) => target.gain],
        ["Map maximum", "end", (target) => (target.notice ? "" : number(target.peak))],
        targets.some((target) => target.significance) && ["Significance test", "", (target) => target.significance],
        ["Strongest at", "", (target) => target.notice || target.place],
        words.length && ["Words of the question", "", (target) => target.reading.map((one, i) => words[i] + " " + one.text).join(", ")],
      ].filter(Boolean);
      const rows = targets.map((target) => line(target.label, columns.map(([, kind, text]) => make("td", { class: kind }, text(target) || "–"))));
      return fold("All maps as a table", "maps", [["Target", ""], ...columns], rows, null);
    }

    source() {
      const { facts, grid, photo } = this.item;
      const lines = {
        Model: facts.model, Layer: facts.layer, Method: facts.method, ...facts.more, Grid: grid.join(" × ") + " cells",
        ...(facts.input && { Input: facts.input }), Photo: photo.size.join(" × ") + " pixels", "SHA-256": photo.sha256.slice(0, 16) + (photo.sha256.length > 16 ? "…" : ""),
      };
      const list = Object.entries(lines).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", { title: name === "SHA-256" ? photo.sha256 : null }, text)));
      return make("dl", { class: "source" }, ...list);
    }
  }

  // ---- the page ------------------------------------------------------------------------------------------------
  const cards = data.explanations.map((item, i) => new Card(item, i));
  document.getElementById("cards").append(...cards.map((card) => card.node));

  const redraw = () => cards.forEach((card) => card.refresh());
  const bind = (id, event, change) => {
    const input = document.getElementById(id);
    const read = () => { change(input); redraw(); };
    input.addEventListener(event, read);
    change(input); // a browser may have kept the value from before a reload
    return read;
  };
  bind("opacity", "input", (input) => {
    look.opacity = input.value / 100;
    document.getElementById("opacity-text").textContent = input.value + "\u00a0%";
  });
  bind("shared", "change", (input) => {
    look.shared = input.checked;
    document.getElementById("own").hidden = look.shared;
    document.getElementById("one").hidden = !look.shared;
  });
  bind("contour", "change", (input) => { look.contour = input.checked; });
  redraw();

  active = cards[0];
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") (active.pinned === null ? cards : [active]).forEach((card) => card.pin(null));
    // Elsewhere the arrow keys have a meaning of their own.
    else if (/^Arrow(Left|Right)$/.test(event.key) && !event.target.closest("input, nav, .said, .scroll")) active.key(event);
  });

  const ofNode = (node) => cards.find((card) => card.node === node);
  const nearby = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = ofNode(entry.target);
      card.near = entry.isIntersecting;
      if (card.near && card.stale) card.draw();
    }
  }, { rootMargin: "400px 0px" });
  cards.forEach((card) => nearby.observe(card.node));
  addEventListener("beforeprint", () => cards.forEach((card) => card.stale && card.draw()));

  globalThis.vlcam = { cards, data, look, make, redraw }; // for page_tools.js, which comes next where there is one
})();
