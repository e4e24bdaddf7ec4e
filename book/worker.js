// The networks, off the page's own thread, so that painting never waits for them.

import * as ort from "./ort.wasm.min.mjs";

ort.env.wasm.numThreads = 1; // more would need headers that a plain web server does not send
ort.env.wasm.wasmPaths = new URL("./", import.meta.url).href;

const sessions = new Map(); // each network is read once, when it is first asked

function session(file) {
  if (!sessions.has(file)) {
    const address = new URL(file, import.meta.url).href;
    sessions.set(file, ort.InferenceSession.create(address, { executionProviders: ["wasm"] }));
  }
  return sessions.get(file);
}

// RGBA bytes, row by row, to what the network takes: (1, 3, S, S) in [0, 1]
function asInput(pixels, size) {
  const values = new Float32Array(3 * size * size);
  for (let i = 0; i < size * size; i++) {
    for (let c = 0; c < 3; c++) values[c * size * size + i] = pixels[4 * i + c] / 255;
  }
  return new ort.Tensor("float32", values, [1, 3, size, size]);
}

onmessage = async ({ data: { call, file, pixels, size } }) => {
  try {
    const network = await session(file);
    const started = performance.now();
    const found = await network.run({ image: asInput(pixels, size) });
    const maps = {};
    for (const [name, tensor] of Object.entries(found)) {
      maps[name] = { values: tensor.data, side: tensor.dims.at(-1) };
    }
    postMessage({ call, maps, milliseconds: performance.now() - started });
  } catch (error) {
    postMessage({ call, error: String(error) });
  }
};
