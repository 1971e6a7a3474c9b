-- A node says that it is alive, learns who else is, and declares those dead who have not said so in time.
--
-- KEYS  leases: nodes and until when they are alive; the dead: nodes and when they were found to be
-- ARGV  node, milliseconds of a lease, whether the node is new, whether it may declare others dead, milliseconds for which
--       the dead are remembered[, nodes in rosters that have no lease …]
--
-- Times are the engine's, in milliseconds. A node that is not new and has no lease was forgotten by the engine, and with
-- it perhaps what it had in the rosters: it is dead, too.
local leases, dead = KEYS[1], KEYS[2]
local node = ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('ZSCORE', dead, node) then
  return { 'dead' }
end
if ARGV[3] == '0' and not redis.call('ZSCORE', leases, node) then
  redis.call('ZADD', dead, now, node)
  return { 'dead' }
end
redis.call('ZADD', leases, now + ARGV[2], node)
if ARGV[4] == '1' then
  for _, late in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
    redis.call('ZREM', leases, late)
    redis.call('ZADD', dead, now, late)
  end
  for at = 6, #ARGV do
    if not redis.call('ZSCORE', leases, ARGV[at]) then
      redis.call('ZADD', dead, 'NX', now, ARGV[at])
    end
  end
end
redis.call('ZREMRANGEBYSCORE', dead, '-inf', now - ARGV[5])
redis.call('PEXPIRE', leases, ARGV[5])
redis.call('PEXPIRE', dead, ARGV[5])
local alive, next = redis.call('ZRANGE', leases, 0, -1, 'WITHSCORES'), -1
local nodes = {}
for at = 1, #alive, 2 do
  nodes[#nodes + 1] = alive[at]
  local left = alive[at + 1] - now
  if alive[at] ~= node and (next < 0 or left < next) then
    next = math.max(left, 0)
  end
end
return { 'alive', next, nodes, redis.call('ZRANGE', dead, 0, -1) }
