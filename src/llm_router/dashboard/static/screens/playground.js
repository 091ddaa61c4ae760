// Chat with any model, or with up to four at once: what they say, how long it took and what it cost.

import { currentTeam, once } from "../lib/api.js";
import { Answer, askAll, askOne, settle } from "../lib/chat.js";
import { h, replace, uid } from "../lib/dom.js";
import { compact, count, dollars, duration, percent } from "../lib/format.js";
import { icon } from "../lib/icons.js";
import { codeOf, growing } from "../lib/markdown.js";
import { isAlive, models, noModels, pick } from "../lib/models.js";
import { programs } from "../lib/programs.js";
import { openExchange } from "./exchange.js";
import { badge, button, cleanups, codeBlock, copyButton, dialog, field, form, messageOf, saveFile, tabs, toast } from "../lib/ui.js";

const LANES_MAX = 4;
const PICTURES_MAX = 6;
const PICTURE_BYTES_MAX = 8_000_000;

/** Of an answer that took no longer a speed says nothing. */
const SPEED_MS_MIN = 200;

const EXAMPLES = [
  "Explain how a hash table works, with a small example in Python.",
  "Compare three ways to store sessions of a web application. Use a table.",
  "Write a friendly reply to a customer whose parcel is a week late.",
];
const AUTO = [["auto", "The router chooses for every request"], ["auto:code", "The router chooses among models that are good at code"]];

const EXAMPLE_TOOL = [{ type: "function", function: { name: "get_weather", description: "The weather in a city now.", parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] } } }];
const EXAMPLE_SCHEMA = { type: "object", properties: { title: { type: "string" }, points: { type: "array", items: { type: "string" } } }, required: ["title", "points"], additionalProperties: false };

const SETTINGS = { system: "", temperature: "", top_p: "", max_tokens: "", effort: "", schema: "", tools: "", more: "" };

// --- What is kept in this browser ---------------------------------------------------

const nameOf = (account) => `playground:${account}`;

function remembered(account) {
  try {
    return JSON.parse(localStorage.getItem(nameOf(account)) ?? "null") ?? {};
  } catch {
    return {};
  }
}

function remember(account, value) {
  try {
    localStorage.setItem(nameOf(account), JSON.stringify(value));
  } catch {
    // a browser that keeps nothing
  }
}

// --- Requests -----------------------------------------------------------------------

