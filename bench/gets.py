"""GET requests: a small answer and one of 2 MB, direct, through nginx, through Caddy and through the gateway.

It does not know how any of them is configured.
"""

import http.client
from typing import Final

from bench import wrk
from bench.crew import BenchError, Crew, program
from bench.door import start_comfyui, start_gateway
from bench.figures import Row, Sample, interleaved, rows
from bench.plan import Plan
from bench.proxies import BIG, BIG_BYTES, PROXIES, SMALL, SMALL_BYTES, start_upstream

CONNECTIONS: Final = 32
SMALL_RATE: Final = f"small GET, {CONNECTIONS} connections"
SMALL_LATENCY: Final = "small GET, 1 connection, median"
BIG_RATE: Final = f"2 MB GET, {CONNECTIONS} connections"


def measure(plan: Plan) -> tuple[list[Row], list[str]]:
    """The rows, and a line for everything that had to be left out."""
    missing = [name for name in ("wrk", "nginx") if program(name) is None]
    if missing:
        return [], [f"all GET rows: {' and '.join(missing)} not installed"]
    left_out = [f"{subject}: not installed" for subject, (name, _) in PROXIES.items() if program(name) is None]
    with Crew() as crew:
        upstream = start_upstream(crew, start_comfyui(crew))
        urls = {"direct": upstream}
        urls |= {subject: start(crew, upstream) for subject, (name, start) in PROXIES.items() if program(name)}
        door = start_gateway(crew, upstream, users=1)
        urls["gateway"] = door.url
        return _measured(urls, {"X-API-Key": door.tokens[0]}, plan), left_out


def _measured(urls: dict[str, str], headers: dict[str, str], plan: Plan) -> list[Row]:
    for subject, url in urls.items():
        _require_whole(subject, url, SMALL, headers=headers, size=SMALL_BYTES)
        _require_whole(subject, url, BIG, headers=headers, size=BIG_BYTES)

    def rate(url: str) -> Sample:
        return (wrk.load(url, connections=CONNECTIONS, seconds=plan.get_seconds, headers=headers).per_second,)

    def latency(url: str) -> Sample:
        return (wrk.load(url, connections=1, seconds=plan.get_seconds / 2, headers=headers).median_ms,)

    small = {subject: (lambda url=url + SMALL: rate(url)) for subject, url in urls.items()}
    alone = {subject: (lambda url=urls[subject] + SMALL: latency(url)) for subject in ("direct", "gateway")}
    big = {subject: (lambda url=url + BIG: rate(url)) for subject, url in urls.items()}
    return [
        *rows(interleaved(small, rounds=plan.rounds), (SMALL_RATE, "req/s")),
        *rows(interleaved(alone, rounds=plan.rounds), (SMALL_LATENCY, "ms")),
        *rows(interleaved(big, rounds=plan.rounds), (BIG_RATE, "req/s")),
    ]


def _require_whole(subject: str, url: str, path: str, *, headers: dict[str, str], size: int) -> None:
    """Everybody must do the same work: a refusal or an error would be answered fast."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        received = len(answer.read())
    finally:
        connection.close()
    if (answer.status, received) != (200, size):
        raise BenchError(f"{subject} answered GET {path} with {answer.status} and {received} bytes, not 200 and {size}")
