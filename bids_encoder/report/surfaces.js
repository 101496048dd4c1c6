// Both hemispheres as one mesh, painted vertex by vertex.

// Light falls on what is not painted only: painted vertices have the legend's colours.
const PAINTED = `#version 300 es
precision highp int;
precision highp float;
uniform float opacity;
in vec4 vClr;
in vec3 vN;
out vec4 color;
void main() {
  float light = 0.72 + 0.28 * max(dot(normalize(vN), normalize(vec3(0.0, 10.0, -8.0))), 0.0);
  color = vec4(vClr.rgb * mix(light, 1.0, vClr.a), opacity);
}`;

class Surfaces extends View {
  async load() {
    this.part("hint").textContent =
      "Click a place, drag to turn. With the focus on the picture: arrow keys go along the surface, Shift + arrow keys turn it, Home goes to the highest score. Ctrl + wheel zooms.";
    this.points = this.array(this.d.points);
    const shade = this.array(this.d.shade);
    this.row = new Int32Array(shade.length).fill(-1);
    this.places.forEach((vertex, row) => { this.row[vertex] = row; });
    this.grey = new Uint8Array(shade.length * 4);
    // The last number says how much of a vertex is painted; 0 would mean fibres to NiiVue.
    shade.forEach((value, vertex) => this.grey.set([value, value, value, 1], 4 * vertex));
    this.nv.setSliceType(this.nv.sliceTypeRender);
    this.mesh = new niivue.NVMesh(
      this.points, this.array(this.d.triangles), "brain", this.grey.slice(), 1, true, this.nv.gl);
    this.nv.addMesh(this.mesh);
    this.nv.setMeshShader(this.mesh.id, this.nv.setCustomMeshShader(PAINTED, "Painted"));
    this.nv.opts.show3Dcrosshair = true;
    this.marks = this.d.hemispheres.map(({ name }) => {
      const mark = element("span", { class: "side", "aria-hidden": "true" }, name === "left" ? "L" : "R");
      this.part("canvas").parentElement.append(mark);
      return mark;
    });
    this.turnTo(...this.d.view);
    this.fit();
    new ResizeObserver(() => this.mark()).observe(this.part("canvas"));
    this.views();
  }

  views() {
    const choice = this.part("view");
    const all = { behind: [0, 10], left: [90, 10], right: [270, 10], below: [0, -90], above: [0, 90], front: [180, 10] };
    choice.append(...Object.keys(all).map((name) => element("option", {}, name)));
    choice.closest("label").hidden = false;
    choice.onchange = () => {
      this.turnTo(...all[choice.value]);
      this.fit();
    };
  }

  turnTo(azimuth, elevation) {
    this.nv.setRenderAzimuthElevation((azimuth + 360) % 360, Math.min(Math.max(elevation, -90), 90));
    this.mark();
  }

  // As large as the canvas allows, with room for L and R.
  fit() {
    const canvas = this.part("canvas");
    const wide = canvas.clientWidth / 2, high = canvas.clientHeight / 2;
    let most = 0;
    for (let vertex = 0; vertex < this.points.length / 3; vertex += 7) {
      const [x, y] = this.onCanvas(vertex);
      most = Math.max(most, Math.abs(x - wide) / (wide - 8), Math.abs(y - high) / (high - 22));
    }
    this.nv.setScale(this.nv.scene.volScaleMultiplier / most);
    this.mark();
  }

  turn(right, up) {
    this.turnTo(this.nv.scene.renderAzimuth - right, this.nv.scene.renderElevation + up);
  }

  // L and R stand above their hemispheres, wherever these have been turned to; where one
  // hides the other, so does its letter.
  mark() {
    const canvas = this.part("canvas"), count = this.points.length / 3;
    const spans = this.d.hemispheres.map(({ first }, number) => {
      const end = this.d.hemispheres[number + 1]?.first ?? count;
      const span = { top: Infinity, left: Infinity, right: -Infinity, depth: 0 };
      for (let vertex = first; vertex < end; vertex += 7) {
        const [x, y, depth] = this.onCanvas(vertex);
        span.top = Math.min(span.top, y);
        span.left = Math.min(span.left, x);
        span.right = Math.max(span.right, x);
        span.depth += 7 * depth / (end - first);
      }
      span.middle = (span.left + span.right) / 2;
      return span;
    });
    spans.forEach((span, number) => {
      const mark = this.marks[number];
      mark.style.left = `${Math.min(Math.max(span.middle, 10), canvas.clientWidth - 10)}px`;
      mark.style.top = `${Math.min(Math.max(span.top - 20, 2), canvas.clientHeight - 20)}px`;
      mark.hidden = spans.some((other) => Math.abs(other.middle - span.middle) < 25 && other.depth < span.depth);
    });
  }

  picture() {
    super.picture();
    const { dpr } = this.nv.uiData, pen = this.part("picture").getContext("2d");
    pen.font = `${14 * dpr}px sans-serif`;
    pen.textAlign = "center";
    for (const mark of this.marks.filter(({ hidden }) => !hidden)) {
      pen.fillText(mark.textContent, parseFloat(mark.style.left) * dpr, (parseFloat(mark.style.top) + 14) * dpr);
    }
  }

