"""What the server does in one step each, in Lua. Its own clock is the only one that counts.

    {llm-router}:nodes      sorted set: node -> the moment (ms) until which its places count
    {llm-router}:l:ID       of a window: hash of slice number -> units, and "era", which changes when the
                            clock ran backwards and the slices were moved; of concurrency: hash of
                            node -> its open requests

All keys have one hash tag, so that a cluster keeps them on one shard, as a script needs it. Every key
expires by itself. Windows are those of llm_router.limits.windows: 60 slices and the one that has begun.
"""

from __future__ import annotations

NODES = "{llm-router}:nodes"

_WINDOWS = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function window(key, length)
  local size = length / 60
  local slice = math.floor(now / size)
  local flat = redis.call('HGETALL', key)
  local units, newest, era = {}, -1, 0
  for j = 1, #flat, 2 do
    if flat[j] == 'era' then
      era = tonumber(flat[j + 1])
    else
      local at = tonumber(flat[j])
      units[at] = tonumber(flat[j + 1])
      if at > newest then newest = at end
    end
  end
  if newest > slice then
    local moved = {}
    era = era + 1
    redis.call('DEL', key)
    redis.call('HSET', key, 'era', era)
    for at, n in pairs(units) do
      moved[at - newest + slice] = n
      redis.call('HSET', key, at - newest + slice, n)
    end
    redis.call('PEXPIRE', key, length + 2 * size)
    units = moved
  end
  local total = 0
  for at, n in pairs(units) do
    if at < slice - 60 then
      redis.call('HDEL', key, at)
      units[at] = nil
    else
      total = total + n
    end
  end
  return {key = key, length = length, size = size, slice = slice, units = units, total = total, era = era}
end

local function add(w, n)
  redis.call('HINCRBY', w.key, w.slice, n)
  redis.call('PEXPIRE', w.key, w.length + 2 * w.size)
end
"""

# KEYS: nodes, then one for each limit. ARGV: node, how long places outlive it (ms), tokens, then for
# each limit its kind, amount and length (ms). Returns [number of the refusing limit or 0, wait (ms), then
# for each limit: used, ms until empty, slice, era].
ADMIT = (
    _WINDOWS
    + """
local node, lease, tokens = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local alive
local function taken(key)
  if not alive then
    alive = {[node] = true}
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf')) do alive[other] = true end
  end
  local flat, sum = redis.call('HGETALL', key), 0
  for j = 1, #flat, 2 do
    if alive[flat[j]] then
      sum = sum + tonumber(flat[j + 1])
    else
      redis.call('HDEL', key, flat[j])
    end
  end
  return sum
end

local found, refused, longest = {}, 0, -1
for i = 1, #KEYS - 1 do
  local key, kind = KEYS[i + 1], ARGV[3 * i + 1]
  local amount, length = tonumber(ARGV[3 * i + 2]), tonumber(ARGV[3 * i + 3])
  local w, over, wait
  if kind == 'concurrency' then
    w = {key = key, total = taken(key), new = 1}
    over = w.total + 1 - amount
    wait = 1000
  else
    w = window(key, length)
    w.new = kind == 'tokens' and tokens or 1
    over = w.total + w.new - amount
    if over > 0 then
      wait = length
      local excess = over
      for at = w.slice - 60, w.slice do
        excess = excess - (w.units[at] or 0)
        if excess <= 0 then
          wait = math.max(0, (at + 61) * w.size - now)
          break
        end
      end
    end
  end
  found[i] = w
  if over > 0 and wait > longest then
    refused, longest = i, wait
  end
end

local answer = {refused, math.max(0, longest)}
for i, w in ipairs(found) do
  if refused == 0 then
    w.total = w.total + w.new
    if w.size then
      add(w, w.new)
      w.units[w.slice] = (w.units[w.slice] or 0) + w.new
    else
      redis.call('HINCRBY', w.key, node, 1)
      redis.call('PEXPIRE', w.key, 2 * lease)
    end
  end
  local reset = 0
  if w.size then
    for at = w.slice, w.slice - 60, -1 do
      if (w.units[at] or 0) > 0 then
        reset = (at + 61) * w.size - now
        break
      end
    end
  end
  answer[4 * i - 1], answer[4 * i] = w.total, reset
  answer[4 * i + 1], answer[4 * i + 2] = w.slice or 0, w.era or 0
end
return answer
"""
)

# KEYS: one for each limit of concurrency or tokens. ARGV: node, then for each: its length (ms; 0 for
# concurrency), what to add (negative: to take back), slice and era of its admission.
RELEASE = (
    _WINDOWS
    + """
local node = ARGV[1]
for i, key in ipairs(KEYS) do
  local length, more = tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  if length == 0 then
    local left = tonumber(redis.call('HGET', key, node) or '0') - 1
    if left > 0 then
      redis.call('HSET', key, node, left)
    else
      redis.call('HDEL', key, node)
    end
  else
    local w = window(key, length)
    local at = tonumber(ARGV[4 * i])
    if more > 0 then
      add(w, more)
    elseif w.era == tonumber(ARGV[4 * i + 1]) and w.units[at] then
      redis.call('HINCRBY', key, at, math.max(more, -w.units[at]))
    end
  end
end
return 0
"""
)

# KEYS: nodes, then limits of concurrency. ARGV: node, lease (ms), then for each limit how many requests
# this node has open.
BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local node, lease = ARGV[1], tonumber(ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + lease, node)
redis.call('PEXPIRE', KEYS[1], 2 * lease)
for i = 2, #KEYS do
  local open = tonumber(ARGV[i + 1])
  if open > 0 then
    redis.call('HSET', KEYS[i], node, open)
    redis.call('PEXPIRE', KEYS[i], 2 * lease)
  else
    redis.call('HDEL', KEYS[i], node)
  end
end
return 0
"""

# KEYS: nodes. ARGV: node. It stops: its places are free at once.
LEAVE = "return redis.call('ZREM', KEYS[1], ARGV[1])"


def key_of(limit_id: str) -> str:
    """Where a limit is counted."""
    return "{llm-router}:l:" + limit_id
