-- Ends the life of a log that went on differently from what a node has told its guests, unless it was ended already: all
-- who follow it are to begin anew, and nobody takes an event of one branch for one of the other.
--
-- KEYS  what is known of the log, its events
-- ARGV  epoch of that life, milliseconds for which the log is known without events
if redis.call('HGET', KEYS[1], 'epoch') ~= ARGV[1] then
  return 0
end
local time = redis.call('TIME')
local epoch = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 2) * 2 + 1)
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[1], 'epoch', epoch, 'seq', 0, 'tag', '00000000', 'bytes', 0, 'count', 0, 'oldest', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
