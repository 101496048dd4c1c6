// Slices through a volume.

function transformed(matrix, [x, y, z]) {
  return matrix.slice(0, 3).map((row) => row[0] * x + row[1] * y + row[2] * z + row[3]);
}

class Slices extends View {
  async load() {
    this.part("hint").textContent =
      "Click or drag, or focus the picture: ← → left and right, ↑ ↓ front and back, Page Up and Page Down up and down (with Shift five voxels), Home the highest score. Ctrl + wheel goes through slices.";
    const { dims, maps } = this.d;
    const size = dims[0] * dims[1] * dims[2];
    this.row = new Int32Array(size).fill(-1);
    this.places.forEach((place, row) => { this.row[place] = row; });
    this.nv.setSliceType(this.nv.sliceTypeMultiplanar);
    this.nv.opts.multiplanarShowRender = niivue.SHOW_RENDER.NEVER;
    this.nv.setMultiplanarLayout(this.part("canvas").clientWidth > 520 ? 3 : 2);  // a row or a grid
    this.nv.setInterpolation(true);
    maps.forEach((map, number) => this.nv.addColormap(`map${number}`, this.scale(map)));
    const grey = new Uint8Array(size);
    const brain = this.array(this.d.brain), shade = this.array(this.d.background);
    brain.forEach((place, i) => { grey[place] = shade[i]; });
    this.addGreys();
    await this.add(grey, this.greys);
    await this.add(new Uint8Array(size), "map0");
    this.overlay = this.nv.volumes[1];
    this.typed();
  }

  // Go to millimetres that were typed: three numbers, with commas or spaces.
  typed() {
    const field = this.part("typed");
    field.closest("label").hidden = false;
    field.onchange = () => {
      const mm = field.value.replaceAll("−", "-").split(/[\s,;]+/).filter(Boolean).map(Number);
      const right = mm.length === 3 && mm.every(Number.isFinite);
      field.setAttribute("aria-invalid", String(!right));
      if (right) this.goToVoxel(transformed(this.d.box, mm).map(Math.round));
    };
  }

  // 0 is the paper around the brain.
  addGreys() {
    this.greys = `brain on ${this.paper.join(" ")}`;
    this.nv.addColormap(this.greys, {
      R: [this.paper[0], 110, 236], G: [this.paper[1], 116, 239], B: [this.paper[2], 128, 244],
      A: [0, 255, 255], I: [0, 1, 255],
    });
  }

  background() {
    this.addGreys();
    this.recolor(this.nv.volumes[0], this.greys);
    this.nv.updateGLVolume();
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
    this.recolor(image, colormap);
    this.nv.addVolume(image);
  }

  // NiiVue fits the window to the data whenever a colour map is set; ours is always 0 to 255.
  recolor(image, colormap) {
    image.colormap = colormap;
    image.cal_min = 0;
    image.cal_max = 255;
  }

  paint(number, colors) {
    this.overlay.img.fill(0);
    for (let row = 0; row < colors.length; row++) this.overlay.img[this.places[row]] = colors[row];
    this.recolor(this.overlay, `map${number}`);
    this.nv.updateGLVolume();
  }

  goTo(row) {
    const [nx, ny] = this.d.dims, place = this.places[row];
    this.goToVoxel([place % nx, Math.floor(place / nx) % ny, Math.floor(place / (nx * ny))]);
  }

  goToVoxel(voxel) {
    const { dims, affine } = this.d;
    this.voxel = voxel.map((index, axis) => Math.min(Math.max(index, 0), dims[axis] - 1));
    this.nv.scene.crosshairPos = this.nv.vox2frac(this.voxel, 0);
    this.nv.drawScene();
    const mm = transformed(affine, this.voxel);
    const row = this.row[this.voxel[0] + dims[0] * (this.voxel[1] + dims[1] * this.voxel[2])];
    this.tell(row < 0 ? undefined : row, [
      ["voxel", this.inFiles(this.voxel).map((one) => fixed(one, 0)).join(", ")],
      ["mm", mm.map((one) => fixed(one, 1)).join(", ")],
    ]);
  }

  // Indices of a voxel in the files, whose axes may run otherwise.
  inFiles(voxel) {
    return transformed(this.d.voxel, transformed(this.d.affine, voxel)).map(Math.round);
  }

  // The axes run to the right, to the front and up.
  key(key, far) {
    const moves = {
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0],
      PageDown: [0, 0, -1], PageUp: [0, 0, 1],
    };
    if (key === "Home") this.home();
    else if (key in moves) this.goToVoxel(this.voxel.map((one, axis) => one + moves[key][axis] * (far ? 5 : 1)));
    else return false;
    return true;
  }

  click(right, down) {
    const { dpr } = this.nv.uiData;
    const at = this.nv.canvasPos2frac([right * dpr, down * dpr]);
    if (at[0] >= 0) this.goToVoxel(Array.from(this.nv.frac2vox(at)));
  }

  drag(right, down) {
    this.click(right, down);
  }

  // Through the slices of the plane that the pointer is on.
  wheel(direction, right, down) {
    const { dpr } = this.nv.uiData;
    const tile = this.nv.screenSlices[this.nv.tileIndex(right * dpr, down * dpr)];
    const axis = tile === undefined ? -1 : [2, 1, 0][tile.axCorSag] ?? -1;
    if (axis >= 0) this.goToVoxel(this.voxel.map((one, i) => one - (i === axis ? direction : 0)));
  }
}
