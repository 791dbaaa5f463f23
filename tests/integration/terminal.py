"""A pseudo terminal with compose at its other end, as its foreground process."""

import fcntl
import os
import pty
import select
import signal
import struct
import termios
from pathlib import Path

from harness import wait_for


class Terminal:
    def __init__(self, project, *args, rows: int = 24, cols: int = 80, **options):
        self.master, self.slave = pty.openpty()
        self.resize(rows, cols)
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""
        self.child = project.popen(*args, stdin=self.slave, stdout=self.slave, stderr=self.slave, text=False,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), **options)

    def resize(self, rows: int, cols: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def read(self, seconds: float = 0.05) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")

    def expect(self, words: str, since: int = 0, seconds: float = 15) -> int:
        """Where what follows the words begins in all that was seen."""
        def there():
            self.read()
            return words in self.seen[since:]
        wait_for(there, f"{words!r} in {self.seen[since:]!r}", seconds)
        return self.seen.index(words, since) + len(words)

    def type(self, keys: str) -> int:
        """Where what follows the keys begins."""
        at = len(self.seen)
        os.write(self.master, keys.encode())
        return at

    def raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def end(self, seconds: float = 15) -> int:
        def over():
            self.read(0.02)
            return self.child.poll() is not None
        wait_for(over, "its end", seconds)
        self.read(0)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is left as it was found"
        return self.child.returncode

    def kill(self) -> None:
        """-9, where compose runs below a shell; the rest of its session lives on."""
        below = Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children")
        os.kill(int(below.read_text().split()[0]), signal.SIGKILL)

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)
