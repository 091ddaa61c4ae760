// The gateway's API with the cookie of the session. Errors are values of one class; streams are async iterators.

export class ApiError extends Error {
  constructor({ status, code, type, message, param, retryAfterS }) {
    super(message);
    this.name = "ApiError";
    Object.assign(this, { status, code: code ?? null, type: type ?? null, param: param ?? null, retryAfterS: retryAfterS ?? null });
  }
  /** Nobody is signed in (any more). A wrong code or password given by somebody who is does not end the session. */
  get signedOut() {
    return this.status === 401 && this.code !== "sign_in_refused";
  }
}

const state = { account: null, team: null, onSignedOut: null };

/** Name the account that requests are about, the team that models are asked for (null: there are not several), and who is told that the session is over. */
export function configure({ account, team, onSignedOut }) {
  if (team !== undefined) state.team = team;
  if (account !== undefined) state.account = account;
  if (onSignedOut !== undefined) state.onSignedOut = onSignedOut;
}

export const currentAccount = () => state.account;
export const currentTeam = () => state.team;

const UNBOUND = /^\/api\/v1\/(sign-\w+|set-up|join|password|me|accounts|gateway|openapi\.json)(\/|$)/;

/** The value of a parameter that is there and empty; an empty text is left out. */
export const EMPTY = Symbol("empty");

function address(path, params) {
  const url = new URL(path, location.origin);
  if (url.origin !== location.origin) throw new TypeError("requests go to the gateway itself");
  for (const [name, value] of Object.entries(params ?? {}))
    for (const each of [value].flat())
      if (each === EMPTY) url.searchParams.append(name, "");
      else if (each !== null && each !== undefined && each !== "") url.searchParams.append(name, each);
  const named = url.searchParams.has("account");
  if (state.account !== null && !named && /^\/(api|v1)\//.test(url.pathname) && !UNBOUND.test(url.pathname))
    url.searchParams.set("account", state.account);
  if (state.team !== null && url.pathname.startsWith("/v1/") && !url.searchParams.has("team")) url.searchParams.set("team", state.team);
  return url.pathname + url.search;
}

async function errorOf(response) {
  let found = {};
  try {
    found = (await response.json()).error ?? {};
  } catch {
    // an answer of somebody between us and the gateway
  }
  const after = response.headers.get("retry-after");
  return new ApiError({
    status: response.status,
    code: found.code,
    type: found.type,
    param: found.param,
    message: found.message ?? `The gateway answered ${response.status}.`,
    retryAfterS: after === null ? null : Number(after),
  });
}

async function send(method, path, { params, body, signal, headers, accept, quiet } = {}) {
  const writes = method !== "GET";
  let response;
  try {
    response = await fetch(address(path, params), {
      method,
      signal,
      credentials: "same-origin",
      cache: "no-store",
      headers: {
        accept: accept ?? "application/json",
        ...(writes ? { "x-llm-router-csrf": "1" } : {}),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ status: 0, code: "unreachable", message: "The gateway cannot be reached. Is it still running?" });
  }
  if (response.ok) return response;
  const error = await errorOf(response);
  if (error.signedOut && !quiet) state.onSignedOut?.(error);
  throw error;
}

async function json(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

/** `api.get(path, params)`, `api.post(path, body)`, ... Each takes more by a last object: `{params, signal, headers, quiet}`. */
export const api = {
  get: (path, params, options) => json("GET", path, { params, ...options }),
  post: (path, body = {}, options) => json("POST", path, { body, ...options }),
  patch: (path, body, options) => json("PATCH", path, { body, ...options }),
  put: (path, body, options) => json("PUT", path, { body, ...options }),
  del: (path, options) => json("DELETE", path, options),
  /** The response itself, for downloads. */
  raw: send,
  stream,
};

/** A new value for the header Idempotency-Key. */
export const once = () => ({ "idempotency-key": crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}` });

/**
 * Server-sent events of a GET or POST: `for await (const {event, data, id} of api.stream("POST", path, {body, signal}))`.
 * `onResponse` gets the response as soon as its head is there. https://html.spec.whatwg.org/multipage/server-sent-events.html
 */
export async function* stream(method, path, { onResponse, ...options } = {}) {
  const response = await send(method, path, { accept: "text/event-stream", ...options });
  onResponse?.(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = "message";
  let data = [];
  let id = null;
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const lines = rest.split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event, data: data.join("\n"), id };
          event = "message";
          data = [];
          continue;
        }
        if (line.startsWith(":")) continue;
        const colon = line.indexOf(":");
        const name = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (name === "data") data.push(text);
        else if (name === "event") event = text;
        else if (name === "id") id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