/** The value of a field with JSON in it. Throws with words for people. */
function jsonOf(text, what, kind) {
  if (!text.trim()) return null;
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${what}: this is not JSON (${error.message}).`);
  }
  if (kind === "list" ? !Array.isArray(value) : value === null || typeof value !== "object" || Array.isArray(value)) throw new Error(`${what}: this must be a JSON ${kind === "list" ? "array" : "object"}.`);
  return value;
}

/** The members of a request that the settings make, but for model and messages. */
function parametersOf(settings) {
  const body = {};
  for (const name of ["temperature", "top_p"]) if (settings[name] !== "") body[name] = Number(settings[name]);
  if (settings.max_tokens !== "") body.max_tokens = Number(settings.max_tokens);
  if (settings.effort) body.reasoning_effort = settings.effort;
  const schema = jsonOf(settings.schema, "JSON schema", "object");
  if (schema) body.response_format = { type: "json_schema", json_schema: { name: typeof schema.title === "string" && /^[\w-]{1,64}$/.test(schema.title) ? schema.title : "answer", schema, strict: true } };
  const tools = jsonOf(settings.tools, "Tools", "list");
  if (tools?.length) body.tools = tools;
  return { ...body, ...jsonOf(settings.more, "Other members", "object") };
}

const withSystem = (settings, messages) => (settings.system.trim() ? [{ role: "system", content: settings.system.trim() }, ...messages] : messages);

function contentOf(text, pictures) {
  if (!pictures.length) return text;
  return [...(text ? [{ type: "text", text }] : []), ...pictures.map((url) => ({ type: "image_url", image_url: { url } }))];
}

const dataUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });

// --- An answer on the page -----------------------------------------------------------

function answerView(answer, { title, onResults, ...acts }) {
  const body = h("div.md");
  const draw = growing(body);
  const thought = h("pre.thought");
  const thinking = h("details.thinking", { hidden: true }, h("summary", "Thinking"), thought);
  const extra = h("div.answer-extra");
  const foot = h("footer.answer-foot");
  const marks = h("span.answer-marks");
  const waiting = h("span.waiting", { role: "status" }, h("i"), h("i"), h("i"), h("span.offscreen", "Waiting for the first token"));
  const node = h("article.answer", { "aria-busy": "true", "aria-label": `Answer of ${title}` }, h("header.answer-head", h("b", title), marks), thinking, body, waiting, extra, foot);
  let due = 0;
  const paint = () => {
    due = 0;
    thinking.hidden = !answer.reasoning;
    if (thought.textContent.length !== answer.reasoning.length) thought.textContent = answer.reasoning;
    draw(answer.text);
    waiting.hidden = answer.over || Boolean(answer.text);
    if (!answer.over) return;
    node.setAttribute("aria-busy", "false");
    replace(extra, picturesOf(answer), callsOf(answer, onResults), problemOf(answer));
    replace(foot, footOf(answer, acts));
  };
  return {
    node,
    answer,
    changed: () => {
      if (answer.over) {
        cancelAnimationFrame(due);
        paint();
      } else due ||= requestAnimationFrame(paint);
    },
    mark: (words) => replace(marks, words.map((word) => badge(word, "good"))),
  };
}

const picturesOf = (answer) => (answer.pictures.length ? h("div.pictures", answer.pictures.map((url) => h("img", { src: url, alt: "Picture that the model made", loading: "lazy" }))) : null);

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function callsOf(answer, onResults) {
  if (!answer.calls.length) return null;
  const areas = answer.calls.map((call) => field({ label: `Result of ${call.function.name || "the tool"}`, name: call.id, type: "textarea", rows: 2, placeholder: "What your program would answer" }));
  const node = h("div.calls", answer.calls.map((call, at) => h("div.call", h("p", icon("bolt", { size: 15 }), "calls ", h("code", call.function.name)), codeOf(pretty(call.function.arguments), "json"), onResults ? areas[at] : null)));
  if (onResults && answer.good)
    node.append(button("Send the results", { small: true, icon: "right", onclick: () => { onResults(answer.calls.map((call, at) => ({ role: "tool", tool_call_id: call.id, content: areas[at].value }))); } }));
  return node;
}

/** What is said of a stopped answer, by how its charge stands. */
const STOPPED = {
  waited: "Stopped. What it costs is being settled; a provider that bills to the end is read to its end first.",
  part: "Stopped. What had come by then is charged.",
  whole: "Stopped. This provider bills to the end, so the whole answer is charged.",
  nothing: "Stopped. Nothing is charged.",
  unknown: "Stopped. What had come by then is charged, or all of it where the provider bills to the end: the log tells when it is settled.",
};

function problemOf(answer) {
  if (answer.stopped) return h("p.faint", { role: "status" }, STOPPED[answer.settled]);
  if (answer.error) return h("div.notice.bad", { role: "alert" }, icon("warning"), h("div", h("p", messageOf(answer.error)), answer.error.code ? h("small.faint", [answer.error.status || null, answer.error.code].filter(Boolean).join(" · ")) : null));
  if (answer.finish === "length") return h("p.faint", "Cut off at the output limit.");
  if (answer.finish === "content_filter") return h("p.faint", "Held back by the provider's content filter.");
  return answer.text || answer.calls.length || answer.pictures.length ? null : h("p.faint", "The model said nothing.");
}

function footOf(answer, { onRetry, onWhy }) {
  const { usage } = answer;
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const figures = [
    answer.latencyMs === null ? null : ["Time", duration(answer.latencyMs)],
    answer.firstMs === null ? null : ["First token", duration(answer.firstMs)],
    usage ? ["Tokens", `${count(usage.prompt_tokens)} in, ${count(usage.completion_tokens)} out`, cached ? `${percent(cached / usage.prompt_tokens)} of the input from the cache` : null] : null,
    usage && !answer.stopped && answer.firstMs !== null && answer.latencyMs - answer.firstMs >= SPEED_MS_MIN && usage.completion_tokens > 1 ? ["Speed", `${compact(Math.round(usage.completion_tokens / ((answer.latencyMs - answer.firstMs) / 1000)))} tokens/s`] : null,
    answer.cost === null ? null : ["Cost", dollars(answer.cost)],
    answer.provider ? ["Served by", answer.answeredBy && answer.answeredBy !== answer.model ? `${answer.answeredBy} at ${answer.provider}` : answer.provider] : null,
  ].filter(Boolean);
  return [h("dl.figures", figures.map(([name, value, note]) => h("div", { title: note }, h("dt", name), h("dd", value)))), h("span.answer-acts", answer.text ? copyButton(() => answer.text, { bare: true, label: "Copy the answer" }) : null, onWhy && answer.id ? button("Why?", { small: true, tone: "quiet", title: "Why this answer: its entry in the log", "aria-label": "Why this answer", onclick: () => onWhy(answer.id) }) : null, onRetry ? button(null, { icon: "refresh", small: true, tone: "quiet", title: "Ask again", onclick: () => { onRetry(); } }) : null)];
}

/** Say which of several answers was the fastest and which the cheapest. */
function markBest(views) {
  const good = views.filter((view) => view.answer.over && !view.answer.error && !view.answer.stopped);
  const best = (value) => good.filter((view) => value(view) !== null).sort((a, b) => value(a) - value(b))[0];
  const fastest = best((view) => view.answer.latencyMs);
  const cheapest = best((view) => view.answer.cost);
  for (const view of views) view.mark(good.length < 2 ? [] : [view === fastest && "fastest", view === cheapest && "cheapest"].filter(Boolean));
}

// --- The screen ------------------------------------------------------------------------

async function mount(root, ctx) {
  root.classList.add("full", "play-screen");
  const all = await models({ signal: ctx.signal });
  const alive = all.filter((model) => isAlive(model) && model.operations.includes("chat"));
  const known = new Map(all.map((model) => [model.id, model]));
  const kept = remembered(ctx.account);
  const settings = { ...SETTINGS, ...kept.settings };
  const cleanup = cleanups();
  const asked = ctx.query.getAll("model").filter(Boolean).slice(0, LANES_MAX);
  const first = [asked, kept.models ?? []].map((list) => list.filter((id) => typeof id === "string" && id)).find((list) => list.length) ?? (alive.length ? [usual(alive).id] : []);
  let lanes = first.map((model) => ({ model, messages: [] }));
  const taken = new Set();
  let running = null;
  let pictures = [];

  if (!alive.length) {
    root.append(h("header.page-head", h("h1", { tabindex: -1 }, "Playground")), noModels(ctx));
    return () => cleanup.run();
  }

  const save = () => remember(ctx.account, { models: lanes.map((lane) => lane.model), settings });
  const titleOf = (id) => known.get(id)?.name ?? id;

  // The models that are asked.
  const row = h("div.play-models", { role: "group", "aria-label": "Models that are asked" });
  const choose = async (at) => {
    const value = at === undefined ? "" : lanes[at].model;
    const chosen = await pick(all, { value, others: [...AUTO, ...(await presetNames(ctx))] });
    if (!chosen) return;
    if (at === undefined) lanes.push({ model: chosen, messages: structuredClone(lanes[0]?.messages ?? []) });
    else lanes[at].model = chosen;
    save();
    drawRow();
  };
  const drawRow = () =>
    replace(
      row,
      lanes.map((lane, at) =>
        h("span.model-chip", h("button", { type: "button", "aria-label": `Model ${at + 1}: ${titleOf(lane.model)}. Change`, onclick: () => void choose(at) }, h("span.clip", titleOf(lane.model)), icon("down", { size: 14 })), lanes.length > 1 ? h("button.icon-button", { type: "button", "aria-label": `Remove ${titleOf(lane.model)}`, onclick: () => { lanes = lanes.filter((each) => each !== lane); save(); drawRow(); } }, icon("close", { size: 14 })) : null)),
      lanes.length < LANES_MAX ? button(lanes.length > 1 ? "Add" : "Compare", { icon: "plus", small: true, tone: "quiet", title: "Ask another model beside it", onclick: () => { void choose(); } }) : null,
    );

  // What was said.
  const log = h("div.play-log", { role: "log", "aria-label": "Conversation" });
  const drawEmpty = () => replace(log, h("div.play-empty", h("h2", "What would you like to try?"), h("p.muted", lanes.length > 1 ? "All models get the same question at the same moment." : "Ask a model, or put up to four of them side by side."), h("div.examples", EXAMPLES.map((text) => h("button", { type: "button", onclick: () => { area.value = text; grow(); drawSend(); area.focus(); } }, text)))));
  const near = () => document.documentElement.scrollHeight - innerHeight - scrollY < 160;
  const toEnd = () => scrollTo({ top: document.documentElement.scrollHeight });

  const bodyOf = (lane) => ({ messages: withSystem(settings, lane.messages), ...parametersOf(settings) });

  /** Show the entry of an answer in the log. */
  async function why(id) {
    try {
      await openExchange(ctx, id, { onFilter: () => ctx.navigate(`/logs?range=all&id=${encodeURIComponent(id)}`) });
    } catch (error) {
      if (error.name !== "AbortError") toast(messageOf(error), { tone: "bad" });
    }
  }

  /** Say what is left. What one of several answers knows of it counts what is held for the others. */
  async function tellBalance(answers) {
    let left = answers.length === 1 ? answers[0].usage?.credits_remaining : null;
    if ((left === null || left === undefined) && ctx.can("credit:read")) left = await ctx.api.get("/api/v1/credits", {}, { signal: ctx.signal }).then(({ data }) => data.credits_remaining, () => null);
    payer.textContent = `Charged to ${ctx.account}${left === null || left === undefined ? "" : ` · ${dollars(Math.floor(left * 100) / 100)} left`}`;
  }

  function place(lane, cell) {
    const answer = new Answer(lane.model);
    const view = answerView(answer, {
      title: titleOf(lane.model),
      onResults: (results) => {
        lane.messages.push(...results);
        void run([[lane, cell]]);
      },
      onWhy: ctx.can("exchange:read") ? why : null,
      onRetry: () => {
        if (running) return;
        const last = lane.messages.findLastIndex((message) => message.role !== "assistant");
        lane.messages = lane.messages.slice(0, last + 1);
        view.node.remove();
        void run([[lane, cell]]);
      },
    });
    cell.append(view.node);
    return view;
  }

  /** Let lanes answer what their conversations end with: together where all of them are the same. */
  async function run(pairs) {
    if (running) return;
    let bodies;
    try {
      bodies = pairs.map(([lane]) => bodyOf(lane));
    } catch (error) {
      return complain(error.message);
    }
    complain(null);
    running = new AbortController();
    drawSend();
    const mine = pairs.map(([lane, cell]) => ({ lane, view: place(lane, cell) }));
    const changed = (answer) => {
      const stay = near();
      mine.find(({ view }) => view.answer === answer).view.changed();
      if (stay) requestAnimationFrame(toEnd);
    };
    const options = { signal: running.signal, changed };
    const names = pairs.map(([lane]) => lane.model);
    const same = new Set(bodies.map((body) => JSON.stringify(body))).size === 1 && new Set(names).size === names.length;
    if (mine.length > 1 && same) await askAll(mine.map(({ view }) => view.answer), bodies[0], options);
    else await Promise.all(mine.map(({ view }, at) => askOne(view.answer, bodies[at], options)));
    for (const { lane, view } of mine) if (view.answer.good) lane.messages.push(view.answer.message);
    if (mine.length > 1) markBest(mine.map(({ view }) => view));
    running = null;
    drawSend();
    const answers = mine.map(({ view }) => view.answer);
    const stopped = answers.filter((answer) => answer.stopped);
    if (stopped.length) void learn(stopped, changed);
    else await tellBalance(answers);
  }

  /** Learn what stopped answers cost, and what is left then. */
  async function learn(stopped, changed) {
    await settle(stopped, { api: ctx.api, signal: ctx.signal, changed, taken, of: ctx.can("exchange:read") ? `session:${ctx.me.id}` : null });
    if (!ctx.signal?.aborted) await tellBalance(stopped);
  }

  // The composer.
  const areaId = uid("ask");
  const area = h("textarea", { id: areaId, rows: 1, placeholder: "Ask anything", "aria-label": "Message", enterkeyhint: "send" });
  const thumbs = h("div.thumbs");
  const file = h("input.offscreen", { type: "file", accept: "image/png,image/jpeg,image/webp,image/gif", multiple: true, tabindex: -1, "aria-label": "Pictures" });
  const attach = h("button.icon-button", { type: "button", "aria-label": "Add pictures", title: "Add pictures", onclick: () => file.click() }, icon("image"));
  const send = h("button.button.primary.send", { type: "submit" });
  const payer = h("span.faint", `Charged to ${ctx.account}`);
  const teams = ctx.me.teams[ctx.account] ?? [];
  const team = teams.length > 1 ? h("select.pick", { "aria-label": "Team that asks", title: "Whose budgets and limits it counts against", value: currentTeam(), onchange: () => ctx.chooseTeam(team.value) }, teams.map((each) => h("option", { value: each }, each))) : null;
  const problem = h("p.composer-problem", { role: "alert", hidden: true });
  /** Say what is wrong with what is to be sent, until something is sent; null: nothing is. */
  const complain = (text) => {
    problem.hidden = text === null;
    problem.textContent = text ?? "";
  };
  const composer = h("form.composer", { method: "post" }, problem, thumbs, area, h("div.composer-foot", attach, file, payer, team, send));
  const grow = () => {
    area.style.setProperty("height", "auto");
    area.style.setProperty("height", `${Math.min(area.scrollHeight, 260)}px`);
  };
  const drawSend = () => {
    replace(send, icon(running ? "stop" : "up", { size: 16 }), h("span", running ? "Stop" : "Send"));
    const idle = !running && !area.value.trim() && !pictures.length;
    if (idle && document.activeElement === send) area.focus(); // what is disabled loses the keyboard
    send.disabled = idle;
    log.setAttribute("aria-busy", String(Boolean(running)));
  };
  const drawThumbs = () => (drawSend(), replace(thumbs, pictures.map((url, at) => h("span.thumb", h("img", { src: url, alt: `Picture ${at + 1}` }), h("button.icon-button", { type: "button", "aria-label": `Remove picture ${at + 1}`, onclick: () => { pictures = pictures.filter((_, index) => index !== at); drawThumbs(); area.focus(); } }, icon("close", { size: 12 }))))));
  const addFiles = async (files) => {
    const wrong = [];
    for (const each of files) {
      if (!/^image\/(png|jpeg|webp|gif)$/.test(each.type)) wrong.push(`${each.name} is no picture that models take (PNG, JPEG, WebP, GIF).`);
      else if (each.size > PICTURE_BYTES_MAX) wrong.push(`${each.name} is larger than 8 MB.`);
      else if (pictures.length >= PICTURES_MAX) {
        wrong.push(`No more than ${PICTURES_MAX} pictures at once.`);
        break;
      }
      else pictures.push(await dataUrl(each));
    }
    const blind = lanes.filter((lane) => known.has(lane.model) && !known.get(lane.model).capabilities.vision);
    if (pictures.length && blind.length) wrong.push(`${blind.map((lane) => titleOf(lane.model)).join(", ")} cannot see pictures.`);
    complain(wrong.length ? wrong.join(" ") : null);
    drawThumbs();
  };
  const submit = () => {
    const text = area.value.trim();
    if (running || (!text && !pictures.length)) return;
    try {
      parametersOf(settings);
    } catch (error) {
      return complain(error.message);
    }
    if (!lanes.some((lane) => lane.messages.length)) replace(log);
    const content = contentOf(text, pictures);
    for (const lane of lanes) {
      if (lane.messages.at(-1)?.role === "user") lane.messages.pop(); // what it gave no answer to
      for (const call of lane.messages.at(-1)?.tool_calls ?? []) lane.messages.push({ role: "tool", tool_call_id: call.id, content: "No result." });
      lane.messages.push({ role: "user", content });
    }
    const cells = lanes.map(() => h("div.lane"));
    log.append(h("section.turn", h("div.question", pictures.length ? h("div.pictures", pictures.map((url) => h("img", { src: url, alt: "Picture that you sent" }))) : null, text ? h("p", text) : null), h("div.lanes", { data: { lanes: lanes.length } }, cells)));
    area.value = "";
    pictures = [];
    drawThumbs();
    grow();
    requestAnimationFrame(toEnd);
    void run(lanes.map((lane, at) => [lane, cells[at]]));
  };
  composer.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) running.abort();
    else submit();
  });
  area.addEventListener("input", () => (grow(), drawSend()));
  area.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape" && running) running.abort();
  });
  area.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    void addFiles(files);
  });
  file.addEventListener("change", () => {
    void addFiles([...file.files]);
    file.value = "";
  });
  cleanup.on(root, "dragover", (event) => {
    if (![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    composer.classList.add("dropping");
  });
  cleanup.on(root, "dragleave", (event) => !root.contains(event.relatedTarget) && composer.classList.remove("dropping"));
  cleanup.on(root, "drop", (event) => {
    composer.classList.remove("dropping");
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    void addFiles([...event.dataTransfer.files]);
  });

  const typedNow = () => (area.value.trim() || pictures.length ? contentOf(area.value.trim(), pictures) : null);
  const clear = () => {
    running?.abort();
    lanes = lanes.map(({ model }) => ({ model, messages: [] }));
    drawEmpty();
    area.focus();
  };
  const side = settingsPanel(settings, save);
  const toggle = button("Settings", { icon: "sliders", tone: "quiet", "aria-expanded": "true", onclick: () => { toggle.setAttribute("aria-expanded", String(!root.classList.toggle("side-off"))); } });
  if (matchMedia("(max-width: 1100px)").matches) {
    root.classList.add("side-off");
    toggle.setAttribute("aria-expanded", "false");
  }
  const actions = [toggle, button("Code", { icon: "command", tone: "quiet", onclick: () => { showCode(lanes, typedNow(), bodyOf, complain); } }), ctx.can("model:write") ? button("Save as preset", { icon: "star", tone: "quiet", title: "Save as preset", data: { brief: "" }, onclick: () => { savePreset(ctx, lanes, settings, complain); } }) : null, button("New chat", { icon: "plus", onclick: clear })];
  root.append(h("header.page-head", h("div", h("h1", { tabindex: -1 }, "Playground")), h("div.actions", actions)), h("div.play", h("div.play-main", row, log, composer), side));
  drawRow();
  drawEmpty();
  drawSend();
  if (asked.length) ctx.setQuery({ model: null });
  if (!matchMedia("(max-width: 860px)").matches) area.focus();
  return () => {
    running?.abort();
    cleanup.run();
  };
}

/** The model that somebody who never chose one begins with: a good one of the middle, and not an old one. */
function usual(alive) {
  const rank = (model) => (model.status === "active" ? 0 : 10) + Math.abs((model.quality_tier ?? 1) - 4);
  return [...alive].sort((a, b) => rank(a) - rank(b) || b.created - a.created)[0];
}

async function presetNames(ctx) {
  if (!ctx.can("preset:read")) return [];
  try {
    const { data } = await ctx.api.get("/api/v1/presets", {}, { signal: ctx.signal });
    return data.map((preset) => [`@${preset.name}`, preset.description ?? "Preset"]);
  } catch {
    return []; // the models can be chosen without
  }
}

function settingsPanel(settings, save) {
  const make = (name, options) => {
    const node = field({ name, value: settings[name], ...options });
    node.control.addEventListener("input", () => {
      settings[name] = node.value;
      save();
      note();
    });
    return node;
  };
  const json = (name, label, kind, hint, example) => {
    const node = make(name, { label, type: "textarea", rows: 4, hint, spellcheck: "false", class: "mono" });
    node.control.addEventListener("change", () => {
      try {
        jsonOf(node.value, label, kind);
      } catch (error) {
        node.error(error.message);
      }
    });
    if (example)
      node.append(button("Insert an example", { small: true, tone: "quiet", onclick: () => { node.control.value = JSON.stringify(example, null, 2); node.control.dispatchEvent(new Event("input")); } }));
    return node;
  };
  const number = (name, label, options) => make(name, { label, type: "number", placeholder: "default", inputmode: "decimal", ...options });
  const shape = h("details.more", h("summary", "Tools and structure"), h("div.stack.tight", json("tools", "Tools", "list", "A JSON array, as in chat completions. Calls are shown, and you say what they return.", EXAMPLE_TOOL), json("schema", "JSON schema of the answer", "object", null, EXAMPLE_SCHEMA), json("more", "Other members of the request", "object", "A JSON object, such as {\"seed\": 7} or {\"provider\": {\"sort\": \"price\"}}.")));
  shape.open = Boolean(settings.tools || settings.schema || settings.more);
  const status = h("p.faint", { role: "status" });
  const note = () => {
    const changed = Object.keys(SETTINGS).filter((name) => String(settings[name]).trim() !== "").length;
    status.textContent = changed ? `${changed} ${changed === 1 ? "setting differs" : "settings differ"} from the default.` : "";
  };
  note();
  return h(
    "aside.play-side", { "aria-label": "Settings of the request" },
    make("system", { label: "System prompt", type: "textarea", rows: 5, placeholder: "Who the model is and how it answers" }),
    h("div.pair", number("temperature", "Temperature", { min: 0, max: 2, step: 0.1 }), number("top_p", "Top p", { min: 0, max: 1, step: 0.05 })),
    h("div.pair", number("max_tokens", "Output limit", { min: 1, step: 1, inputmode: "numeric" }), make("effort", { label: "Reasoning", type: "select", options: [["", "default"], ...["none", "minimal", "low", "medium", "high"].map((level) => [level, level])] })),
    shape,
    status,
  );
}

const blobOf = (url) => new Blob([Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (each) => each.charCodeAt(0))]);

/** What a program reads besides: pictures that are too large to stand in it. */
const filesBeside = (files) =>
  files.length
    ? h("div.notice", icon("image"), h("div", h("p", `${files.length === 1 ? "A picture is" : "Pictures are"} too large to stand in a program. It reads ${files.length === 1 ? "it" : "them"} from the folder where it runs: `, files.map((file, at) => [at ? ", " : null, h("code", file.name)]), "."), h("div.row", files.map((file) => button(`Save ${file.name}`, { small: true, icon: "download", onclick: () => { saveFile(file.name, blobOf(file.url), file.type); } })))))
    : null;

function showCode(lanes, typed, bodyOf, complain) {
  let path;
  let body;
  try {
    const { messages, ...rest } = bodyOf(lanes[0]);
    const said = typed ? [...messages, { role: "user", content: typed }] : messages.some((message) => message.role === "user") ? messages : [...messages, { role: "user", content: "Hello!" }];
    const shown = said.at(-1)?.role === "assistant" ? said.slice(0, -1) : said;
    const several = new Set(lanes.map((lane) => lane.model)).size > 1;
    path = several ? "/compare" : "/chat/completions";
    body = several ? { models: [...new Set(lanes.map((lane) => lane.model))], messages: shown, ...rest } : { model: lanes[0].model, messages: shown, ...rest, stream: true };
  } catch (error) {
    return complain(error.message);
  }
  const { languages, files } = programs(path, body);
  dialog({ title: "This request as a program", text: "It takes an API key, in the environment variable LLM_ROUTER_KEY.", wide: true, body: [filesBeside(files), tabs(languages.map(([name, title, text]) => [name, title, () => codeBlock(text, { label: title })]), { label: "Languages" })] });
}

function savePreset(ctx, lanes, settings, complain) {
  let parameters;
  try {
    parameters = parametersOf(settings);
  } catch (error) {
    return complain(error.message);
  }
  const { provider, ...rest } = parameters;
  const node = dialog({
    title: "Save as preset",
    text: "Requests name it in place of a model, as @NAME: they get its models, system prompt and parameters.",
    body: form({
      fields: [
        field({ label: "Name", name: "name", required: true, maxlength: 64, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", hint: "Letters, digits, dots and hyphens. A name that is there already gets a new version." }),
        lanes.length > 1 ? field({ label: "Model", name: "model", type: "select", options: [...new Set(lanes.map((lane) => lane.model))].map((id) => [id, id]) }) : null,
        field({ label: "Description", name: "description", optional: true, maxlength: 200 }),
      ],
      action: "Save",
      cancel: () => node.close(),
      submit: async (values, { headers }) => {
        const saved = await ctx.api.post("/api/v1/presets", { name: values.name.trim(), models: [values.model ?? lanes[0].model], system: settings.system.trim() || null, parameters: rest, ...(provider ? { provider } : {}), description: values.description.trim() || null }, { headers: headers ?? once() });
        node.close();
        toast(`Saved. Use it as @${saved.name ?? values.name.trim()}.`);
      },
    }),
  });
}

export const screen = {
  path: "/playground", title: "Playground", icon: "chat", group: "build", needs: "inference:use", mount,
  commands: [{ label: "New chat in the playground", icon: "chat", run: ({ navigate }) => navigate("/playground") }],
};
