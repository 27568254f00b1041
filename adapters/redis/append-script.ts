/**
 * The script that appends one batch of a shard (A1, A3, A6): replay protection, verdicts, numbers, records, marks and
 * the entry, in one step. It decides everything before it writes anything: a server that is full refuses the first
 * write, and then nothing of the batch is stored. `decide` is core/dedupe and core/sequence in Lua; a test compares
 * them on random histories.
 *
 * Numbers stay below 2^53: doubles are exact, and `%.0f` prints all digits where Lua's own way would round.
 */
import { SEQ_EPOCH_MS, SEQ_PER_MS } from '../../topics/ids.ts'
import { limits } from '../../topics/limits.ts'
import { script } from './script.ts'

/** First byte of the reply: the answers of the batch, once and whenever it is asked again. */
export const REPLY_ANSWERS = 'A'
/** Too many entries are not done: nothing was stored. */
export const REPLY_OVERLOADED = 'O'
/** The node's earlier batches are not known (any more): nothing was stored. */
export const REPLY_FORGOTTEN = 'F'

/** Per envelope: verdict u8, seq f64, last stamp f64. */
export const ANSWER_BYTES = 17

/** How long a silent node's last answer is kept: longer than anybody waits for one. */
const NODE_TTL_MS = 24 * 3_600_000
/** A mark that is older than any row has nothing to say (B6). */
const MARK_TTL_MS = limits.inboxTtlMs + 3 * 24 * 3_600_000

/**
 * KEYS state, stream, node, floor. ARGV: number of the batch, watermark that the node has seen, waitingRecordsMax,
 * shardBacklogMax, prefix of records, prefix of marks, heads, bodies.
 */
export const appendScript = script(`
local number = tonumber(ARGV[1])
local kept = redis.call('GET', KEYS[3])
if kept then
  local known = struct.unpack('<d', kept)
  if known == number then
    -- A write, so that replicas which are waited for have the batch as well.
    redis.call('PEXPIRE', KEYS[3], ${NODE_TTL_MS})
    return '${REPLY_ANSWERS}' .. string.sub(kept, 9)
  end
  if known > number then return redis.error_reply('STALE batch ' .. ARGV[1] .. ' came after a later one') end
elseif number > 1 then return '${REPLY_FORGOTTEN}' end

local state = redis.call('HMGET', KEYS[1], 'last', 'appended', 'doneCount')
local appended = tonumber(state[2] or 0)
if appended - tonumber(state[3] or 0) >= tonumber(ARGV[4]) then return '${REPLY_OVERLOADED}' end

local time = redis.call('TIME')
local nowSeq = (time[1] * 1000 + math.floor(time[2] / 1000) - ${SEQ_EPOCH_MS}) * ${SEQ_PER_MS}
local last = math.max(tonumber(state[1] or 0), tonumber(ARGV[2]), tonumber(redis.call('GET', KEYS[4]) or 0))
local waitingMax = tonumber(ARGV[3])
local heads = ARGV[7]
local senders, marks, markKeys, answers = {}, {}, {}, {}
local first

local function text(number) return string.format('%.0f', number) end

local function senderOf(device)
  local sender = senders[device]
  if sender then return sender end
  local key = ARGV[5] .. device
  local known = redis.call('HGET', key, 'last')
  sender = { key = key, last = tonumber(known or 0), known = known, records = {}, fields = {} }
  senders[device] = sender
  return sender
end

local function recordOf(sender, stamp)
  local record = sender.records[stamp] or redis.call('HGET', sender.key, text(stamp))
  if record then return struct.unpack('<I4d', record) end
end

local function waitingOf(sender)
  if not sender.waiting then
    sender.waiting = redis.call('HLEN', sender.key)
    if sender.known then sender.waiting = sender.waiting - 1 end
  end
  return sender.waiting
end

-- verdict, seq of the waiting record
local function decide(sender, dedupe, stamp, hash)
  if not sender then return 1, 0 end
  if dedupe == 2 then return stamp > sender.last and 1 or 2, 0 end
  if stamp > sender.last then return waitingOf(sender) >= waitingMax and 4 or 1, 0 end
  local waitingHash, seq = recordOf(sender, stamp)
  return waitingHash == hash and 2 or 3, seq or 0
end

local at = 1
while at <= #heads do
  local device, flags, stamp, hash, afterSeq, peer, by, of, upTo
  device, flags, stamp, hash, afterSeq, peer, at = struct.unpack('<Bc0BdI4dBc0', heads, at)
  if flags >= 4 then by, of, upTo, at = struct.unpack('<Bc0Bc0d', heads, at) end
  local dedupe = flags % 4
  local sender = device ~= '' and dedupe ~= 0 and senderOf(device)
  local verdict, seq = decide(sender, dedupe, stamp, hash)
  local lastStamp = sender and sender.last or 0
  -- Two nodes may make marks of one user at once: the lesser one, if it comes later, says nothing (P7).
  if by and upTo <= (marks[by .. of] or tonumber(redis.call('GET', ARGV[6] .. by .. of) or 0)) then verdict = 2 end
  if verdict == 1 and afterSeq > math.max(last, nowSeq) + ${limits.afterSeqAheadMsMax * SEQ_PER_MS} then verdict = 5 end
  if verdict == 1 then
    seq = math.max(last + 1, nowSeq, afterSeq + 1)
    last = seq
    first = first or seq
    if sender then
      sender.last = stamp
      sender.isDirty = true
      if dedupe == 1 then
        sender.waiting = waitingOf(sender) + 1
        sender.records[stamp] = struct.pack('<I4d', hash, seq) .. peer
        sender.fields[#sender.fields + 1] = stamp
      end
    end
    if by then
      local key = by .. of
      if not marks[key] then markKeys[#markKeys + 1] = key end
      marks[key] = upTo
    end
  end
  answers[#answers + 1] = struct.pack('<Bdd', verdict, seq, lastStamp)
end
local answer = table.concat(answers)

if first then
  local id = text(first) .. '-' .. text(appended + 1)
  redis.call('XADD', KEYS[2], id, 'h', heads, 'b', ARGV[8], 'a', answer)
  redis.call('HSET', KEYS[1], 'last', text(last), 'appended', text(appended + 1))
  for _, sender in pairs(senders) do
    if sender.isDirty then
      redis.call('HSET', sender.key, 'last', text(sender.last))
      for _, stamp in ipairs(sender.fields) do redis.call('HSET', sender.key, text(stamp), sender.records[stamp]) end
    end
  end
  for _, key in ipairs(markKeys) do
    redis.call('SET', ARGV[6] .. key, text(marks[key]), 'PX', ${MARK_TTL_MS})
  end
end
redis.call('SET', KEYS[3], struct.pack('<d', number) .. answer, 'PX', ${NODE_TTL_MS})
return '${REPLY_ANSWERS}' .. answer
`)
