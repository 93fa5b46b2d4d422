package redis

import goredis "github.com/redis/go-redis/v9"

// The scripts. Each reads all keys first: what is of another type fails there,
// before anything is written. A full memory refuses the first write, so none
// happens. Times are microseconds, which a Lua number holds exactly.
//
// A claim is a hash: token, till (end of the lease or of the window), nonce of
// the call that took it, and result when it is done.
const prelude = `
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local function text(n) return string.format('%.0f', n) end
local function expire(key, micros) redis.call('PEXPIRE', key, text(math.ceil(micros / 1000))) end
`

// KEYS: the group's last token, then the keys. ARGV: lease, keep, nonce.
// Answers state, token and result of each key. A claim of the same nonce is our
// own, whose reply was lost: it keeps its token, and its lease begins now.
var claimScript = goredis.NewScript(prelude + `
local lease, keep, nonce = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local last = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
local answers, ours = {}, {}
for i = 2, #KEYS do
  local had = redis.call('HMGET', KEYS[i], 'token', 'till', 'nonce', 'result')
  local held = had[2] and tonumber(had[2]) > now
  if held and had[4] then
    answers[i - 1] = {'done', '0', had[4]}
  elseif held and had[3] ~= nonce then
    answers[i - 1] = {'busy', '0', ''}
  elseif not had[1] and redis.call('EXISTS', KEYS[i]) == 1 then
    return redis.error_reply('WRONGTYPE a hash that is no claim')
  else
    local token = held and had[1] or text(last)
    if not held then last = last + 1 end
    answers[i - 1] = {'fresh', token, ''}
    ours[#ours + 1] = {KEYS[i], token}
  end
end
if #ours > 0 then redis.call('SET', KEYS[1], text(last - 1)) end
for _, o in ipairs(ours) do
  redis.call('DEL', o[1])
  redis.call('HSET', o[1], 'token', o[2], 'till', text(now + lease), 'nonce', nonce)
  expire(o[1], lease + keep)
end
return answers
`)

// owned: the answer of a key that is not the owner's any more; nil when it is.
const owned = prelude + `
local function owned(key, token)
  local had = redis.call('HMGET', key, 'token', 'till', 'result')
  if not had[1] then return {'nobody', '0'}, had end
  if had[1] ~= token then return {'other', had[1]}, had end
  if had[3] then return {'done', had[1]}, had end
  return nil, had
end
`

// KEYS: the keys. ARGV: window, then token and result of each key.
var completeScript = goredis.NewScript(owned + `
local window = tonumber(ARGV[1])
local answers = {}
for i, key in ipairs(KEYS) do
  local token = ARGV[2 * i]
  local refused = owned(key, token)
  if refused and refused[1] == 'done' then refused = {'again', token} end
  answers[i] = refused or {'ok', token}
end
for i, key in ipairs(KEYS) do
  if answers[i][1] == 'ok' then
    redis.call('HSET', key, 'till', text(now + window), 'result', ARGV[2 * i + 1])
    redis.call('HDEL', key, 'nonce')
    expire(key, window)
  end
end
return answers
`)

// KEYS: the key. ARGV: token, lease, keep.
var renewScript = goredis.NewScript(owned + `
local refused, had = owned(KEYS[1], ARGV[1])
if refused then return {refused} end
local till = math.max(tonumber(had[2]), now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'till', text(till))
expire(KEYS[1], till - now + tonumber(ARGV[3]))
return {{'ok', ARGV[1]}}
`)

// KEYS: the key. ARGV: token.
var releaseScript = goredis.NewScript(owned + `
local refused = owned(KEYS[1], ARGV[1])
if refused then return {refused} end
redis.call('DEL', KEYS[1])
return {{'ok', ARGV[1]}}
`)
