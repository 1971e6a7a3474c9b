-- Moves a member of a room from another node to this one, as it is, and tells all who follow the room. Returns what the
-- roster says of it, also if it has moved already; nothing if it is not there.
--
-- KEYS  what is known of the log, the roster of the other node, the roster of this node, the nodes of the room
-- ARGV  channel, name of the log, this node, peer, milliseconds for which the log is known without events
local meta, there, here, nodes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local peer = ARGV[4]
local entry = redis.call('HGET', there, peer)
if not entry then
  return redis.call('HGET', here, peer)
end
redis.call('HDEL', there, peer)
redis.call('HSET', here, peer, entry)
redis.call('SADD', nodes, ARGV[3])
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[5])
end
local version = redis.call('HINCRBY', meta, 'v', 1)
redis.call('SPUBLISH', ARGV[1], ARGV[2] .. ' +' .. version .. ' ' .. ARGV[3] .. ' ' .. peer .. ' ' .. entry)
return entry
