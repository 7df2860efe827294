"""The proxies to compare with, and the upstream behind all of them: configurations of nginx and Caddy.

It does not know what is measured. Loopback only, everything they write goes to the run's directory, no access logs:
they get every advantage that costs the comparison no honesty.
"""

import os
from collections.abc import Callable
from typing import Final

from bench.crew import BenchError, Crew, free_port, program

SMALL: Final = "/features"
BIG: Final = "/view?filename=big.png"
SMALL_BYTES: Final = 251
BIG_BYTES: Final = 2 * 1024 * 1024

_NGINX: Final = """
{user}
daemon off;
worker_processes {workers};
pid {directory}/{name}.pid;
error_log {directory}/{name}.error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  # One connection for the whole run: reconnecting after every 1000 requests, the default, would be measured too.
  keepalive_requests 100000000;
  client_body_temp_path {directory}/{name}-body;
  proxy_temp_path {directory}/{name}-proxy;
  fastcgi_temp_path {directory}/{name}-fastcgi;
  uwsgi_temp_path {directory}/{name}-uwsgi;
  scgi_temp_path {directory}/{name}-scgi;
  {http}
}}
"""

_UPSTREAM: Final = """
  map $http_upgrade $connection_wish {{ default upgrade; "" ""; }}
  server {{
    listen 127.0.0.1:{port};
    open_file_cache max=16;
    location = /features {{ default_type application/json; alias {directory}/small.json; }}
    location = /view {{ default_type image/png; alias {directory}/big.png; }}
    location / {{
      proxy_pass {comfyui};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_wish;
    }}
  }}
"""

_PROXY: Final = """
  upstream comfyui {{ server {host}; keepalive 64; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://comfyui;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
"""

_CADDY: Final = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  bind 127.0.0.1
  reverse_proxy {host}
}}
"""


def start_upstream(crew: Crew, comfyui: str) -> str:
    """An nginx that answers the two measured addresses from files and passes the rest to `comfyui`; its URL.

    It must be faster than every proxy in front of it, or their ratios would come out too near to each other.
    """
    small = b'{"supports_preview_metadata":true,"max_upload_size":104857600,"padding":"'
    small += b"x" * (SMALL_BYTES - len(small) - 2) + b'"}'
    (crew.directory / "small.json").write_bytes(small)
    (crew.directory / "big.png").write_bytes(os.urandom(BIG_BYTES))
    port = free_port()
    http = _UPSTREAM.format(port=port, directory=crew.directory, comfyui=comfyui)
    return _start_nginx(crew, "upstream", http, port=port)


def start_nginx(crew: Crew, upstream: str) -> str:
    """nginx as a proxy with connections kept alive on both sides; its URL."""
    port = free_port()
    return _start_nginx(crew, "nginx", _PROXY.format(port=port, host=upstream.removeprefix("http://")), port=port)


def start_caddy(crew: Crew, upstream: str) -> str:
    """Caddy as a proxy, with its defaults; its URL."""
    port = free_port()
    file = crew.directory / "Caddyfile"
    file.write_text(_CADDY.format(port=port, host=upstream.removeprefix("http://")))
    words = [_installed("caddy"), "run", "--adapter", "caddyfile", "--config", str(file)]
    crew.start("caddy", words, ready=f"http://127.0.0.1:{port}{SMALL}")
    return f"http://127.0.0.1:{port}"


PROXIES: Final[dict[str, tuple[str, Callable[[Crew, str], str]]]] = {
    "nginx": ("nginx", start_nginx),
    "Caddy": ("caddy", start_caddy),
}
"""By the name in the table: the program that must be installed, and what starts it."""


def _start_nginx(crew: Crew, name: str, http: str, *, port: int) -> str:
    # Without this a master that root started gives its workers to somebody who cannot read the run's directory.
    user = "user root;" if os.geteuid() == 0 else ""
    file = crew.directory / f"{name}.conf"
    file.write_text(_NGINX.format(user=user, workers="auto", directory=crew.directory, name=name, http=http))
    words = [_installed("nginx"), "-c", str(file), "-p", str(crew.directory), "-e", "stderr"]
    crew.start(name, words, ready=f"http://127.0.0.1:{port}{SMALL}")
    return f"http://127.0.0.1:{port}"


def _installed(name: str) -> str:
    path = program(name)
    if path is None:
        raise BenchError(f"{name} is not installed")
    return path
