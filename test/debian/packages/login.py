#!/usr/bin/env python3
"""Logs in by BOSH, with Python's own library alone: login.py URL USER HOST PASSWORD."""

import base64
import random
import sys
import urllib.request

HTTPBIND = "http://jabber.org/protocol/httpbind"
XBOSH = "urn:xmpp:xbosh"


class Session:
    """A BOSH session."""

    def __init__(self, url: str, host: str) -> None:
        self.url, self.host = url, host
        self.rid = random.randrange(1, 2**40)
        self.sid = ""
        first = self.send("", f"to='{host}' wait='10' hold='1' ver='1.6' xml:lang='en' xmpp:version='1.0'")
        self.sid = first.partition("sid='")[2].partition("'")[0] or first.partition('sid="')[2].partition('"')[0]
        self.features = first if "mechanism" in first else self.until("mechanism")

    def send(self, content: str, attributes: str = "") -> str:
        """What the answer to a request is."""
        self.rid += 1
        sid = f"sid='{self.sid}' " if self.sid else ""
        body = f"<body rid='{self.rid}' {sid}{attributes} xmlns='{HTTPBIND}' xmlns:xmpp='{XBOSH}'>{content}</body>"
        request = urllib.request.Request(self.url, body.encode(), {"Content-Type": "text/xml; charset=utf-8"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    def until(self, text: str, answer: str = "") -> str:
        """The first answer with a text; the session is asked again until it comes."""
        while text not in answer:
            if "type='terminate'" in answer or 'type="terminate"' in answer or "<failure" in answer:
                raise SystemExit(f"not {text}, but: {answer}")
            answer = self.send("")
        return answer


def main() -> None:
    """Logs in, binds a resource, and leaves."""
    url, user, host, password = sys.argv[1:]
    session = Session(url, host)
    secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    sasl = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
    session.until("<success", session.send(sasl))
    restarted = session.send("", f"to='{host}' xmpp:restart='true'")
    session.until("urn:ietf:params:xml:ns:xmpp-bind", restarted)
    bind = "<iq type='set' id='b' xmlns='jabber:client'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
    session.until(f"{user}@{host}/", session.send(bind))
    session.send("<presence xmlns='jabber:client' type='unavailable'/>", "type='terminate'")


if __name__ == "__main__":
    main()
