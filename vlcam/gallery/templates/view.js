"use strict";
// The page of one photo: puts its document and its picture where page.js looks for them, then starts page.js.
(() => {
  const gallery = window.vlcamGallery;
  const home = new URL(".", document.currentScript.src).href;
  const { about, make } = gallery;
  const asked = new URLSearchParams(location.search);
  const [photo, side] = [Number(asked.get("photo")), Number(asked.get("side"))];

  const say = (title, text) => {
    const node = make("article", { class: "card", "aria-label": title }, make("div", { class: "reading" }, make("h2", { class: "question", dir: "auto" }, title), make("p", { class: "status", dir: "auto" }, text)));
    document.getElementById("cards").replaceChildren(node);
  };

  const run = (name) => new Promise((resolve, reject) => {
    const script = make("script", { src: home + name });
    script.onload = resolve;
    script.onerror = () => reject(new Error(name + " can't be loaded"));
    document.head.append(script);
  });

  const show = async () => {
    if (!(Number.isInteger(photo) && photo >= 0 && photo < about.photos && about.pages[side])) {
      say("No such photo", `The address asks for photo ${asked.get("photo")}; this run has the photos 0 to ${about.photos - 1}.`);
      return;
    }
    const [page, place] = gallery.find(about.pages[side], photo);
    const [tile, nth] = gallery.find(about.tiles, photo);
    const [pages, tiles] = await Promise.all([gallery.load("page-" + side, page), gallery.load("tiles", tile)]);
    const [name, text, error] = pages[place];
    document.title = name;
    const title = document.querySelector(".top h1");
    title.textContent = name;
    if (parent !== window) Object.assign(title.style, { position: "absolute", clipPath: "inset(50%)" }); // the dialog has it
    if (text === null) {
      say(name, error ?? "The run has no explanation of this photo to show.");
      return;
    }
    const item = JSON.parse(text);
    item.photo.uri = tiles[nth].jpeg ? "data:image/jpeg;base64," + tiles[nth].jpeg : "data:,";
    document.getElementById("data").textContent = JSON.stringify({ colours: gallery.colours, explanations: [item] });
    for (const name of about.scripts) await run(name);
    const button = document.querySelector(`#cards [data-target="${Number(asked.get("target") ?? -1)}"]`);
    button?.dispatchEvent(new PointerEvent("pointerenter")); // shows the map that was on the tile, and pins nothing
  };

  show().catch((error) => say("This photo's explanation can't be shown", `${error.message}. Make the gallery again with vlcam gallery.`));

  // Escape leaves the dialog that this page may be in, unless a map is pinned, which page.js then releases.
  addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || parent === window) return;
    if (!document.querySelector('[aria-pressed="true"]')) parent.postMessage("vlcam: close", "*");
  }, { capture: true });
})();
