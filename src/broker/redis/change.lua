-- Changes the roster of a room without an event, and tells all who follow the room.
--
-- KEYS  what is known of the log, the roster of the node, the nodes of the room
-- ARGV  channel, name of the log, node, peer, the entry or nothing, milliseconds for which the log is known without events
local meta, roster, nodes = KEYS[1], KEYS[2], KEYS[3]
local peer, entry = ARGV[4], ARGV[5]
if redis.call('EXISTS', meta) == 0 then
  return redis.error_reply('NOROOM the room is not known')
end
if entry == '' then
  redis.call('HDEL', roster, peer)
else
  redis.call('HSET', roster, peer, entry)
  redis.call('SADD', nodes, ARGV[3])
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[6])
end
local version = redis.call('HINCRBY', meta, 'v', 1)
redis.call('SPUBLISH', ARGV[1], ARGV[2] .. ' +' .. version .. ' ' .. ARGV[3] .. ' ' .. peer .. ' ' .. entry)
return version
