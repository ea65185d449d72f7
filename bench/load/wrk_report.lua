-- Prints wrk's summary as one line of JSON after the marker, for bench/clients.py to read.
-- It defines no request or response function, so it costs nothing while the load runs.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'WRK {"requests": %d, "seconds": %.6f, "bytes": %d, "mean_us": %.3f, "p50_us": %d, ' ..
    '"p99_us": %d, "p999_us": %d, "max_us": %d, "connect_errors": %d, "read_errors": %d, ' ..
    '"write_errors": %d, "status_errors": %d, "timeouts": %d}\n',
    summary.requests, summary.duration / 1e6, summary.bytes, latency.mean,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
