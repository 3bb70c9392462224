"""Profanity, steered by a plugin: a user who answers a friend.

    python3 profanity.py JID PASSWORD FRIEND PORT CERTIFICATE

It logs in at localhost:PORT with TLS, which has to have that certificate. The friend is told when they are seen to be
online, each of their messages is answered, and the message "log out" makes it log out and end.
"""

import hashlib
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile

TIMEOUT_S = 60
SETTINGS = """[connection]
account=answering
[plugins]
load=answering.py
"""
ACCOUNT = """[answering]
enabled=true
jid={jid}
password={password}
resource=profanity
server=localhost
port={port}
tls.policy=force
"""
# What /tls always leaves behind, in versions up to 0.15 and in newer ones.
TRUSTED = """[{sha1}]
fingerprint={sha1}
[{sha256}]
fingerprint_sha1={sha1}
"""
# /quit ends profanity where it was typed, from a plugin not even its connection in all versions. /disconnect comes
# back once the server has answered.
PLUGIN = """import os

import prof

FRIEND = {friend!r}
greeted = False


def prof_on_contact_presence(barejid, resource, presence, status, priority):
    global greeted
    if barejid == FRIEND and not greeted:
        greeted = True
        write("you are online")


def prof_post_chat_message_display(barejid, resource, message):
    if barejid != FRIEND:
        return
    if message == "log out":
        prof.send_line("/disconnect")
        os._exit(0)
    else:
        write("you said: " + message)


def write(text):
    prof.send_line("/msg " + FRIEND + " " + text)
"""


def main(jid, password, friend, port, certificate):
    with tempfile.TemporaryDirectory(prefix="profanity") as name:
        folder = pathlib.Path(name)
        files = {
            "config/profanity/profrc": SETTINGS,
            "data/profanity/accounts": ACCOUNT.format(jid=jid, password=password, port=port),
            "data/profanity/tlscerts": TRUSTED.format(**fingerprints(certificate)),
            "data/profanity/plugins/answering.py": PLUGIN.format(friend=friend),
        }
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        problem = run(folder)
        if problem:
            logs = [path.read_text(errors="replace") for path in folder.glob("data/profanity/logs/*")]
            return f"{problem}\n" + "\n".join("".join(logs).splitlines()[-60:])
        return 0


def fingerprints(certificate):
    text = pathlib.Path(certificate).read_text()
    end = "-----END CERTIFICATE-----"
    der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERT") : text.index(end) + len(end)])
    return {name: hashlib.new(name, der).hexdigest() for name in ("sha1", "sha256")}


def run(folder):
    terminal = os.path.join(os.path.dirname(os.path.abspath(__file__)), "terminal.py")
    environment = {"HOME": folder, "XDG_CONFIG_HOME": folder / "config", "XDG_DATA_HOME": folder / "data"}
    program = subprocess.Popen(
        [sys.executable, terminal, "profanity", "--log", "DEBUG"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, **{key: str(value) for key, value in environment.items()}},
    )
    try:
        status = program.wait(TIMEOUT_S)
        return status and f"profanity ended with status {status}"
    except subprocess.TimeoutExpired:
        # Its terminal goes with it. Profanity does not heed SIGTERM while it asks something.
        program.kill()
        program.wait()
        return "the friend didn't say `log out'"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
