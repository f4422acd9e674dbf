"use strict";
// What the page offers beside its cards: save, copy, link, thumbnails, pages of many photos. Comes after page.js.
(() => {
  const { cards, data, make } = globalThis.vlcam;
  const MOST = 20; // photos on a page
  const framed = location.protocol === "about:"; // in a notebook: no address to link to
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const number = (card) => cards.indexOf(card) + 1;

  if (parent !== window) {
    // In a notebook's frame, which may become as high as the page.
    document.documentElement.classList.add("framed");
    const tell = () => parent.postMessage({ vlcamHeight: document.body.getBoundingClientRect().height }, "*");
    new ResizeObserver(tell).observe(document.body);
    addEventListener("load", tell);
  }

  // ---- save and copy -------------------------------------------------------------------------------------------

  /** The photo with the map as it is shown now, as a canvas of the photo's size. */
  const paint = (card) => {
    const photo = card.stage.querySelector("img");
    const [width, height] = [photo.naturalWidth, Math.max(1, Math.round(photo.naturalWidth / card.item.photo.ratio))];
    const canvas = make("canvas", { width, height });
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(photo, 0, 0, width, height);
    context.drawImage(card.canvas, 0, 0, width, height);
    const [left, top, right, bottom] = card.item.seen;
    if (left > 0 || top > 0 || right < 1 || bottom < 1) { // what the model didn't see: grey, under lines
      context.save();
      const unseen = new Path2D();
      unseen.rect(0, 0, width, height);
      unseen.rect(left * width, top * height, (right - left) * width, (bottom - top) * height);
      context.clip(unseen, "evenodd");
      context.fillStyle = "rgb(138 138 138 / 62%)";
      context.fillRect(0, 0, width, height);
      context.strokeStyle = "rgb(255 255 255 / 60%)";
      context.lineWidth = Math.max(1, width / 420);
      for (let x = -height; x < width; x += width / 40) { context.beginPath(); context.moveTo(x, height); context.lineTo(x + height, 0); context.stroke(); }
      context.restore();
    }
    const path = card.ring.getAttribute("d");
    if (path) {
      const line = new Path2D();
      line.addPath(new Path2D(path), new DOMMatrix([width / card.box[0], 0, 0, height / card.box[1], 0, 0]));
      context.lineCap = context.lineJoin = "round";
      context.globalAlpha = Number(card.ring.style.opacity || 1);
      for (const [colour, thick] of [["rgb(0 0 0 / 45%)", 3.2], ["#fff", 1.4]]) {
        context.strokeStyle = colour;
        context.lineWidth = (thick * Math.max(width, height)) / 480;
        context.stroke(line);
      }
    }
    return canvas;
  };

  const clean = (text) => text.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "map";

  const save = async (card) => {
    await card.stage.querySelector("img").decode();
    const blob = await new Promise((done) => paint(card).toBlob(done, "image/png"));
    const link = make("a", { href: URL.createObjectURL(blob), download: clean(card.item.photo.name.replace(/\.\w+$/, "")) + "-" + clean(card.item.targets[card.shown].label) + ".png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    return "Saved as " + link.download + ".";
  };

  /** What is said of the shown map, with its numbers, and what made it. */
  const describe = (card) => {
    const { item } = card;
    const { facts, photo } = item;
    const target = item.targets[card.shown];
    const made = [facts.model, "layer " + facts.layer, facts.method].join(", ");
    return [
      photo.name + ": " + [item.question, item.text].filter(Boolean).join(" → "),
      card.status.textContent,
      ...(target.neurons ? [target.neurons.sentence, ...target.neurons.full] : []),
      made + (facts.input ? "; input " + facts.input : "") + ".",
    ].filter(Boolean).join("\n");
  };

  /** To the clipboard; where that isn't allowed, by way of a text field, which stays there if all else fails. */
  const copy = async (card, text) => {
    try {
      await navigator.clipboard.writeText(text);
      return "Copied.";
    } catch {
      const field = make("textarea", { readonly: true, rows: "4", "aria-label": "Text to copy" });
      field.value = text;
      card.tools.append(field);
      const before = document.activeElement;
      field.select();
      if (!document.execCommand("copy")) return "Press Ctrl+C, or ⌘C, to copy.";
      field.remove();
      before.focus({ preventScroll: true });
      return "Copied.";
    }
  };

  const link = (card) => {
    if (card.pinned === null) card.pin(card.shown);
    return copy(card, location.href.split("#")[0] + address(card));
  };

  const addTools = (card) => {
    const said = make("output");
    const button = (text, about, act) => {
      const node = make("button", { type: "button", title: about }, text);
      node.addEventListener("click", async () => {
        card.tools.querySelector("textarea")?.remove();
        said.textContent = "";
        try { said.textContent = await act(card); } catch (error) { said.textContent = "That didn’t work: " + error.message; }
      });
      return node;
    };
    card.tools = make(
      "div", { class: "tools" },
      button("Save map", "The photo with this map, as a PNG file", save),
      button("Copy text", "What is said of this map, with its numbers", (one) => copy(one, describe(one))),
      framed ? null : button("Copy link", "An address that opens this page with this map", link),
      said,
    );
    card.status.after(card.tools);
  };

  // ---- what a unit fires for -----------------------------------------------------------------------------------
  const showExemplars = (card, neurons) => {
    const rows = (neurons ? neurons.top.concat(neurons.bottom) : []).filter(({ unit }) => data.exemplars[unit]);
    if (!rows.length) return;
    const items = rows.map(({ unit, name }) => make(
      "li", {}, make("span", {}, unit + " ", make("b", { dir: "auto" }, name ?? "unnamed")),
      ...data.exemplars[unit].map((uri, i) => make("img", { src: uri, alt: "Picture " + (i + 1) + " that unit " + unit + " fires for", loading: "lazy" })),
    ));
    const node = make("details", { class: "exemplars", open: card.looking }, make("summary", {}, "What these units fire for most"), make("ul", {}, ...items));
    node.addEventListener("toggle", () => { card.looking = node.open; });
    card.neurons.append(node);
  };
  if (data.exemplars) {
    for (const card of cards) {
      const name = card.name.bind(card);
      card.name = (neurons) => { name(neurons); showExemplars(card, neurons); };
      showExemplars(card, card.item.targets[card.shown]?.neurons);
    }
  }

  // ---- the address: photo and pinned word ----------------------------------------------------------------------
  const address = (card) => "#" + card.node.id + (card.pinned === null ? "" : ":" + card.pinned);
  let reading = false;
  addEventListener("pin", (event) => {
    const card = cards.find((one) => one.node === event.target);
    if (reading || !card || framed || (event.detail === null && !location.hash.startsWith("#" + card.node.id + ":"))) return;
    history.replaceState(null, "", event.detail === null ? location.href.split("#")[0] : address(card));
  });
  const follow = () => {
    const [, place, word] = /^#photo-(\d+)(?::(\d+))?$/.exec(location.hash) ?? [];
    const card = cards[place - 1];
    if (!card) return;
    turn(Math.floor((place - 1) / MOST));
    reading = true;
    if (word !== undefined && card.buttons.has(Number(word))) {
      cards.forEach((one) => one !== card && one.pinned !== null && one.pin(null));
      card.pin(Number(word));
    }
    reading = false;
    card.node.scrollIntoView();
    card.node.dispatchEvent(new Event("focusin"));
  };

  // ---- many photos: thumbnails with labels, and pages ------------------------------------------------------------
  const index = document.getElementById("index");
  const pages = Math.ceil(cards.length / MOST);
  let page = -1;
  const links = cards.map((card) => {
    const { item } = card;
    const node = make("a", { href: "#" + card.node.id, title: item.photo.name + ": " + (item.question ?? item.task) }, make("img", { src: item.photo.uri, alt: "", loading: "lazy" }), make("span", { dir: "auto" }, item.photo.name), make("span", { class: "text", dir: "auto" }, item.text));
    node.addEventListener("click", (event) => {
      event.preventDefault();
      card.node.scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
      card.buttons.get(card.shown)?.focus({ preventScroll: true });
    });
    return node;
  });

  const choosers = [];
  const turn = (to) => {
    if (to === page || to < 0 || to >= pages) return;
    page = to;
    cards.forEach((card, i) => { card.node.hidden = Math.floor(i / MOST) !== page; });
    index.replaceChildren(...(cards.length > 1 ? links.slice(page * MOST, (page + 1) * MOST) : []));
    index.scrollLeft = 0;
    for (const chooser of choosers) {
      chooser.said.textContent = "Photos " + (page * MOST + 1) + "–" + Math.min((page + 1) * MOST, cards.length) + " of " + cards.length;
      chooser.previous.disabled = page === 0;
      chooser.next.disabled = page === pages - 1;
    }
    cards[page * MOST].node.dispatchEvent(new Event("focusin")); // the arrow keys are its own
  };
  const addChooser = (place, label) => {
    const move = (by) => () => {
      turn(page + by);
      scrollTo(0, 0);
      cards[page * MOST].buttons.get(cards[page * MOST].shown)?.focus({ preventScroll: true });
    };
    const button = (text, by) => {
      const node = make("button", { type: "button" }, text);
      node.addEventListener("click", move(by));
      return node;
    };
    const chooser = { previous: button("‹ Previous", -1), next: button("Next ›", 1), said: make("span") };
    place(make("nav", { class: "pages", "aria-label": label }, chooser.previous, chooser.said, chooser.next));
    choosers.push(chooser);
  };
  if (pages > 1) {
    addChooser((node) => index.before(node), "Pages");
    addChooser((node) => document.getElementById("cards").after(node), "Pages, below");
  }
  cards.forEach(addTools);
  turn(0);
  index.hidden = cards.length < 2;
  if (cards.length > 1) {
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const link = links[cards.findIndex((card) => card.node === entry.target)];
        if (entry.isIntersecting) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }, { rootMargin: "-40% 0px -55% 0px" });
    cards.forEach((card) => watch.observe(card.node));
  }
  addEventListener("hashchange", follow);
  follow();
})();
