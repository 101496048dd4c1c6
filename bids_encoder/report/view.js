// What slices and surfaces have in common: choosing a map, its legend, the facts of one place.
class View {
  constructor(root, description, buffer) {
    this.root = root;
    this.d = description;
    this.array = ({ type, start, length }) => new TYPES[type](buffer, start, length);
    this.places = this.array(description.places);
    this.passed = this.array(description.passed);
    this.scores = this.array(description.scores.data);
    this.best = this.array(description.best);
    this.part = (name) => root.querySelector(`[data-part="${name}"]`);
  }

  async begin() {
    const canvas = this.part("canvas");
    const [paper, ink] = this.colorsOfPage();
    this.paper = paper;
    this.nv = new niivue.Niivue({
      interactive: false,  // NiiVue's own keys, wheel and double click change the picture unasked
      backColor: [...paper.map((v) => v / 255), 1], fontColor: [...ink.map((v) => v / 255), 1],
      crosshairColor: [0.87, 0.25, 0.25, 1], crosshairWidth: 0.8, crosshairWidthUnit: "percent",
      crosshairGap: 3, tileMargin: 6, fontMinPx: 12, logLevel: "error", dragAndDropEnabled: false,
      isColorbar: false, showAllOrientationMarkers: true,
    });
    await this.nv.attachToCanvas(canvas);
    await this.load();
    this.controls(this.d.maps, this.d.layers);
    this.show();
    this.home();
    this.listen(canvas);
  }

  // Paper and ink.
  colorsOfPage() {
    const style = getComputedStyle(document.body);
    return [colorOf(style.backgroundColor), colorOf(style.color)];
  }

  controls(maps, layers) {
    const choice = this.part("map"), slider = this.part("layer"), only = this.part("passed");
    maps.forEach((map, number) => choice.append(element("option", { value: number }, map.title)));
    slider.max = layers.length - 1;
    slider.value = Math.floor(this.bestIndex() / this.places.length);
    this.part("rule").textContent = `only ${this.d.rule}`;
    // Best layer first: it says the most in one picture.
    choice.value = Math.max(maps.findIndex(({ labels }) => Object.keys(labels).length), 0);
    const least = this.part("threshold");
    this.top = this.highestScores();
    least.max = fixed(Math.max(this.top.reduce((a, b) => Math.max(a, b), 0) * this.d.scores.step, 0.01), 2);
    choice.onchange = slider.oninput = only.onchange = least.oninput = () => this.show();
    this.goals();
    // Where none passed, nothing is drawn until the box is unticked.
    if (this.passed.every((one) => one === 1)) {
      only.checked = false;
      only.closest("label").hidden = true;
    }
    this.part("rounding").textContent = this.rounding(maps);
  }

  // The highest score of each place over layers, in steps.
  highestScores() {
    const count = this.places.length, top = this.scores.slice(0, count);
    for (let layer = 1; layer < this.d.layers.length; layer++) {
      for (let row = 0; row < count; row++) {
        const score = this.scores[layer * count + row];
        if (score > top[row]) top[row] = score;
      }
    }
    return top;
  }

  // Regions to go to: where their highest score is.
  goals() {
    const goal = this.part("goal");
    for (const { atlas, labels, names } of this.d.regions) {
      const numbers = this.array(labels), best = new Map();
      numbers.forEach((number, row) => {
        if (number in names && !(this.top[best.get(number)] >= this.top[row])) best.set(number, row);
      });
      const options = Object.entries(names).filter(([number]) => best.has(Number(number)))
        .map(([number, name]) => element("option", { value: best.get(Number(number)) }, name));
      goal.append(element("optgroup", { label: atlas }, ...options));
    }
    goal.closest("label").hidden = this.d.regions.length === 0;
    goal.onchange = () => (goal.value === "" ? this.home() : this.goTo(Number(goal.value)));
  }

  rounding(maps) {
    const steps = new Map();
    for (const { title, step, unit, labels } of maps) {
      if (Object.keys(labels).length) continue;
      const said = `${fixed(step, digitsOf(step))}${unit ? ` ${unit}` : ""}`;
      steps.set(said, [...(steps.get(said) ?? []), title]);
    }
    const parts = Array.from(steps, ([step, titles]) => `${titles.join(", ")} to ${step}`);
    const others = Object.keys(this.d.values).join(", ");
    if (others) parts.push(`${others} to 0.001, smaller ones to two digits`);
    return `Values here are rounded: ${parts.join("; ")}. The files hold more digits.`;
  }

  // A map's values, numbers of steps, of one layer where it has several.
  valuesOf(map, frame = 0) {
    return this.array(map.data).subarray(frame * this.places.length, (frame + 1) * this.places.length);
  }

