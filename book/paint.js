// "Paint a defect": a part to paint on, and what trained networks say of it at every stroke.
//
// mount(element, data, source) builds the page into `element`. `data` is what
// pouta_lib/deliver/painting.py gathers; `source.look(model, pixels, size)` answers for a network.

import { Stroke, changed } from "./brush.js";

const TOOLS = {
  brush: "a colour", texture: "a texture", smear: "smear", paste: "paste a piece",
  erase: "erase to background", restore: "restore",
};
const HINTS = {
  brush: "Draw in the colour.",
  texture: "Draw with a strange surface, as the synthetic anomalies of training do.",
  smear: "Drag what is there along.",
  paste: "Press on a piece, drag it, and let go where it is to be.",
  erase: "Take a piece of the part away.",
  restore: "Bring back what was there.",
};
const LEVELS = [4, 3, 2, 1];
const ROWS = {
  F_C: ["contrast <i>F</i><sub>C</sub>", "what differs between encoder and decoder, mean of the channels"],
  W_sp: ["guidance <i>W</i><sub>sp</sub>", "where the next coarser level lets it pass"],
  M_p: ["map <i>M</i><sub>p(i)</sub>", "what this level alone would say"],
};
const HIDDEN_PIXELS = 40, CLEARLY = 51; // what counts as a defect to hide: of 255

const TEMPLATE = `
<div class="choices"><fieldset class="parts"><legend>Part</legend></fieldset>
<fieldset class="pictures"><legend>Picture</legend></fieldset></div>
<div class="tools">
  <fieldset class="segmented"><legend>Paint with</legend></fieldset>
  <label class="for brush">colour <input type="color" class="colour" value="#8a4b24"></label>
  <span class="for texture swatches"></span>
  <label>size <input type="range" class="radius" min="1" max="12" step="0.5" value="3"></label>
  <label>opacity <input type="range" class="opacity" min="0.1" max="1" step="0.05" value="0.9"></label>
  <span class="buttons"><button type="button" class="undo">undo</button>
  <button type="button" class="clean">undamaged</button></span>
  <p class="hint"></p>
</div>
<div class="stage">
  <figure class="now"><div class="board"><canvas tabindex="0" aria-describedby="paint-keys"
    aria-label="The part: paint here"></canvas><i class="ring"></i></div>
    <figcaption><b>Your part</b> <span id="paint-keys">Paint with mouse or finger; or arrow keys, and space to press
    and let go</span></figcaption></figure>
  <figure class="found"><canvas role="img" aria-label="The anomaly map"></canvas>
    <figcaption><b>Where the defect is: <i>M</i><sub>p</sub></b> <span class="verdict"></span></figcaption></figure>
  <figure class="was"><canvas role="img" aria-label="The undamaged part"></canvas>
    <figcaption><span>before</span></figcaption></figure>
  <figure class="repair"><canvas role="img" aria-label="The repaired part"></canvas>
    <figcaption><span>repaired: <i>I</i><sub>r</sub></span></figcaption></figure>
</div>
<p class="aloud" role="status"></p>
<fieldset class="networks"><legend>What each network says of it <small>choose one to look into</small></legend></fieldset>
<div class="scores">
  <h3>Score and threshold</h3>
  <svg role="img" aria-label="Scores of good and defective test images, and of yours"></svg>
  <input type="range" class="threshold" min="0" max="1000" aria-label="Threshold">
  <p class="counts"></p>
</div>
<div class="inside"><h3>Inside <span class="name"></span></h3><div class="levels"></div></div>
<div class="challenges"><h3>To try</h3><ol>
  <li class="hide"><b>Hide a defect from <i class="judge">the network</i>.</b> Change at least ${HIDDEN_PIXELS} pixels clearly, and have the part called good.
    <span></span></li>
  <li class="tell"><b>Find a change that Vanilla sees and POUTA does not.</b> <span></span></li>
</ol><p class="small">On a picture of a good part, at the thresholds that the page began with.</p></div>`;

const bytes = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
const cubed = (share) => share ** 3; // the scale of scores: its cube root, as of the maps
const rooted = (score) => Math.cbrt(score);

function rgba(text) {
  const rgb = bytes(text);
  const pixels = new Uint8ClampedArray((rgb.length / 3) * 4).fill(255);
  for (let i = 0; i < rgb.length; i++) pixels[4 * Math.floor(i / 3) + (i % 3)] = rgb[i];
  return pixels;
}

