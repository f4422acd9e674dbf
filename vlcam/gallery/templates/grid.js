"use strict";
// The grid: only the tiles on the screen, and a little above and below, exist; the rest is empty height.
(() => {
  const gallery = window.vlcamGallery;
  const { make } = gallery;
  const TALLEST = 12e6; // pixels; browsers lose count somewhere above
  const SETTLED = 70; // milliseconds without scrolling before files are loaded: what rushes past never is

  class Grid {
    constructor(host, index, look, open) {
      Object.assign(this, { host, index, look, open, groups: [], count: 0, tiles: new Map(), heads: new Map(), current: 0, lines: 3, terms: [] });
      this.columns = 1;
      addEventListener("scroll", () => this.refresh(), { passive: true });
      new ResizeObserver(() => { if (host.clientWidth !== this.width) this.layout(true); }).observe(host);
      host.addEventListener("keydown", (event) => this.key(event));
      host.addEventListener("focusin", (event) => {
        const tile = event.target.closest(".tile");
        if (tile) this.mark(Number(tile.dataset.place));
      });
      host.addEventListener("click", (event) => {
        const tile = event.target.closest(".tile");
        if (tile) this.open(Number(tile.dataset.place));
      });
    }

    /** Show these groups of tiles, which are of photos, maps or pairs. */
    show(groups, unit, lines, terms) {
      Object.assign(this, { groups, unit, lines, terms }); // unit: photo, map or pair; lines of text a tile has; what was searched for
      this.count = groups.reduce((sum, one) => sum + one.count, 0);
      this.current = 0;
      this.layout(false);
    }

    /** The photo and the row of a tile. */
    at(place) {
      const group = this.groups[this.groupOf(place)];
      return [group.photos[place - group.from], group.rows[place - group.from]];
    }

    groupOf(place) {
      return gallery.find((this.starts ??= this.groups.map((one) => one.from)), place)[0];
    }

    /** Sizes from the style sheet and the width there is; the tile at the top stays there when the width changes. */
    layout(stay) {
      const keep = stay && this.count ? this.first() : null;
      this.starts = undefined;
      this.clear();
      const style = getComputedStyle(this.host);
      const read = (name) => parseFloat(style.getPropertyValue(name));
      const rem = parseFloat(getComputedStyle(document.documentElement).fontSize);
      this.width = this.host.clientWidth;
      this.gap = read("--gap") * rem;
      const least = read("--least") * rem;
      this.columns = Math.max(this.width < 560 && !this.index.about.compare ? 2 : 1, Math.floor((this.width + this.gap) / (least + this.gap)));
      this.across = (this.width - this.gap * (this.columns - 1)) / this.columns;
      const sides = this.index.sides.length;
      const inner = (this.across - read("--edge") * rem * 2 - (sides - 1) * read("--between") * rem) / sides;
      this.stage = [Math.floor(inner), Math.floor(inner * 0.75)];
      this.tall = this.stage[1] + (read("--text") + this.lines * read("--row")) * rem;
      this.headTall = this.groups.length > 1 || this.groups[0]?.title ? read("--head") * rem : 0;
      let top = 0;
      this.tops = [];
      this.shownGroups = 0;
      this.shown = 0;
      for (const one of this.groups) {
        if (top > TALLEST) break;
        this.tops.push(top);
        const room = Math.max(1, Math.floor((TALLEST - top) / (this.tall + this.gap))) * this.columns;
        const count = Math.min(one.count, room);
        top += this.headTall + Math.ceil(count / this.columns) * (this.tall + this.gap);
        this.shown += count;
        this.shownGroups++;
      }
      this.host.style.height = Math.max(0, top) + "px";
      this.host.style.setProperty("--lines", this.lines);
      this.host.style.setProperty("--across", this.across + "px");
      this.host.style.setProperty("--stage", this.stage[1] + "px");
      this.host.style.setProperty("--tall", this.tall + "px");
      if (keep !== null) scrollTo(0, this.topOf(keep) + this.host.offsetTop - 8);
      this.refresh(true);
    }

    clear() {
      for (const tile of this.tiles.values()) tile.node.remove();
      for (const head of this.heads.values()) head.remove();
      this.tiles.clear();
      this.heads.clear();
    }

    /** Where a tile's upper edge is, from the grid's. */
    topOf(place) {
      const g = this.groupOf(place);
      return this.tops[g] + this.headTall + Math.floor((place - this.groups[g].from) / this.columns) * (this.tall + this.gap);
    }

    /** The first tile on the screen. */
    first() {
      const y = scrollY - this.host.offsetTop;
      if (y <= 0 || !this.tops?.length) return null;
      const [g] = gallery.find(this.tops, y);
      const one = this.groups[g];
      const line = Math.max(0, Math.round((y - this.tops[g] - this.headTall) / (this.tall + this.gap)));
      return Math.min(one.from + line * this.columns, one.from + one.count - 1);
    }

    refresh(now = false) {
      if (now) this.draw(true);
      else if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.draw(false); });
    }

    /** Make the tiles that are to be seen, take away the others. */
    draw(now) {
      const high = innerHeight;
      const from = scrollY - this.host.offsetTop - high / 2, to = from + 2 * high;
      const wanted = new Set(), groups = new Set();
      for (let g = this.tops.length ? gallery.find(this.tops, Math.max(0, from))[0] : 0; g < this.shownGroups && this.tops[g] < to; g++) {
        const one = this.groups[g];
        if (this.headTall) groups.add(g);
        const start = this.tops[g] + this.headTall;
        const low = Math.max(0, Math.floor((from - start) / (this.tall + this.gap))) * this.columns;
        const end = Math.min(one.count, this.shown - one.from, Math.ceil((to - start) / (this.tall + this.gap)) * this.columns);
        for (let i = low; i < end; i++) wanted.add(one.from + i);
      }
      for (const [place, tile] of this.tiles) {
        if (wanted.has(place) || tile.node === document.activeElement) continue;
        tile.node.remove();
        this.tiles.delete(place);
      }
      for (const [g, head] of this.heads) if (!groups.has(g)) { head.remove(); this.heads.delete(g); }
      for (const g of groups) this.head(g);
      for (const place of wanted) if (!this.tiles.has(place)) this.add(place);
      if (!this.tiles.has(this.current) && this.tiles.size) { // the Tab key comes back to a tile that exists
        const kept = [...this.tiles.keys()].sort((a, b) => a - b).find((place) => this.topOf(place) >= scrollY - this.host.offsetTop);
        this.mark(kept ?? this.tiles.keys().next().value);
      } else this.mark(this.current);
      clearTimeout(this.timer);
      const fill = () => { for (const tile of this.tiles.values()) if (!tile.asked) { tile.asked = true; tile.fill(); } };
      if (now) fill();
      else this.timer = setTimeout(fill, SETTLED);
    }

    head(g) {
      if (this.heads.has(g)) return;
      const one = this.groups[g];
      const share = one.count.toLocaleString("en") + " " + this.unit + (one.count === 1 ? "" : "s");
      const head = make("h2", { class: "group", dir: "auto" }, make("span", { class: "text" }, one.title), make("span", { class: "many" }, share));
      head.style.transform = `translateY(${this.tops[g]}px)`;
      this.heads.set(g, head);
      this.host.insertBefore(head, this.before(one.from));
    }

    /** The node before which a tile belongs, so that reading order is the order on the screen. */
    before(place) {
      let best = null, least = Infinity;
      for (const [other, tile] of this.tiles) if (other >= place && other < least) [best, least] = [tile.node, other];
      for (const [g, head] of this.heads) {
        if (this.groups[g].from > place && this.groups[g].from <= least) [best, least] = [head, this.groups[g].from];
      }
      return best;
    }

    add(place) {
      const tile = new gallery.Tile(this, place);
      const g = this.groupOf(place);
      const column = (place - this.groups[g].from) % this.columns;
      tile.node.style.transform = `translate(${column * (this.across + this.gap)}px, ${this.topOf(place)}px)`;
      this.host.insertBefore(tile.node, this.before(place));
      this.tiles.set(place, tile);
      return tile;
    }

    repaint() { for (const tile of this.tiles.values()) tile.paint(); }

    /** The one tile that the Tab key stops at. */
    mark(place) {
      this.tiles.get(this.current)?.node.setAttribute("tabindex", "-1");
      this.current = place;
      this.tiles.get(place)?.node.setAttribute("tabindex", "0");
    }

    /** Bring a tile onto the screen and give it the focus. */
    focus(place) {
      if (!this.count) return;
      const top = this.topOf(place) + this.host.offsetTop;
      const bar = document.getElementById("bar")?.getBoundingClientRect();
      const above = bar && bar.top <= 0 ? bar.height : 0; // what sticks to the top covers that much
      if (top - above - 12 < scrollY) scrollTo(0, top - above - 12);
      else if (top + this.tall + 12 > scrollY + innerHeight) scrollTo(0, top + this.tall + 12 - innerHeight);
      this.draw(false);
      const tile = this.tiles.get(place) ?? this.add(place);
      this.mark(place);
      tile.node.focus({ preventScroll: true });
    }

    key(event) {
      if (!event.target.closest(".tile") || event.altKey || event.ctrlKey || event.metaKey) return;
      const now = this.current, last = this.shown - 1;
      const g = this.groupOf(now), one = this.groups[g];
      const page = Math.max(1, Math.floor(innerHeight / (this.tall + this.gap)) - 1) * this.columns;
      const column = (now - one.from) % this.columns;
      let down = now + this.columns, up = now - this.columns;
      if (down >= one.from + one.count) { // the same column of the group's last line, or of the next group
        const lastLine = one.from + Math.floor((one.count - 1) / this.columns) * this.columns;
        const next = this.groups[g + 1];
        down = now < lastLine ? one.from + one.count - 1 : next ? next.from + Math.min(column, next.count - 1) : now;
      }
      if (up < one.from) {
        const previous = this.groups[g - 1];
        const lastLine = previous ? previous.from + Math.floor((previous.count - 1) / this.columns) * this.columns : 0;
        up = previous ? Math.min(lastLine + column, previous.from + previous.count - 1) : now;
      }
      const next = { ArrowRight: now + 1, ArrowLeft: now - 1, ArrowDown: down, ArrowUp: up, Home: 0, End: last, PageDown: now + page, PageUp: now - page }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      this.focus(Math.min(Math.max(next, 0), last));
    }
  }

  gallery.Grid = Grid;
})();
