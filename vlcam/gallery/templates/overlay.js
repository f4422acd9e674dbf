"use strict";
// Draws a small map over a photo: the colours of vlcam/render, and a line at half of its peak, which needs no colours.
(() => {
  const gallery = window.vlcamGallery;
  const LONG = 128; // the longer side of the raster that the colours are computed on; the browser smooths between
  const PARTS = 127;
  const cover = (part) => Math.min(Math.abs(part) / 0.8, 1) ** 1.5; // how much of the photo a part of the scale covers
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const tables = {};

  /** For n pixel centres along an axis: the cells beside each, and the second one's weight; -1 where the model didn't see it. */
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

  /** The map on a raster over the whole photo, in parts of its own peak; NaN where the model saw nothing. */
  const spread = (map, toInput, width, height) => {
    const [rows, columns, , packed] = map;
    const values = gallery.unpack(packed, Int8Array);
    const xs = along(width, columns, toInput[0], toInput[1]), ys = along(height, rows, toInput[2], toInput[3]);
    const out = new Float64Array(width * height).fill(NaN);
    for (let y = 0; y < height; y++) {
      if (ys.low[y] < 0) continue;
      const top = ys.low[y] * columns, bottom = ys.high[y] * columns, down = ys.weight[y];
      for (let x = 0; x < width; x++) {
        if (xs.low[x] < 0) continue;
        const left = xs.low[x], right = xs.high[x], across = xs.weight[x];
        const above = values[top + left] * (1 - across) + values[top + right] * across;
        const below = values[bottom + left] * (1 - across) + values[bottom + right] * across;
        out[y * width + x] = (above * (1 - down) + below * down) / PARTS;
      }
    }
    return out;
  };

  /** Line pieces where the raster crosses half of the peak (marching squares), on a context scaled to the raster. */
  const trace = (context, raster, width, height, across, down) => {
    const at = (x, y) => Math.abs(raster[y * width + x]) - 0.5;
    context.beginPath();
    for (let y = 0; y + 1 < height; y++) {
      for (let x = 0; x + 1 < width; x++) {
        const a = at(x, y), b = at(x + 1, y), c = at(x + 1, y + 1), d = at(x, y + 1);
        if (Number.isNaN(a + b + c + d)) continue;
        const cuts = [];
        if (a < 0 !== b < 0) cuts.push([x + a / (a - b), y]);
        if (b < 0 !== c < 0) cuts.push([x + 1, y + b / (b - c)]);
        if (d < 0 !== c < 0) cuts.push([x + d / (d - c), y + 1]);
        if (a < 0 !== d < 0) cuts.push([x, y + a / (a - d)]);
        for (let i = 0; i + 1 < cuts.length; i += 2) {
          context.moveTo((cuts[i][0] + 0.5) * across, (cuts[i][1] + 0.5) * down);
          context.lineTo((cuts[i + 1][0] + 0.5) * across, (cuts[i + 1][1] + 0.5) * down);
        }
      }
    }
  };

  /** Hatch what the model didn't see: a part that a photo is cropped by. */
  const hatch = (context, toInput, width, height) => {
    const [left, right] = [-toInput[1], 1 - toInput[1]].map((place) => clamp((place / toInput[0]) * width, 0, width));
    const [top, bottom] = [-toInput[3], 1 - toInput[3]].map((place) => clamp((place / toInput[2]) * height, 0, height));
    if (left < 0.5 && top < 0.5 && right > width - 0.5 && bottom > height - 0.5) return;
    context.save();
    context.beginPath();
    context.rect(0, 0, width, height);
    context.rect(left, top, right - left, bottom - top);
    context.clip("evenodd");
    context.fillStyle = "rgba(138, 138, 138, 0.55)";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = "rgba(255, 255, 255, 0.6)";
    context.lineWidth = 1;
    context.beginPath();
    for (let x = -height; x < width; x += 7) { context.moveTo(x, height); context.lineTo(x + height, 0); }
    context.stroke();
    context.restore();
  };

  /**
   * Paint a map into a canvas that lies over its photo.
   * map: [rows, columns, peak, parts in base64]; toInput: photo (0 to 1) to the model's input, [scale, offset] for x, then y;
   * top: the value of the strongest colour; signed: whether values below 0 count; look: {heat, line}.
   */
  const paint = (canvas, map, toInput, top, signed, look) => {
    const context = canvas.getContext("2d");
    const { width, height } = canvas;
    context.clearRect(0, 0, width, height);
    if (!map) return;
    const share = Math.min(1, LONG / Math.max(width, height));
    const [w, h] = [Math.max(2, Math.round(width * share)), Math.max(2, Math.round(height * share))];
    const raster = spread(map, toInput, w, h);
    const strength = top > 0 ? map[2] / top : 0;
    if (look.heat) {
      const name = signed ? "coolwarm" : "inferno";
      const colours = (tables[name] ??= gallery.unpack(gallery.colours[name], Uint8Array));
      const small = document.createElement("canvas");
      [small.width, small.height] = [w, h];
      const pixels = new ImageData(w, h);
      for (let i = 0; i < raster.length; i++) {
        const part = clamp(raster[i] * strength, signed ? -1 : 0, 1);
        if (!part) continue; // nothing there, or not seen by the model
        const row = 3 * Math.round(signed ? (part + 1) * 127.5 : part * 255);
        pixels.data.set([colours[row], colours[row + 1], colours[row + 2], 255 * 0.9 * cover(part)], 4 * i);
      }
      small.getContext("2d").putImageData(pixels, 0, 0);
      context.imageSmoothingEnabled = true;
      context.drawImage(small, 0, 0, width, height);
    }
    hatch(context, toInput, width, height);
    if (!look.line) return;
    trace(context, raster, w, h, width / w, height / h);
    context.lineCap = "round";
    context.globalAlpha = 0.2 + 0.8 * Math.min(1, strength); // a weak map gets a faint line
    for (const [colour, thick] of [["rgba(0, 0, 0, 0.55)", 3.6], ["#fff", 1.7]]) {
      context.strokeStyle = colour;
      context.lineWidth = thick * (window.devicePixelRatio > 1 ? 1.6 : 1);
      context.stroke();
    }
    context.globalAlpha = 1;
  };

  gallery.paint = paint;
})();
