-- What wrk sends and prints. Without environment variables it sends the request of its command line.
--   REQUESTS: a file of requests to send in turn, each a line METHOD PATH [BODY].
--   NUMBERS: the word NUMBER in a path is a random number from 1 to this one.
--   EACH: it is each of those numbers in turn instead.
--   INTERVAL: each connection sends a request every so many milliseconds, from a random moment on.
--   CONNECTIONS: how many connections there are.

local requests, sent, begun = {}, 0, 0
local numbers = tonumber(os.getenv("NUMBERS"))
local each = os.getenv("EACH")
local interval = tonumber(os.getenv("INTERVAL"))
local connections = tonumber(os.getenv("CONNECTIONS"))

if os.getenv("REQUESTS") then
    function init()
        for line in io.lines(os.getenv("REQUESTS")) do
            local method, path, body = line:match("^(%S+) (%S+) ?(.*)$")
            requests[#requests + 1] = wrk.format(method, path, nil, body ~= "" and body or nil)
        end
    end

    function request()
        sent = sent + 1
        local text = requests[sent % #requests + 1]
        if numbers then
            local number = each and sent % numbers + 1 or math.random(numbers)
            text = text:gsub("NUMBER", number, 1)
        end
        return text
    end
end

if interval then
    function delay()
        begun = begun + 1
        return begun > connections and interval or math.random(0, interval)
    end
end

-- One line of JSON. Times are in microseconds.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        '{"per_second":%.2f,"p50":%d,"p99":%d,"p999":%d,"failed":%d}\n',
        summary.requests / summary.duration * 1e6,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
