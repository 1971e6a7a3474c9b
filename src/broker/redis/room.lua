-- Tells where a room's log stands, and who is in the room on which node. The events are read in the same transaction, after
-- this: here they would cost six times as much.
--
-- KEYS  what is known of the log, its events, since when the partition has been there, the nodes of the room
-- ARGV  milliseconds for which the log is to be known without events; what the rosters of the nodes begin with; the
--       version of the rosters that is known, or nothing
--
-- The rosters are told only if they are of another version. Their keys are made from the names of the nodes: all of
-- them lie in the slot of the log.
local meta, events, partition, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local found = redis.call('HMGET', meta, 'epoch', 'seq', 'tag', 'v')
local epoch, seq, tag, version = found[1], found[2], found[3], found[4] or '0'
if not epoch then
  local time = redis.call('TIME')
  epoch = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 2) * 2 + 1)
  seq, tag = '0', '00000000'
  redis.call('SET', partition, epoch, 'NX')
  redis.call('DEL', events)
  redis.call('HSET', meta, 'epoch', epoch, 'seq', 0, 'tag', tag, 'bytes', 0, 'count', 0, 'oldest', 0)
end
redis.call('PEXPIRE', meta, ARGV[1])
local rosters = {}
if ARGV[3] ~= version then
  for _, node in ipairs(redis.call('SMEMBERS', nodes)) do
    rosters[#rosters + 1] = node
    rosters[#rosters + 1] = redis.call('HGETALL', ARGV[2] .. node)
  end
end
return { seq .. '-' .. epoch .. '-' .. tag, redis.call('GET', partition), version, rosters }
