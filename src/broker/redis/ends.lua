-- Tells where a log stands: its head, and where the oldest event that is kept begins.
--
-- KEYS  what is known of the log, its events, since when the partition has been there
--
-- A log that is not there stands at the start of a life that begins now: its epoch, the moment in microseconds by the
-- engine's clock, tells later whether something may have come and gone since. It is even, and that of a log is odd: what
-- stands at the start of a log that was lost is not taken for this.
local found = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'tag')
local epoch, seq, tag = found[1], found[2], found[3]
if not epoch then
  local time = redis.call('TIME')
  epoch = string.format('%.0f', math.floor((time[1] * 1000000 + time[2]) / 2) * 2)
  redis.call('SET', KEYS[3], epoch, 'NX')
  local start = '0-' .. epoch .. '-00000000'
  return { start, start }
end
local head = seq .. '-' .. epoch .. '-' .. tag
local oldest = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not oldest then
  return { head, head }
end
local first = tonumber(string.match(oldest[1], '^%d+'))
return { head, string.format('%.0f-%s-%s', first - 1, epoch, oldest[2][2]) }
