//! The Lua scripts: what Redis does in one step.
//!
//! Those that begin with `#!lua` ask Redis before they run whether it accepts writes. `allow-oom` lets a
//! script run even if the memory of Redis is full.
//!
//! A script may run twice: a client that has had no answer sends it again. The second run must not bring
//! back the generation of the first, which another write may have replaced meanwhile. So a script that sets
//! a generation makes a new mark, of the one that it is given and of the moment.

/// What a Redis before 7.0 says to a script that begins with `#!lua`.
pub(super) const TOO_OLD_FOR_SCRIPTS: &str = "Error compiling script";

/// A Lua function: the generation that is `given`, with a mark that no other run makes.
macro_rules! new_generation {
    () => {
        r"
local function new_generation(given)
    local time = redis.call('TIME')
    local mark = redis.sha1hex(given .. time[1] .. '.' .. time[2])
    return string.sub(mark, 1, 16) .. string.sub(given, 17)
end
"
    };
}

/// Asks for everything that invalidations need, and changes nothing: whether writes are accepted and, with
/// a key, whether the user has all rights to it.
pub(super) const HEARTBEAT: &str = r"#!lua flags=allow-oom
if #KEYS > 0 then
    redis.call('DEL', KEYS[1])
    redis.call('TIME')
    redis.call('EXISTS', KEYS[1])
    redis.call('GET', KEYS[1])
    redis.call('SET', KEYS[1], '', 'XX')
end
return 1
";

/// Raises or releases the fence with the id `ARGV[1]`. The script removes fences that have ended, adds
/// the fence for `ARGV[2]` milliseconds (0 releases it), and sets a new generation, made of `ARGV[3]`, for
/// `ARGV[4]` milliseconds. Since all of it is one step, a fence that ends meanwhile cannot be counted
/// wrongly. A value of another type under one of the keys is replaced. A release with
/// `ARGV[5]` above 0 forbids to raise the fence for that many milliseconds, since the command that
/// raises it may still be on its way.
pub(super) const MOVE_FENCE: &str = concat!(
    "#!lua flags=allow-oom",
    new_generation!(),
    r"
if tonumber(ARGV[2]) > 0 and redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local raised, last = {}, 0
local function keep(id, till)
    raised[#raised + 1] = id .. ':' .. string.format('%.0f', till)
    if till > last then last = till end
end
local stored = redis.pcall('GET', KEYS[2])
if type(stored) ~= 'string' then stored = '' end
for id, till in string.gmatch(stored, '(%w+):(%d+)') do
    if tonumber(till) > now and id ~= ARGV[1] then keep(id, tonumber(till)) end
end
if tonumber(ARGV[2]) > 0 then keep(ARGV[1], now + tonumber(ARGV[2])) end
redis.call('SET', KEYS[1], new_generation(ARGV[3]), 'PX', ARGV[4])
if #raised > 0 then
    redis.call('SET', KEYS[2], table.concat(raised, ','), 'PX', string.format('%.0f', last - now))
else
    redis.call('DEL', KEYS[2])
end
if tonumber(ARGV[5]) > 0 then redis.call('SET', KEYS[3], 1, 'PX', ARGV[5]) end
return 1
"
);

/// Replaces the generation `ARGV[1]` by a new one, made of `ARGV[2]`, for `ARGV[3]` milliseconds, unless
/// another one has been set meanwhile. Answers with the generation that is current then, or with nothing
/// while a fence is raised: a generation that was handed out during a write could outlive the write's fence.
pub(super) const REPLACE_GENERATION: &str = concat!(
    "#!lua flags=allow-oom",
    new_generation!(),
    r"
if redis.call('EXISTS', KEYS[2]) == 1 then return false end
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' and stored ~= ARGV[1] then return stored end
local generation = new_generation(ARGV[2])
redis.call('SET', KEYS[1], generation, 'PX', ARGV[3])
return generation
"
);

/// Stores the entry `ARGV[2]` for `ARGV[3]` milliseconds, if the tenant's generation still begins with
/// `ARGV[1]`: otherwise an entry of a later generation could be overwritten. The generation then lives
/// for another `ARGV[4]` milliseconds. Ends the lease if `ARGV[5]` holds it.
pub(super) const STORE: &str = r"
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'string' and string.sub(stored, 1, #ARGV[1]) == ARGV[1] then
    redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
    redis.call('SET', KEYS[1], stored, 'PX', ARGV[4])
end
if redis.pcall('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
return 1
";

/// Sets a mark.
pub(super) const SET_MARK: &str = r"#!lua flags=allow-oom
return redis.call('SET', KEYS[1], ARGV[1])
";

/// Deletes the lease if `ARGV[1]` holds it: after it has ended another instance may hold it.
pub(super) const END_LEASE: &str = r"
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
";
