// The page as a widget in a notebook: the live kernel's own networks answer.

import { mount } from "./paint.js";

class Kernel {
  #calls = new Map();
  #view = Math.random(); // a notebook may show the widget twice, and each view hears all answers
  #count = 0;

  constructor(model) {
    this.model = model;
    model.on("msg:custom", ({ call, error, maps }, buffers) => {
      if (!this.#calls.has(call)) return;
      const { resolve, reject, started } = this.#calls.get(call);
      this.#calls.delete(call);
      if (error) return reject(new Error(error));
      const found = maps.map(({ name, side }, k) => [name, { side, values: floats(buffers[k]) }]);
      resolve({ maps: Object.fromEntries(found), milliseconds: performance.now() - started });
    });
  }

  // As Networks.look: what `network` says of RGBA bytes.
  look(network, pixels) {
    const call = `${this.#view} ${++this.#count}`;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject, started: performance.now() });
      this.model.send({ call, network: network.id }, undefined, [pixels.buffer]);
    });
  }
}

const floats = ({ buffer, byteOffset, byteLength }) =>
  new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));

export default {
  render({ model, el }) {
    el.dataset.lmSuppressShortcuts = "true"; // arrow keys and space move and press the brush here
    mount(el, model.get("data"), new Kernel(model));
  },
};
