"""The keys below an attached `up` on a terminal, and `up --watch`."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from harness import wait_for
from test_network import sleeper, write

TALK = ["sh", "-c", "trap 'exit 0' TERM; while :; do echo tick; sleep 0.2; done"]


class Terminal:
    """compose on a terminal of its own, as its foreground process."""

    def __init__(self, project, *args, env=None, rows=12, cols=80):
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.seen = ""

        def own_terminal():
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

        self.child = subprocess.Popen(project.argv(*args), cwd=project.dir, env=project.environment(env), stdin=self.slave,
                                      stdout=self.slave, stderr=self.slave, preexec_fn=own_terminal)
        project.children.append(self.child)

    def read(self, seconds: float) -> None:
        if select.select([self.master], [], [], seconds)[0]:
            self.seen += os.read(self.master, 65536).decode(errors="replace")

    def wait(self, words: str, since: int = 0) -> None:
        def there():
            self.read(0.05)
            return words in self.seen[since:]
        wait_for(there, f"{words!r} in {self.seen!r}", 15)

    def type(self, keys: bytes) -> int:
        at = len(self.seen)
        os.write(self.master, keys)
        return at

    def ends(self) -> int:
        def over():
            self.read(0.05)
            return self.child.poll() is not None
        wait_for(over, "its end", 15)
        assert termios.tcgetattr(self.slave) == self.before, "the terminal is as it was"
        return self.child.returncode

    def close(self) -> None:
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(project):
    made = []

    def make(*args, **options):
        made.append(Terminal(project, *args, **options))
        return made[-1]
    yield make
    for t in made:
        t.close()


def watched(project):
    project.write("src/f", "one")
    write(project, {"x": sleeper(init=False, command=TALK,
                                 develop={"watch": [{"action": "sync", "path": "./src", "target": "/src"}]})})


def test_menu_and_detach(project, terminal):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal("up")
    t.wait("tick")
    assert "w\033[0;2m Enable Watch" in t.seen and "d\033[0;2m Detach" in t.seen
    assert "\033[1;11r" in t.seen, "the rows above scroll"
    t.type(b"x")
    at = t.type(b"d")
    assert t.ends() == 0
    assert "\033[r" in t.seen[at:], "the whole terminal scrolls again"
    assert project.state("x") == "running"


def test_ctrl_c_with_the_menu_stops(project, terminal):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal("up")
    t.wait("tick")
    at = t.type(b"\x03")
    t.wait("Gracefully Stopping", at)
    assert t.ends() == 130
    assert "\033[r" in t.seen[at:] and project.state("x") == "exited"


@pytest.mark.parametrize(("args", "env"), [(["up", "--menu=false"], None), (["up"], {"COMPOSE_MENU": "false"}),
                                           (["up"], {"TERM": "dumb"}), (["--progress", "json", "up"], None)])
def test_no_menu(project, terminal, args, env):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal(*args, env=env)
    t.wait("tick")
    assert "Detach" not in t.seen and "\033[1;" not in t.seen.replace("\033[1;3", "")
    t.type(b"\x03")
    t.ends()


def test_watch_by_key(project, terminal):
    watched(project)
    t = terminal("up")
    t.wait("tick")
    at = t.type(b"w")
    t.wait("Watch enabled", at)
    t.wait("Disable Watch", at)
    project.write("src/f", "two")
    wait_for(lambda: project.sh("x", "cat /src/f || true") == "two", "the file to be synced")
    at = t.type(b"w")
    t.wait("Enable Watch", at)
    t.type(b"d")
    assert t.ends() == 0
    assert project.state("x") == "running"


def test_up_watch_is_attached(project):
    watched(project)
    child = project.popen("up", "--watch", stdout=open(project.tmp / "output", "w"))
    said = lambda: (project.tmp / "output").read_text()  # noqa: E731
    wait_for(lambda: "Watch enabled" in said() and "tick" in said(), "the watch", 20)
    project.write("src/f", "two")
    wait_for(lambda: project.sh("x", "cat /src/f || true") == "two", "the file to be synced")
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    assert project.state("x") == "exited", "Ctrl-C stops, as without --watch"
