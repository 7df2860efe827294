"""`comfy-gateway check`: a doctor, who looks at each part and says what to do about each fault.

It changes nothing, and does not know how the parts are looked at.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Annotated

import typer

from gateway.cli import comfyui_findings, database_findings, door_findings, issuer_findings
from gateway.cli.findings import Finding, fail, ok
from gateway.cli.place import ConfigFile, DataDir, file_of, settings_of
from gateway.config import ConfigError, Settings


def check(
    run: Annotated[bool, typer.Option("--run", help="Let ComfyUI make a tiny picture too.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Look at settings, database, ComfyUI, clock, TLS, proxies and single sign-on; say what to do about each fault.

    Exit code 1 if anything fails; what only should be better is a warning.
    """
    try:
        settings = settings_of(config, data_dir)
    except ConfigError as error:
        found = [fail("settings", problem, "Change it there, and check again.") for problem in error.problems]
    else:
        found = [ok("settings", f"from {file_of(config) or 'no file'}, the environment and flags")]
        found += asyncio.run(_all(settings, run=run))
    show(found)
    if any(finding.level == "fail" for finding in found):
        raise typer.Exit(1)


def show(found: Iterable[Finding]) -> None:
    """A line for each, and under it what to do."""
    for finding in found:
        typer.echo(f"{finding.level:<4}  {finding.subject:<11}  {finding.words}")
        if finding.remedy:
            typer.echo(f"{'':19}→ {finding.remedy}")


async def _all(settings: Settings, *, run: bool) -> list[Finding]:
    now = time.time
    return [
        *database_findings.keys(settings),
        *await database_findings.database(settings),
        *await comfyui_findings.comfyui(
            settings.comfyui[0], ours=await database_findings.client_id(settings), run=run, now=now
        ),
        *await door_findings.door(settings, now=now),
        *await issuer_findings.issuers(settings, now=now),
    ]
