// The first screen: how the account stands.

import { h } from "../lib/dom.js";
import { dollars } from "../lib/format.js";
import { load, pageHead, stat, stats } from "../lib/ui.js";

async function mount(root, ctx) {
  const figures = h("div");
  root.append(pageHead("Home", { text: ctx.account ? `How ${ctx.account} stands.` : "" }), figures);
  load(figures, async () => {
    const [credits, keys] = await Promise.all([ctx.can("credit:read") ? ctx.api.get("/api/v1/credits", {}, { signal: ctx.signal }) : null, ctx.can("key:read") ? ctx.api.get("/api/v1/keys", { limit: 200 }, { signal: ctx.signal }) : null]);
    const month = keys?.data.reduce((sum, key) => sum + key.usage_monthly, 0);
    const day = keys?.data.reduce((sum, key) => sum + key.usage_daily, 0);
    return stats(credits && stat("Balance", dollars(credits.data.credits_remaining)), keys && stat("Today", dollars(day)), keys && stat("This month", dollars(month)), keys && stat("Keys", String(keys.data.filter((key) => !key.disabled).length)));
  }, { height: 92 });
}

export const screen = { path: "/", title: "Home", icon: "home", group: "", mount };
