-- Tell the figures of a run of wrk as one line of JSON: its own text rounds them.
function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'figures {"requests": %d, "duration_us": %d, "p50_us": %d, "p99_us": %d, "errors": '
            .. '{"connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}}\n',
        summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
