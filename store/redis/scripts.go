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
// Answers state, token and result of each key.
var claimScript = goredis.NewScript(prelude + `
local lease, keep, nonce = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local last = math.max(now, tonumber(redis.call('GET', KEYS[1]) or '0') + 1)
local answers, fresh = {}, {}
for i = 2, #KEYS do
  local had = redis.call('HMGET', KEYS[i], 'token', 'till', 'nonce', 'result')
  if had[2] and tonumber(had[2]) > now then
    if had[4] then
      answers[i - 1] = {'done', '0', had[4]}
    elseif had[3] == nonce then
      answers[i - 1] = {'fresh', had[1], ''} -- our own, whose reply was lost
    else
      answers[i - 1] = {'busy', '0', ''}
    end
  else
    answers[i - 1] = {'fresh', text(last), ''}
    fresh[#fresh + 1] = {KEYS[i], text(last)}
    last = last + 1
  end
end
if #fresh > 0 then redis.call('SET', KEYS[1], text(last - 1)) end
for _, f in ipairs(fresh) do
  redis.call('DEL', f[1])
  redis.call('HSET', f[1], 'token', f[2], 'till', text(now + lease), 'nonce', nonce)
  expire(f[1], lease + keep)
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
