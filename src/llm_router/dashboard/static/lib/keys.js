// API keys by their ids, for screens that name them.

const PAGE = 200;
const MORE_MAX = 40;

/** Keys by their ids: those of the first page, and whichever of `ids` are not among them. Empty where the role does not show keys. */
export async function keysById(ctx, ids = []) {
  if (!ctx.can("key:read")) return new Map();
  const page = await ctx.api.get("/api/v1/keys", { limit: PAGE }, { signal: ctx.signal });
  const found = new Map(page.data.map((key) => [key.id, key]));
  const more = page.next ? [...new Set(ids)].filter((id) => id && !found.has(id)).slice(0, MORE_MAX) : [];
  const rest = await Promise.all(more.map((id) => ctx.api.get(`/api/v1/keys/${encodeURIComponent(id)}`, {}, { signal: ctx.signal }).catch(() => null)));
  for (const each of rest) if (each) found.set(each.data.id, each.data);
  return found;
}

/** Whether a budget or limit still bounds anything: that of a revoked key does not. */
export const stillBounds = (keys) => (row) => row.scope !== "key" || keys.get(row.scope_id)?.status !== "revoked";