function draw(canvas, pixels, side) {
  canvas.width = canvas.height = side;
  canvas.getContext("2d").putImageData(new ImageData(pixels, side, side), 0, 0);
}

// A map in the 256 colours of `table`; `shade` brings its values to 0 .. 1.
function drawMap(canvas, { values, side }, table, shade = (v) => v) {
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255);
  for (let i = 0; i < side * side; i++) {
    const row = 3 * Math.round(255 * Math.min(1, Math.max(0, shade(values[i]))));
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = table[row + c];
  }
  draw(canvas, pixels, side);
}

function drawPicture(canvas, { values, side }) {
  const pixels = new Uint8ClampedArray(4 * side * side).fill(255);
  for (let i = 0; i < side * side; i++) {
    for (let c = 0; c < 3; c++) pixels[4 * i + c] = 255 * values[c * side * side + i];
  }
  draw(canvas, pixels, side);
}

// Radio buttons with their labels: content(item) is what a label shows.
let groups = 0; // a notebook may show several pages
function radios(fieldset, items, content, choose) {
  const name = (fieldset.dataset.group ??= `paint-${++groups}`);
  fieldset.querySelectorAll("label").forEach((label) => label.remove());
  fieldset.hidden = items.length < 2;
  return items.map((item, k) => {
    const label = document.createElement("label");
    label.innerHTML = `<input type="radio" name="${name}">`;
    label.append(content(item));
    label.firstChild.onchange = () => choose(item, k);
    fieldset.append(label);
    return label;
  });
}

const span = (text) => Object.assign(document.createElement("span"), { innerHTML: text });
const called = (model) => model.title.replace("POUTA-", "") + (model.shots ? `, ${model.shots} images` : "");

