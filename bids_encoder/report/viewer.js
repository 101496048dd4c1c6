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

// What slices and surfaces have in common: choosing a map, its scale, the facts of one place.
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
    const style = getComputedStyle(document.body);
    this.paper = colorOf(style.backgroundColor);
    const ink = colorOf(style.color);
    this.nv = new niivue.Niivue({
      backColor: [...this.paper.map((v) => v / 255), 1], fontColor: [...ink.map((v) => v / 255), 1],
      crosshairColor: [0.87, 0.25, 0.25, 1], crosshairWidth: 0.8, crosshairWidthUnit: "percent",
      crosshairGap: 3, tileMargin: 6, fontMinPx: 11, logLevel: "error", dragAndDropEnabled: false,
      isForceMouseClickToVoxelCenters: true, isColorbar: false,
    });
    await this.nv.attachToCanvas(this.part("canvas"));
    await this.load();
    this.controls(this.d.maps, this.d.layers);
    this.show();
    this.goTo(this.bestIndex() % this.places.length);
  }

  controls(maps, layers) {
    const choice = this.part("map"), slider = this.part("layer"), only = this.part("passed");
    maps.forEach((map, number) => choice.append(element("option", { value: number }, map.title)));
    slider.max = layers.length - 1;
    slider.value = Math.floor(this.bestIndex() / this.places.length);
    this.part("rule").textContent = `only ${this.d.rule}`;
    choice.onchange = slider.oninput = only.onchange = () => this.show();
    // Where none passed, nothing is drawn until the box is unticked.
    if (this.passed.every((one) => one === 1)) {
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
    this.paint(number, Uint8Array.from(data, (value, row) => {
      if (!Number.isFinite(value) || (only && !this.passed[row])) return 0;
      const share = Math.min(Math.max((value - map.min) / (map.max - map.min), 0), 1);
      return 1 + Math.round(share * 254);
    }));
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

  // Where the highest score of all layers and places is.
  bestIndex() {
    let best = 0;
    this.scores.forEach((score, i) => { if (score > this.scores[best]) best = i; });
    return best;
  }

  tell(row, facts) {
    this.at = row;
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

// Slices through a volume.
class Slices extends View {
  async load() {
    const { dims, maps } = this.d, paper = this.paper;
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    this.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    this.nv.setMultiplanarLayout(this.part("canvas").clientWidth > 520 ? 3 : 2);  // a row or a grid
    this.nv.setInterpolation(true);
    this.nv.addColormap("brain", {
      R: [paper[0], 110, 236], G: [paper[1], 116, 239], B: [paper[2], 128, 244],
      A: [0, 255, 255], I: [0, 1, 255],
    });
    maps.forEach((map, number) => this.nv.addColormap(`map${number}`, this.scale(map)));
    const size = dims[0] * dims[1] * dims[2];
    const grey = new Uint8Array(size);
    const brain = this.array(this.d.brain), shade = this.array(this.d.background);
    brain.forEach((place, i) => { grey[place] = shade[i]; });
    await this.add(grey, "brain");
    await this.add(new Uint8Array(size), "map0");
    this.overlay = this.nv.volumes[1];
    this.nv.onLocationChange = ({ vox, mm }) => this.tell(...this.located(vox, Array.from(mm)));
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

  paint(number, colors) {
    this.overlay.img.fill(0);
    this.places.forEach((place, row) => { this.overlay.img[place] = colors[row]; });
    this.nv.setColormap(this.overlay.id, `map${number}`);
    this.nv.updateGLVolume();
  }

  goTo(row) {
    const [nx, ny] = this.d.dims;
    const place = this.places[row];
    const vox = [place % nx, Math.floor(place / nx) % ny, Math.floor(place / (nx * ny))];
    this.nv.scene.crosshairPos = this.nv.vox2frac(vox, 0);
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  located(vox, mm) {
    const [nx, ny] = this.d.dims;
    const row = this.row.get(vox[0] + nx * (vox[1] + ny * vox[2]));
    const index = this.d.voxel.slice(0, 3).map((line) =>
      Math.round(line[0] * mm[0] + line[1] * mm[1] + line[2] * mm[2] + line[3]));
    return [row, [["voxel", index.join(", ")], ["mm", mm.slice(0, 3).map((v) => v.toFixed(1)).join(", ")]]];
  }
}

// Both hemispheres as one mesh, painted vertex by vertex.
class Surfaces extends View {
  async load() {
    this.points = this.array(this.d.points);
    const shade = this.array(this.d.shade);
    this.grey = new Uint8Array(shade.length * 4);
    shade.forEach((value, vertex) => this.grey.set([value, value, value, 255], 4 * vertex));
    this.nv.setSliceType(this.nv.sliceTypeRender);
    this.mesh = new niivue.NVMesh(
      this.points, this.array(this.d.triangles), "brain", this.grey.slice(), 1, true, this.nv.gl);
    this.nv.addMesh(this.mesh);
    this.nv.setMeshShader(this.mesh.id, "Matte");
    this.nv.opts.show3Dcrosshair = true;
    this.nv.setRenderAzimuthElevation(...this.d.view);
    this.nv.setScale(1.4);
    this.pickOnClick(this.part("canvas"));
  }

  paint(number, colors) {
    const table = this.array(this.d.maps[number].colors);
    const rgba = this.grey.slice();
    this.places.forEach((vertex, row) => {
      if (colors[row]) rgba.set(table.subarray(3 * colors[row], 3 * colors[row] + 3), 4 * vertex);
    });
    this.mesh.rgba255 = rgba;
    this.mesh.updateMesh(this.nv.gl);
    this.nv.drawScene();
  }

  goTo(row) {
    this.goToVertex(this.places[row]);
  }

  goToVertex(vertex) {
    const mm = this.points.slice(3 * vertex, 3 * vertex + 3);
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm);
    this.nv.drawScene();
    const hemisphere = this.d.hemispheres.findLast(({ first }) => vertex >= first);
    this.tell(this.row.get(vertex), [["hemisphere", hemisphere.name], ["vertex", String(vertex - hemisphere.first)]]);
  }

  // NiiVue turns surfaces when the mouse is dragged; a click without a drag asks for the place.
  pickOnClick(canvas) {
    let from = [0, 0];
    canvas.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; });
    canvas.addEventListener("click", (event) => {
      if (Math.hypot(event.clientX - from[0], event.clientY - from[1]) > 4) return;
      const vertex = this.under(event.offsetX / canvas.clientWidth, event.offsetY / canvas.clientHeight, canvas);
      if (vertex !== undefined) this.goToVertex(vertex);
    });
  }

  // The vertex in front of the others within a few pixels of a place on the canvas (shares of it).
  under(right, down, canvas) {
    const { renderAzimuth, renderElevation } = this.nv.scene;
    const [m] = this.nv.calculateMvpMatrix(null, undefined, renderAzimuth, renderElevation);
    const x = 2 * right - 1, y = 1 - 2 * down;
    const wide = 2 / canvas.clientWidth, high = 2 / canvas.clientHeight;
    const near = [];
    for (let i = 0; i < this.points.length; i += 3) {
      const [a, b, c] = this.points.subarray(i, i + 3);
      const away = Math.hypot(
        (m[0] * a + m[4] * b + m[8] * c + m[12] - x) / wide,
        (m[1] * a + m[5] * b + m[9] * c + m[13] - y) / high);
      if (away < 12) near.push({ vertex: i / 3, away, front: m[2] * a + m[6] * b + m[10] * c + m[14] });
    }
    if (!near.length) return undefined;
    const front = Math.min(...near.map((one) => one.front));
    const depth = 8 * Math.hypot(m[2], m[6], m[10]);  // what lies 8 mm behind is another fold
    return near.filter((one) => one.front < front + depth).sort((p, q) => p.away - q.away)[0].vertex;
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
      const kind = description.kind === "volume" ? Slices : Surfaces;
      const view = new kind(root, description, await unpacked(description.blob));
      await view.begin();
      root.view = view;
      root.classList.add("ready");
    } catch (error) {
      fail(root, error);
    }
  }
}

start();
