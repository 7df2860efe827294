"""The load generator for GET requests: wrk, an ordinary package of every distribution. It does not know who answers."""

import re
import subprocess
from dataclasses import dataclass
from typing import Final

from bench.crew import BenchError, program

_RATE: Final = re.compile(r"^Requests/sec:\s+([\d.]+)$", re.MULTILINE)
_QUANTILE: Final = re.compile(r"^\s+50%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_FAULT: Final = re.compile(r"^\s*(Non-2xx or 3xx responses: \d+|Socket errors: .*)$", re.MULTILINE)
_MILLISECONDS: Final = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: requests per second, and the median latency in milliseconds."""

    per_second: float
    median_ms: float


def load(url: str, *, connections: int, seconds: float, headers: dict[str, str]) -> Load:
    """Ask for `url` again and again over so many connections, from one thread.

    Raises BenchError when a single answer was not 2xx: errors are answered fast.
    """
    path = program("wrk")
    if path is None:
        raise BenchError("wrk is not installed")
    told = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
    # wrk reads whole seconds only.
    size = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s", "--latency"]
    done = subprocess.run([path, *size, *told, url], capture_output=True, text=True, timeout=seconds + 60)
    if done.returncode != 0:
        raise BenchError(f"wrk {url}: {done.stdout}{done.stderr}")
    return read(done.stdout)


def read(printed: str) -> Load:
    """What wrk printed with --latency."""
    fault = _FAULT.search(printed)
    if fault is not None:
        raise BenchError(f"wrk met errors, so its figures say nothing: {fault[1]}")
    rate, median = _RATE.search(printed), _QUANTILE.search(printed)
    if rate is None or median is None:
        raise BenchError(f"wrk printed something else than expected:\n{printed}")
    return Load(float(rate[1]), float(median[1]) * _MILLISECONDS[median[2]])
