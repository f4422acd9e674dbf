"use strict";
// From what was asked for (filters, sorting, groups: one plain object, the same that the address holds) to a list of tiles.
(() => {
  const gallery = window.vlcamGallery;

  /** What the address may say, with the values that it leaves out. */
  const DEFAULTS = {
    q: "", show: "", said: "", truth: "", target: "", right: "", labels: "", conf: "", p: "", gain: "", apart: "", map: "", error: "",
    sort: "", group: "", open: "",
  };

  /** "0.2..0.5", "..5", "1.." as two numbers. */
  const readRange = (text) => {
    const [low, high] = text.split("..").map((part) => (part.trim() === "" ? NaN : Number(part)));
    return [Number.isNaN(low) ? -Infinity : low, Number.isNaN(high ?? NaN) ? Infinity : high];
  };

  /** The words that are searched for, all of which have to be there. */
  const splitTerms = (text) => gallery.fold(text).split(/\s+/).filter(Boolean);

  const readAddress = (hash) => {
    const given = new URLSearchParams(hash.replace(/^#/, ""));
    return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  };

  const writeAddress = (state) => {
    const shown = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) if (name in DEFAULTS && value !== DEFAULTS[name]) shown.set(name, value);
    return "#" + shown;
  };

  const [WORD, CAPTION] = [1, 2]; // the numbers of these kinds of targets in the index

  /** Whether a map is faint, empty, negative or not finite, or there is nothing to say against it. */
  const FLAGS = ["", "zero", "negative", "nonfinite"];
  const mapState = (side, row, faint) => FLAGS[side.flag[row]] || (side.faint[row] >= faint ? "faint" : "clear");

  /** The two sides' labels: 1 alike, 0 different. */
  const alike = (index, photo) => index.sides[0].said[photo] === index.sides[1].said[photo];

  /** Where a photo stands with the truth: right, wrong, unknown; of two runs: both, neither, first, second. */
  const standing = (index, photo) => {
    const [one, other] = index.sides.map((side) => side.correct[photo]);
    if (other === undefined) return ["wrong", "right", "unknown"][one];
    if (one === 2 || other === 2) return "unknown";
    return one ? (other ? "both" : "first") : other ? "second" : "neither";
  };

  /** Tiles that pass: arrays of photos and of rows (-1 for a photo that has no map to show). */
  const choose = (index, state) => {
    const { about, sides } = index;
    const terms = splitTerms(state.q);
    const hits = terms.map((term) => index.match(term));
    const [said, truth, target] = ["said", "truth", "target"].map((name) => (state[name] === "" ? null : index.ids.get(state[name]) ?? -2));
    const ranges = [["probability", state.conf, 0.01], ["p", state.p, 1], ["gain", state.gain, 1]].filter((one) => one[1] !== "")
      .map(([name, text, unit]) => [name, ...readRange(text).map((end) => end * unit)]);
    const apart = state.apart === "" ? null : readRange(state.apart);
    const states = state.map === "" ? null : new Set(state.map.split(","));
    const needsRow = target !== null || ranges.length || states || apart;
    const every = about.compare ? state.show !== "photos" : state.show === "maps";
    const photos = [], rows = [];

    const fits = (row) => {
      if (target !== null && !sides.some((side) => side.target[row] === target)) return false;
      if (states && !sides.some((side) => states.has(mapState(side, row, about.faint)))) return false;
      for (const [name, low, high] of ranges) {
        if (!sides.some((side) => side[name][row] >= low * (1 - 1e-6) - 1e-9 && side[name][row] <= high * (1 + 1e-6) + 1e-9)) return false;
      }
      return !apart || (index.apart[row] >= apart[0] - 1e-6 && index.apart[row] <= apart[1] + 1e-6);
    };

    // Which map stands for a photo: the pair that disagrees most, the strongest of the words, or else the first.
    const rank = (row) => (about.compare ? -index.apart[row] || 0 : index.kind[row] === WORD ? sides[0].faint[row] || 1e5 : 0);

    for (let photo = 0; photo < index.photos; photo++) {
      if (said !== null && !sides.some((side) => side.said[photo] === said)) continue;
      if (truth !== null && index.truth[photo] !== truth) continue;
      if (state.right !== "" && standing(index, photo) !== state.right) continue;
      if (state.labels !== "" && about.compare && (state.labels === "same") !== alike(index, photo)) continue;
      const failed = sides.some((side) => side.errors.has(photo));
      if (state.error !== "" && (state.error === "only") !== failed) continue;
      let open = [];
      if (terms.length) {
        const name = gallery.fold(index.names[photo]);
        open = hits.filter((hit, i) => !(name.includes(terms[i]) || hit[index.truth[photo]] || hit[index.question[photo]]
          || sides.some((side) => hit[side.said[photo]])));
      }
      const [start, end] = [index.first[photo], index.first[photo + 1]];
      let found = -1, best = Infinity, named = false; // whether there is a map of what was searched for, rather than of a text around it
      const passed = [];
      for (let row = start; row < end; row++) {
        if (!open.every((hit) => sides.some((side) => hit[side.target[row]] || side.neurons[row]?.some((id) => hit[id])))) continue;
        if (!fits(row)) continue;
        const own = index.kind[row] !== CAPTION && hits.some((hit) => hit[sides[0].target[row]]);
        if (own && !named) { named = true; best = Infinity; passed.length = 0; }
        if (named && !own) continue;
        passed.push(row);
        if (rank(row) < best || passed.length === 1) [found, best] = [row, rank(row)];
      }
      for (const row of every ? passed : passed.length ? [found] : []) {
        photos.push(photo);
        rows.push(row);
      }
      if (found < 0 && start === end && !needsRow && !open.length) { photos.push(photo); rows.push(-1); }
    }
    return { photos: Int32Array.from(photos), rows: Int32Array.from(rows) };
  };

  // ---- sorting: a number for each tile, the smallest first; tiles without one come last ----------------------------------
  const of = (name, sign) => (index, photo, row) => (row < 0 ? NaN : sign * index.sides[0][name][row]);
  const SORTS = {
    "": null,
    sure: of("probability", -1),
    unsure: of("probability", 1),
    mistakes: (index, photo, row) => {
      const wrong = Math.min(...index.sides.map((side) => side.correct[photo])) === 0;
      return row < 0 ? NaN : (wrong ? 0 : 2) - index.sides[0].probability[row];
    },
    p: of("p", 1),
    notproven: of("p", -1),
    gain: of("gain", -1),
    faint: of("faint", -1),
    apart: (index, photo, row) => (row < 0 ? NaN : -index.apart[row]),
    alike: (index, photo, row) => (row < 0 ? NaN : index.apart[row]),
    labels: (index, photo, row) => (alike(index, photo) ? 10 : 0) - (row < 0 || Number.isNaN(index.apart[row]) ? -5 : index.apart[row]),
  };

  const sort = (index, tiles, name) => {
    const { photos, rows } = tiles;
    const order = Int32Array.from(photos, (_, i) => i);
    if (name === "name") {
      const rank = new Map(index.names.map((text, i) => [i, text]));
      const compare = new Intl.Collator(undefined, { numeric: true }).compare;
      order.sort((a, b) => compare(rank.get(photos[a]), rank.get(photos[b])) || a - b);
    } else if (Object.hasOwn(SORTS, name) && SORTS[name]) {
      const keys = Float64Array.from(photos, (photo, i) => SORTS[name](index, photo, rows[i]));
      order.sort((a, b) => {
        const [one, other] = [keys[a], keys[b]];
        if (Number.isNaN(one) || Number.isNaN(other)) return (Number.isNaN(one) ? 1 : 0) - (Number.isNaN(other) ? 1 : 0) || a - b;
        return one - other || a - b;
      });
    }
    return { photos: order.map((i) => photos[i]), rows: order.map((i) => rows[i]) };
  };

  // ---- groups: the largest first; of confusion pairs, the wrong ones before the right ones -----------------------------------
  const QUOTE = (text) => (text === undefined ? "unknown" : "“" + text + "”");
  const GROUPS = {
    said: (index, photo) => [index.sides[0].said[photo]],
    truth: (index, photo) => [index.truth[photo]],
    pair: (index, photo) => [index.truth[photo], index.sides[0].said[photo]],
    labels: (index, photo) => index.sides.map((side) => side.said[photo]),
    target: (index, photo, row) => [row < 0 ? -1 : index.sides[0].target[row]],
  };

  const group = (index, tiles, name) => {
    if (!Object.hasOwn(GROUPS, name)) return [{ key: "", title: "", from: 0, count: tiles.photos.length, ...tiles }];
    const found = new Map();
    tiles.photos.forEach((photo, i) => {
      const ids = GROUPS[name](index, photo, tiles.rows[i]);
      const key = ids.join();
      if (!found.has(key)) found.set(key, { key, ids, members: [] });
      found.get(key).members.push(i);
    });
    const first = name === "pair" || name === "labels";
    const rank = (one) => (first && one.ids[0] === one.ids[1] ? 1 : 0) + (one.ids.some((id) => id < 0) ? 2 : 0);
    const groups = [...found.values()].sort((a, b) => rank(a) - rank(b) || b.members.length - a.members.length);
    let from = 0;
    return groups.map(({ key, ids, members }) => {
      const names = ids.map((id) => QUOTE(index.strings[id]));
      const title = name === "pair" ? `True ${names[0]}, model said ${names[1]}`
        : name === "labels" ? (ids[0] === ids[1] ? `Both said ${names[0]}` : `A said ${names[0]}, B said ${names[1]}`)
          : { said: "Model said ", truth: "True: ", target: "Map of " }[name] + names[0];
      const one = { key, title, from, count: members.length, photos: Int32Array.from(members, (i) => tiles.photos[i]), rows: Int32Array.from(members, (i) => tiles.rows[i]) };
      from += members.length;
      return one;
    });
  };

  Object.assign(gallery, { DEFAULTS, splitTerms, readAddress, writeAddress, choose, sort, group, standing, mapState, alike });
})();
