"""The commands. Each is a thin hand on the store or the app; it decides nothing that another room could decide."""

import sys
from collections.abc import Iterable
from typing import NoReturn

import typer

from gateway.cli import config, db, files, token, user, userdata
from gateway.cli.check import check
from gateway.cli.demo import demo
from gateway.cli.serve import serve
from gateway.cli.usage import usage
from gateway.config import ConfigError
from gateway.errors import GatewayError
from gateway.log import configure

app = typer.Typer(
    name="comfy-gateway",
    help="One authenticated door to a ComfyUI that many people share.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("serve")(serve)
app.command("demo")(demo)
app.add_typer(user.app, name="user")
app.add_typer(token.app, name="token")
app.add_typer(userdata.app, name="userdata")
app.add_typer(files.app, name="files")
app.add_typer(db.app, name="db")
app.command("usage")(usage)
app.command("check")(check)
app.command("config")(config.show)


def main() -> None:
    """The command line.

    Exit code 0; 1 with one clear line on standard error for each thing that is wrong; 2 for wrong usage.
    """
    # What is logged must not get between what a script reads from standard output.
    configure(json=not sys.stderr.isatty())
    try:
        app()
    except ConfigError as error:
        _fail(error.problems)
    except GatewayError as error:
        reason = f"({error.reason})" if error.reason else ""
        _fail([" ".join(part for part in (error.message, error.details, reason) if part)])


def _fail(lines: Iterable[str]) -> NoReturn:
    for line in lines:
        print(f"comfy-gateway: {line}", file=sys.stderr)
    sys.exit(1)