  // Where a vertex is drawn: right and down in CSS pixels, and how far behind the front.
  onCanvas(vertex) {
    const canvas = this.part("canvas"), { renderAzimuth, renderElevation } = this.nv.scene;
    const key = [renderAzimuth, renderElevation, canvas.width, canvas.height, this.nv.scene.volScaleMultiplier].join();
    if (key !== this.matrixOf) {
      [this.matrix] = this.nv.calculateMvpMatrix(null, undefined, renderAzimuth, renderElevation);
      this.matrixOf = key;
    }
    const m = this.matrix, [a, b, c] = this.points.subarray(3 * vertex, 3 * vertex + 3);
    return [
      (m[0] * a + m[4] * b + m[8] * c + m[12] + 1) / 2 * canvas.clientWidth,
      (1 - (m[1] * a + m[5] * b + m[9] * c + m[13])) / 2 * canvas.clientHeight,
      m[2] * a + m[6] * b + m[10] * c + m[14],
    ];
  }

  paint(number, colors) {
    const table = this.array(this.d.maps[number].colors);
    const rgba = this.grey.slice();
    this.places.forEach((vertex, row) => {
      if (!colors[row]) return;
      rgba.set(table.subarray(3 * colors[row], 3 * colors[row] + 3), 4 * vertex);
      rgba[4 * vertex + 3] = 255;
    });
    this.mesh.rgba255 = rgba;
    this.mesh.updateMesh(this.nv.gl);
    this.nv.drawScene();
  }

  goTo(row) {
    this.goToVertex(this.places[row]);
  }

  goToVertex(vertex) {
    this.vertex = vertex;
    this.nv.scene.crosshairPos = this.nv.mm2frac(this.points.slice(3 * vertex, 3 * vertex + 3));
    this.nv.drawScene();
    const hemisphere = this.d.hemispheres.findLast(({ first }) => vertex >= first);
    const row = this.row[vertex];
    this.tell(row < 0 ? undefined : row,
      [["hemisphere", hemisphere.name], ["vertex", String(vertex - hemisphere.first)]]);
  }

  // Arrows go along the surface; with Shift they turn the brain.
  key(key, turning) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (key === "Home") this.home();
    else if (!(key in moves)) return false;
    else if (turning) this.turn(10 * moves[key][0], -10 * moves[key][1]);
    else this.goToVertex(this.walked(this.vertex, moves[key]));
    return true;
  }

  // From vertex to vertex, in a direction on the canvas, until it is some pixels away.
  walked(vertex, [right, down]) {
    const start = this.onCanvas(vertex);
    let along = 0;
    for (let step = 0; step < 30 && along < 5; step++) {
      let best = { vertex, worth: -Infinity };
      for (const next of this.neighbours(vertex)) {
        const at = this.onCanvas(next), x = at[0] - start[0], y = at[1] - start[1];
        const far = x * right + y * down, worth = far - Math.abs(x * down + y * right);
        if (far > along && worth > best.worth) best = { vertex: next, along: far, worth };
      }
      if (best.vertex === vertex) break;
      ({ vertex, along } = best);
    }
    return vertex;
  }

  neighbours(vertex) {
    if (this.firstOf === undefined) {
      const corners = this.array(this.d.triangles), count = this.points.length / 3;
      this.firstOf = new Uint32Array(count + 1);
      for (const corner of corners) this.firstOf[corner + 1] += 2;
      for (let i = 0; i < count; i++) this.firstOf[i + 1] += this.firstOf[i];
      const free = this.firstOf.slice();
      this.around = new Uint32Array(2 * corners.length);
      corners.forEach((corner, i) => {
        const first = i - i % 3;
        this.around[free[corner]++] = corners[first + (i - first + 1) % 3];
        this.around[free[corner]++] = corners[first + (i - first + 2) % 3];
      });
    }
    return this.around.subarray(this.firstOf[vertex], this.firstOf[vertex + 1]);
  }

  click(right, down) {
    const vertex = this.under(right, down);
    if (vertex !== undefined) this.goToVertex(vertex);
  }

  drag(x, y, right, down) {
    this.turn(0.5 * right, 0.5 * down);
  }

  wheel(direction) {
    const scale = this.nv.scene.volScaleMultiplier * (direction < 0 ? 1.1 : 1 / 1.1);
    this.nv.setScale(Math.min(Math.max(scale, 0.5), 8));
    this.mark();
  }

  // The vertex seen at a place on the canvas: a corner of the triangle in front of the others.
  under(right, down) {
    const count = this.points.length / 3, corners = this.array(this.d.triangles);
    const at = new Float32Array(3 * count);
    for (let vertex = 0; vertex < count; vertex++) at.set(this.onCanvas(vertex), 3 * vertex);
    let found, front = Infinity;
    for (let i = 0; i < corners.length; i += 3) {
      const [p, q, r] = [3 * corners[i], 3 * corners[i + 1], 3 * corners[i + 2]];
      const px = at[p] - right, py = at[p + 1] - down, qx = at[q] - right, qy = at[q + 1] - down;
      const rx = at[r] - right, ry = at[r + 1] - down;
      const shares = [qx * ry - qy * rx, rx * py - ry * px, px * qy - py * qx];
      const [a, b, c] = shares, whole = a + b + c;
      if (!whole || Math.min(a / whole, b / whole, c / whole) < 0) continue;  // not inside
      const depth = (a * at[p + 2] + b * at[q + 2] + c * at[r + 2]) / whole;
      if (depth >= front) continue;
      front = depth;
      const sizes = shares.map((share) => share / whole);
      found = corners[i + sizes.indexOf(Math.max(...sizes))];
    }
    return found;
  }
}
