// Charts as SVG: with a tooltip for the pointer, the arrow keys for the keyboard and a table for everybody.

import { h, replace, svg } from "./dom.js";
import { compact, day, time } from "./format.js";

const LEFT_MIN = 44;
const LETTER = 6.4;
const RIGHT = 8;
const TOP = 10;
const BOTTOM = 24;

/** Round steps of a scale up to `top`: at most about `wanted`. */
export function ticks(top, wanted = 4) {
  if (!(top > 0)) return [0, 1];
  const rough = top / wanted;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].find((each) => each * size >= rough) * size;
  const found = [];
  for (let at = 0; at <= Math.ceil(top / step - 1e-9); at += 1) found.push(at * step);
  return found;
}

const colour = (at, series) => `c${(series.colour ?? at % 8 + 1)}`;

/**
 * A chart over time. `x`: moments (Date, ISO text or ms); `series`: [{name, values: [number | null]}], one value for each moment; `kind`: "line", "area" or "bar"
 * (bars are stacked); `format`: how values are written; `label`: what it shows, for screen readers; `height`: in pixels; `by`: "day" or "hour".
 */
export function chart({ x, series, kind = "line", format = compact, label, height = 220, by = "day", legend = series.length > 1 }) {
  const moment = by === "day" ? day : time;
  const totals = x.map((_, at) => series.reduce((sum, each) => sum + (each.values[at] ?? 0), 0));
  const most = kind === "bar" ? Math.max(0, ...totals) : Math.max(0, ...series.flatMap((each) => each.values.filter((value) => value !== null && value !== undefined)));
  const scale = ticks(most);
  const top = scale.at(-1);
  const LEFT = Math.max(LEFT_MIN, 14 + LETTER * Math.max(...scale.map((value) => format(value).length)));
  const canvas = svg("svg.hit", { height, role: "img", tabindex: 0, "aria-label": `${label}. Arrow keys walk through the values; a table follows.` });
  const tip = h("div.chart-tip", { hidden: true, role: "status" });
  let width = 0;
  let at = -1;
  const xOf = (index) => (kind === "bar" ? LEFT + ((index + 0.5) * (width - LEFT - RIGHT)) / x.length : LEFT + (x.length < 2 ? 0.5 : index / (x.length - 1)) * (width - LEFT - RIGHT));
  const yOf = (value) => TOP + (1 - value / top) * (height - TOP - BOTTOM);

  function draw() {
    canvas.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const marks = Math.max(1, Math.min(x.length, Math.floor((width - LEFT) / 110)));
    const every = Math.max(1, Math.ceil(x.length / marks));
    replace(
      canvas,
      scale.map((value) => [svg("line.grid-line", { x1: LEFT, x2: width - RIGHT, y1: yOf(value), y2: yOf(value) }), svg("text.axis", { x: LEFT - 10, y: yOf(value) + 4, "text-anchor": "end" }, format(value))]),
      x.map((each, index) => (index % every ? null : svg("text.axis", { x: xOf(index), y: height - 4, "text-anchor": index === 0 && kind !== "bar" ? "start" : index > x.length - every / 2 - 1 && index > 0 && kind !== "bar" ? "end" : "middle" }, short(each)))),
      kind === "bar" ? bars() : series.map(path),
      at < 0 ? null : cursor(),
    );
  }
  const short = (value) => new Intl.DateTimeFormat(undefined, by === "day" ? { day: "numeric", month: "short" } : { hour: "numeric", minute: "2-digit" }).format(new Date(value));
  function bars() {
    const step = (width - LEFT - RIGHT) / x.length;
    const wide = Math.max(1, Math.min(30, step * 0.72));
    return x.map((_, index) => {
      let below = 0;
      return series.map((each, which) => {
        const value = each.values[index] ?? 0;
        if (value <= 0) return null;
        const node = svg("rect", { class: ["bar", colour(which, each), at >= 0 && at !== index && "dim"], x: xOf(index) - wide / 2, y: yOf(below + value), width: wide, height: Math.max(1, yOf(below) - yOf(below + value)), rx: Math.min(2, wide / 3) });
        below += value;
        return node;
      });
    });
  }
  function path(each, which) {
    const runs = [[]];
    each.values.forEach((value, index) => {
      if (value === null || value === undefined) runs.push([]);
      else runs.at(-1).push([xOf(index), yOf(value)]);
    });
    return runs.filter((run) => run.length).map((run) => {
      const text = run.map(([left, up]) => `${left.toFixed(1)},${up.toFixed(1)}`).join(" L");
      const close = `L${run.at(-1)[0].toFixed(1)},${yOf(0)} L${run[0][0].toFixed(1)},${yOf(0)} Z`;
      return [
        kind === "area" || series.length === 1 ? svg("path", { class: ["area", colour(which, each)], d: `M${text} ${close}` }) : null,
        run.length === 1 ? svg("circle", { class: ["dot", colour(which, each)], cx: run[0][0], cy: run[0][1], r: 3 }) : svg("path", { class: ["line", colour(which, each)], d: `M${text}` }),
      ];
    });
  }
  function cursor() {
    if (kind === "bar") return null;
    return [svg("line.cursor-line", { x1: xOf(at), x2: xOf(at), y1: TOP, y2: height - BOTTOM }), series.map((each, which) => (each.values[at] === null || each.values[at] === undefined ? null : svg("circle", { class: ["dot", colour(which, each)], cx: xOf(at), cy: yOf(each.values[at]), r: 3.5 })))];
  }
  function point(index) {
    at = index;
    draw();
    tip.hidden = at < 0;
    if (at < 0) return;
    const known = series.map((each, which) => [each, which]).filter(([each]) => each.values[at] !== null && each.values[at] !== undefined && (series.length < 4 || each.values[at] !== 0));
    replace(tip, h("b", moment(x[at])), known.map(([each, which]) => h("div", h("i.swatch", { class: colour(which, each) }), h("span", each.name), h("span", format(each.values[at])))), known.length ? null : h("div", "nothing"));
    const left = xOf(at);
    const wide = tip.offsetWidth;
    tip.style.left = `${left + wide + 16 > width ? Math.max(0, left - wide - 12) : left + 12}px`;
    tip.style.top = `${TOP}px`;
  }
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect();
    const part = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
    return Math.max(0, Math.min(x.length - 1, kind === "bar" ? Math.floor(part * x.length) : Math.round(part * (x.length - 1))));
  };
  canvas.addEventListener("pointermove", (event) => x.length && point(nearest(event)));
  canvas.addEventListener("pointerleave", () => point(-1));
  canvas.addEventListener("blur", () => point(-1));
  canvas.addEventListener("keydown", (event) => {
    const next = { ArrowRight: Math.min(at + 1, x.length - 1), ArrowLeft: Math.max(at - 1, 0), Home: 0, End: x.length - 1, Escape: -1 }[event.key];
    if (next === undefined || !x.length) return;
    event.preventDefault();
    point(next);
  });
  const watch = new ResizeObserver(([entry]) => {
    const found = Math.round(entry.contentRect.width);
    if (!found || found === width) return;
    width = found;
    draw();
  });
  watch.observe(canvas);
  const values = h("details", h("summary", "Show as table"));
  values.addEventListener("toggle", () => {
    if (!values.open || values.childElementCount > 1) return;
    values.append(h("div.table-wrap", { tabindex: 0, role: "region", "aria-label": label }, h("table", h("thead", h("tr", h("th", { scope: "col" }, "When"), series.map((each) => h("th.end", { scope: "col" }, each.name)))), h("tbody", x.map((each, index) => h("tr", h("td", moment(each)), series.map((one) => h("td.end", format(one.values[index])))))))));
  });
  return h("figure.chart", { "aria-label": label }, canvas, tip, legend ? h("figcaption.legend", series.map((each, which) => h("span", h("i.swatch", { class: colour(which, each) }), each.name))) : null, values);
}

/** A part of a whole as a bar: warns from 80 % on. */
export function meter(part, { label } = {}) {
  const share = Math.max(0, Math.min(1, part));
  return h("span.meter", { class: part >= 1 ? "bad" : part >= 0.8 ? "warn" : null, role: "meter", "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(share * 100), "aria-label": label }, h("i", { style: { width: `${share * 100}%` } }));
}
