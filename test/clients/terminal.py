"""Runs a program in a terminal of its own, as large as one that people have.

    python terminal.py COMMAND...

What it writes to the terminal goes to standard output. SIGINT types Ctrl-C; SIGTERM is handed on. The exit
status is the program's, as a shell gives it.
"""

import fcntl
import os
import pty
import signal
import struct
import sys
import termios

CTRL_C = b"\x03"
ROWS, COLUMNS = 40, 120


def main(command):
    pid, terminal = pty.fork()
    if pid == 0:
        # Whoever starts this in the background may have made it deaf to SIGINT.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # Whatever kind the one is that this was started from.
        os.environ["TERM"] = "xterm"
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.exit(f"{command[0]}: {error.strerror}")
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    signal.signal(signal.SIGINT, lambda *_: os.write(terminal, CTRL_C))
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    copy(terminal)
    _, status = os.waitpid(pid, 0)
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def copy(terminal):
    """Until the last process has left the terminal, which Linux says by EIO."""
    while True:
        try:
            written = os.read(terminal, 65536)
        except OSError:
            return
        if not written:
            return
        os.write(1, written)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
