// Numbers and times as people read them: in their language and their zone.

const locale = navigator.languages?.length ? [...navigator.languages] : undefined;
const number = (options) => new Intl.NumberFormat(locale, options);

const WHOLE = number({ maximumFractionDigits: 0 });
const COMPACT = number({ notation: "compact", maximumSignificantDigits: 3 });
const NONE = "–";

const missing = (value) => value === null || value === undefined || value === "" || Number.isNaN(Number(value));

/** US dollars: two digits from a cent on, and below as many as it takes to see two that are not zero. Takes numbers and exact texts. */
export function dollars(value, { digits } = {}) {
  if (missing(value)) return NONE;
  const amount = Number(value);
  const size = Math.abs(amount);
  let shown = digits;
  if (shown === undefined) {
    if (size === 0 || size >= 1) shown = 2;
    else shown = Math.min(12, Math.max(2, 1 - Math.floor(Math.log10(size))));
  }
  return number({ style: "currency", currency: "USD", currencyDisplay: "narrowSymbol", minimumFractionDigits: Math.min(2, shown), maximumFractionDigits: shown }).format(amount);
}

/** Dollars that come or go, with their sign. */
export const signedDollars = (value) => `${Number(value) > 0 ? "+" : ""}${dollars(value)}`;

/** A price for a million tokens. */
export const perMillion = (value) => (missing(value) ? NONE : `${dollars(value)}`);

/** A whole number with its groups. */
export const count = (value) => (missing(value) ? NONE : WHOLE.format(value));

/** A number in short: 1.2K, 34M. */
export const compact = (value) => (missing(value) ? NONE : Math.abs(value) < 1000 ? number({ maximumFractionDigits: 2 }).format(value) : COMPACT.format(value));

export const tokens = compact;

/** A part of one as percent. */
export function percent(value, { digits = 1 } = {}) {
  return missing(value) ? NONE : number({ style: "percent", maximumFractionDigits: Number(value) === 0 || Number(value) === 1 ? 0 : digits }).format(value);
}

/** Milliseconds as 240 ms, 1.3 s, 4 min 2 s, 3 h 5 min, 12 days. */
export function duration(ms) {
  if (missing(ms)) return NONE;
  const value = Number(ms);
  if (value < 1000) return `${number({ maximumFractionDigits: value < 10 ? 1 : 0 }).format(value)} ms`;
  const s = value / 1000;
  if (s < 60) return `${number({ maximumFractionDigits: s < 10 ? 2 : 1 }).format(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} days`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

export function bytes(value) {
  if (missing(value)) return NONE;
  let amount = Number(value);
  let unit = 0;
  while (amount >= 1000 && unit < UNITS.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${number({ maximumFractionDigits: amount < 10 && unit ? 1 : 0 }).format(amount)} ${UNITS[unit]}`;
}

const moment = (value) => (value instanceof Date ? value : new Date(value));
const DAY = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", year: "numeric" });
const NEAR = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" });
const FULL = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const CLOCK = new Intl.DateTimeFormat(locale, { hour: "numeric", minute: "2-digit", second: "2-digit" });
const RELATIVE = new Intl.RelativeTimeFormat(locale, { numeric: "auto", style: "long" });

/** A day: 3 Nov 2026. */
export const day = (value) => (value === null || value === undefined ? NONE : DAY.format(moment(value)));
/** A day and time of day. */
export const time = (value) => (value === null || value === undefined ? NONE : NEAR.format(moment(value)));
/** The time of day with seconds. */
export const clock = (value) => (value === null || value === undefined ? NONE : CLOCK.format(moment(value)));
/** All there is to say of a moment, zone included. */
export const fullTime = (value) => (value === null || value === undefined ? NONE : FULL.format(moment(value)));

const STEPS = [["second", 60], ["minute", 60], ["hour", 24], ["day", 7], ["week", 4.35], ["month", 12], ["year", Infinity]];

/** How long ago or ahead: 3 minutes ago, in 2 days. */
export function ago(value, now = Date.now()) {
  if (value === null || value === undefined) return NONE;
  let amount = (moment(value).getTime() - now) / 1000;
  if (Math.abs(amount) < 5) return "just now";
  for (const [unit, size] of STEPS) {
    if (Math.abs(amount) < size) return RELATIVE.format(Math.round(amount), unit);
    amount /= size;
  }
  return NONE;
}

/** "1 key", "2 keys". */
export const plural = (amount, one, many = `${one}s`) => `${count(amount)} ${Number(amount) === 1 ? one : many}`;
