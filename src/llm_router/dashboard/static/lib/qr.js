// QR codes (ISO/IEC 18004) of up to 412 bytes: byte mode, error correction M, drawn as one path.

import { svg } from "./dom.js";

/** For versions 1 to 15 at level M: correction codewords of a block, and blocks. */
const CORRECTION = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];
const QUIET = 4;

// --- The field of 256 elements that the correction is calculated in ------------------

const POWER = new Uint8Array(255);
const LOG = new Uint8Array(256);
for (let at = 0, value = 1; at < 255; at += 1) {
  POWER[at] = value;
  LOG[value] = at;
  value = value & 128 ? (value << 1) ^ 0x11d : value << 1;
}
const times = (a, b) => (a && b ? POWER[(LOG[a] + LOG[b]) % 255] : 0);

/** What is left of the data after division by the product of (x - 2^i). */
function corrected(data, length) {
  let divisor = [1];
  for (let at = 0; at < length; at += 1) divisor = [...divisor, 0].map((value, place) => value ^ (place ? times(divisor[place - 1], POWER[at]) : 0));
  const rest = new Uint8Array(length);
  for (const byte of data) {
    const factor = byte ^ rest[0];
    rest.copyWithin(0, 1);
    rest[length - 1] = 0;
    for (let at = 0; at < length; at += 1) rest[at] ^= times(divisor[at + 1], factor);
  }
  return rest;
}

// --- Codewords ------------------------------------------------------------------------

/** How many codewords a version has for data and correction together: its modules without the patterns. */
function room(version) {
  const marks = version < 2 ? 0 : Math.floor(version / 7) + 2;
  return Math.floor(((16 * version + 128) * version + 64 - (marks ? (25 * marks - 10) * marks - 55 : 0) - (version < 7 ? 0 : 36)) / 8);
}

const dataRoom = (version) => room(version) - CORRECTION[version - 1] * BLOCKS[version - 1];
const lengthBits = (version) => (version < 10 ? 8 : 16);

/** The bytes with their head and filling, as many as the version takes. */
function framed(bytes, version) {
  const bits = [];
  const put = (value, length) => {
    for (let at = length - 1; at >= 0; at -= 1) bits.push((value >> at) & 1);
  };
  put(4, 4);
  put(bytes.length, lengthBits(version));
  for (const byte of bytes) put(byte, 8);
  const all = dataRoom(version) * 8;
  put(0, Math.min(4, all - bits.length));
  put(0, -bits.length & 7);
  for (let filling = 0xec; bits.length < all; filling ^= 0xec ^ 0x11) put(filling, 8);
  return Uint8Array.from({ length: all / 8 }, (_, at) => bits.slice(at * 8, at * 8 + 8).reduce((byte, bit) => byte * 2 + bit, 0));
}

/** Data and correction in blocks, the blocks woven together; the last blocks are a byte longer where it does not come out even. */
function woven(data, version) {
  const amount = BLOCKS[version - 1];
  const short = Math.floor(data.length / amount);
  const shortOnes = amount - (data.length % amount);
  const blocks = Array.from({ length: amount }, (_, at) => data.slice(at * short + Math.max(0, at - shortOnes), (at + 1) * short + Math.max(0, at + 1 - shortOnes)));
  const checks = blocks.map((block) => corrected(block, CORRECTION[version - 1]));
  const found = [];
  for (const parts of [blocks, checks]) for (let at = 0; at < parts.at(-1).length; at += 1) for (const part of parts) if (at < part.length) found.push(part[at]);
  return found;
}

// --- Modules --------------------------------------------------------------------------

/** The rest of a division of polynomials over two elements, behind what was divided. */
function checked(value, divisor, bits) {
  let rest = value << bits;
  for (let at = 31 - Math.clz32(rest); at >= bits; at = 31 - Math.clz32(rest)) rest ^= divisor << (at - bits);
  return (value << bits) | rest;
}

