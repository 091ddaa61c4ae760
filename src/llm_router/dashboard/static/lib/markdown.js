// Markdown of answers as elements. Everything a model says ends up in text nodes; links lead to http(s) alone, and
// pictures stay links. There is no HTML in it: tags are shown as they were written.

import { h } from "./dom.js";
import { copyButton } from "./ui.js";

const DEPTH_MAX = 6;

/** Characters of a link's text: a bracket that stands alone does not search further. */
const TITLE_MAX = 500;
const URL_MAX = 2000;

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const ITEM = /^(\s{0,12})([-*+]|\d{1,9}[.)])\s+(.*)$/;
const CELLS = /^\s*\|?(?:\s*:?-+:?\s*\|)+\s*:?-*:?\s*$/;

// --- Blocks -------------------------------------------------------------------

/** The blocks of a text: `{source, make()}` each, so that a text that grows is drawn again from its last block on. */
export function blocksOf(text, depth = 0) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const found = [];
  let at = 0;
  const take = (from, to, make) => {
    found.push({ source: lines.slice(from, to).join("\n"), make });
    at = to;
  };
  while (at < lines.length) {
    const line = lines[at];
    if (!line.trim()) {
      at += 1;
      continue;
    }
    const fence = FENCE.exec(line);
    if (fence) {
      codeBlock(lines, at, fence, take);
      continue;
    }
    const heading = HEADING.exec(line);
    if (heading) {
      const level = Math.min(6, heading[1].length + 2);
      take(at, at + 1, () => h(`h${level}`, inline(heading[2])));
    } else if (RULE.test(line)) take(at, at + 1, () => h("hr"));
    else if (line.includes("|") && CELLS.test(lines[at + 1] ?? "") && lines[at + 1].includes("-")) tableBlock(lines, at, take);
    else if (QUOTE.test(line) && depth < DEPTH_MAX) quoteBlock(lines, at, depth, take);
    else if (ITEM.test(line) && depth < DEPTH_MAX) listBlock(lines, at, depth, take);
    else paragraph(lines, at, take);
  }
  return found;
}

function codeBlock(lines, at, [, indent, ticks, info], take) {
  let end = at + 1;
  const closes = (line) => line.trim().length >= ticks.length && line.trim() === ticks[0].repeat(line.trim().length);
  while (end < lines.length && !closes(lines[end])) end += 1;
  const text = lines.slice(at + 1, end).map((line) => (line.startsWith(indent) ? line.slice(indent.length) : line)).join("\n");
  const language = info.trim().split(/\s/)[0];
  take(at, Math.min(end + 1, lines.length), () => codeOf(text, language));
}

/** A piece of code with its language and a button that copies it. */
export const codeOf = (text, language = "") =>
  h("figure.md-code", h("figcaption", h("span", language || "text"), copyButton(text, { bare: true, label: "Copy code" })), h("pre", { tabindex: 0 }, h("code", text)));

const cellsOf = (line) => line.trim().replace(/^\|/, "").replace(/\|$/, "").split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));

function tableBlock(lines, at, take) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|") && lines[end].trim()) end += 1;
  const rows = lines.slice(at + 2, end);
  const side = cellsOf(lines[at + 1]).map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "middle" : "end") : null));
  take(at, end, () =>
    h("div.md-table", { tabindex: 0, role: "region", "aria-label": "Table" },
      h("table",
        h("thead", h("tr", cellsOf(lines[at]).map((cell, column) => h("th", { scope: "col", class: side[column] }, inline(cell))))),
        h("tbody", rows.map((row) => h("tr", cellsOf(row).map((cell, column) => h("td", { class: side[column] }, inline(cell)))))))));
}

function quoteBlock(lines, at, depth, take) {
  let end = at;
  const inner = [];
  while (end < lines.length && lines[end].trim()) {
    const match = QUOTE.exec(lines[end]);
    inner.push(match ? match[1] : lines[end]);
    end += 1;
  }
  take(at, end, () => h("blockquote", render(inner.join("\n"), depth + 1)));
}

function listBlock(lines, at, depth, take) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let end = at;
  let blank = false;
  let loose = false;
  while (end < lines.length) {
    const line = lines[end];
    const item = ITEM.exec(line);
    const mine = item && item[1].length <= indent.length + 1 && /\d/.test(item[2]) === ordered && !RULE.test(line);
    if (mine) {
      loose ||= blank;
      items.push([item[3]]);
    } else if (!line.trim()) {
      blank = true;
      items.at(-1).push("");
      end += 1;
      continue;
    } else if (/^\s{2,}/.test(line) || (!blank && !HEADING.test(line) && !FENCE.test(line) && !item)) items.at(-1).push(line.replace(new RegExp(`^\\s{1,${indent.length + mark.length + 1}}`), ""));
    else break;
    blank = false;
    end += 1;
  }
  take(at, end, () => h(ordered ? "ol" : "ul", ordered ? { start: parseInt(mark, 10) } : {}, items.map((item) => listItem(item.join("\n").trimEnd(), depth, loose))));
}

function listItem(text, depth, loose) {
  const task = /^\[([ xX])\]\s+/.exec(text);
  const inner = task ? text.slice(task[0].length) : text;
  const box = task ? h("input", { type: "checkbox", disabled: true, checked: task[1] !== " ", "aria-label": task[1] === " " ? "open" : "done" }) : null;
  const blocks = blocksOf(inner, depth + 1).map((block) => block.make());
  if (!loose && blocks[0]?.tagName === "P") blocks[0] = [...blocks[0].childNodes];
  return h("li", { class: task && "task" }, box, blocks);
}

