// What was said in a request, where its account keeps it: to read as people do, and as it stands. Every text of it is somebody else's: it is shown as text.

import { h, replace } from "../lib/dom.js";
import { bytes, plural, time } from "../lib/format.js";
import { badge, button, codeBlock, confirm, empty, linkButton, messageOf, skeleton, toast } from "../lib/ui.js";

const list = (value) => (Array.isArray(value) ? value : value === undefined || value === null ? [] : [value]);
const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

/** The texts of a part of a message, in whatever API it was said. */
function texts(part) {
  if (typeof part === "string") return [part];
  if (!isObject(part)) return [];
  if (typeof part.text === "string") return [part.text];
  if (typeof part.refusal === "string") return [part.refusal];
  if (typeof part.thinking === "string") return [`(thinking) ${part.thinking}`];
  const call = part.function ?? part.functionCall ?? (part.type === "tool_use" || part.type === "function_call" ? part : null);
  if (call) return [`→ ${call.name ?? "a tool"}(${typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments ?? call.args ?? call.input ?? {})})`];
  const file = part.image_url?.url ?? part.image_url ?? part.source?.data ?? part.inlineData?.data ?? part.inline_data?.data ?? part.file?.file_data ?? part.input_audio?.data;
  if (typeof file === "string") return [file.startsWith("data:") ? "[a file, see below]" : file];
  return list(part.content ?? part.output ?? part.functionResponse?.response).flatMap((each) => (isObject(each) || typeof each === "string" ? texts(each) : [JSON.stringify(each)]));
}

const turn = (who, parts) => ({ who, text: list(parts).flatMap(texts).join("\n\n") });

/** Who said what, of a request or an answer of any API; empty where that cannot be told. */
export function turns(body) {
  if (!isObject(body)) return [];
  const found = [];
  for (const part of [body.system, body.instructions, body.systemInstruction?.parts]) if (part) found.push(turn("system", part));
  for (const each of list(body.messages).filter(isObject)) found.push(turn(each.role ?? "user", [...list(each.content), ...list(each.tool_calls)]));
  if (body.prompt) found.push(turn("prompt", body.prompt));
  for (const each of list(body.input)) found.push(isObject(each) ? turn(each.role ?? each.type ?? "input", each.content ?? [each]) : turn("user", each));
  for (const each of list(body.contents).filter(isObject)) found.push(turn(each.role ?? "user", each.parts));
  for (const each of list(body.choices).filter(isObject)) found.push(isObject(each.message) ? turn("assistant", [...list(each.message.reasoning_content && `(thinking) ${each.message.reasoning_content}`), ...list(each.message.content), ...list(each.message.refusal), ...list(each.message.tool_calls)]) : turn("text", each.text ?? ""));
  if (body.type === "message") found.push(turn("assistant", body.content));
  for (const each of list(body.output).filter(isObject)) found.push(turn(each.role ?? each.type ?? "output", each.content ?? each.summary ?? [each]));
  for (const each of list(body.candidates).filter(isObject)) found.push(turn("model", each.content?.parts));
  if (isObject(body.error)) found.push(turn("error", body.error.message ?? ""));
  return found.filter((each) => each.text);
}

function conversation(body) {
  const said = turns(body);
  return said.length ? h("div.said", said.map((each) => h("section.said-turn", h("h4", each.who), h("p", each.text)))) : null;
}

const KINDS = { credential: ["credential"], email: ["e-mail address", "e-mail addresses"], phone: ["phone number"], card: ["card number"], iban: ["bank account"], ip: ["IP address", "IP addresses"], pattern: ["match of your patterns", "matches of your patterns"] };

function notes(kept, side) {
  const out = Object.entries(side.redacted ?? kept.redacted);
  const files = side.files_left_out ?? kept.files_left_out;
  return h(
    "div.row.said-notes",
    side.status ? badge(`HTTP ${side.status}`, side.status < 400 ? "good" : "bad") : null,
    side.complete === false ? badge("not complete", "warn") : null,
    side.streamed ? badge("was streamed", "plain") : null,
    side.truncated ? badge("cut off", "warn") : null,
    h("span.muted", bytes(side.size_bytes)),
    out.length ? h("span.muted", `taken out: ${out.map(([kind, count]) => plural(count, ...(KINDS[kind] ?? [kind]))).join(", ")}`) : null,
    files ? h("span.muted", `${plural(files, "file")} left out`) : null,
  );
}

function nothing(ctx) {
  return empty({
    icon: "info",
    title: "Nothing is kept of what was said",
    text: "This gateway keeps no word of requests and answers unless the account wants it, from then on. Perhaps this one was not in the share that is kept, or its time is over.",
    action: ctx.can("content:write") ? linkButton("What is kept", "/settings/retention") : null,
  });
}

/** The panels "Request" and "Response" of a request. They ask once, when one of them is first looked at: the account's audit log notes who reads. */
export function saidPanels(ctx, id) {
  const path = `/api/v1/exchanges/${encodeURIComponent(id)}/content`;
  let asked = null;
  const gone = () => empty({ icon: "check", title: "Deleted", text: "Nothing is kept any more of what was said here." });

  function remove(place) {
    return button("Delete what was said", {
      small: true,
      tone: "quiet",
      onclick: async () => {
        if (!(await confirm({ title: "Delete what was said?", text: "Request and answer are deleted for good. The record of the request and its cost stay.", action: "Delete" }))) return;
        try {
          await ctx.api.del(path);
          asked = Promise.resolve(null);
          replace(place, gone());
        } catch (error) {
          toast(messageOf(error), { tone: "bad" });
        }
      },
    });
  }

  function panel(name) {
    const place = h("div.stack", { "aria-busy": "true" }, skeleton(5));
    asked ??= ctx.api.get(path, {}, { signal: ctx.signal });
    asked.then(
      (kept) => {
        place.setAttribute("aria-busy", "false");
        if (kept === null) return replace(place, gone());
        const side = kept[name];
        const text = side.body === null ? "It was too long to be kept." : typeof side.body === "string" ? side.body : JSON.stringify(side.body, null, 2);
        const spoken = conversation(side.body);
        replace(
          place,
          notes(kept, side),
          spoken,
          spoken ? h("details.more", h("summary", "As it was sent"), codeBlock(text, { label: "JSON" })) : codeBlock(text, { label: "JSON" }),
          h("div.row.between", h("p.faint", `Kept until ${time(kept.expires)}.`), ctx.can("content:write") ? remove(place) : null),
        );
      },
      (error) => {
        if (error.name === "AbortError") return;
        asked = null;
        place.setAttribute("aria-busy", "false");
        replace(place, error.code === "content_not_kept" ? nothing(ctx) : empty({ icon: "warning", title: "This could not be loaded", text: messageOf(error) }));
      },
    );
    return place;
  }

  return [
    ["request", "Request", () => panel("request")],
    ["response", "Response", () => panel("response")],
  ];
}
