"use strict";
// The page: the form, the address, the grid and the dialog, kept in step. The address says all that was chosen.
(() => {
  const gallery = window.vlcamGallery;
  const { make, about } = gallery;
  const get = (id) => document.getElementById(id);
  const MOST = 1000; // choices in a list; captions are searched instead
  const FIELDS = ["q", "show", "said", "truth", "target", "right", "labels", "error", "sort", "group"];
  const RANGES = ["conf", "p", "gain", "apart"];

  const look = { heat: true, line: true, shared: about.compare };
  const index = new gallery.Index(about);
  const grid = new gallery.Grid(get("grid"), index, look, (place) => openTile(place, true));
  let state = gallery.readAddress(location.hash);
  let complete = false;

  const remember = (push) => {
    const address = gallery.writeAddress(state);
    if (address !== (location.hash || "#")) history[push ? "pushState" : "replaceState"](null, "", address);
  };

  // ---- the form -------------------------------------------------------------------------------------------------
  const showForm = () => {
    for (const name of FIELDS) {
      const field = get(name);
      if (!field) continue;
      if (field.tagName === "SELECT" && state[name] && ![...field.options].some((one) => one.value === state[name])) {
        field.append(make("option", { value: state[name] }, state[name])); // of a link to another run, or before all has been loaded
      }
      field.value = state[name];
    }
    for (const name of RANGES) {
      if (!get(name + "-from")) continue;
      const [low, high] = state[name] === "" ? ["", ""] : state[name].split("..");
      get(name + "-from").value = low ?? "";
      get(name + "-to").value = high ?? "";
    }
    const states = new Set(state.map.split(","));
    for (const box of document.querySelectorAll("#map input")) box.checked = states.has(box.value);
  };

  /** A number that was typed, with a point or a comma, as JavaScript writes it; empty, and marked, if it is none. */
  const readNumber = (field) => {
    const text = field.value.trim().replace(",", ".").replace("−", "-");
    const good = text === "" || Number.isFinite(Number(text));
    if (good) field.removeAttribute("aria-invalid");
    else field.setAttribute("aria-invalid", "true");
    return good && text !== "" ? String(Number(text)) : "";
  };

  const readForm = () => {
    for (const name of FIELDS) if (get(name)) state[name] = get(name).value;
    for (const name of RANGES) {
      if (!get(name + "-from")) continue;
      const ends = ["-from", "-to"].map((end) => readNumber(get(name + end)));
      state[name] = ends[0] || ends[1] ? ends.join("..") : "";
    }
    state.map = [...document.querySelectorAll("#map input:checked")].map((box) => box.value).join(",");
  };

  const count = (ids) => {
    const found = new Map();
    for (const id of ids) if (id >= 0) found.set(id, (found.get(id) ?? 0) + 1);
    return [...found].sort((a, b) => b[1] - a[1] || (index.strings[a[0]] < index.strings[b[0]] ? -1 : 1));
  };

  /** Fill the lists with what the run has, and take away what it doesn't. */
  const fillForm = () => {
    const drop = (name, without) => { get(name + "-field").hidden = without; };
    const fill = (name, counts) => {
      const field = get(name);
      drop(name, counts.length < 2 || counts.length > MOST);
      field.replaceChildren(field.options[0]);
      if (counts.length <= MOST) for (const [id, n] of counts) field.append(make("option", { value: index.strings[id] }, `${index.strings[id].slice(0, 60)} (${n.toLocaleString("en")})`));
    };
    const part = index.sides.map((side) => side.said.subarray(0, index.photos));
    fill("said", count(part.flatMap((one) => [...one])));
    fill("truth", count(index.truth.subarray(0, index.photos)));
    fill("target", count(index.sides[0].target.subarray(0, index.rows)).slice(0, MOST));
    drop("right", !about.truths);
    for (const one of document.querySelectorAll("[data-needs]")) {
      const has = { said: !get("said-field").hidden, truth: about.truths > 0, probability: about.has.probability, p: about.has.p, gain: about.has.gain, errors: about.errors > 0 }[one.dataset.needs];
      one.hidden = !has;
      if (one.tagName === "OPTION") one.disabled = !has;
    }
    const tally = { clear: 0, faint: 0, zero: 0, negative: 0, nonfinite: 0 };
    for (const side of index.sides) for (let row = 0; row < index.rows; row++) if (side.target[row] >= 0) tally[gallery.mapState(side, row, about.faint)]++;
    for (const box of document.querySelectorAll("#map input")) {
      box.parentElement.querySelector(".many").textContent = tally[box.value].toLocaleString("en");
      box.parentElement.hidden = !tally[box.value] && !box.checked;
    }
  };

  // ---- what is shown ------------------------------------------------------------------------------------------------
  const asked = () => Object.entries(state).filter(([name, value]) => value !== "" && !["sort", "group", "open", "show"].includes(name)).length;

  const update = () => {
    const tiles = gallery.sort(index, gallery.choose(index, state), state.sort || about.sort);
    const one = about.compare ? (state.show === "" ? "pair" : "photo") : state.show === "maps" ? "map" : "photo";
    grid.show(gallery.group(index, tiles, state.group), one, gallery.countLines(index, tiles), gallery.splitTerms(state.q));
    const n = new Set(tiles.photos).size, many = (value, what) => value.toLocaleString("en") + " " + what + (value === 1 ? "" : "s");
    const shown = one === "photo" ? "" : `${many(tiles.photos.length, one)} of `;
    let text = asked() ? `${shown}${many(n, "photo")} of ${about.photos.toLocaleString("en")}` : `${shown}${many(n, "photo")}`;
    if (!complete) text += `, ${Math.round((100 * index.photos) / Math.max(1, about.photos))} % of the run read so far`;
    if (grid.shown < grid.count) text += `. Only the first ${grid.shown.toLocaleString("en")} are listed: filter or sort to see others`;
    get("count").textContent = text + ".";
    get("clear").hidden = !asked();
    get("asked").textContent = asked() ? `${asked()} on` : "";
    get("nothing").hidden = grid.count > 0 || !complete;
    get("nothing").firstElementChild.textContent = about.photos ? "No photo passes these filters." : "This run has no photos.";
  };

  const change = (push) => {
    remember(push);
    update();
    get("grid").dispatchEvent(new Event("changed"));
  };

  let typing = 0;
  get("form").addEventListener("submit", (event) => event.preventDefault());
  get("form").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => { readForm(); change(false); scrollUp(); }, event.target.matches("[type=search], [inputmode]") ? 150 : 0);
  });
  const scrollUp = () => { if (scrollY > get("grid").offsetTop) scrollTo(0, Math.max(0, get("grid").offsetTop - 80)); };
  get("clear").addEventListener("click", () => {
    state = { ...gallery.DEFAULTS, sort: state.sort, group: state.group, show: state.show };
    showForm();
    change(true);
    get("q").focus();
  });
  for (const name of ["heat", "line", "shared"]) {
    get(name).checked = look[name];
    get(name).addEventListener("change", () => { look[name] = get(name).checked; grid.repaint(); });
  }
  const wide = matchMedia("(min-width: 62rem)");
  const unfold = () => { get("filters").open = wide.matches; };
  wide.addEventListener("change", unfold);
  unfold();

  // ---- one photo, as a page of its own in the dialog ---------------------------------------------------------------
  const dialog = get("dialog");
  let shown = -1;

  const fillDialog = (place) => {
    const [photo, row] = grid.at(place);
    shown = place;
    const target = (s) => (row < 0 || index.sides[s].target[row] < 0 ? "" : "&target=" + index.sides[s].number[row]);
    const address = (s) => `${about.home}view.html?side=${s}&photo=${photo}${target(s)}`;
    get("dialog-title").textContent = index.names[photo];
    get("dialog-place").textContent = `${(place + 1).toLocaleString("en")} of ${grid.count.toLocaleString("en")}`;
    get("previous").disabled = place === 0;
    get("next").disabled = place + 1 >= grid.shown;
    get("alone").href = address(0);
    get("alone").hidden = about.compare;
    const alone = (s) => make("a", { href: address(s), target: "_blank", rel: "noopener", "aria-label": `Own tab for ${"AB"[s]}` }, "Own tab");
    const frames = about.sides.map((side, s) => make("section", { class: "frame", "aria-label": side.name },
      about.compare ? make("div", { class: "which" }, make("h3", {}, "AB"[s] + ": " + side.name), alone(s)) : null,
      make("iframe", { src: address(s), title: "Explanation of " + index.names[photo] + (about.compare ? " by " + side.name : "") })));
    get("frames").replaceChildren(...frames);
  };

  const openTile = (place, push) => {
    if (place < 0 || place >= grid.shown) return;
    const [photo, row] = grid.at(place);
    fillDialog(place);
    state.open = photo + (row < 0 ? "" : "." + (row - index.first[photo]));
    remember(push);
    if (!dialog.open) {
      dialog.showModal();
      document.documentElement.classList.add("still");
    }
  };

  const closeTile = (push) => {
    if (dialog.open) dialog.close();
    document.documentElement.classList.remove("still");
    get("frames").replaceChildren();
    if (state.open !== "") {
      state.open = "";
      remember(push);
    }
    if (shown >= 0) grid.focus(shown);
    shown = -1;
  };

  dialog.addEventListener("cancel", (event) => { event.preventDefault(); closeTile(true); });
  dialog.addEventListener("click", (event) => { if (event.target === dialog) closeTile(true); });
  get("close").addEventListener("click", () => closeTile(true));
  const step = (by) => { if (shown + by >= 0 && shown + by < grid.shown) openTile(shown + by, false); };
  get("previous").addEventListener("click", () => step(-1));
  get("next").addEventListener("click", () => step(1));
  dialog.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "ArrowRight") step(1);
    else return;
    event.preventDefault();
  });
  addEventListener("message", (event) => { // from the page in the frame, which may be of another origin
    const frames = [...get("frames").querySelectorAll("iframe")];
    if (!frames.some((frame) => frame.contentWindow === event.source)) return;
    if (event.data === "vlcam: close" && dialog.open) closeTile(true);
  });

  /** The tile that the address says is open, if it passes the filters. */
  const openFromAddress = () => {
    if (state.open === "") {
      if (dialog.open) closeTile(false);
      return;
    }
    const [photo, nth] = state.open.split(".").map(Number);
    if (!(Number.isInteger(photo) && photo >= 0 && photo < index.photos)) return;
    const row = nth === undefined ? -1 : index.first[photo] + nth;
    let place = -1;
    for (const one of grid.groups) {
      for (let i = 0; i < one.count && place < 0; i++) if (one.photos[i] === photo && (nth === undefined || one.rows[i] === row)) place = one.from + i;
    }
    for (const one of grid.groups) for (let i = 0; i < one.count && place < 0; i++) if (one.photos[i] === photo) place = one.from + i;
    if (place >= 0) openTile(place, false);
  };

  addEventListener("popstate", () => {
    const before = JSON.stringify({ ...state, open: "" });
    state = gallery.readAddress(location.hash);
    if (JSON.stringify({ ...state, open: "" }) !== before) {
      showForm();
      update();
    }
    openFromAddress();
  });

  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address is for what was asked
    grid.focus(grid.current);
  });
  addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || dialog.open) return;
    const field = event.target.closest("input, select, textarea");
    if (event.key === "/" && !field) {
      event.preventDefault();
      get("q").focus();
      get("q").select();
    } else if (event.key === "Escape" && event.target === get("q")) {
      if (get("q").value) {
        get("q").value = "";
        readForm();
        change(false);
      } else grid.focus(grid.current);
    } else if (event.key === "Enter" && event.target === get("q") && grid.count) {
      event.preventDefault();
      clearTimeout(typing);
      readForm();
      change(true);
      grid.focus(0);
    }
  });

  // ---- start: the first part of the index is on the screen before the others are asked for -------------------------------
  const start = async () => {
    const late = state.sort !== "" || asked() > 0 || state.group !== "" || state.open !== "";
    showForm();
    try {
      for (let part = 0; part < about.parts; part++) {
        index.add(await gallery.load("index", part));
        complete = part + 1 === about.parts;
        if (part === 0 || complete) {
          fillForm();
          showForm();
          update();
          if (part === 0 && !complete) await new Promise((done) => setTimeout(done, late ? 0 : 60)); // what is seen comes first
        } else get("count").textContent = `Reading the run: ${Math.round((100 * index.photos) / about.photos)} %.`;
      }
    } catch (error) {
      get("nothing").hidden = false;
      get("nothing").firstElementChild.textContent = `The gallery isn't whole: ${error.message}. Make it again with vlcam gallery.`;
      return;
    }
    if (!about.parts) {
      complete = true;
      fillForm();
      update();
    }
    openFromAddress();
    document.documentElement.dataset.ready = "yes";
  };
  start();
})();
