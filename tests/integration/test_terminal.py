"""run, exec and attach at a terminal: its size, detaching, and how it is left."""

import hashlib
import os
import select
import signal

import pytest

from harness import alive, wait_for
from test_network import sleeper, write


@pytest.fixture
def shell(project):
    """A service with a terminal and a shell in it, and one without."""
    write(project, {"tty": {"image": "base", "command": ["sh"], "tty": True, "stdin_open": True, "stop_signal": "SIGKILL"},
                    "plain": {"image": "base", "stdin_open": True, "stop_signal": "SIGKILL",
                              "command": ["sh", "-c", "trap 'echo got-hup' HUP; trap 'echo here' USR1; trap 'echo got-term; exit 9' TERM; while :; do read a && echo read-$$a; done"]}})
    return project


@pytest.mark.parametrize("args", [("exec", "tty", "sh"), ("run", "--rm", "tty", "sh"), ("attach", "tty")])
def test_size_follows_the_terminal(shell, terminal, args):
    shell.up()
    t = terminal(*args, rows=30, cols=100)
    t.type("\n")
    t.expect("# ")
    t.type("stty size\n")
    t.expect("30 100")
    t.resize(40, 132)
    # The resize goes through a signal and two sockets: ask until it has arrived.
    def arrived():
        t.type("stty size\n")
        t.read(0.2)
        return "40 132" in t.seen
    wait_for(arrived, "the new size")
    assert t.raw()
    t.type("exit 7\n")
    assert t.end() == 7


@pytest.mark.parametrize("args", [("exec", "tty", "sh"), ("attach", "tty"), ("run", "--name", "cli-detach", "tty", "sh")])
def test_detach_keys(shell, terminal, args):
    shell.up()
    t = terminal(*args)
    t.type("\n")
    t.expect("# ")
    t.type("sleep 600\n")
    t.expect("sleep 600")
    t.type("\x10\x11")
    assert t.end() in (0, 1)
    assert shell.state("tty") == "running"
    if args[0] == "run":
        assert any(r["name"] == "cli-detach" and r["status"] == "running" for r in shell.records())


def test_other_detach_keys(shell, terminal):
    shell.up()
    t = terminal("attach", "--detach-keys", "ctrl-x,q", "tty")
    t.type("\n")
    t.expect("# ")
    t.type("echo \x18zero\n")  # the first key alone goes on to the container
    t.expect("zero")
    t.type("\x18q")
    t.end()
    assert shell.state("tty") == "running"


@pytest.mark.parametrize("args", [("exec", "tty", "sh"), ("attach", "tty"), ("run", "--rm", "tty", "sh")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminal_survives_signals(shell, terminal, args, number):
    shell.up()
    t = terminal(*args)
    t.type("\n")
    t.expect("# ")
    assert t.raw()
    t.child.send_signal(number)
    if args[0] != "exec" or number == signal.SIGTERM:  # proxied: sh at a terminal does not care
        t.type("exit\n")
    t.end()


@pytest.mark.parametrize("args", [("exec", "tty", "sh"), ("attach", "tty"), ("run", "tty", "sh")])
def test_terminal_survives_the_supervisor_and_the_container(shell, terminal, args):
    shell.up()
    t = terminal(*args)
    t.type("\n")
    t.expect("# ")
    supervisor = shell.supervisor()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not alive(supervisor), "the supervisor to be gone")
    t.type("echo still-$((40+2))\n")
    t.expect("still-42")
    shell("kill", "-s", "KILL")
    assert t.end() == 137


SHELL = ["sh", "-c", '"$@"; echo over; read a; exit 0', "sh"]


@pytest.mark.parametrize("args", [("exec", "tty", "sh"), ("attach", "tty"), ("run", "--name", "cli-killed", "tty", "sh")])
def test_terminal_survives_a_kill(shell, terminal, args):
    """Even SIGKILL, which cannot be caught."""
    shell.up()
    t = terminal(*args, within=SHELL)
    t.type("\n")
    t.expect("# ")
    wait_for(t.raw, "the raw terminal")
    t.kill()
    t.expect("over")
    wait_for(lambda: not t.raw(), "the terminal as it was")
    t.type("\n")
    assert t.end() == 0


def attached(shell, child) -> None:
    """Waits until what the container writes now arrives at the child."""
    def look():
        shell("kill", "-s", "USR1", "plain")
        return select.select([child.stdout], [], [], 0.2)[0] and "here" in child.stdout.readline()
    wait_for(look, "the child to be attached")


def test_signals_reach_a_container_without_a_terminal(shell):
    shell.up()
    child = shell.popen("attach", "--no-stdin", "plain")
    attached(shell, child)
    child.send_signal(signal.SIGHUP)
    wait_for(lambda: "got-hup" in shell.logs("plain"), "the signal in the container")
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=10)
    assert child.returncode == 9 and "got-term" in out
    again = shell.popen("run", "--rm", "-T", "plain", "sh", "-c", "trap 'echo got-term; exit 9' TERM; echo up; while :; do sleep 0.05; done")
    assert again.stdout.readline() == "up\n"
    again.send_signal(signal.SIGTERM)
    out, _ = again.communicate(timeout=10)
    assert again.returncode == 9 and "got-term" in out


def test_signal_proxy_can_be_turned_off(shell):
    shell.up()
    child = shell.popen("attach", "--no-stdin", "--sig-proxy=false", "plain")
    attached(shell, child)
    child.send_signal(signal.SIGTERM)
    child.wait(10)
    assert shell.state("plain") == "running" and "got-term" not in shell.logs("plain")


def test_attach_stdin_and_index(shell):
    shell.up("--scale", "plain=2")
    child = shell.popen("attach", "--index", "2", "plain", stdin=-1)
    child.stdin.write("hello\n")
    child.stdin.flush()
    wait_for(lambda: "plain-2  | read-hello" in shell.logs("plain"), "the line in the second one")
    assert "plain-1  | read-hello" not in shell.logs("plain")
    assert 'service "plain" is not running container #3' in shell("attach", "--index", "3", "plain", code=1).err


def test_a_great_deal_through_stdin(shell):
    shell.up()
    data = "x" * 79 + "\n"
    result = shell("exec", "-T", "plain", "sh", "-c", "md5sum; exit 3", stdin=data * 50000, code=3)
    assert result.out.split()[0] == hashlib.md5((data * 50000).encode()).hexdigest()
