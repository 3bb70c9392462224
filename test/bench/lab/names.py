"""What is compared, as people call it."""

PLAIN = "plain ejabberd"
PLAIN_TABLE = "plain ejabberd, sm_db_type: megaphone"
NGINX = "nginx in front"
HAPROXY = "HAProxy in front"
MEGAPHONE_HTTP = "Megaphone, HTTP mode"
MEGAPHONE = "Megaphone"
COLUMNS = [PLAIN, PLAIN_TABLE, NGINX, HAPROXY, MEGAPHONE_HTTP, MEGAPHONE]
"""The variants, in the order of the summary."""

TRANSPORTS = {"bosh": "BOSH", "websocket": "WebSocket", "tcp": "TCP"}
"""The swarm's transports, and how people call them."""
