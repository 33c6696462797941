-- wrk script: optional method and body length (`-- PUT 102400`), and one JSON line with the exact figures at the end.
-- Without a `request` function wrk sends one prepared request again and again, which keeps the load tool cheap.

function init(args)
  if args[1] then
    wrk.method = args[1]
    wrk.headers["Content-Type"] = "application/json"
    local head, tail = '{"MerchantOrderNo":"1","MerchantComment":"', '"}'
    wrk.body = head .. string.rep("x", tonumber(args[2]) - #head - #tail) .. tail
  end
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,'
      .. '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect, e.read, e.write, e.status, e.timeout))
end
