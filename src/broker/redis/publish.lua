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

local found = redis.call('HMGET', meta, 'epoch', 'seq', 'tag', 'bytes', 'count', 'oldest', 'size', node)
local epoch, seq, tag = found[1], tonumber(found[2]), found[3]
local bytes, count = tonumber(found[4]), tonumber(found[5])
-- Of the oldest event: when it came, and how large it is.
local oldest, size = tonumber(found[6]), tonumber(found[7])
-- A client library that lost its connection tries again, and so do we: nobody else uses this number.
local last = tonumber(found[8]) or 0
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
-- Whether the oldest event is another one now, and how large the one is that made room for this one.
local is_other, dropped = false, nil
local function is_first()
  bytes, count, oldest, size, is_other, dropped = 0, 0, now, #event, true, nil
end
local function begin()
  redis.call('DEL', events)
  epoch, seq, tag = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 2) * 2 + 1), 0, '00000000'
  redis.call('SET', partition, epoch, 'NX')
  redis.call('INCR', births)
  is_first()
end
local function add()
  local before = tag
  seq = seq + 1
  tag = string.sub(redis.sha1hex(before .. event), 1, 8)
  local id = seq .. '-' .. epoch
  -- A full log lets go of its oldest event with the same command: one of its own, and the look, would cost as much again.
  dropped = count > 0 and count == most and size
  local added = redis.pcall('XADD', events, 'NOMKSTREAM', 'MAXLEN', '=', dropped and most or 1e9, id,
    'p', before, 't', tag, 'a', attempt, 'm', now, 'b', event)
  if added then
    return added
  end
  is_first()
  return redis.pcall('XADD', events, id, 'p', before, 't', tag, 'a', attempt, 'm', now, 'b', event)
end

if not epoch then
  begin()
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

if dropped then
  local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1][2]
  bytes, count, oldest, size, is_other = bytes - dropped, count - 1, tonumber(first[8]), #first[10], true
end
bytes, count = bytes + #event, count + 1
if count > most or bytes > most_bytes or now - oldest >= age then
  local cut, from, page_size = nil, '-', 2
  repeat
    local page = redis.call('XRANGE', events, from, '+', 'COUNT', page_size)
    for _, entry in ipairs(page) do
      oldest, size, is_other = tonumber(entry[2][8]), #entry[2][10], true
      if count <= most and bytes <= most_bytes and now - oldest < age then
        cut = entry[1]
        break
      end
      bytes, count, from = bytes - size, count - 1, '(' .. entry[1]
    end
    page_size = 32
  until cut or #page == 0
  if cut then
    redis.call('XTRIM', events, 'MINID', '=', cut)
  else
    redis.call('DEL', events)
    bytes, count, oldest = 0, 0, now
  end
end
if is_other then
  redis.call('HSET', meta, 'epoch', epoch, 'seq', seq, 'tag', tag, 'bytes', bytes, 'count', count, 'oldest', oldest,
    'size', size, node, math.max(last, number))
else
  redis.call('HSET', meta, 'seq', seq, 'tag', tag, 'bytes', bytes, 'count', count, node, math.max(last, number))
end
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
