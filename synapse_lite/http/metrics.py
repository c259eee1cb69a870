"""Counts and durations of requests, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Histogram

UNMATCHED = "unmatched"
"""The route of a request that no pattern matches: paths are never labels, they are unbounded."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class HttpMetrics:
    """Shared by all listeners of a process: a registry takes each metric once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "synapse_lite_http_requests",
            "HTTP requests answered (status 499: the client went away first)",
            ["method", "route", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "synapse_lite_http_request_seconds",
            "Time from the last byte of a request to the end of its handling",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        # Looking labels up costs more than counting. The table is bounded, as the labels are.
        self._series: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def record(self, method: str, route: str, status: int, seconds: float) -> None:
        """`route` is the pattern of the route, or `UNMATCHED`."""
        method = method if method in _METHODS else "OTHER"
        series = self._series.get((method, route, status))
        if series is None:
            series = self._requests.labels(method, route, status), self._seconds.labels(method, route)
            self._series[method, route, status] = series
        requests, durations = series
        requests.inc()
        durations.observe(seconds)