const MASKS = [
  (x, y) => (x + y) % 2, (x, y) => y % 2, (x) => x % 3, (x, y) => (x + y) % 3, (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2,
  (x, y) => ((x * y) % 2) + ((x * y) % 3), (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2, (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2,
];

/** Everything that does not depend on the data: 1 dark, 0 light, undefined: for data. */
function patterns(version) {
  const size = 17 + 4 * version;
  const grid = Array.from({ length: size }, () => new Array(size));
  const set = (x, y, dark) => x >= 0 && y >= 0 && x < size && y < size && (grid[y][x] = Number(dark));
  for (let at = 0; at < size; at += 1) set(at, 6, at % 2 === 0), set(6, at, at % 2 === 0);
  const square = (left, top, radius, isDark) => {
    for (let y = -radius; y <= radius; y += 1) for (let x = -radius; x <= radius; x += 1) set(left + x, top + y, isDark(Math.max(Math.abs(x), Math.abs(y))));
  };
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]]) square(x, y, 4, (far) => far !== 2 && far !== 4);
  const marks = version < 2 ? 0 : Math.floor(version / 7) + 2;
  const step = Math.ceil((version * 4 + 4) / (marks * 2 - 2)) * 2;
  const places = Array.from({ length: marks }, (_, at) => (at ? size - 7 - (marks - 1 - at) * step : 6));
  places.forEach((y, row) => places.forEach((x, column) => {
    const corner = (row === 0 && (column === 0 || column === marks - 1)) || (row === marks - 1 && column === 0);
    if (!corner) square(x, y, 2, (far) => far !== 1);
  }));
  if (version >= 7) {
    const bits = checked(version, 0x1f25, 12);
    for (let at = 0; at < 18; at += 1) {
      const [far, near] = [size - 11 + (at % 3), Math.floor(at / 3)];
      set(far, near, (bits >> at) & 1);
      set(near, far, (bits >> at) & 1);
    }
  }
  format(grid, 0);
  return grid;
}

/** Write the level (M is 0) and the mask, twice. */
function format(grid, mask) {
  const size = grid.length;
  const bits = checked(mask, 0x537, 10) ^ 0x5412;
  for (let at = 0; at < 15; at += 1) {
    const bit = (bits >> at) & 1;
    const along = at < 6 ? at : at < 8 ? at + 1 : null;
    if (along !== null) grid[along][8] = bit;
    else grid[8][at === 8 ? 7 : 14 - at] = bit;
    if (at < 8) grid[8][size - 1 - at] = bit;
    else grid[size - 15 + at][8] = bit;
  }
  grid[size - 8][8] = 1;
}

/** The modules under a mask: data in columns of two from the right, up and down. */
function filled(version, words, mask) {
  const grid = patterns(version);
  const size = grid.length;
  let at = 0;
  for (let right = size - 1, up = true; right > 0; right -= 2, up = !up) {
    if (right === 6) right = 5;
    for (let row = 0; row < size; row += 1)
      for (const x of [right, right - 1]) {
        const y = up ? size - 1 - row : row;
        if (grid[y][x] !== undefined) continue;
        const bit = at < words.length * 8 ? (words[at >> 3] >> (7 - (at & 7))) & 1 : 0;
        grid[y][x] = bit ^ Number(MASKS[mask](x, y) === 0);
        at += 1;
      }
  }
  format(grid, mask);
  return grid;
}

/** How hard it would be to read: long runs, squares of one colour, what looks like a corner, too much of one colour. */
function penalty(grid) {
  const size = grid.length;
  let sum = 0;
  const lines = [...grid, ...grid.map((_, x) => grid.map((row) => row[x]))].map((line) => line.join(""));
  for (const line of lines) {
    for (const [run] of line.matchAll(/0{5,}|1{5,}/g)) sum += run.length - 2;
    sum += 40 * [...line.matchAll(/(?=10111010000|00001011101)/g)].length;
  }
  for (let y = 1; y < size; y += 1) for (let x = 1; x < size; x += 1) if (grid[y][x] === grid[y - 1][x] && grid[y][x] === grid[y][x - 1] && grid[y][x] === grid[y - 1][x - 1]) sum += 3;
  const dark = grid.flat().reduce((all, each) => all + each, 0) / (size * size);
  return sum + 10 * Math.floor(Math.abs(dark - 0.5) * 20);
}

/** The modules of a text as rows of 0 and 1; null if it is too long. */
export function modules(text) {
  const bytes = new TextEncoder().encode(text);
  const version = CORRECTION.findIndex((_, at) => bytes.length * 8 + 4 + lengthBits(at + 1) <= dataRoom(at + 1) * 8) + 1;
  if (!version) return null;
  const words = woven(framed(bytes, version), version);
  return MASKS.map((_, mask) => filled(version, words, mask)).map((grid) => [penalty(grid), grid]).sort((a, b) => a[0] - b[0])[0][1];
}

/** A picture of it; null if the text is too long. */
export function qrCode(text, { label, size = 200 } = {}) {
  const grid = modules(text);
  if (grid === null) return null;
  const wide = grid.length + 2 * QUIET;
  const path = grid.flatMap((row, y) => row.map((dark, x) => (dark ? `M${x + QUIET} ${y + QUIET}h1v1h-1z` : ""))).join("");
  return svg("svg.qr", { viewBox: `0 0 ${wide} ${wide}`, width: size, height: size, role: "img", "aria-label": label }, svg("rect.qr-light", { width: wide, height: wide }), svg("path.qr-dark", { d: path }));
}
