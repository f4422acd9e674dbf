"use strict";
// The gallery's data: script files that call take() when they are loaded, and the index that is put together from its parts.
window.vlcamGallery = (() => {
  const home = new URL("../data/", document.currentScript.src).href;
  const KEPT = { tiles: 60, "page-0": 4, "page-1": 4 }; // files in memory at most; the index stays
  const promises = new Map(); // "tiles-0003" -> promise, the oldest first
  const arrived = new Map();

  const take = (kind, number, content) => arrived.set(kind + "-" + String(number).padStart(4, "0"), content);

  /** The content of a data file, loaded by a script element: fetch() may not read local files. */
  const load = (kind, number) => {
    const name = kind + "-" + String(number).padStart(4, "0");
    const known = promises.get(name);
    if (known) {
      promises.delete(name);
      promises.set(name, known);
      return known;
    }
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = home + name + ".js";
      script.onload = () => {
        script.remove();
        if (arrived.has(name)) resolve(arrived.get(name));
        else reject(new Error(name + ".js has no data"));
        arrived.delete(name);
      };
      script.onerror = () => { script.remove(); promises.delete(name); reject(new Error(name + ".js can't be loaded")); };
      document.head.append(script);
    });
    promise.catch(() => {});
    promises.set(name, promise);
    const alike = [...promises.keys()].filter((one) => one.startsWith(kind + "-"));
    for (const one of alike.slice(0, Math.max(0, alike.length - (KEPT[kind] ?? Infinity)))) promises.delete(one);
    return promise;
  };

  /** Which file holds a photo, and where in it: ``starts`` has the first photo of each file. */
  const find = (starts, photo) => {
    let low = 0, high = starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= photo) low = middle;
      else high = middle - 1;
    }
    return [low, photo - starts[low]];
  };

  const unpack = (base64, Type) => new Type(Uint8Array.from(atob(base64), (one) => one.charCodeAt(0)).buffer);

  /** The columns of all photos and of all maps (in a comparison: of all pairs of maps), filled part by part. */
  class Index {
    constructor(about) {
      const { photos, rows } = about;
      this.about = about;
      this.photos = 0; // as many as have arrived
      this.rows = 0;
      this.names = [];
      this.strings = [];
      this.folded = []; // the same for searching, made when first needed
      this.ids = new Map();
      this.first = new Int32Array(photos + 1); // of each photo its first row; the next photo's is its end
      this.photoOf = new Int32Array(rows);
      this.kind = new Uint8Array(rows);
      this.apart = new Float32Array(rows).fill(NaN);
      this.truth = new Int32Array(photos).fill(-1);
      this.question = new Int32Array(photos).fill(-1);
      this.sides = about.sides.map(() => ({
        said: new Int32Array(photos).fill(-1), correct: new Uint8Array(photos).fill(2), errors: new Map(),
        target: new Int32Array(rows).fill(-1), flag: new Uint8Array(rows), number: new Uint16Array(rows), neurons: new Array(rows),
        probability: new Float32Array(rows).fill(NaN), gain: new Float32Array(rows).fill(NaN),
        p: new Float32Array(rows).fill(NaN), faint: new Float32Array(rows).fill(NaN),
      }));
    }

    intern(text) {
      let id = this.ids.get(text);
      if (id === undefined) {
        id = this.strings.length;
        this.strings.push(text);
        this.ids.set(text, id);
      }
      return id;
    }

    add(part) {
      const global = part.strings.map((text) => this.intern(text));
      const at = this.photos, row = this.rows;
      const rename = (packed, into, offset) => unpack(packed, Int32Array).forEach((id, i) => { into[offset + i] = id < 0 ? -1 : global[id]; });
      this.names.push(...part.names);
      const counts = unpack(part.counts, Uint16Array);
      counts.forEach((count, i) => {
        this.photoOf.fill(at + i, this.first[at + i], this.first[at + i] + count);
        this.first[at + i + 1] = this.first[at + i] + count;
      });
      rename(part.truth, this.truth, at);
      rename(part.question, this.question, at);
      this.kind.set(unpack(part.kind, Uint8Array), row);
      if (part.apart) this.apart.set(unpack(part.apart, Float32Array), row);
      part.sides.forEach((side, s) => {
        const into = this.sides[s];
        rename(side.said, into.said, at);
        into.correct.set(unpack(side.correct, Uint8Array), at);
        for (const [i, text] of side.errors) into.errors.set(at + i, text);
        rename(side.target, into.target, row);
        into.number.set(unpack(side.number, Uint16Array), row); // which target of the explanation it is
        into.flag.set(unpack(side.flag, Uint8Array), row);
        for (const name of ["probability", "gain", "p", "faint"]) if (side[name]) into[name].set(unpack(side[name], Float32Array), row);
        if (side.neurons) {
          const ends = unpack(side.neurons[0], Int32Array), ids = unpack(side.neurons[1], Int32Array);
          ends.forEach((end, i) => { into.neurons[row + i] = Array.from(ids.subarray(i ? ends[i - 1] : 0, end), (id) => global[id]); });
        }
      });
      this.photos += counts.length;
      this.rows = this.first[this.photos];
    }

    /** 1 for each string that has the term in it, without regard to case and accents. */
    match(term) {
      while (this.folded.length < this.strings.length) this.folded.push(fold(this.strings[this.folded.length]));
      return Uint8Array.from(this.folded, (text) => (text.includes(term) ? 1 : 0));
    }
  }

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  /** An element with attributes and children; texts stay texts. */
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  };

  return { take, load, find, unpack, fold, make, Index };
})();
