"""What its user would put in front of ejabberd instead: Debian's nginx and HAProxy, tuned for many clients."""

import os
from pathlib import Path

from . import ports
from .ejabberd import Ejabberd
from .lab import Lab
from .program import takes_connections
from .server import Entrances, Server

_NGINX = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid nginx.pid;
{user}worker_processes auto;
worker_rlimit_nofile {descriptors};
events {{ worker_connections {descriptors}; }}
http {{
  access_log off;
  client_body_temp_path tmp-body;
  proxy_temp_path tmp-proxy;
  fastcgi_temp_path tmp-fastcgi;
  uwsgi_temp_path tmp-uwsgi;
  scgi_temp_path tmp-scgi;
  keepalive_requests 1000000000;
  upstream ejabberd {{
    server 127.0.0.1:{ejabberd_http};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen 127.0.0.1:{http} backlog=4096;
    listen 127.0.0.1:{https} ssl backlog=4096;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    location / {{
      proxy_pass http://ejabberd;
      proxy_http_version 1.1;
      proxy_read_timeout 1h;
      proxy_buffering off;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
stream {{
  server {{
    listen 127.0.0.1:{xmpp} backlog=4096;
    proxy_pass 127.0.0.1:{ejabberd_xmpp};
    proxy_timeout 1h;
  }}
}}
"""

_HAPROXY = """\
global
  maxconn {connections}
defaults
  mode http
  backlog 4096
  option forwardfor
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
listen web
  bind 127.0.0.1:{http}
  bind 127.0.0.1:{https} ssl crt {both}
  server ejabberd 127.0.0.1:{ejabberd_http}
listen xmpp
  mode tcp
  bind 127.0.0.1:{xmpp}
  server ejabberd 127.0.0.1:{ejabberd_xmpp}
"""


class Front(Server):
    """A running proxy that hands its clients on to an ejabberd."""

    def __init__(self, name: str, lab: Lab, ejabberd: Ejabberd) -> None:
        """`name` is nginx or haproxy. Returns when it takes connections."""
        self.entrances = Entrances(http=ports.free(), https=ports.free(), xmpp=ports.free())
        folder = lab.folder(name)
        cert, key = lab.certificate()
        template, command = _kind(name, folder)
        (folder / "front.conf").write_text(
            template.format(
                user="user root;\n" if os.geteuid() == 0 else "",
                descriptors=lab.descriptors,
                # Each client is two connections.
                connections=lab.descriptors // 2 - 100,
                cert=cert,
                key=key,
                both=lab.directory / "both.pem",
                http=self.entrances.http,
                https=self.entrances.https,
                xmpp=self.entrances.xmpp,
                ejabberd_http=ejabberd.entrances.http,
                ejabberd_xmpp=ejabberd.entrances.xmpp,
            )
        )
        super().__init__(name, command, folder)
        lab.keep(self)
        self.wait_until("it takes connections", lambda: takes_connections(self.entrances.http))


def nginx(lab: Lab, ejabberd: Ejabberd) -> Front:
    """nginx in front of an ejabberd."""
    return Front("nginx", lab, ejabberd)


def haproxy(lab: Lab, ejabberd: Ejabberd) -> Front:
    """HAProxy in front of an ejabberd."""
    return Front("haproxy", lab, ejabberd)


def settings() -> dict[str, str]:
    """How they are set up, for the report."""
    return {"nginx.conf": _shown(_NGINX), "haproxy.cfg": _shown(_HAPROXY)}


def _kind(name: str, folder: Path) -> tuple[str, list[str | Path]]:
    if name == "nginx":
        return _NGINX, ["/usr/sbin/nginx", "-p", folder, "-c", "front.conf", "-e", folder / "error.log"]
    return _HAPROXY, ["/usr/sbin/haproxy", "-db", "-f", folder / "front.conf"]


def _shown(template: str) -> str:
    return template.replace("{{", "{").replace("}}", "}").replace("{user}", "")
