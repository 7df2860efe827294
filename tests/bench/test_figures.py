"""What the benchmark makes of its figures."""

from functools import partial

import pytest

from bench import gets, prompts, wrk
from bench.crew import BenchError
from bench.figures import Row, interleaved, quantile
from bench.plan import QUICK
from bench.report import report

WRK = """Running 2s test @ http://127.0.0.1:8080/features
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.50ms    0.90ms  20.00ms   90.00%
    Req/Sec     1.99k    17.68     2.01k    75.00%
  Latency Distribution
     50%  {median}
     75%    2.00ms
     90%    3.00ms
     99%    9.00ms
  39500 requests in 2.00s, 14.50MB read
{faults}Requests/sec:  19750.25
Transfer/sec:      7.25MB
"""


def figures(title: str, text: str) -> str:
    """The line of the tables that begins with the title."""
    return next(line for line in text.splitlines() if line.startswith(f"| {title} |"))


@pytest.mark.parametrize(("printed", "milliseconds"), [("480.00us", 0.48), ("  1.50ms", 1.5), ("  2.00s", 2000.0)])
def test_wrk_is_read_in_every_unit(printed: str, milliseconds: float) -> None:
    """The rate and the median latency come out of what wrk prints, in requests per second and milliseconds."""
    load = wrk.read(WRK.format(median=printed, faults=""))
    assert (load.per_second, load.median_ms) == (19750.25, pytest.approx(milliseconds))


@pytest.mark.parametrize(
    "fault",
    ["  Non-2xx or 3xx responses: 7\n", "  Socket errors: connect 0, read 1, write 0, timeout 0\n"],
)
def test_a_fast_error_is_no_figure(fault: str) -> None:
    """A run in which anything failed measures nothing, because errors are answered fast."""
    with pytest.raises(BenchError):
        wrk.read(WRK.format(median="1.00ms", faults=fault))


def test_rounds_are_interleaved() -> None:
    """One subject is measured after the other, all of them again in each round, and the median of each counts."""
    order: list[str] = []
    given = {"direct": iter([1.0, 9.0, 2.0]), "gateway": iter([4.0, 3.0, 8.0])}

    def measure(subject: str) -> tuple[float, ...]:
        order.append(subject)
        return (next(given[subject]),)

    measures = {name: partial(measure, name) for name in given}
    taken = interleaved(measures, rounds=3)
    assert order == ["direct", "gateway"] * 3
    assert taken == {"direct": (2.0,), "gateway": (4.0,)}


def test_a_quantile_is_a_value_that_was_measured() -> None:
    """The p99 is the smallest value that 99 % do not exceed."""
    values = [float(number) for number in range(1, 201)]
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (100.0, 198.0, 7.0)


def test_ratios_come_first_and_say_whether_they_hold() -> None:
    """The report begins with the ratios, each beside the targets of this stage and of the design, met or not."""
    rows = [
        Row(gets.SMALL_RATE, "req/s", {"direct": 40000, "nginx": 20000, "Caddy": 8000, "gateway": 4000}),
        Row(gets.SMALL_LATENCY, "ms", {"direct": 0.05, "gateway": 0.45}),
        Row(prompts.LONG_RATE, "submits/s", {"direct": 900, "gateway": 60}),
    ]
    text = report(rows, heading="a machine", left_out=[])
    assert figures("small GET, gateway / nginx", text).endswith("| **0.20 x** | ≥ 0.1 x ✓ | ≥ 0.4 x ✗ |")
    assert figures("small GET, gateway / Caddy", text).endswith("| **0.50 x** | ≥ 0.3 x ✓ | ≥ 1 x ✗ |")
    assert figures("small GET, added at 1 connection", text).endswith("| **0.40 ms** | - | ≤ 0.3 ms ✗ |")
    assert figures("POST /prompt, long queue, 8 clients", text).endswith("| **60.0/s** | ≥ 50/s ✓ | ≥ 300/s ✗ |")
    assert text.index("| ratios") < text.index("| figures")
    assert figures(gets.SMALL_RATE, text).endswith("| req/s | 40,000 | 20,000 | 8,000 | 4,000 |")


def test_what_was_not_measured_has_no_line() -> None:
    """A subject that was left out has neither a ratio nor a column, and is named below the tables."""
    row = Row(gets.SMALL_RATE, "req/s", {"direct": 40000, "nginx": 20000, "gateway": 4000})
    text = report([row], heading="a machine", left_out=["Caddy: not installed"])
    assert "Caddy |" not in text
    assert text.endswith("Left out: Caddy: not installed.")


def test_without_wrk_or_nginx_the_gets_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where wrk or nginx is missing the rows are left out with one line, and nothing is downloaded or started."""
    monkeypatch.setattr(gets, "program", lambda name: None)
    assert gets.measure(QUICK) == ([], ["all GET rows: wrk and nginx not installed"])
