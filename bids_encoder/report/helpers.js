// What the programs of the interactive view share: elements, numbers, colours.
"use strict";

const TYPES = {
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, int16: Int16Array, float32: Float32Array,
};
const NOTHING = -32768;  // a value that is not there

function element(kind, attributes = {}, ...children) {
  const made = document.createElement(kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function drawn(kind, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// A number with so many digits behind the point; never "-0.0".
function fixed(value, digits) {
  if (!Number.isFinite(value)) return "–";
  const text = value.toFixed(digits);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

function digitsOf(step) {
  return Math.max(0, Math.round(-Math.log10(step)));
}

// Probabilities: 0.012, but 5.0e-5.
function probability(value) {
  return value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(1) : fixed(value, 3);
}

function colorOf(css) {
  return css.match(/[\d.]+/g).slice(0, 3).map(Number);
}

// Which of the colours 1 to 255 a value has; 0 is kept for what is not drawn.
function colorIndex(value, map) {
  const share = Math.min(Math.max((value - map.min) / (map.max - map.min), 0), 1);
  return 1 + Math.round(share * 254);
}
