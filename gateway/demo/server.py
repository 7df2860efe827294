"""A simulated ComfyUI: start it, stop it, crash it, read what it did.

It does not know what it simulates in detail; that is in the rest of this folder.
"""

import asyncio
import logging
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.demo.application import application
from gateway.demo.control import CRASH
from gateway.demo.execution import Pace
from gateway.demo.faults import Faults, reset
from gateway.demo.machine import Machine, assemble
from gateway.demo.nodes import Catalogue
from gateway.demo.places import Places
from gateway.demo.profile import PROFILES
from gateway.demo.record import Happening, Record

__all__ = ["CHECKPOINTS", "Faults", "Happening", "Simulator"]

OWN_FRONT_END = Path(__file__).parent / "frontend"
CHECKPOINTS = ("v1-5-pruned-emaonly.safetensors", "sd_xl_base_1.0.safetensors")
_SHUTDOWN_SECONDS = 0.2


class Simulator:
    """One simulated server. Several run in one process; each has its own port, folders, queue, faults and log.

    `version` is a key of PROFILES. `port` 0 takes a free one at the first start and keeps it. `directory` holds input/,
    output/, temp/ and user/; without one a temporary folder is made, which lives as long as this object. Loading a
    checkpoint takes `models_seconds`, a KSampler step `seconds_per_step`. `control` adds the /_sim/ routes;
    `padding_bytes` grows the answer of /object_info to about that size. `front_end_root` is the folder of an unpacked
    ComfyUI frontend to serve, together with the templates that it asks for; without one it is a small page of our own.
    Raises FileNotFoundError when it has no index.
    """

    def __init__(
        self,
        *,
        version: str = "0.28.1",
        port: int = 0,
        host: str = "127.0.0.1",
        directory: Path | None = None,
        seconds_per_step: float = 0.05,
        checkpoints: Sequence[str] = CHECKPOINTS,
        models_seconds: float = 0.0,
        control: bool = False,
        padding_bytes: int = 0,
        front_end_root: Path | None = None,
    ) -> None:
        self.port = port
        self.faults = Faults()
        self.crashed = asyncio.Event()  # Set while down after a crash, unless it comes back by itself.
        self._host = host
        self._control = control
        self._front_end = _checked(front_end_root or OWN_FRONT_END)
        self._profile = PROFILES[version]
        self._templates = front_end_root is not None or not self._profile.jobs_api
        self._places = Places(self._own(directory), self._profile.guarded)
        self._catalogue = Catalogue(
            profile=self._profile, places=self._places, checkpoints=checkpoints, padding_bytes=padding_bytes
        )
        self._pace = Pace(seconds_per_step=seconds_per_step, models_seconds=models_seconds)
        self._record = Record()
        self._machine: Machine | None = None
        self._runner: web.AppRunner | None = None

    def _own(self, directory: Path | None) -> Path:
        if directory is not None:
            return directory.absolute()
        made = Path(tempfile.mkdtemp(prefix="comfyui-demo-"))
        weakref.finalize(self, shutil.rmtree, made, ignore_errors=True)
        return made

    @property
    def url(self) -> str:
        """http://host:port, known once started."""
        return f"http://{self._host}:{self.port}"

    @property
    def directory(self) -> Path:
        """The folder with input/, output/, temp/ and user/."""
        return self._places.root

    @property
    def log(self) -> list[Happening]:
        """Everything that happened, across crashes and restarts."""
        return self._record.entries

    @property
    def queue_running(self) -> list[str]:
        """The prompt being executed, if any."""
        return [item.prompt_id for item in self._machine.queue.running] if self._machine else []

    @property
    def queue_pending(self) -> list[str]:
        """Waiting prompts in the order they will run."""
        return [item.prompt_id for item in self._machine.queue.in_order()] if self._machine else []

    @property
    def history(self) -> dict[str, dict[str, Any]]:
        """What /history answers; empty when down."""
        return self._machine.queue.history if self._machine else {}

    def routes(self) -> list[tuple[str, str]]:
        """(method, path pattern) of everything that is served; empty when down."""
        served = self._runner.app.router.routes() if self._runner else ()
        return [(route.method, route.resource.canonical) for route in served if route.resource]

    def object_info(self) -> dict[str, Any]:
        """What GET /object_info answers."""
        return self._catalogue.everything()

    async def start(self) -> None:
        """Listen, with an empty queue and history. Raises OSError when the port is taken."""
        if self._machine is not None:
            return
        self._places.make()
        self.crashed.clear()
        machine = assemble(
            profile=self._profile,
            places=self._places,
            catalogue=self._catalogue,
            faults=self.faults,
            record=self._record,
            pace=self._pace,
        )
        app = application(machine, web_root=self._front_end, templates=self._templates, controlled=self._control)
        app[CRASH] = self._crash_and_return
        runner = web.AppRunner(app, access_log=None, logger=_SILENT, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        site = web.TCPSite(runner, self._host, self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._machine, self._runner = machine, runner
        machine.run(self._die)

    async def stop(self) -> None:
        """End as ComfyUI does on SIGTERM: sockets closed, temp/ emptied. Does nothing when down."""
        machine, runner = self._take_down()
        if machine is None or runner is None:
            return
        await machine.end()
        await runner.cleanup()
        shutil.rmtree(self._places.root / "temp", ignore_errors=True)

    async def crash(self) -> None:
        """End as by `kill -9`: connections are reset, queue and history gone. `start` comes back on the same port."""
        await self._break_down()
        self.crashed.set()

    async def _break_down(self) -> None:
        machine, runner = self._take_down()
        if machine is None or runner is None:
            return
        self._record.note("crashed")
        for site in list(runner.sites):
            await site.stop()
        for connection in list(runner.server.connections if runner.server else ()):
            reset(getattr(connection, "transport", None))
        await machine.end()
        await runner.cleanup()
        shutil.rmtree(self._places.root / "temp", ignore_errors=True)

    def _take_down(self) -> tuple[Machine | None, web.AppRunner | None]:
        """Forget the present life, so that a second stop or crash finds nothing to do."""
        taken = self._machine, self._runner
        self._machine = self._runner = None
        return taken

    def _die(self) -> None:
        """The sending of events failed, which ends the whole of ComfyUI."""
        self._dying = asyncio.get_running_loop().create_task(self.crash())

    async def _crash_and_return(self, restart_after: float | None) -> None:
        if restart_after is None:
            await self.crash()
            return
        await self._break_down()
        await asyncio.sleep(restart_after)
        await self.start()


def _checked(front_end: Path) -> Path:
    if not (front_end / "index.html").is_file():
        raise FileNotFoundError(f"no index.html in {front_end}")
    return front_end.absolute()


# A 500 is ordinary here, and its traceback in a test's output would only frighten.
_SILENT = logging.getLogger("gateway.demo.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
