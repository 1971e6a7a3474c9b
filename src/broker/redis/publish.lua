-- Puts an event into a log and hands it to all who follow the log; or tells where it stands, if it is there already.
--
-- KEYS  what is known of the log, its events, since when the partition has been there, how many logs have begun in it,
--       the roster that changes, the nodes of the room[, the publisher's own key]
-- ARGV  event, node, number of the publication on that node, events, bytes and milliseconds that are kept, channel, name
--       of the log, milliseconds for which publishers' keys are known, milliseconds for which the log is known without
--       events, the peer that enters or leaves or nothing, its entry or nothing if it leaves; or * and a dead node, whose
--       roster goes; what the rosters of the nodes begin with
--
-- If a dead node has no roster, somebody else has told of it; if who leaves is in the roster of another node, it has moved
-- there, and does not leave. Nothing is put into the log then.
--
-- The epoch of a log is when it began, in microseconds by the engine's clock, and odd.
--
-- Nothing is rolled back: what may be refused is looked at first, the event comes next, and the counters last.
local meta, events, partition, births = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local roster, nodes, own = KEYS[5], KEYS[6], KEYS[7]
local event, node, number = ARGV[1], ARGV[2], tonumber(ARGV[3])
local most, most_bytes, age = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local channel, name = ARGV[7], ARGV[8]
local known_ms, peer, entry = ARGV[10], ARGV[11], ARGV[12]
local attempt = node .. ' ' .. ARGV[3]

local found = redis.call('HMGET', meta, 'epoch', 'seq', 'tag', 'bytes', 'count', 'oldest', node)
local epoch, seq, tag = found[1], tonumber(found[2]), found[3]
local bytes, count, oldest = tonumber(found[4]), tonumber(found[5]), tonumber(found[6])
-- A client library that lost its connection tries again, and so do we: nobody else uses this number.
local last = tonumber(found[7]) or 0
if number <= last then
  for _, entry in ipairs(redis.call('XREVRANGE', events, '+', '-', 'COUNT', most)) do
    if entry[2][6] == attempt then
      return { 'again', entry[1] .. '-' .. entry[2][4] }
    end
  end
end
local known = own and redis.call('GET', own)
if known then
  return { 'known', known }
end

local is_void = peer == '*' and redis.call('EXISTS', roster) == 0
if peer ~= '' and entry == '' and redis.call('HEXISTS', roster, peer) == 0 then
  for _, other in ipairs(redis.call('SMEMBERS', nodes)) do
    is_void = is_void or redis.call('HEXISTS', ARGV[13] .. other, peer) == 1
  end
end
if is_void then
  return { 'known', string.format('%s-%s-%s', seq or 0, epoch or 0, tag or '00000000') }
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function begin()
  redis.call('DEL', events)
  local moment = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 2) * 2 + 1)
  redis.call('SET', partition, moment, 'NX')
  redis.call('INCR', births)
  epoch, seq, tag, bytes, count, oldest = moment, 0, '00000000', 0, 0, now
end
local function add()
  local before = tag
  seq = seq + 1
  tag = string.sub(redis.sha1hex(before .. event), 1, 8)
  local id = string.format('%.0f-%s', seq, epoch)
  return redis.pcall('XADD', events, id, 'p', before, 't', tag, 'a', attempt, 'm', now, 'b', event)
end

if not epoch then
  begin()
elseif redis.call('EXISTS', events) == 0 then
  bytes, count, oldest = 0, 0, now
end
local id = add()
if type(id) == 'table' and string.find(id.err, 'equal or smaller', 1, true) then
  -- The events are further than what is known of the log: this is not the log that it was.
  begin()
  id = add()
end
if type(id) == 'table' then
  return id
end

bytes, count = bytes + #event, count + 1
if count > most or bytes > most_bytes or now - oldest >= age then
  local cut, from, size = nil, '-', 2
  repeat
    local page = redis.call('XRANGE', events, from, '+', 'COUNT', size)
    for _, entry in ipairs(page) do
      oldest = tonumber(entry[2][8])
      if count <= most and bytes <= most_bytes and now - oldest < age then
        cut = entry[1]
        break
      end
      bytes, count, from = bytes - #entry[2][10], count - 1, '(' .. entry[1]
    end
    size = 32
  until cut or #page == 0
  if cut then
    redis.call('XTRIM', events, 'MINID', '=', cut)
  else
    redis.call('DEL', events)
    bytes, count, oldest = 0, 0, now
  end
end
redis.call('HSET', meta, 'epoch', epoch, 'seq', seq, 'tag', tag, 'bytes', bytes, 'count', count, 'oldest', oldest,
  node, math.max(last, number))
redis.call('PEXPIRE', meta, known_ms)
redis.call('PEXPIRE', events, age)
if peer == '*' then
  redis.call('DEL', roster)
  redis.call('SREM', nodes, entry)
elseif peer ~= '' then
  if entry == '' then
    redis.call('HDEL', roster, peer)
  else
    redis.call('HSET', roster, peer, string.format('%.0f %s', seq, entry))
    redis.call('SADD', nodes, node)
    redis.call('PEXPIRE', roster, known_ms)
    redis.call('PEXPIRE', nodes, known_ms)
  end
end
local position = id .. '-' .. tag
if own then
  redis.call('SET', own, position, 'PX', ARGV[9])
end
local heard = redis.call('SPUBLISH', channel, name .. ' ' .. position .. ' ' .. node .. ' ' .. event)
return { 'new', position, heard }
