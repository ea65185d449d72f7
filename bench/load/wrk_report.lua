-- Prints wrk's summary as one line of JSON after the marker, for bench/clients.py to read.
-- Counts the answers other than 200 itself: wrk's own count begins at 400. That each answer is
-- looked at costs the load's core, not the server's.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  not_200 = 0
end

function response(status)
  if status ~= 200 then
    not_200 = not_200 + 1
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  local not_200 = 0
  for _, thread in ipairs(threads) do
    not_200 = not_200 + thread:get("not_200")
  end
  io.write(string.format(
    'WRK {"requests": %d, "seconds": %.6f, "bytes": %d, "mean_us": %.3f, "p50_us": %d, ' ..
    '"p99_us": %d, "p999_us": %d, "max_us": %d, "connect_errors": %d, "read_errors": %d, ' ..
    '"write_errors": %d, "not_200": %d, "timeouts": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency.mean,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    errors.connect, errors.read, errors.write, not_200, errors.timeout))
end
