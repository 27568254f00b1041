/**
 * Lua for small things that end by themselves and are so many at most: each is a hash with a time to live, and a
 * sorted set knows their order. Also the server's clock, which all nodes share.
 */

/** `now` in unix ms. ARGV[1] is added to it: 0, or what a test has moved the clock by. */
export const NOW = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
`

const LOOKS_PER_PUT = 4

/**
 * `makeRoom(index, max)` drops what is over, a few at a time, and the oldest while there are too many; `put(index,
 * key, expiresMs, …)` stores fields and enters the key as the youngest; `isOver(key)`.
 */
export const BOUNDED = `${NOW}
local function isOver(key) return tonumber(redis.call('HGET', key, 'expires') or 0) <= now end
local function remove(index, key)
  redis.call('DEL', key)
  redis.call('ZREM', index, key)
end
local function makeRoom(index, max)
  for _, key in ipairs(redis.call('ZRANGE', index, 0, ${LOOKS_PER_PUT - 1})) do
    if redis.call('ZCARD', index) < max and not isOver(key) then break end
    remove(index, key)
  end
end
local function put(index, key, expires, ...)
  remove(index, key)
  local youngest = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
  redis.call('ZADD', index, (tonumber(youngest or 0)) + 1, key)
  redis.call('HSET', key, 'expires', expires, ...)
  redis.call('PEXPIRE', key, math.max(1, math.ceil(expires - now)))
end
`
