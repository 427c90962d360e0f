//! What Redis does by itself, at one moment each. Not here: which keys it is done to (`commands`).

/// Raises or releases a fence: drops what has ended, adds `ARGV[1]` for `ARGV[2]` milliseconds
/// (none to release it), and sets the generation `ARGV[3]` for `ARGV[4]` milliseconds. A fence
/// that ended in between is thus counted neither twice nor never. Whatever lies under the keys is
/// replaced, be it of another type. Deleting comes first: once a script has written, Redis lets it
/// go on though its memory is full. A release with `ARGV[5]` above 0 bars the fence from being
/// raised for as many milliseconds: the command that raises it may still be on its way.
pub(super) const MOVE_FENCE: &str = r"
if tonumber(ARGV[2]) > 0 and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local standing, last = {}, 0
local function stand(id, till)
    standing[#standing + 1] = id .. ':' .. string.format('%.0f', till)
    if till > last then last = till end
end
local held = redis.pcall('GET', KEYS[2])
if type(held) ~= 'string' then held = '' end
for id, till in string.gmatch(held, '(%w+):(%d+)') do
    if tonumber(till) > now and id ~= ARGV[1] then stand(id, tonumber(till)) end
end
if tonumber(ARGV[2]) > 0 then stand(ARGV[1], now + tonumber(ARGV[2])) end
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
if #standing > 0 then
    redis.call('SET', KEYS[2], table.concat(standing, ','), 'PX', string.format('%.0f', last - now))
end
if tonumber(ARGV[5]) > 0 then redis.call('SET', KEYS[3], 1, 'PX', ARGV[5]) end
return 1
";

/// Sets the generation `ARGV[2]` for `ARGV[3]` milliseconds, unless another than `ARGV[1]` has been
/// set meanwhile; answers with the one that is there then, or with nothing while a fence stands: a
/// generation that was handed out during a write could outlive its fence.
pub(super) const RENEW: &str = r"
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' and held ~= ARGV[1] then return held end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return ARGV[2]
";

/// Keeps the entry `ARGV[2]` for `ARGV[3]` milliseconds, and answers with 1, if the generation still
/// has the mark `ARGV[1]`: a later one may have an entry already, which would be lost.
pub(super) const STORE: &str = r"
local held = redis.pcall('GET', KEYS[1])
if type(held) ~= 'string' or string.sub(held, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
";

/// Sets a mark, also where the memory is full.
pub(super) const SET_MARK: &str = r"
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1])
";

/// Puts `ARGV[3]` on the list until `ARGV[2]`, and takes off what ended before `ARGV[1]`: all in
/// Unix milliseconds.
pub(super) const LIST_KEY: &str = r"
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then redis.call('DEL', KEYS[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[1])
return redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
";

/// Deletes the lease if it is `ARGV[1]`'s: one that has ended may be another's by now.
pub(super) const END_LEASE: &str = r"
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
";
