// Where the page's answers come from: networks in this browser. Another source has the same `look`.

export class Networks {
  #calls = new Map();
  #count = 0;

  constructor() {
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#calls.get(data.call);
      this.#calls.delete(data.call);
      if (data.error) reject(new Error(data.error));
      else resolve(data);
    };
  }

  // What `model` says of RGBA bytes: {maps: {name: {values, side}}, milliseconds}
  look(model, pixels, size) {
    const call = ++this.#count;
    return new Promise((resolve, reject) => {
      this.#calls.set(call, { resolve, reject });
      this.worker.postMessage({ call, file: model.file, pixels, size });
    });
  }
}