  chosen() {
    const number = Number(this.part("map").value);
    const map = this.d.maps[number];
    const frame = map.frames > 1 ? Number(this.part("layer").value) : 0;
    return { number, map, frame };
  }

  show() {
    const { number, map, frame } = this.chosen();
    const only = this.part("passed").checked, threshold = this.threshold();
    const values = this.valuesOf(map, frame), colors = new Uint8Array(values.length);
    for (let row = 0; row < values.length; row++) {
      const drawn = values[row] !== NOTHING && (!only || this.passed[row]) && this.top[row] >= threshold;
      if (drawn) colors[row] = colorIndex(values[row] * map.step, map);
    }
    this.paint(number, colors);
    this.part("least").textContent = threshold > NOTHING ? this.part("threshold").value : "any";
    this.part("threshold").setAttribute("aria-valuetext", this.part("least").textContent);
    const slider = this.part("layer"), layer = this.d.layers[frame];
    slider.closest("label").hidden = map.frames === 1;
    slider.setAttribute("aria-valuetext", layer);
    this.part("layer-name").textContent = map.frames > 1 ? layer : "";
    this.legend(map);
    if (this.at !== undefined) this.profile(this.at);
  }

  // The lowest score that is drawn, in steps; all where the slider is at its left end.
  threshold() {
    const least = Number(this.part("threshold").value);
    return least > 0 ? Math.round(least / this.d.scores.step) : NOTHING;
  }

  colorAt(table, index) {
    return `rgb(${table.subarray(3 * index, 3 * index + 3).join(",")})`;
  }

  // The colours as they are drawn: a bar with ticks, or a list where values are names.
  legend(map) {
    const table = this.array(map.colors), names = Object.entries(map.labels);
    const bar = this.part("legend-bar"), ticks = this.part("legend-ticks"), list = this.part("legend-names");
    bar.hidden = ticks.hidden = names.length > 0;
    list.hidden = names.length === 0;
    list.replaceChildren(...names.map(([value, name]) => element("li", {},
      element("i", { style: `background:${this.colorAt(table, colorIndex(Number(value), map))}` }), name)));
    const pen = bar.getContext("2d");
    for (let index = 1; index < 256; index++) {
      pen.fillStyle = this.colorAt(table, index);
      pen.fillRect(index - 1, 0, 1, 1);
    }
    const digits = digitsOf(map.step), middle = (map.min + map.max) / 2;
    const long = map.unit.length > 4, unit = long ? "" : map.unit && map.unit !== "°" ? ` ${map.unit}` : map.unit;
    this.part("legend-unit").textContent = long ? map.unit : "";
    const marks = map.ticks.length ? map.ticks
      : [map.min, middle, map.max].map((value, i) => [value, fixed(value, Math.min(digits, 3)) + (i === 2 ? unit : "")]);
    ticks.replaceChildren(...marks.map(([value, text]) => {
      const share = (value - map.min) / (map.max - map.min);
      return element("span", { style: `left:${100 * share}%` }, text);
    }));
  }

  // Where the highest score of all layers and places is.
  bestIndex() {
    let best = 0;
    for (let i = 1; i < this.scores.length; i++) if (this.scores[i] > this.scores[best]) best = i;
    return best;
  }

  home() {
    this.goTo(this.bestIndex() % this.places.length);
  }

  // A place's score in a layer; NaN where there is none.
  score(row, layer) {
    const value = row === undefined ? NOTHING : this.scores[layer * this.places.length + row];
    return value === NOTHING ? NaN : value * this.d.scores.step;
  }

