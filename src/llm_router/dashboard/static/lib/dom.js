// Elements from values. What comes from outside only ever becomes a text node or the value of an attribute on the
// list below, so no text can become markup, script or a link that runs: there is no way here to write HTML.

const SVG = "http://www.w3.org/2000/svg";

const FORBIDDEN = new Set(["script", "iframe", "frame", "object", "embed", "base", "link", "meta", "style", "template"]);

const ATTRIBUTES = new Set([
  "abbr", "accept", "alt", "autocapitalize", "autocomplete", "autofocus", "checked", "cols", "colspan", "cx", "cy", "d", "datetime",
  "decoding", "dir", "disabled", "download", "draggable", "enctype", "enterkeyhint", "fill", "for", "form", "headers", "height", "hidden",
  "href", "id", "inputmode", "lang", "list", "loading", "max", "maxlength", "method", "min", "minlength", "multiple", "name", "novalidate",
  "open", "opacity", "pattern", "placeholder", "points", "preserveAspectRatio", "r", "readonly", "rel", "required", "role", "rows",
  "rowspan", "rx", "ry", "scope", "selected", "size", "span", "spellcheck", "src", "start", "step", "stroke", "stroke-dasharray",
  "stroke-linecap", "stroke-linejoin", "stroke-width", "tabindex", "target", "text-anchor", "title", "transform", "type", "value",
  "viewBox", "width", "wrap", "x", "x1", "x2", "y", "y1", "y2",
]);

// Properties that say how a control stands now; the attribute would only say how it began.
const LIVE = new Set(["value", "checked", "selected", "disabled", "indeterminate", "open", "hidden"]);

/** An address that a page may lead to or show; null for one that could run something. */
export function safeUrl(text, { image = false } = {}) {
  const url = String(text).trim();
  if (/^[/?#]/.test(url) && !/^\/[/\\]/.test(url)) return url;
  if (/^(https?:\/\/|mailto:)/i.test(url)) return url;
  if (image && /^(blob:|data:image\/(png|jpeg|gif|webp|avif);base64,)/i.test(url)) return url;
  return null;
}

function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) {
    if (typeof value !== "function") throw new TypeError(`${name} takes a function`);
    node.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (name === "class") {
    for (const each of [value].flat(Infinity)) if (each) node.classList.add(...String(each).split(/\s+/).filter(Boolean));
  } else if (name === "style") {
    for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  } else if (name === "data") {
    for (const [key, text] of Object.entries(value)) if (text !== null && text !== undefined) node.dataset[key] = text;
  } else if (name === "ref") {
    value(node);
  } else if (name === "href" || name === "src") {
    const url = safeUrl(value, { image: name === "src" });
    if (url !== null) node.setAttribute(name, url);
  } else if (LIVE.has(name) && name in node) {
    node[name] = value;
  } else if (name.startsWith("aria-") || ATTRIBUTES.has(name)) {
    node.setAttribute(name, value === true ? "" : String(value));
  } else {
    throw new TypeError(`no attribute of elements here: ${name}`);
  }
}

function append(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false || child === true || child === "") continue;
    if (Array.isArray(child)) append(node, child);
    else node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

function make(namespace, described, rest) {
  const [, name, marks] = /^([a-zA-Z][\w-]*)(.*)$/.exec(described);
  if (FORBIDDEN.has(name.toLowerCase())) throw new TypeError(`no element of pages here: ${name}`);
  const node = namespace ? document.createElementNS(namespace, name) : document.createElement(name);
  for (const mark of marks.match(/[.#][\w-]+/g) ?? []) {
    if (mark[0] === "#") node.id = mark.slice(1);
    else node.classList.add(mark.slice(1));
  }
  const [first, ...others] = rest;
  const plain = first !== null && typeof first === "object" && !Array.isArray(first) && !(first instanceof Node);
  const late = [];
  if (plain)
    for (const [key, value] of Object.entries(first)) {
      if (key === "value" || key === "ref") late.push([key, value]); // a select has its options first
      else setAttribute(node, key, value);
    }
  append(node, plain ? others : rest);
  for (const [key, value] of late) setAttribute(node, key, value);
  return node;
}

/**
 * An HTML element: `h("button.primary#go", {onclick: fn, disabled: true}, "Go", icon)`. Children are nodes, texts,
 * numbers, arrays of them, or nothing (null, undefined, booleans). `style` is an object of CSS properties, `data` of data attributes,
 * `ref` a function that gets the element.
 */
export const h = (tag, ...rest) => make(null, tag, rest);

/** The same for SVG. */
export const svg = (tag, ...rest) => make(SVG, tag, rest);

/** Put other children in the place of all that a node has. */
export function replace(node, ...children) {
  node.replaceChildren();
  return append(node, children);
}

/** Listen until the function that is returned is called. */
export function on(target, type, listener, options) {
  target.addEventListener(type, listener, options);
  return () => target.removeEventListener(type, listener, options);
}

let counter = 0;

/** An id that no other element has. */
export const uid = (prefix = "x") => `${prefix}-${++counter}`;

/** Call a function a while after it was last asked for. */
export function debounce(work, ms = 200) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), ms);
  };
}