export function mount(element, data, source) {
  element.classList.add("paint");
  element.innerHTML = TEMPLATE;
  const $ = (selector) => element.querySelector(selector);
  const { size, gamma } = data;
  const colours = { map: bytes(data.colours.map), weight: bytes(data.colours.weight) };
  const textures = data.textures.map((texture) => rgba(texture.pixels));
  const probability = (v) => v ** gamma;
  const board = $(".now canvas");
  let part, original, pixels, model, stroke, busy = false, version = 0;
  let tool = "brush", texture = textures[0], cursor = [size / 2, size / 2], undo = [];

  // --- asking the networks: the chosen one at each change, the others when the hand rests

  function nextToAsk() {
    if (model.answer?.version !== version) return model;
    return stroke ? undefined : part.models.find((m) => m.answer?.version !== version);
  }

  async function ask() {
    if (busy) return;
    busy = true;
    element.dataset.state = "busy";
    try {
      for (let asked; (asked = nextToAsk());) {
        const now = version;
        const { maps, milliseconds } = await source.look(asked, pixels.slice(), size);
        const warm = Boolean(asked.answer); // the first answer waits for the network to be fetched
        asked.answer = { version: now, maps, milliseconds, warm, score: maps.score.values[0] };
        showCard(asked);
        if (asked === model) showAnswer();
      }
      showChallenges();
      element.dataset.answers = version;
      element.dataset.state = "ready";
    } catch (error) {
      $(".verdict").textContent = `The network does not answer: ${error.message}`;
      element.dataset.state = "failed";
    } finally {
      busy = false;
    }
  }

  function repaint() {
    version++;
    draw(board, pixels, size);
    ask();
  }

  // --- what is shown

  function showAnswer() {
    const { maps, milliseconds, score } = model.answer;
    drawMap($(".found canvas"), maps.M_p, colours.map, probability);
    drawPicture($(".repair canvas"), maps.I_r);
    showLevels(maps);
    showScores();
    element.dataset.score = score;
    element.dataset.milliseconds = milliseconds.toFixed(1);
  }

  function showLevels(maps) {
    const grid = $(".levels");
    $(".inside .name").textContent = called(model);
    grid.replaceChildren();
    const rows = Object.keys(ROWS).filter((row) => LEVELS.some((i) => maps[row + i]));
    if (!rows.length) {
      grid.append(span("It has no features to contrast: a second network looks at the part and its repair, pixels only."));
      return;
    }
    grid.append(span(""), ...LEVELS.map((i) => span(`level ${i}${{ 4: ", coarse", 1: ", fine" }[i] ?? ""}`)));
    for (const row of rows) {
      grid.append(span(`<b>${ROWS[row][0]}</b><small>${ROWS[row][1]}</small>`));
      for (const i of LEVELS) {
        const map = maps[row + i];
        const canvas = document.createElement("canvas");
        if (!map) {
          grid.append(span(""));
          continue;
        }
        if (row === "F_C") {
          const [low, high] = model.contrast[row + i];
          drawMap(canvas, map, colours.map, (v) => (v - low) / (high - low));
        } else if (row === "W_sp") drawMap(canvas, map, colours.weight);
        else drawMap(canvas, map, colours.map, probability);
        grid.append(canvas);
      }
    }
  }

  const isBad = (m) => m.answer.score > m.limit;

  function showCard(m) {
    drawMap(m.card.querySelector("canvas"), m.answer.maps.M_p, colours.map, probability);
    const told = m.card.querySelector(".told");
    told.textContent = `${m.answer.score.toFixed(3)} ${isBad(m) ? "defective" : "good"}`;
    m.card.classList.toggle("bad", isBad(m));
  }

  function showScores() {
    const { good, bad, limit, answer } = model;
    const x = (score) => `${100 * rooted(score)}%`;
    const dots = (scores, kind, top) => scores.map((score, k) =>
      `<circle class="${kind}" cx="${x(score)}" cy="${top + 5 * (k % 3)}" r="3.5"></circle>`).join("");
    const ticks = [0, 0.001, 0.01, 0.1, 0.3, 1].map((t) => `<text x="${x(t)}" y="88">${t}</text>`).join("");
    $(".scores svg").innerHTML = `${dots(bad, "bad", 30)}${dots(good, "good", 52)}
      <line class="limit" x1="${x(limit)}" x2="${x(limit)}" y1="18" y2="74"></line>
      <line class="yours" x1="${x(answer.score)}" x2="${x(answer.score)}" y1="14" y2="74"></line>
      <text class="yours" x="${x(answer.score)}" y="10">yours</text>${ticks}`;
    $(".threshold").value = 1000 * rooted(limit);
    const misses = bad.filter((s) => !(s > limit)).length, alarms = good.filter((s) => s > limit).length;
    $(".counts").innerHTML = `Of the test images, at the threshold <b>${limit.toFixed(3)}</b>: <b class="bad">${misses}</b> of
      ${bad.length} defects missed, <b class="good">${alarms}</b> of ${good.length} good parts called defective.`;
    const word = isBad(model) ? "defective" : "good";
    $(".verdict").innerHTML = `<b class="${isBad(model) ? "bad" : "good"}">${called(model)} says: ${word}</b>
      score ${answer.score.toFixed(3)}, threshold ${limit.toFixed(3)}
      <small>${answer.warm ? `answered in ${answer.milliseconds.toFixed(0)} ms` : ""}</small>`;
    if (!stroke) $(".aloud").textContent = `${called(model)}: ${word}, score ${answer.score.toFixed(3)}`;
  }

  function showChallenges() {
    const seen = (method) => {
      const m = part.models.find((one) => one.method === method && !one.shots);
      return m && m.answer.score > m.threshold;
    };
    const onGood = part.images[part.picture].good;
    const count = changed(pixels, original, CLEARLY);
    const tell = (name, done, text) => {
      $(`.${name}`).classList.toggle("done", Boolean(done));
      $(`.${name} span`).textContent = done ? "Done!" : text;
    };
    const judge = part.models.find((one) => one.method === "pouta" && !one.shots) ?? part.models[0];
    const caught = judge.answer.score > judge.threshold;
    $(".judge").textContent = called(judge);
    const words = `${count} pixels changed; ${called(judge)} sees ${caught ? "it" : "nothing"}.`;
    tell("hide", onGood && count >= HIDDEN_PIXELS && !caught, words);
    $(".tell").hidden = seen("vanilla") === undefined;
    const both = `Vanilla says ${seen("vanilla") ? "defective" : "good"}, POUTA ${seen("pouta") ? "defective" : "good"}.`;
    tell("tell", onGood && seen("vanilla") && !seen("pouta"), both);
  }

  // --- choosing

  function choosePart(chosen) {
    part = chosen;
    for (const m of part.models) m.limit ??= m.threshold;
    const thumb = (image) => {
      const canvas = document.createElement("canvas");
      draw(canvas, rgba(image.pixels), size);
      canvas.title = image.name;
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", image.name);
      return canvas;
    };
    const pictures = radios($(".pictures"), part.images, thumb, (_, k) => choosePicture(k));
    const before = model;
    const cards = radios($(".networks"), part.models, (m) => {
      const card = document.createElement("span");
      card.innerHTML = `<canvas></canvas><b>${called(m)}</b><span class="told">…</span>`;
      return card;
    }, chooseModel);
    part.models.forEach((m, k) => { m.card = cards[k]; });
    model = part.models.find((m) => m.method === before?.method && m.shots === before?.shots)
      ?? part.models.find((m) => m.method === "pouta" && !m.shots) ?? part.models[0];
    model.card.firstChild.checked = true;
    pictures[0].firstChild.checked = true;
    choosePicture(0, part.start);
  }

  function choosePicture(k, painted) {
    part.picture = k;
    original = rgba(part.images[k].pixels);
    pixels = painted ? rgba(painted) : original.slice();
    undo = painted ? [original.slice()] : [];
    draw($(".was canvas"), original, size);
    repaint();
  }

  function chooseModel(chosen) {
    model = chosen;
    if (model.answer?.version === version) showAnswer();
    ask();
  }

  function chooseTool(chosen) {
    tool = chosen;
    $(".hint").textContent = HINTS[tool];
    element.querySelectorAll(".for").forEach((part) => { part.hidden = !part.classList.contains(tool); });
  }

  // --- painting, by hand or by keys

  function press() {
    undo = [...undo.slice(-50), pixels.slice()];
    const colour = [1, 3, 5].map((k) => parseInt($(".colour").value.slice(k, k + 2), 16));
    stroke = new Stroke(pixels, tool, {
      size, colour, texture, original, background: part.background,
      radius: Number($(".radius").value), opacity: Number($(".opacity").value),
    });
    goOn();
  }

  function goOn() {
    placeRing();
    if (!stroke) return;
    stroke.moveTo(...cursor);
    repaint();
  }

  function letGo() {
    stroke = undefined;
    ask();
  }

  function placeRing() {
    const share = (length) => `${(100 * length) / size}%`;
    const radius = Number($(".radius").value);
    Object.assign($(".ring").style, { left: share(cursor[0]), top: share(cursor[1]), width: share(2 * radius) });
  }

  function back(to) {
    pixels = to;
    repaint();
  }

  function point(event) {
    const box = board.getBoundingClientRect();
    cursor = [event.clientX - box.left, event.clientY - box.top].map((v) => (v * size) / box.width);
  }

  board.onpointerdown = (event) => {
    if (event.button) return;
    board.setPointerCapture(event.pointerId);
    point(event);
    press();
  };
  board.onpointermove = (event) => {
    for (const one of event.getCoalescedEvents?.() ?? []) if (stroke) { point(one); stroke.moveTo(...cursor); }
    point(event);
    goOn();
  };
  board.onpointerup = board.onpointercancel = letGo;
  board.onkeydown = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (way) {
      const step = event.shiftKey ? 8 : 1;
      cursor = cursor.map((v, axis) => Math.min(size, Math.max(0, v + step * way[axis])));
      goOn();
    } else if (event.key === " ") {
      if (!event.repeat) (stroke ? letGo : press)();
    } else return;
    event.preventDefault();
  };
  board.onblur = () => { if (stroke) letGo(); };

  $(".radius").oninput = placeRing;
  $(".undo").onclick = () => { if (undo.length) back(undo.pop()); };
  $(".clean").onclick = () => { undo.push(pixels); back(original.slice()); };
  $(".threshold").oninput = () => {
    model.limit = cubed($(".threshold").value / 1000);
    if (model.answer) { showScores(); showCard(model); }
  };

  const tools = radios($(".segmented"), Object.keys(TOOLS), (name) => span(TOOLS[name]), chooseTool);
  tools[0].firstChild.checked = true;
  const swatches = radios($(".swatches"), textures, (pixels) => {
    const canvas = document.createElement("canvas");
    draw(canvas, pixels, size);
    return canvas;
  }, (chosen) => { texture = chosen; });
  data.textures.forEach(({ name }, k) => { swatches[k].title = name; });
  swatches[0].firstChild.checked = true;
  const parts = radios($(".parts"), data.parts, (one) => span(one.name), choosePart);
  parts[0].firstChild.checked = true;
  chooseTool("brush");
  placeRing();
  choosePart(data.parts[0]);
}