  tell(row, facts) {
    this.at = row;
    if (row === undefined) {
      facts.push(["", "no score here"]);
    } else {
      for (const { atlas, labels, names } of this.d.regions) {
        facts.push([atlas, names[this.array(labels)[row]] ?? "none"]);
      }
      facts.push(["highest bar", this.d.layers[this.highest(row)]]);
      for (const map of this.d.maps) {
        if (map.frames === 1) facts.push([map.title, this.valueOf(map, row)]);
      }
      for (const [name, where] of Object.entries(this.d.values)) {
        facts.push([name, probability(this.array(where)[row])]);
      }
    }
    this.part("facts").replaceChildren(...facts.flatMap(([name, value]) =>
      [element("dt", {}, name), element("dd", { "data-fact": name }, value)]));
    this.profile(row);
    // Said once the crosshair rests, so that a key held down does not stammer.
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => {
      this.part("announced").textContent = facts.map(([name, value]) => `${name} ${value}`.trim()).join("; ");
    }, 400);
  }

  valueOf(map, row) {
    const value = this.valuesOf(map)[row];
    if (value === NOTHING) return "–";
    const label = map.labels[value];
    if (label !== undefined) return label;
    const unit = map.unit && map.unit !== "°" ? ` ${map.unit}` : map.unit;
    return fixed(value * map.step, digitsOf(map.step)) + unit;
  }

  highest(row) {
    const values = this.d.layers.map((_, layer) => this.score(row, layer));
    return values.reduce((top, value, layer) => (value > values[top] || Number.isNaN(values[top]) ? layer : top), 0);
  }

  // A bar a layer: the scores of this place alone. The best layer comes from smoothed scores: ◆.
  profile(row) {
    const { layers } = this.d;
    const values = layers.map((_, layer) => this.score(row, layer));
    const known = values.filter(Number.isFinite);
    const high = Math.max(0.1, ...known), low = Math.min(0, ...known);
    const width = 320, line = 19, left = 126, right = 48;
    const x = (value) => left + (value - low) / (high - low) * (width - left - right);
    const digits = digitsOf(this.d.scores.step);
    const best = row === undefined ? -1 : this.best[row] - 1, top = known.length ? this.highest(row) : -1;
    const said = layers.map((layer, i) => `${layer} ${fixed(values[i], digits)}`).join(", ");
    const svg = drawn("svg", { viewBox: `0 0 ${width} ${line * layers.length}`, role: "img", "aria-label": `r of each layer: ${said}` });
    const { map, frame } = this.chosen(), palette = this.array(this.d.layer_colors);
    layers.forEach((layer, i) => {
      const y = i * line, value = values[i];
      const name = layer.length > 16 ? `${layer.slice(0, 15)}…` : layer;
      const shown = map.frames > 1 && frame === i;
      svg.append(drawn("text", { x: left - 6, y: y + 13, "text-anchor": "end", class: "name" },
        ...(i === best ? [drawn("tspan", { "data-mark": layer }, "◆ ")] : []),
        drawn("tspan", shown ? { class: "shown" } : {}, name)));
      if (Number.isFinite(value)) {
        const from = Math.min(x(0), x(value)), to = Math.max(x(0), x(value));
        svg.append(drawn("rect", {
          x: from, y: y + 3, width: Math.max(to - from, 1), height: line - 6, class: "bar",
          style: `fill:${this.colorAt(palette, i)}`,
        }));
      }
      svg.append(drawn("text", {
        x: Math.max(x(Number.isFinite(value) ? value : 0), x(0)) + 4, y: y + 13,
        class: i === top ? "value highest" : "value", "data-score": layer,
      }, fixed(value, digits)));
    });
    this.part("profile").replaceChildren(svg);
    this.part("about-profile").textContent = row === undefined ? "" :
      `Bars: score r of this place alone; the highest in bold.${best < 0 ? "" : ` ◆ best layer of the map, from scores ${this.d.smoothed}; the two may differ.`}`;
  }

  // Keys when the picture has the focus; the pointer; Ctrl + wheel. Other keys stay the browser's.
  listen(canvas) {
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.key(event.key, event.shiftKey)) event.preventDefault();
    });
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;  // the page scrolls
      event.preventDefault();
      this.wheel(Math.sign(event.deltaY), event.offsetX, event.offsetY);
    }, { passive: false });
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      from = { x: event.offsetX, y: event.offsetY, moved: false };
      if (event.pointerType !== "touch") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return;
      const right = event.offsetX - from.x, down = event.offsetY - from.y;
      if (!from.moved && Math.hypot(right, down) < 4) return;
      this.drag(event.offsetX, event.offsetY, right, down);
      from = { x: event.offsetX, y: event.offsetY, moved: true };
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from && !from.moved) this.click(event.offsetX, event.offsetY);
      from = null;
    });
    canvas.addEventListener("pointercancel", () => { from = null; });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaper(...this.colorsOfPage()));
    window.addEventListener("beforeprint", () => this.picture());
  }

  // For the printer, on white: what WebGL has drawn is gone by then.
  picture() {
    const { map, frame } = this.chosen(), canvas = this.part("canvas"), copy = this.part("picture");
    copy.width = canvas.width;
    copy.height = canvas.height;
    this.repaper([255, 255, 255], [0, 0, 0]);
    copy.getContext("2d").drawImage(canvas, 0, 0);
    this.repaper(...this.colorsOfPage());
    this.part("picture-title").textContent = map.title +
      (map.frames > 1 ? `: ${this.d.layers[frame]}` : "") + (this.part("passed").checked ? `; only ${this.d.rule}` : "") +
      (this.threshold() > NOTHING ? `; highest r at least ${this.part("threshold").value}` : "");
  }

  repaper(paper, ink) {
    this.paper = paper;
    this.nv.opts.backColor = [...paper.map((v) => v / 255), 1];
    this.nv.opts.fontColor = [...ink.map((v) => v / 255), 1];
    this.background();
    this.nv.drawScene();
  }

  background() {}
}
