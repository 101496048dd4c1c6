// The interactive view: slices of the brain under a map, and what is known of the voxel clicked.
"use strict";

const TYPES = {
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int16: Int16Array, float32: Float32Array,
};
const NOTHING = -32768;  // a score that is not there

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpacked(base64) {
  const stream = new Blob([bytesOf(base64)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

async function loadNiivue() {
  const program = await unpacked(document.getElementById("niivue").textContent.trim());
  const url = URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  await new Promise((done, failed) => {
    const script = document.createElement("script");
    script.src = url;
    script.onload = done;
    script.onerror = () => failed(new Error("the viewer's program cannot be loaded"));
    document.head.append(script);
  });
  URL.revokeObjectURL(url);
}

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(kind, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function said(value) {
  if (!Number.isFinite(value)) return "–";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  return value.toFixed(3);
}

function colorOf(css) {
  return css.match(/[\d.]+/g).slice(0, 3).map(Number);
}

class View {
  constructor(root, description, buffer) {
    this.root = root;
    this.d = description;
    this.array = ({ type, start, length }) => new TYPES[type](buffer, start, length);
    this.places = this.array(description.places);
    this.row = new Map(Array.from(this.places, (place, row) => [place, row]));
    this.passed = this.array(description.passed);
    this.scores = this.array(description.scores);
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
  }

  async begin() {
    const { dims, affine, maps, layers } = this.d;
    const style = getComputedStyle(document.body);
    const paper = colorOf(style.backgroundColor), ink = colorOf(style.color);
    this.nv = new niivue.Niivue({
      backColor: [...paper.map((v) => v / 255), 1], fontColor: [...ink.map((v) => v / 255), 1],
      crosshairColor: [0.87, 0.25, 0.25, 1], crosshairWidth: 0.8, crosshairWidthUnit: "percent",
      crosshairGap: 3, tileMargin: 6, fontMinPx: 11, logLevel: "error", dragAndDropEnabled: false,
      isForceMouseClickToVoxelCenters: true,
    });
    await this.nv.attachToCanvas(this.part("canvas"));
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    this.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    this.nv.setMultiplanarLayout(this.part("canvas").clientWidth > 520 ? 3 : 2);  // a row or a grid
    this.nv.setInterpolation(true);
    this.nv.addColormap("brain", {
      R: [paper[0], 110, 236], G: [paper[1], 116, 239], B: [paper[2], 128, 244],
      A: [0, 255, 255], I: [0, 1, 255],
    });
    maps.forEach((map, number) => this.nv.addColormap(`map${number}`, this.scale(map)));
    this.size = dims[0] * dims[1] * dims[2];
    const grey = new Uint8Array(this.size);
    const brain = this.array(this.d.brain), shade = this.array(this.d.background);
    brain.forEach((place, i) => { grey[place] = shade[i]; });
    await this.add(grey, "brain");
    await this.add(new Uint8Array(this.size), "map0");
    this.overlay = this.nv.volumes[1];
    this.controls(maps, layers);
    this.nv.onLocationChange = ({ vox, mm }) => this.tell(vox, mm);
    this.show();
    this.goTo(this.bestRow());
  }

  // Colour 0 is transparent; 1 to 255 are the scale.
  scale(map) {
    const table = this.array(map.colors);
    const of = (channel) => [0, ...Array.from({ length: 255 }, (_, i) => table[3 * (i + 1) + channel])];
    return {
      R: of(0), G: of(1), B: of(2),
      A: [0, ...Array(255).fill(255)], I: Array.from({ length: 256 }, (_, i) => i),
    };
  }

  async add(values, colormap) {
    const { dims, affine } = this.d;
    const sizes = [0, 1, 2].map((axis) => Math.hypot(...affine.slice(0, 3).map((row) => row[axis])));
    const nifti = niivue.NVImage.createNiftiArray(dims, sizes, affine.flat(), 2, values);
    const image = await niivue.NVImage.loadFromUrl({
      url: nifti.buffer.slice(nifti.byteOffset, nifti.byteOffset + nifti.byteLength),
      name: `${colormap}.nii`, colormap, cal_min: 0, cal_max: 255, trustCalMinMax: false,
      colorbarVisible: false,
    });
    image.cal_min = 0;
    image.cal_max = 255;
    this.nv.addVolume(image);
  }

  controls(maps, layers) {
    const choice = this.part("map"), slider = this.part("layer"), only = this.part("passed");
    maps.forEach((map, number) => choice.append(element("option", { value: number }, map.title)));
    slider.max = layers.length - 1;
    choice.onchange = slider.oninput = only.onchange = () => this.show();
    if (this.passed.every((one) => one === 1) || !this.passed.some((one) => one === 1)) {
      only.checked = false;
      only.closest("label").hidden = true;
    }
  }

  chosen() {
    const number = Number(this.part("map").value);
    const map = this.d.maps[number];
    const frame = map.frames > 1 ? Number(this.part("layer").value) : 0;
    const data = this.array(map.data).subarray(frame * this.places.length, (frame + 1) * this.places.length);
    return { number, map, frame, data };
  }

  show() {
    const { number, map, frame, data } = this.chosen();
    const only = this.part("passed").checked;
    const colors = this.overlay.img;
    colors.fill(0);
    this.places.forEach((place, row) => {
      const value = data[row];
      if (!Number.isFinite(value) || (only && !this.passed[row])) return;
      const share = Math.min(Math.max((value - map.min) / (map.max - map.min), 0), 1);
      colors[place] = 1 + Math.round(share * 254);
    });
    this.nv.setColormap(this.overlay.id, `map${number}`);
    this.nv.updateGLVolume();
    this.part("layer").closest("label").hidden = map.frames === 1;
    this.part("layer-name").textContent = map.frames > 1 ? this.d.layers[frame] : "";
    this.legend(map);
    if (this.at !== undefined) this.profile(this.at);
  }

  legend(map) {
    const table = this.array(map.colors);
    const stops = Array.from({ length: 32 }, (_, i) => {
      const at = 3 * Math.round(i * 255 / 31);
      return `rgb(${table[at]},${table[at + 1]},${table[at + 2]})`;
    });
    this.part("legend-bar").style.background = `linear-gradient(to right, ${stops.join(",")})`;
    const ticks = map.ticks.length ? map.ticks : [[map.min, said(map.min)], [map.max, said(map.max)]];
    this.part("legend-ticks").replaceChildren(...ticks.map(([value, text]) => {
      const share = (value - map.min) / (map.max - map.min);
      return element("span", { style: `left:${100 * share}%` }, text);
    }));
  }

  bestRow() {
    let best = 0, highest = -Infinity;
    this.scores.forEach((score, i) => {
      if (score > highest) { highest = score; best = i % this.places.length; }
    });
    return best;
  }

  goTo(row) {
    const [nx, ny, nz] = this.d.dims;
    const place = this.places[row];
    const vox = [place % nx, Math.floor(place / nx) % ny, Math.floor(place / (nx * ny))];
    this.nv.scene.crosshairPos = this.nv.vox2frac(vox, 0);
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  tell(vox, mm) {
    const [nx, ny] = this.d.dims;
    const row = this.row.get(vox[0] + nx * (vox[1] + ny * vox[2]));
    const index = this.d.voxel.slice(0, 3).map((line) =>
      Math.round(line[0] * mm[0] + line[1] * mm[1] + line[2] * mm[2] + line[3]));
    this.at = row;
    const facts = [["voxel", index.join(", ")], ["mm", Array.from(mm).slice(0, 3).map((v) => v.toFixed(1)).join(", ")]];
    if (row === undefined) {
      facts.push(["", "no score here"]);
    } else {
      for (const { atlas, labels, names } of this.d.regions) {
        facts.push([atlas, names[this.array(labels)[row]] ?? "none"]);
      }
      for (const map of this.d.maps) {
        if (map.frames > 1) continue;
        const value = this.array(map.data)[row];
        facts.push([map.title, map.labels[value] ?? said(value)]);
      }
      for (const [name, where] of Object.entries(this.d.values)) facts.push([name, said(this.array(where)[row])]);
    }
    this.part("facts").replaceChildren(...facts.flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", { "data-fact": name }, value)]));
    this.profile(row);
  }

  profile(row) {
    const { layers, step } = this.d;
    const count = this.places.length;
    const values = layers.map((_, layer) => {
      const score = row === undefined ? NOTHING : this.scores[layer * count + row];
      return score === NOTHING ? NaN : score * step;
    });
    const high = Math.max(0.1, ...values.filter(Number.isFinite)), low = Math.min(0, ...values.filter(Number.isFinite));
    const width = 320, line = 19, left = 112, right = 46;
    const x = (value) => left + (value - low) / (high - low) * (width - left - right);
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${line * layers.length}`, role: "img", "aria-label": "scores over layers" });
    const current = this.chosen();
    layers.forEach((layer, i) => {
      const y = i * line;
      const name = layer.length > 16 ? `${layer.slice(0, 15)}…` : layer;
      const bold = current.map.frames > 1 && current.frame === i ? "bold" : "normal";
      svg.append(drawn("text", { x: left - 6, y: y + 13, "text-anchor": "end", class: "name", "font-weight": bold }, name));
      const value = values[i];
      if (Number.isFinite(value)) {
        const from = Math.min(x(0), x(value)), to = Math.max(x(0), x(value));
        svg.append(drawn("rect", { x: from, y: y + 3, width: Math.max(to - from, 1), height: line - 6, class: "bar" }));
      }
      svg.append(drawn("text", { x: Math.max(x(Number.isFinite(value) ? value : 0), x(0)) + 4, y: y + 13, class: "value", "data-score": layer }, said(value)));
    });
    this.part("profile").replaceChildren(svg);
  }
}

async function start() {
  const roots = document.querySelectorAll(".viewer");
  if (!roots.length) return;
  const fail = (root, error) => {
    root.querySelector('[data-part="message"]').textContent =
      `The interactive view is not available (${error.message}); the figures below show the same maps.`;
    root.classList.add("failed");
  };
  try {
    if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
    await loadNiivue();
  } catch (error) {
    roots.forEach((root) => fail(root, error));
    return;
  }
  for (const root of roots) {
    try {
      const description = JSON.parse(root.querySelector("script").textContent);
      const view = new View(root, description, await unpacked(description.blob));
      await view.begin();
      root.view = view;
      root.classList.add("ready");
    } catch (error) {
      fail(root, error);
    }
  }
}

start();