function paragraph(lines, at, take) {
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !FENCE.test(lines[end]) && !HEADING.test(lines[end]) && !QUOTE.test(lines[end]) && !RULE.test(lines[end]) && !/^\s{0,3}([-*+]|1[.)])\s+/.test(lines[end])) end += 1;
  const text = lines.slice(at, end).map((line) => line.trimStart()).join("\n");
  take(at, end, () => h("p", inline(text)));
}

/** All of a text as nodes. */
export const render = (text, depth = 0) => blocksOf(text, depth).map((block) => block.make());

// --- Within a line --------------------------------------------------------------

const MARKS = [["**", "strong"], ["__", "strong"], ["~~", "s"], ["*", "em"], ["_", "em"]];
const URL_AT = /https?:\/\/[^\s<>"'`|\\^{}]+/y;
const WORD = /[\p{L}\p{N}]/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;

/** A line's text as nodes. Every search for an end that failed is remembered, so a text costs what its length is. */
export function inline(text, depth = 0) {
  const out = [];
  const absent = new Set();
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) out.push(plain);
    plain = "";
  };
  const put = (node, to) => {
    flush();
    out.push(node);
    at = to;
  };
  const closing = (mark, from) => {
    if (absent.has(mark)) return -1;
    const found = text.indexOf(mark, from);
    if (found < 0) absent.add(mark);
    return found;
  };
  while (at < text.length) {
    const char = text[at];
    if (char === "\\" && ESCAPABLE.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else if (char === "\n") {
      if (/ {2,}$/.test(plain)) put(h("br"), at + 1);
      else {
        plain += "\n";
        at += 1;
      }
    } else if (char === "`") {
      const ticks = /`+/y;
      ticks.lastIndex = at;
      const mark = ticks.exec(text)[0];
      const end = closing(mark, at + mark.length);
      if (end > at) put(h("code", text.slice(at + mark.length, end).replace(/^ (.*) $/s, "$1")), end + mark.length);
      else {
        plain += mark;
        at += mark.length;
      }
    } else if ((char === "[" || (char === "!" && text[at + 1] === "[")) && depth < DEPTH_MAX) {
      const begin = at + (char === "!" ? 2 : 1);
      const middle = closing("](", begin);
      const end = middle < 0 ? -1 : urlEnd(text, middle + 2);
      const url = end < 0 ? "" : text.slice(middle + 2, end).trim().split(/\s/)[0];
      if (end > 0 && middle - begin <= TITLE_MAX && !text.slice(begin, middle).includes("]")) put(linkOf(url, inline(text.slice(begin, middle), depth + 1)), end + 1);
      else {
        plain += char;
        at += 1;
      }
    } else if (char === "h" && !WORD.test(text[at - 1] ?? "")) {
      URL_AT.lastIndex = at;
      const url = URL_AT.exec(text)?.[0].replace(/[.,;:!?)\]*_]+$/, "");
      if (url) put(linkOf(url, url), at + url.length);
      else {
        plain += char;
        at += 1;
      }
    } else {
      const found = depth < DEPTH_MAX && MARKS.find(([mark]) => text.startsWith(mark, at));
      const end = found ? emphasis(text, at, found[0], closing) : -1;
      if (end > 0) put(h(found[1], inline(text.slice(at + found[0].length, end), depth + 1)), end + found[0].length);
      else {
        const step = found ? found[0].length : 1;
        plain += text.slice(at, at + step);
        at += step;
      }
    }
  }
  flush();
  return out;
}

/** Where the parenthesis of a link closes; -1 if it does not, on its line. */
function urlEnd(text, from) {
  let open = 0;
  for (let at = from; at < text.length && at - from <= URL_MAX && text[at] !== "\n"; at += 1) {
    if (text[at] === "(") open += 1;
    else if (text[at] === ")" && open-- === 0) return at;
  }
  return -1;
}

/** Where emphasis that begins here ends; -1 if it does not begin. Inside of words an underscore is one. */
function emphasis(text, at, mark, closing) {
  const inside = text[at + mark.length];
  if (inside === undefined || /\s/.test(inside) || (mark[0] === "_" && WORD.test(text[at - 1] ?? ""))) return -1;
  let end = closing(mark, at + mark.length + 1);
  if (end < 0 || /\s/.test(text[end - 1]) || (mark[0] === "_" && WORD.test(text[end + mark.length] ?? ""))) return -1;
  for (let tries = 0; mark.length === 1 && text[end + 1] === mark && text[end - 1] !== mark; tries += 1) {
    end = tries < 50 ? text.indexOf(mark, end + 2) : -1;
    if (end < 0) return -1;
  }
  return end;
}

function linkOf(url, shown) {
  if (!/^https?:\/\/[^\s]+$/i.test(url)) return h("span", shown);
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, shown);
}

/** A place that shows a text that grows: only what changed is drawn again. */
export function growing(node) {
  let drawn = [];
  return (text) => {
    const blocks = blocksOf(text);
    let same = 0;
    while (same < drawn.length && same < blocks.length && drawn[same].source === blocks[same].source) same += 1;
    for (const old of drawn.slice(same)) old.node.remove();
    drawn = [...drawn.slice(0, same), ...blocks.slice(same).map((block) => ({ source: block.source, node: block.make() }))];
    node.append(...drawn.slice(same).map((each) => each.node));
  };
}
