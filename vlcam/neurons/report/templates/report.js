"use strict";
// Lays out the JSON in #data: the layer, and its units as cards or as a table. Text goes in by textContent only.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const PAGE = 100, MOST = 200; // units of a page, if there are more than MOST
  const HUES = 8;

  // ---- small helpers -------------------------------------------------------------------------------------------
  const $ = (id) => document.getElementById(id);
  const make = (tag, attributes = {}, ...children) => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === true) node.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
    }
    for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
    return node;
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const minus = (text) => text.replaceAll("-", "−");
  const number = (value) => {
    if (value === null) return "–";
    const size = Math.abs(value);
    if (size === 0 || size >= 1e5 || size < 1e-4) return minus(String(Number(value.toPrecision(2))));
    return minus(size >= 0.1 ? value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2) : String(Number(value.toPrecision(2))));
  };
  const percent = (value) => {
    if (value === null) return "–";
    const text = 100 * value;
    return (text > 0 && text < 0.1 ? "<0.1" : text > 99.9 && text < 100 ? ">99.9" : text === 0 || text === 100 ? text : text.toFixed(text < 10 || text > 99 ? 1 : 0)) + "\u00a0%";
  };
  const chance = (value) => (value === null ? "not tested" : value < 0.001 ? "<0.001" : value.toFixed(3));
  const many = (count, one, more = one + "s") => count + "\u00a0" + (count === 1 ? one : more);
  const hue = (index) => (index === null || index < 0 ? "" : "h" + (index % HUES));
  const link = (unit, text = unit) => make("a", { href: "#unit-" + unit }, text);
  const isIoU = data.scorer === "IoU";

  // ---- the layer -----------------------------------------------------------------------------------------------
  const { counts } = data;
  const fact = (name) => data.facts.find(([label]) => label === name)?.[1];
  const pictures = fact("Pictures");
  $("lead").append(
    "What the " + many(counts.units, "unit") + " of layer " + data.layer + " of " + data.model + " stand for",
    pictures ? ", judged by " + pictures + " pictures" : "", ".",
  );
  $("tiles").append(...[
    ["named", counts.named], ["no reliable name", counts.unnamed], ["dead", counts.dead], ["flagged", counts.flagged],
    ["different concepts", counts.concepts], ["of units have a name", percent(counts.coverage)],
  ].map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, String(value)))));
  $("notes").hidden = !data.notes.length;
  $("notes").append(...data.notes.map((note) => make("li", {}, note)));
  $("facts").append(...data.facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { dir: "auto" }, value))));
  if (data.files.length) {
    $("files").hidden = false;
    $("files").append("The same as data: ", ...data.files.flatMap((file, i) => [i ? ", " : "", make("a", { href: file }, file)]), ".");
  }

  if (data.null) {
    const { low, high, limit, observed, chance: random, above, units } = data.null;
    $("null").hidden = false;
    const strip = (shares, kind) => {
      const top = Math.max(...shares, 1e-12);
      return make("div", { class: "bins " + kind }, shares.map((share) => {
        const bar = make("i");
        bar.style.height = share > 0 ? Math.max(1.5, (100 * share) / top) + "%" : "0";
        return bar;
      }));
    };
    const part = (limit - low) / (high - low);
    const line = make("span", { class: "at" + (part > 0.5 ? " late" : "") }, make("b", {}, "95 % of chance: " + number(limit)));
    line.style.left = 100 * part + "%";
    $("curve").append(strip(observed, "up"), make("span", { class: "axis" }), strip(random, "down"), line,
      make("span", { class: "side up" }, "observed"), make("span", { class: "side down" }, "by chance"));
    const text = above + " of " + many(units, "unit") + " score higher than 95 % of permuted scores.";
    $("curve").setAttribute("aria-label", "Histograms of the best scores, observed and by chance. " + text);
    $("curve").after(make("p", { class: "ends", "aria-hidden": "true" }, make("span", {}, number(low)), make("span", {}, "best score (" + data.scorer + ")"), make("span", {}, number(high))));
    $("curve-text").textContent = text + " Each histogram has its own height.";
  }

  const bars = data.concepts.map((concept) => {
    const bar = make("i");
    bar.style.width = (100 * concept.units.length) / data.concepts[0].units.length + "%";
    const button = make(
      "button", { type: "button", "aria-pressed": "false", class: hue(data.categories.indexOf(concept.category)), title: concept.category },
      make("span", { class: "name", dir: "auto" }, concept.name), make("span", { class: "bar", "aria-hidden": "true" }, bar),
      make("span", { class: "many" }, String(concept.units.length)),
    );
    button.addEventListener("click", () => {
      look.only = look.only === concept ? null : concept;
      refresh();
    });
    return button;
  });
  if (bars.length) {
    $("chart").hidden = false;
    $("bars").append(...bars);
    $("legend").append(...data.categories.map((name, i) => make("span", { class: hue(i) }, name || "no category")));
  }
  const twins = data.concepts.filter((concept) => concept.units.length > 1);
  if (twins.length) {
    $("twins").hidden = false;
    $("twins").firstChild.textContent = "Duplicate detectors: " + many(twins.length, "name") + " of more than one unit";
    const rows = twins.map(({ name, category, units }) => make(
      "tr", {}, make("td", { dir: "auto" }, name), make("td", {}, category || "–"), make("td", { class: "end" }, String(units.length)),
      make("td", { class: "links" }, units.flatMap((unit, i) => [i ? ", " : "", link(unit)])),
    ));
    const head = [["Name"], ["Category"], ["Units", "end"], ["Which"]].map(([name, kind]) => make("th", { scope: "col", class: kind }, name));
    $("twins-table").append(make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows));
  }
  if ($("null").hidden !== $("chart").hidden) for (const id of ["null", "chart"]) $(id).classList.add("wide");

  // ---- what is shown -------------------------------------------------------------------------------------------
  const rank = { strong: 5, broad: 4, weak: 3, ambiguous: 2, circular: 1 };
  const isKnown = (key) => data.units.some((unit) => unit[key] !== null);
  const columns = [
    ["unit", "Unit", "end", (u) => u.unit],
    ["name", "Name", "name", (u) => u.name],
    ["category", "Category", "", (u) => u.category],
    ["trust", "Confidence", "", (u) => rank[u.trust] ?? null],
    ["flags", "Flags", "flags", (u) => u.flags.length || null],
    ["score", data.scorer, "end", (u) => u.score],
    !isIoU && ["iou", "IoU", "end", (u) => u.iou],
    isKnown("iou") && ["reached", "Of ceiling", "end", (u) => (u.iou === null || !u.ceiling ? null : u.iou / u.ceiling)],
    ["auprc", "AUPRC", "end", (u) => u.auprc],
    ["correlation", "r", "end", (u) => u.correlation],
    ["p", "p", "end", (u) => u.p],
    ["stability", "Stability", "end", (u) => u.stability],
    ["margin", "Margin", "end", (u) => u.margin],
    ["precision", "Precision", "end", (u) => u.card?.precision ?? null],
    ["recall", "Recall", "end", (u) => u.card?.recall ?? null],
    ["fires", "Fires in", "end", (u) => (u.card ? u.card.fires / u.card.pictures : null)],
  ].filter((column) => column && (["unit", "name"].includes(column[0]) || data.units.some((unit) => column[3](unit) !== null)));
  const values = Object.fromEntries(columns.map(([key, , , value]) => [key, value]));
  const texts = {
    unit: (u) => link(u.unit), trust: (u) => u.trust ?? "–", p: (u) => (u.p === null ? "–" : chance(u.p)), flags: (u) => u.flags.join(", "),
    name: (u) => u.name ?? (u.state === "dead" ? "dead" : "no reliable name"), category: (u) => u.category ?? "–",
  };
  for (const key of ["reached", "stability", "margin", "precision", "recall", "fires"]) texts[key] = (u) => percent(values[key](u));
  const isRising = (key) => ["unit", "name", "category", "p"].includes(key); // the order that a person expects first
  const start = { sort: "unit", up: true, find: "", state: "", category: "", trust: "", flag: "", only: null };
  const look = { ...start, view: data.units.some((unit) => unit.card) ? "cards" : "table", page: 0, here: null };
  const searched = data.units.map((u) => [u.name, u.category, u.formula?.[0], ...u.also, ...u.alternatives.map(([name]) => name)].join("\n").toLowerCase());

  const isFound = (u) => {
    const wanted = look.find.trim().toLowerCase();
    const asked = wanted.match(/^(?:unit|#)?\s*(\d+)$/);
    const isThat = (asked && Number(asked[1]) === u.unit) || wanted.split(/\s+/).every((word) => searched[u.unit].includes(word));
    return isThat && (!look.state || u.state === look.state) && (!look.category || u.category === look.category)
      && (!look.trust || u.trust === look.trust) && (!look.flag || (look.flag === "any" ? u.flags.length > 0 : u.flags.includes(look.flag)))
      && (!look.only || look.only.units.includes(u.unit));
  };
  const shown = () => {
    const value = values[look.sort];
    const sign = look.up ? 1 : -1;
    return data.units.filter(isFound).sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === null || b === null) return (a === null) - (b === null) || one.unit - other.unit; // what isn't known comes last
      return sign * (typeof a === "string" ? a.localeCompare(b, "en") : a - b) || one.unit - other.unit;
    });
  };

  // ---- one unit as a card --------------------------------------------------------------------------------------
  const picture = (base64, alt) => make("img", { src: "data:image/jpeg;base64," + base64, alt, loading: "lazy", decoding: "async", width: 84, height: 84 });
  const tile = (one) => make("li", {}, make(
    "figure", { class: "tile", title: one.picture + (one.group === null ? "" : " (" + one.group + ")") + ": " + number(one.value) },
    picture(one.photo, one.picture), one.crop && picture(one.crop, ""),
    make("figcaption", {}, make("b", {}, number(one.value)), " ", one.group ?? one.picture),
  ));
  const row = (kind, title, tiles) => (tiles.length ? make("section", { class: "row " + kind }, make("h4", {}, title), make("ol", {}, tiles.map(tile))) : null);
  const mini = (title, rows, kind = "") => (rows.length ? make(
    "section", { class: kind }, make("h4", {}, title),
    make("table", { class: "mini" }, make("tbody", {}, rows.map(([name, value, small]) => make("tr", {}, make("td", { dir: "auto" }, name, small ? make("small", {}, " " + small) : null), make("td", {}, value))))),
  ) : null);

  const histogram = (u) => {
    const { counts: bins, low, high, zeros } = u.card;
    const tall = Math.log1p(Math.max(...bins, 1));
    const width = (high - low) / bins.length;
    const strip = make("div", { class: "bins small", role: "img", "aria-label": "Histogram of activations from " + number(low) + " to " + number(high) + ", logarithmic" }, bins.map((count, i) => {
      const bar = make("i", { class: width > 0 && low + (i + 0.5) * width > u.threshold ? "above" : "" });
      bar.style.height = (100 * Math.log1p(count)) / tall + "%";
      return bar;
    }));
    return make(
      "section", {}, make("h4", {}, "Activations (log), coloured above T_k"), strip,
      make("p", { class: "ends" }, make("span", {}, number(low)), make("span", {}, "T_k " + number(u.threshold) + ", " + percent(zeros) + " are 0"), make("span", {}, number(high))),
    );
  };

  const measures = (u) => {
    const lines = [];
    const add = (name, text, small = null) => lines.push(make("dt", {}, name), make("dd", {}, text, small ? make("small", {}, small) : null));
    const reached = u.iou !== null && u.ceiling ? percent(u.iou / u.ceiling) + " of at most " + number(u.ceiling) : null;
    if (u.state !== "dead") {
      add(data.scorer, number(u.score), isIoU ? reached : null);
      if (!isIoU && u.iou !== null) add("IoU", number(u.iou), reached);
      if (u.auprc !== null) add("AUPRC", number(u.auprc));
      if (u.correlation !== null) add("r", number(u.correlation));
      add("p", chance(u.p));
      if (u.stability !== null) add("Stability", percent(u.stability));
      if (u.margin !== null) add("Margin", percent(u.margin));
    }
    if (u.card && u.card.precision !== null) add("Precision", percent(u.card.precision));
    if (u.card && u.card.recall !== null) add("Recall", percent(u.card.recall));
    if (u.card) add("Fires in", u.card.fires + " of " + u.card.pictures);
    return make("dl", { class: "measures" }, lines);
  };

  const alternatives = (u) => u.alternatives.map(([name, category, score]) => [name, number(score), category]);
  const effect = (title, rows) => mini(title, rows.map(([label, value, count]) => [label, (value > 0 ? "+" : "") + number(value), "× " + count]));

  const card = (u) => {
    const name = u.name ?? (u.state === "dead" ? "never fires on these pictures" : "no reliable name");
    const { card: found } = u;
    const node = make("article", { class: "card" + (found ? "" : " bare") + (look.here === u.unit ? " here" : ""), id: "unit-" + u.unit, tabindex: "-1", "aria-labelledby": "name-" + u.unit });
    const says = (title, ...text) => make("p", { class: "says", dir: "auto" }, make("b", {}, title + " "), ...text);
    node.append(
      make(
        "header", {}, make("a", { class: "no", href: "#unit-" + u.unit }, "Unit " + u.unit), make("h3", { id: "name-" + u.unit, class: u.name === null ? "none" : "", dir: "auto" }, name),
        u.category === null ? null : make("span", { class: "kind " + hue(u.colour) }, u.category),
        u.trust ? make("span", { class: "trust " + u.trust }, u.trust) : null,
      ),
    );
    if (u.flags.length) node.append(make("ul", { class: "warned", "aria-label": "Flags" }, u.flags.map((flag) => make("li", {}, make("b", {}, flag), ": " + data.flags[flag]))));
    if (u.formula) node.append(says("Better in combination:", u.formula[0], " (IoU " + number(u.formula[1]) + ")"));
    if (u.also.length) node.append(says("Also:", u.also.join(", ")));
    if (u.claims && u.name !== null) node.append(says("A text may say:", u.claims.length ? u.claims.map(([claim, level]) => claim + " (above " + number(level) + ")").join(", ") : u.together.length ? "nothing by itself" : "nothing (not sure enough)"));
    for (const [units, claims] of u.name === null ? [] : u.together) node.append(says("Where it fires with " + units.join(", ") + ", a text may say:", claims.join(", ")));
    if (u.state === "dead" && !found) return node;
    const label = u.name === null ? "Nearest concepts" : "Alternatives";
    const rows = found ? [
      row("top", "Strongest", found.top),
      row("", "From the middle (70–90 %)", found.middle),
      row("", "Silent, though “" + u.name + "” is there", found.missed),
      row("", "Fires without “" + u.name + "”", found.wrong),
    ].filter(Boolean) : [];
    node.append(make(
      "div", { class: "inside" + (rows.length ? "" : " alone") },
      make("div", {}, measures(u), mini(label, alternatives(u), "rivals")), rows.length ? make("div", { class: "pictures" }, rows) : null,
    ));
    const foot = [
      found && u.state !== "dead" ? histogram(u) : null,
      found ? mini("Mean activation by class", found.classes.map(([group, value]) => [group, number(value)])) : null,
      effect("Helps", u.helps), effect("Hurts", u.hurts),
    ].filter(Boolean);
    if (foot.length) node.append(make("div", { class: "foot" }, foot));
    return node;
  };

  // ---- all units as a table ------------------------------------------------------------------------------------
  const table = (units) => {
    const head = columns.map(([key, title, kind]) => {
      const button = make("button", { type: "button", "data-sort": key }, title + (look.sort === key ? (look.up ? "\u00a0↑" : "\u00a0↓") : ""));
      button.addEventListener("click", () => {
        look.up = look.sort === key ? !look.up : isRising(key);
        look.sort = key;
        refresh();
        document.querySelector(`[data-sort="${key}"]`).focus();
      });
      return make("th", { scope: "col", class: kind === "end" ? "end" : "", "aria-sort": look.sort === key ? (look.up ? "ascending" : "descending") : null }, button);
    });
    const rows = units.map((u) => make("tr", { class: u.name === null ? "quiet" : "" }, columns.map(([key, , kind]) =>
      make("td", { class: kind, dir: kind === "name" ? "auto" : null }, texts[key] ? texts[key](u) : number(values[key](u))))));
    return make("div", { class: "wide-table" + (columns.length > 10 ? " broad" : ""), tabindex: "0", role: "region", "aria-label": "All units as a table" },
      make("table", { class: "all" }, make("thead", {}, make("tr", {}, head)), make("tbody", {}, rows)));
  };

  // ---- the page ------------------------------------------------------------------------------------------------
  const options = (id, entries) => $(id).append(...entries.map(([value, text]) => make("option", { value }, text)));
  options("state", [["named", "named"], ["unnamed", "no reliable name"], ["dead", "dead"]]);
  options("category", data.categories.filter(Boolean).map((name) => [name, name]));
  options("trust", ["strong", "broad", "weak", "ambiguous", "circular"].map((word) => [word, word]));
  options("flag", [["any", "any"], ...Object.keys(data.flags).map((flag) => [flag, flag])]);
  options("sort", columns.map(([key, title]) => [key, title]));
  const filters = ["state", "category", "trust", "flag"];
  for (const id of [...filters.slice(1), "trust"]) $(id).parentNode.hidden = $(id).options.length < (id === "flag" ? 3 : 2);
  $("trust").parentNode.hidden = !data.units.some((unit) => unit.trust);

  let listed = [];
  const pages = () => (listed.length > MOST ? Math.ceil(listed.length / PAGE) : 1);
  const refresh = (page = 0) => {
    listed = shown();
    look.page = clamp(page, 0, pages() - 1);
    const units = pages() > 1 ? listed.slice(look.page * PAGE, (look.page + 1) * PAGE) : listed;
    const content = !units.length ? [make("p", { class: "nothing" }, data.units.length ? "No unit matches." : "The layer has no units.")]
      : look.view === "table" ? [table(units)] : units.map(card);
    $("units").replaceChildren(...content);
    const isNarrowed = look.find.trim() || look.only || filters.some((id) => look[id]);
    $("count").textContent = isNarrowed ? listed.length + " of " + many(data.units.length, "unit") : many(data.units.length, "unit");
    $("reset").hidden = !isNarrowed;
    $("only").hidden = !look.only;
    if (look.only) {
      $("only").textContent = look.only.name + " ✕";
      $("only").setAttribute("aria-label", "Stop showing only " + look.only.name);
    }
    bars.forEach((bar, i) => bar.setAttribute("aria-pressed", String(data.concepts[i] === look.only)));
    for (const id of [...filters, "find", "sort"]) $(id).value = look[id];
    for (const input of $("tools").elements.view) input.checked = input.value === look.view;
    $("turn").textContent = look.up ? "↑" : "↓";
    $("turn").title = look.up ? "Lowest first" : "Highest first";
    $("pages").hidden = pages() < 2;
    const turn = (text, to) => {
      const button = make("button", { type: "button", disabled: to < 0 || to >= pages() }, text);
      button.addEventListener("click", () => {
        refresh(to);
        $("tools").scrollIntoView();
        (document.querySelector("#pages button:enabled") ?? document.body).focus({ preventScroll: true });
      });
      return button;
    };
    $("pages").replaceChildren(
      turn("← Previous", look.page - 1), make("span", {}, "Page " + (look.page + 1) + " of " + pages()), turn("Next →", look.page + 1),
    );
  };

  /** Shows the card of a unit, whatever was filtered or on whichever page it is. */
  const go = (unit) => {
    if (!data.units[unit]) return;
    look.view = "cards";
    if (!isFound(data.units[unit])) Object.assign(look, { ...start, sort: look.sort, up: look.up });
    look.here = unit;
    const place = shown().findIndex((one) => one.unit === unit);
    listed = shown();
    refresh(pages() > 1 ? Math.floor(place / PAGE) : 0);
    const node = $("unit-" + unit);
    node.focus({ preventScroll: true });
    // Cards that were never on the screen have a guessed height: scroll again when those above the target are laid out.
    node.scrollIntoView();
    requestAnimationFrame(() => { node.scrollIntoView(); });
  };
  const asked = () => {
    const found = location.hash.match(/^#unit-(\d{1,9})$/);
    return found ? Number(found[1]) : null;
  };
  addEventListener("hashchange", () => { if (asked() !== null) go(asked()); });
  addEventListener("click", (event) => {
    const target = event.target.closest?.("a[href^='#unit-']");
    if (target && target.getAttribute("href") === location.hash) { event.preventDefault(); go(asked()); } // no hashchange comes
  });

  $("tools").addEventListener("submit", (event) => event.preventDefault());
  $("tools").addEventListener("change", (event) => {
    if (event.target.name === "view") look.view = event.target.value;
    else if (event.target.id === "sort") Object.assign(look, { sort: event.target.value, up: isRising(event.target.value) });
    else if (filters.includes(event.target.id)) look[event.target.id] = event.target.value;
    else return;
    refresh();
  });
  let waiting = 0;
  $("find").addEventListener("input", () => {
    look.find = $("find").value;
    clearTimeout(waiting);
    waiting = setTimeout(refresh, 120);
  });
  $("turn").addEventListener("click", () => { look.up = !look.up; refresh(); });
  $("only").addEventListener("click", () => { look.only = null; refresh(); $("find").focus(); });
  $("reset").addEventListener("click", () => { Object.assign(look, { ...start, sort: look.sort, up: look.up }); refresh(); $("find").focus(); });
  refresh();
  if (asked() !== null) go(asked());
})();
