"""slixmpp over TCP: logs in, and does what a scenario says.

    python chat.py SCENARIO SECURITY HOST PORT CA PASSWORD JID...

PASSWORD is that of all clients; or certificates:FOLDER, where USER.pem is a client's certificate with its key.

SECURITY is starttls, direct-tls or plain; starttls-1.2 and direct-tls-1.2 have TLS 1.2 at most. CA is the certificate
of who signed the server's. Facts about the run are printed as one line of JSON. It fails, with what was expected, if
the server does otherwise.
"""

import asyncio
import json
import ssl
import sys

import slixmpp

TIMEOUT = 20
MESSAGES = 50


class Failed(Exception):
    """The server does not do what it should."""


class Client(slixmpp.ClientXMPP):
    """A client that keeps the bodies of the messages it gets, and events as futures."""

    def __init__(self, jid, settings):
        super().__init__(
            jid,
            settings["password"],
            plugin_config={"feature_mechanisms": {"unencrypted_scram": True}},
        )
        if settings["password"].startswith("certificates:"):
            folder = settings["password"].removeprefix("certificates:")
            self.certfile = self.keyfile = f"{folder}/{self.requested_jid.user}.pem"
        self.address = (settings["host"], settings["port"])
        self.ca_certs = settings["ca"]
        security = settings["security"].removesuffix("-1.2")
        self.enable_direct_tls = security == "direct-tls"
        self.enable_starttls = security == "starttls"
        self.enable_plaintext = security == "plain"
        if security != settings["security"]:
            self.ssl_context.maximum_version = ssl.TLSVersion.TLSv1_2
        self.register_plugin("xep_0198")
        self.bodies = []
        self.changed = asyncio.Event()
        self.add_event_handler("message", self.on_message)

    def on_message(self, message):
        if message["type"] == "chat":
            self.bodies.append(message["body"])
            self.changed.set()

    def expect(self, event):
        """A future that is done with the event's data at its next occurrence."""
        future = self.loop.create_future()

        def occurred(data):
            if not future.done():
                future.set_result(data)

        self.add_event_handler(event, occurred, disposable=True)
        return future

    def open(self):
        self.connect(*self.address)

    async def login(self):
        """Logs in, with stream management, and sends presence."""
        ready = asyncio.gather(self.expect("session_start"), self.expect("sm_enabled"))
        failed = self.expect("failed_all_auth")
        error = self.expect("stream_error")
        self.open()
        done, _ = await asyncio.wait(
            {ready, failed, error}, timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED
        )
        if ready not in done:
            raise Failed(f"{self.requested_jid} expected to log in")
        present = self.expect("presence_available")
        self.send_presence()
        # The presence that comes back says that the server has it.
        await asyncio.wait_for(present, TIMEOUT)

    async def await_bodies(self, expected):
        """Waits for these messages, all of them, in order, and no others."""
        try:
            while len(self.bodies) < len(expected):
                self.changed.clear()
                await asyncio.wait_for(self.changed.wait(), TIMEOUT)
        except TimeoutError:
            pass
        if self.bodies != expected:
            raise Failed(f"{self.boundjid} expected {expected}, got {self.bodies}")

    def facts(self):
        """What was agreed on with the server."""
        tls = self.socket.version() if hasattr(self.socket, "version") else None
        return {"mechanism": self["feature_mechanisms"].mech.name, "tls": tls}

    async def logout(self):
        await self.disconnect()


async def chat(alice, bob):
    """Two clients write each other by turns."""
    await alice.login()
    await bob.login()
    facts = alice.facts()
    to_bob = [f"to bob <{number}>" for number in range(MESSAGES)]
    to_alice = [f"to alice & {number}" for number in range(MESSAGES)]
    for one, other in zip(to_bob, to_alice):
        alice.send_message(bob.boundjid.full, one, mtype="chat")
        bob.send_message(alice.boundjid.full, other, mtype="chat")
    await alice.await_bodies(to_alice)
    await bob.await_bodies(to_bob)
    await alice.logout()
    await bob.logout()
    return facts


async def resume(alice, bob):
    """A client whose connection breaks goes on with its session, and gets what came meanwhile."""
    await alice.login()
    await bob.login()
    jid = alice.boundjid.full
    bob.send_message(jid, "before", mtype="chat")
    await alice.await_bodies(["before"])
    gone = alice.expect("disconnected")
    alice.abort()
    await asyncio.wait_for(gone, TIMEOUT)
    bob.send_message(jid, "meanwhile", mtype="chat")
    # What is sent now is sent when there is a connection again.
    resumed = alice.expect("session_resumed")
    alice.open()
    await asyncio.wait_for(resumed, TIMEOUT)
    bob.send_message(jid, "after", mtype="chat")
    await alice.await_bodies(["before", "meanwhile", "after"])
    alice.send_message(bob.boundjid.full, "back", mtype="chat")
    await bob.await_bodies(["back"])
    facts = {"same_jid": alice.boundjid.full == jid}
    await alice.logout()
    await bob.logout()
    return facts


async def refused(client):
    """A login that has to fail: whatever the server says, the client gives up."""
    outcome = {}
    failures = []
    client.add_event_handler("failed_auth", lambda failure: failures.append(failure["condition"]))
    waiting = {
        "failed_all_auth": client.expect("failed_all_auth"),
        "stream_error": client.expect("stream_error"),
        # All features were looked at, and there is nothing that the client could do.
        "stream_negotiated": client.expect("stream_negotiated"),
        "session_start": client.expect("session_start"),
    }
    client.open()
    done, _ = await asyncio.wait(
        waiting.values(), timeout=TIMEOUT, return_when=asyncio.FIRST_COMPLETED
    )
    outcome["events"] = [event for event, future in waiting.items() if future in done]
    if waiting["stream_error"] in done:
        outcome["condition"] = waiting["stream_error"].result()["condition"]
    outcome["failures"] = sorted(set(failures))
    client.abort()
    return outcome


SCENARIOS = {"chat": chat, "resume": resume, "refused": refused}


async def main(scenario, security, host, port, ca, password, *jids):
    settings = {
        "security": security,
        "host": host,
        "port": int(port),
        "ca": ca,
        "password": password,
    }
    clients = [Client(jid, settings) for jid in jids]
    print(json.dumps(await SCENARIOS[scenario](*clients), sort_keys=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
