"""A real nginx in front of a gateway, with the settings that are recommended for it."""

import os
import subprocess
from pathlib import Path

from tests.e2e.conftest import free_port, wait_for

PROXY_ADDRESS = "127.0.0.2"
"""Where nginx calls the gateway from, so that the gateway can trust it and not the tests' own connections."""

_CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi;
  uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;

  client_header_timeout 10s;
  client_body_timeout 20s;
  send_timeout 30s;
  keepalive_timeout 65s;
  large_client_header_buffers 4 8k;
  client_max_body_size 100m;

  # Only a websocket of HTTP/1.1 is an upgrade; h2c and everything else loses the wish.
  map "$server_protocol $http_upgrade" $upgrade_wish {{ default ""; "~*^HTTP/1\\.1 websocket$" websocket; }}
  map $upgrade_wish $connection_wish {{ default upgrade; "" ""; }}
  upstream gateway {{ server 127.0.0.1:{upstream}; keepalive 16; }}

  server {{
    listen 127.0.0.1:{port};
    location / {{
      # Without a URI part: the path is sent as it came.
      proxy_pass http://gateway;
      proxy_bind {address};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $upgrade_wish;
      proxy_set_header Connection $connection_wish;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header Forwarded "";
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_connect_timeout 5s;
      proxy_read_timeout 3600s;
      proxy_send_timeout 60s;
      proxy_next_upstream off;
      proxy_ignore_headers X-Accel-Redirect X-Accel-Buffering X-Accel-Expires X-Accel-Limit-Rate X-Accel-Charset;
    }}
  }}
}}
"""


def start_nginx(program: str, directory: Path, *, upstream: int) -> tuple[subprocess.Popen[bytes], int]:
    """The running nginx and its port; the gateway listens on the port `upstream`."""
    port = free_port()
    # Without this a master that root started gives its workers to somebody who cannot read the directory.
    user = "user root;" if os.geteuid() == 0 else ""
    file, log = directory / "nginx.conf", directory / "nginx.log"
    configuration = _CONFIGURATION.format(
        user=user, directory=directory, upstream=upstream, port=port, address=PROXY_ADDRESS
    )
    file.write_text(configuration)
    with log.open("wb") as output:
        words = [program, "-c", str(file), "-p", str(directory), "-e", str(log)]
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    wait_for(f"http://127.0.0.1:{port}/gateway/healthz", process, log)
    return process, port
