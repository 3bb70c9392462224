"""Finch, which is Pidgin for terminals, steered over D-Bus: a user who answers a friend.

    dbus-run-session -- /usr/bin/python3 finch.py JID PASSWORD FRIEND PORT CERTIFICATE|- [BOSH_URL]

It logs in at localhost:PORT with TLS, which has to have that certificate, or at the BOSH server. The friend is told
when they are seen to be online, each of their messages is answered, and the message "log out" makes it log
out and end.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from xml.sax.saxutils import escape

import dbus
import dbus.mainloop.glib
from gi.repository import GLib

TIMEOUT_S = 60
SERVICE, PATH, INTERFACE = (
    "im.pidgin.purple.PurpleService",
    "/im/pidgin/purple/PurpleObject",
    "im.pidgin.purple.PurpleInterface",
)
ACCOUNT = """<?xml version='1.0' encoding='UTF-8'?>
<account version='1.0'>
  <account>
    <protocol>prpl-jabber</protocol>
    <name>{jid}/finch</name>
    <password>{password}</password>
    <settings>
      <setting name='connect_server' type='string'>localhost</setting>
      <setting name='port' type='int'>{port}</setting>
      <setting name='connection_security' type='string'>{security}</setting>
      <setting name='bosh_url' type='string'>{bosh_url}</setting>
    </settings>
    <settings ui='gnt-purple'>
      <setting name='auto-login' type='bool'>1</setting>
    </settings>
  </account>
</account>
"""


class Finch:
    """What Finch tells, and what it is told."""

    def __init__(self, bus, loop, jid, friend):
        self.bus, self.loop, self.jid, self.friend = bus, loop, jid, friend
        self.failure = None
        self.greeted = False
        for signal, handler in {
            "BuddySignedOn": self.on_buddy,
            "ReceivedImMsg": self.on_message,
            "AccountConnectionError": self.on_error,
            "AccountSignedOff": self.on_signed_off,
        }.items():
            bus.add_signal_receiver(handler, signal, INTERFACE)

    @property
    def purple(self):
        """The functions of libpurple."""
        return dbus.Interface(self.bus.get_object(SERVICE, PATH), INTERFACE)

    def on_buddy(self, buddy):
        if self.purple.PurpleBuddyGetName(buddy) == self.friend and not self.greeted:
            self.greeted = True
            self.write(self.purple.PurpleBuddyGetAccount(buddy), "you are online")

    def on_message(self, account, sender, text, *_):
        if sender.split("/")[0] != self.friend:
            self.fail(f"a message of {sender}: {text}")
        elif text == "log out":
            self.purple.PurpleAccountSetEnabled(account, self.purple.PurpleCoreGetUi(), 0)
        else:
            self.write(account, f"you said: {text}")

    def write(self, account, html):
        conversation = self.purple.PurpleConversationNew(1, account, self.friend)
        self.purple.PurpleConvImSend(self.purple.PurpleConvIm(conversation), html)

    def on_error(self, _account, _kind, text):
        self.fail(f"{self.jid} has no connection: {text}")

    def on_signed_off(self, _account):
        self.purple.PurpleCoreQuit(ignore_reply=True)
        self.loop.quit()

    def fail(self, text):
        self.failure = self.failure or text
        self.loop.quit()


def main(*arguments):
    # A name that is much longer is too long for libpurple's part for Zephyr, which crashes.
    with tempfile.TemporaryDirectory(prefix="finch") as folder:
        return chat(pathlib.Path(folder), *arguments)


def chat(folder, jid, password, friend, port, certificate, bosh_url=""):
    trusted = folder / "certificates/x509/tls_peers"
    trusted.mkdir(parents=True)
    if certificate != "-":
        shutil.copy(certificate, trusted / "localhost")
    # Over BOSH it would have to be https.
    security = "opportunistic_tls" if bosh_url else "require_tls"
    settings = {"jid": jid, "password": password, "port": port, "bosh_url": bosh_url, "security": security}
    settings = {name: escape(value) for name, value in settings.items()}
    (folder / "accounts.xml").write_text(ACCOUNT.format(**settings))

    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    loop = GLib.MainLoop()
    finch = Finch(dbus.SessionBus(), loop, jid, friend)
    GLib.timeout_add_seconds(TIMEOUT_S, finch.fail, "the friend didn't say `log out'")
    terminal = os.path.join(os.path.dirname(os.path.abspath(__file__)), "terminal.py")
    log = folder / "finch.log"
    with log.open("wb") as output:
        program = subprocess.Popen(
            [sys.executable, terminal, "finch", "--debug", "--config", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(os.environ, HOME=str(folder)),
        )
    GLib.child_watch_add(program.pid, lambda _, status: finch.fail(f"Finch ended; its wait status is {status}"))
    loop.run()
    program.terminate()
    program.wait()
    return finch.failure and f"{finch.failure}\nFinch says:\n{readable(log.read_bytes())}"


def readable(output):
    """What of its log is about connections, without how the terminal was to show it."""
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()].|\r", b"", output).decode(errors="replace")
    lines = re.findall(r"^\(\d\d:\d\d:\d\d\) (?:jabber|account|connection|nss|proxy|xmlnode): .*", text, re.M)
    return "\n".join([line for line in lines if "Trusting" not in line and "Cipher" not in line][-60:])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
