"use strict";
// One tile: a photo with its map (in a comparison: twice, with both maps), what was said, and how sure that is.
(() => {
  const gallery = window.vlcamGallery;
  const { make } = gallery;

  const percent = (part) => {
    const value = 100 * part;
    return (value >= 99.95 ? "> 99.9" : value < 0.1 && part > 0 ? "< 0.1" : value < 9.95 || value > 99 ? value.toFixed(1) : value.toFixed(0)) + "\u00a0%";
  };
  const number = (value) => String(Number(value.toPrecision(2))).replace("-", "−");
  const chance = (p) => (p < 0.001 ? "p < 0.001" : "p = " + number(p));
  const CAPTION = 2; // the number of this kind of target in the index
  const SHORT = 22; // characters of a title that may have a single line
  const WHY = {
    zero: "Empty map: no evidence", negative: "Only evidence against", nonfinite: "No map: not finite",
  };

  /** What stands under a picture, the most important first: [text, class]. */
  const describe = (index, s, photo, row, terms = []) => {
    const side = index.sides[s];
    const { about } = index;
    const text = (id) => (id < 0 ? "" : index.strings[id]);
    const lines = [];
    const said = text(side.said[photo]);
    const error = side.errors.get(photo);
    if (error !== undefined) return { title: error, sure: "", lines: [["⚠ Failed", "error"]], failed: true };
    const title = row < 0 ? said : text(side.target[row]);
    const sure = row < 0 || Number.isNaN(side.probability[row]) ? "" : percent(side.probability[row]);
    const right = side.correct[photo];
    const truth = text(index.truth[photo]);
    if (right === 1) lines.push([title === said ? "✓ Right" : "✓ said “" + said + "”", "right"]);
    else if (right === 0) lines.push(["✗ " + (title === said ? "" : "said “" + said + "”, ") + "true: “" + truth + "”", "wrong"]);
    else if (said && said !== title) lines.push(["“" + said + "”", "caption"]);
    const question = text(index.question[photo]);
    if (question) lines.push([question, "question"]);
    if (row >= 0) {
      const facts = [];
      if (!Number.isNaN(side.p[row])) facts.push(chance(side.p[row]));
      if (!Number.isNaN(side.gain[row])) facts.push("gain " + number(side.gain[row]));
      if (side.faint[row] >= about.faint) facts.push(number(side.faint[row]) + " times fainter");
      const neuron = side.neurons[row]?.map(text).find((one) => terms.some((term) => gallery.fold(one).includes(term)));
      if (neuron !== undefined && !terms.some((term) => gallery.fold(title + " " + said).includes(term))) facts.unshift("neuron “" + neuron + "”");
      if (facts.length) lines.push([facts.join(" · "), "facts"]);
    }
    return { title, sure, lines, failed: false };
  };

  /** How many lines of text the tiles need, the same for all of them. */
  const countLines = (index, tiles) => {
    const { about, sides, kind, question } = index;
    let most = 3;
    tiles.rows.forEach((row, i) => {
      const photo = tiles.photos[i];
      for (const side of sides) {
        if (row < 0 || most > 5) continue;
        const title = side.target[row] === side.said[photo] && kind[row] === CAPTION ? 3 : 1;
        const facts = !Number.isNaN(side.p[row]) || !Number.isNaN(side.gain[row]) || side.faint[row] >= about.faint;
        most = Math.max(most, title + (side.correct[photo] < 2 || side.target[row] !== side.said[photo]) + (question[photo] >= 0) + facts);
      }
    });
    return most;
  };

  class Tile {
    constructor(grid, place) {
      const { index } = grid;
      this.grid = grid;
      this.place = place;
      [this.photo, this.row] = grid.at(place);
      this.sides = index.sides.map((_, s) => this.side(s));
      const name = index.names[this.photo];
      const apart = index.about.compare ? make("span", { class: "apart" }, this.apart()) : null;
      this.node = make("button", { type: "button", class: "tile", tabindex: "-1", "data-place": place }, make("span", { class: "sides" }, ...this.sides.map((one) => one.node)), apart, make("span", { class: "file", dir: "auto" }, name));
      const spoken = this.sides.map((one, s) => (index.about.compare ? "AB"[s] + ": " : "") + one.spoken).join(". ");
      this.node.setAttribute("aria-label", [spoken, apart && apart.textContent, name, `${place + 1} of ${grid.count}`].filter(Boolean).join(". "));
      this.node.title = name;
      if (this.sides.some((one) => one.wrong)) this.node.classList.add("mistake");
    }

    side(s) {
      const { index } = this.grid;
      const text = describe(index, s, this.photo, this.row, this.grid.terms);
      const image = make("img", { alt: "", decoding: "async" });
      const canvas = make("canvas", { "aria-hidden": "true" });
      const badge = make("span", { class: "badge" });
      const flag = this.row < 0 ? "" : WHY[["", "zero", "negative", "nonfinite"][index.sides[s].flag[this.row]]] ?? "";
      badge.textContent = text.failed ? "" : flag && "∅ " + flag;
      const letter = index.about.compare ? make("span", { class: "letter", "aria-hidden": "true" }, "AB"[s]) : null;
      const stage = make("span", { class: "stage" + (text.failed ? " failed" : "") }, image, canvas, badge, letter);
      const lines = text.lines.map(([line, kind]) => make("span", { class: "line " + kind, dir: "auto" }, line));
      const name = make("span", { class: "name", dir: "auto" }, text.title || "\u00a0");
      // Lines that are free go to a long title, or else to the caption or question under it.
      const free = Math.max(0, this.grid.lines - 1 - lines.length);
      const long = lines.findIndex((_, i) => /caption|question|wrong/.test(text.lines[i][1]));
      const grows = text.title.length > SHORT || long < 0 ? name : lines[long];
      grows.classList.add("grows");
      grows.style.webkitLineClamp = 1 + free;
      const node = make("span", { class: "side" }, stage, make("span", { class: "head" }, name, make("span", { class: "sure" }, text.sure)), ...lines);
      const spoken = [text.title, text.sure, ...text.lines.map(([line]) => line), flag].filter(Boolean).join(", ");
      return { node, image, canvas, badge, spoken, wrong: index.sides[s].correct[this.photo] === 0 };
    }

    /** How unlike the two maps are, and whether the labels differ. */
    apart() {
      const { index } = this.grid;
      const value = this.row < 0 ? NaN : index.apart[this.row];
      const labels = gallery.alike(index, this.photo) ? "" : "≠ Different labels";
      return [labels, Number.isNaN(value) ? (this.row >= 0 && index.sides[0].target[this.row] !== index.sides[1].target[this.row] ? "other targets" : "nothing to compare") : "disagreement " + value.toFixed(2)].filter(Boolean).join(" · ");
    }

    /** Put the photo and the map in, once their file has been loaded. */
    async fill() {
      const { index } = this.grid;
      const [file, place] = gallery.find(index.about.tiles, this.photo);
      let entry;
      try {
        entry = (await gallery.load("tiles", file))[place];
      } catch (error) {
        this.sides.forEach((side) => { side.badge.textContent = "⚠ Its file can't be loaded"; });
        return;
      }
      this.entry = entry;
      for (const side of this.sides) {
        if (entry.jpeg) side.image.src = "data:image/jpeg;base64," + entry.jpeg;
        else {
          side.image.remove();
          if (!side.badge.textContent) side.badge.textContent = "No picture";
        }
      }
      this.paint();
    }

    paint() {
      if (!this.entry) return;
      const { grid, entry } = this;
      const [width, height] = fit(entry.size, grid.stage);
      const nth = this.row - grid.index.first[this.photo];
      const pairs = this.sides.map((_, s) => (this.row < 0 ? null : entry.sides[s][nth]));
      const peaks = pairs.map((one) => (one && one.map ? one.map[2] : 0));
      const ratio = Math.min(window.devicePixelRatio || 1, 2);
      this.sides.forEach((side, s) => {
        for (const node of [side.image, side.canvas]) [node.style.width, node.style.height] = [width + "px", height + "px"];
        [side.canvas.width, side.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
        const one = pairs[s];
        if (!one) return;
        const top = !grid.look.shared ? peaks[s] : grid.index.about.compare ? Math.max(...peaks) : Math.max(...entry.sides[s].map((other) => (other && other.map && other.kind === one.kind ? other.map[2] : 0)));
        gallery.paint(side.canvas, one.map, one.place, top, one.signed, grid.look);
        if (grid.index.about.compare && grid.look.shared && one.map && peaks[s] * 20 < top) side.badge.textContent = "Faint on the common scale: " + number(top / peaks[s]) + " times";
        else if (side.badge.textContent.startsWith("Faint on")) side.badge.textContent = "";
      });
    }
  }

  /** The size of a photo in a box, whole and with its proportions. */
  const fit = ([width, height], [most, tall]) => {
    if (!(width > 0 && height > 0)) return [most, tall];
    const scale = Math.min(most / width, tall / height);
    return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  };

  Object.assign(gallery, { Tile, countLines });
})();
