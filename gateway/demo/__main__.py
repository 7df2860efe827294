"""Run one simulated ComfyUI in the foreground.

It does not know the gateway: `python -m gateway.demo --port 8188 --version 0.28.1`.
"""

import argparse
import asyncio
import signal
from pathlib import Path

from gateway.demo.profile import PROFILES
from gateway.demo.server import Simulator


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m gateway.demo", description="A simulated ComfyUI.")
    parser.add_argument("--port", type=int, default=8188, help="0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--version", choices=sorted(PROFILES), default="0.28.1")
    parser.add_argument("--directory", type=Path, default=None, help="folder for input/, output/, temp/, user/")
    parser.add_argument("--seconds-per-step", type=float, default=0.05)
    parser.add_argument("--models-seconds", type=float, default=0.0, help="how long a checkpoint takes to load")
    parser.add_argument("--padding-bytes", type=int, default=0, help="grow /object_info to about this size")
    parser.add_argument("--front-end-root", type=Path, default=None, help="folder of a ComfyUI frontend to serve")
    parser.add_argument("--control", action="store_true", help="serve /_sim/faults, /_sim/crash and /_sim/log")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT (0) or until it crashes by itself (1)."""
    simulator = Simulator(**vars(arguments))
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await simulator.start()
    print(simulator.url, flush=True)
    waits = {asyncio.create_task(ended.wait()), asyncio.create_task(simulator.crashed.wait())}
    _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await simulator.stop()
    return 0 if ended.is_set() else 1


if __name__ == "__main__":
    raise SystemExit(asyncio.run(_run(_arguments())))
