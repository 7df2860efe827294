"""Measure and print the tables: `python -m bench [--quick] [--only gets]`. It does not know what is measured how."""

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
from types import FrameType
from typing import Final, NoReturn

from bench import events, gets, limits, prompts
from bench.crew import BenchError, program
from bench.figures import Row
from bench.plan import QUICK, WHOLE, Plan
from bench.report import report
from gateway import __version__

PARTS: Final = {"gets": gets.measure, "prompts": prompts.measure, "events": events.measure, "limits": limits.measure}
_VERSION: Final = re.compile(r"\d+\.\d+[.\d]*")
_ASK_VERSION: Final = {"wrk": "-v", "nginx": "-v", "caddy": "version"}


def main() -> int:
    """0, 1 when it could not be measured, 130 when interrupted; everything that was started is ended in each case."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else WHOLE
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        heading = _heading(plan)
        rows, left_out = _measured(plan, arguments.only or list(PARTS))
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted", file=sys.stderr)
        return 130
    print(report(rows, heading=heading, left_out=left_out))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Direct, nginx, Caddy, the gateway.")
    parser.add_argument("--quick", action="store_true", help="one short round: shows that it runs, not how fast")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part; may be repeated")
    return parser.parse_args()


def _measured(plan: Plan, parts: list[str]) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    left_out: list[str] = []
    for part in parts:
        print(f"bench: measuring {part} …", file=sys.stderr, flush=True)
        found, missing = PARTS[part](plan)
        rows += found
        left_out += missing
    return rows, left_out


def _heading(plan: Plan) -> str:
    """What the figures depend on, so that a pasted table can be judged."""
    versions = [f"{name} {version}" for name in _ASK_VERSION if (version := _version(name))]
    told = ", ".join((f"gateway {__version__}", f"Python {platform.python_version()}", *versions))
    rounds = f"medians of {plan.rounds} rounds" if plan.rounds > 1 else "one short round, figures not to be quoted"
    return (
        f"{told}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before; {rounds}. "
        f"The gateway is one process, with a token and all of its checks; {plan.sockets + 1} event sockets, "
        f"{plan.waiting} jobs in the long queue."
    )


def _version(name: str) -> str | None:
    path = program(name)
    if path is None:
        return None
    done = subprocess.run([path, _ASK_VERSION[name]], capture_output=True, text=True, timeout=10)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else "of unknown version"


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
