// Strokes on a small picture: plain arithmetic on RGBA bytes, without a canvas.

// How much of a pixel at this distance from the middle the brush covers: 0 to 1, its rim soft.
const covered = (distance, radius) => Math.min(1, Math.max(0, radius + 0.5 - distance));

// `tool`: brush, texture, erase, restore, smear or paste. `options`: size (of the picture's side),
// radius (in pixels), opacity, and what the tool takes its colours from: colour and background
// [r, g, b], texture and original (RGBA bytes).
export class Stroke {
  constructor(pixels, tool, options) {
    Object.assign(this, options, { pixels, tool });
    this.before = pixels.slice();
    this.cover = new Float32Array(pixels.length / 4);
    this.last = null;
  }

  // Goes on to (x, y), in pixels; the first call begins the stroke.
  moveTo(x, y) {
    if (this.tool === "paste") this.#paste(x, y);
    else {
      const from = this.last ?? [x, y];
      const steps = Math.max(1, Math.ceil(Math.hypot(x - from[0], y - from[1])));
      for (let k = this.last ? 1 : steps; k <= steps; k++) {
        const at = from.map((start, axis) => start + ((axis ? y : x) - start) * (k / steps));
        if (this.tool === "smear") this.#smear(...at);
        else this.#lay(...at);
      }
    }
    this.last = [x, y];
  }

  // Calls `put(i, a, dx, dy)` for each pixel under the brush at (x, y).
  #under(x, y, put) {
    const reach = Math.ceil(this.radius + 1);
    for (let dy = -reach; dy <= reach; dy++) {
      for (let dx = -reach; dx <= reach; dx++) {
        const [px, py] = [Math.floor(x) + dx, Math.floor(y) + dy];
        if (px < 0 || py < 0 || px >= this.size || py >= this.size) continue;
        const a = covered(Math.hypot(px + 0.5 - x, py + 0.5 - y), this.radius);
        if (a > 0) put(py * this.size + px, a, dx, dy);
      }
    }
  }

  #mix(i, from, to, share) {
    for (let c = 0; c < 3; c++) this.pixels[4 * i + c] = from[c] + (to[c] - from[c]) * share;
  }

  // Colour from elsewhere; a stroke that crosses itself does not get thicker.
  #lay(x, y) {
    const plain = { brush: this.colour, erase: this.background }[this.tool];
    const picture = { texture: this.texture, restore: this.original }[this.tool];
    this.#under(x, y, (i, a) => {
      this.cover[i] = Math.max(this.cover[i], a);
      const to = plain ?? picture.subarray(4 * i);
      this.#mix(i, this.before.subarray(4 * i), to, this.cover[i] * this.opacity);
    });
  }

  // What lies under the brush is carried along.
  #smear(x, y) {
    const here = (i) => Array.from(this.pixels.subarray(4 * i, 4 * i + 3));
    const carried = new Map();
    this.#under(x, y, (i, a, dx, dy) => {
      const brought = this.carried?.get(`${dx} ${dy}`);
      if (brought) this.#mix(i, here(i), brought, a * this.opacity);
      carried.set(`${dx} ${dy}`, here(i));
    });
    this.carried = carried;
  }

  // The piece under the first place is put where the brush is now.
  #paste(x, y) {
    if (!this.last) {
      this.piece = new Map();
      this.#under(x, y, (i, a, dx, dy) => this.piece.set(`${dx} ${dy}`, [4 * i, a]));
    }
    this.pixels.set(this.before);
    for (const [place, [from, a]] of this.piece) {
      const [dx, dy] = place.split(" ").map(Number);
      const [px, py] = [Math.floor(x) + dx, Math.floor(y) + dy];
      if (px < 0 || py < 0 || px >= this.size || py >= this.size) continue;
      const i = py * this.size + px;
      this.#mix(i, this.before.subarray(4 * i), this.before.subarray(from), a * this.opacity);
    }
  }
}

// How many pixels differ by at least `least` of 255, in the mean of their colours.
export function changed(pixels, original, least) {
  let count = 0;
  for (let i = 0; i < pixels.length; i += 4) {
    let sum = 0;
    for (let c = 0; c < 3; c++) sum += Math.abs(pixels[i + c] - original[i + c]);
    if (sum >= 3 * least) count++;
  }
  return count;
}
