// Unpacking, and beginning: every view of the page, or words where it cannot be had.

async function unpacked(base64) {
  const packed = await fetch(`data:application/octet-stream;base64,${base64}`);
  return new Response(packed.body.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
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
      performance.mark("view drawn");
      root.classList.add("ready");
    } catch (error) {
      fail(root, error);
    }
  }
}

start();
