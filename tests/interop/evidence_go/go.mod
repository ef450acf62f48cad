module sameview.test/evidence

go 1.25.0

require filippo.io/mldsa v0.0.0-20260215214346-43d0283efc3e
