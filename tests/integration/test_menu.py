"""The keys below an attached `up` on a terminal, and `up --watch`."""

import signal

import pytest

from harness import wait_for
from test_network import sleeper, write

TALK = ["sh", "-c", "trap 'exit 0' TERM; while :; do echo tick; sleep 0.2; done"]


def watched(project):
    project.write("src/f", "one")
    write(project, {"x": sleeper(init=False, command=TALK,
                                 develop={"watch": [{"action": "sync", "path": "./src", "target": "/src"}]})})


def test_menu_and_detach(project, terminal):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal("up")
    t.expect("tick")
    assert "w\033[0;2m Enable Watch" in t.seen and "d\033[0;2m Detach" in t.seen
    assert "\033[1;23r" in t.seen, "the rows above scroll"
    t.type("x")
    at = t.type("d")
    assert t.end() == 0
    assert "\033[r" in t.seen[at:], "the whole terminal scrolls again"
    assert project.state("x") == "running"


def test_a_killed_up_leaves_no_menu(project, terminal):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal("up", within=["sh", "-c", '"$@"; echo over; read a; exit 0', "sh"])
    t.expect("tick")
    at = len(t.seen)
    t.kill()
    t.expect("\033[r", at)
    wait_for(lambda: not t.raw(), "the terminal as it was")
    t.type("\n")
    assert t.end() == 0
    assert project.state("x") == "running"


def test_what_is_replaced_does_not_end_in_the_logs(project, terminal):
    """The block of progress stays whole, as the reference's; and a replaced container aborts nothing."""
    write(project, {"x": sleeper(init=False, command=TALK), "y": sleeper(init=False, command=TALK, depends_on=["x"])})
    project.up()
    t = terminal("up", "--force-recreate", "--abort-on-container-exit")
    t.expect("y-1  | ")
    progress = t.seen[:t.seen.index("Attaching to")]
    assert "exited" not in t.seen and "Aborting" not in t.seen
    assert progress.count("[+] Running 2/2") >= 1, progress
    t.type("d")
    assert t.end() == 0
    child = project.popen("up", "--force-recreate", stdout=open(project.tmp / "output", "w"))
    wait_for(lambda: "y-1  | tick" in (project.tmp / "output").read_text(), "logs")
    assert "exited" not in (project.tmp / "output").read_text()
    child.kill()


def test_ctrl_c_with_the_menu_stops(project, terminal):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal("up")
    t.expect("tick")
    at = t.type("\x03")
    t.expect("Gracefully Stopping", at)
    assert t.end() == 130
    assert "\033[r" in t.seen[at:] and project.state("x") == "exited"


@pytest.mark.parametrize(("args", "env"), [(["up", "--menu=false"], None), (["up"], {"COMPOSE_MENU": "false"}),
                                           (["up"], {"TERM": "dumb"}), (["--progress", "json", "up"], None)])
def test_no_menu(project, terminal, args, env):
    write(project, {"x": sleeper(init=False, command=TALK)})
    t = terminal(*args, env=env)
    t.expect("tick")
    assert "Detach" not in t.seen and "\033[1;" not in t.seen.replace("\033[1;3", "")
    t.type("\x03")
    t.end()


def test_watch_by_key(project, terminal):
    watched(project)
    t = terminal("up")
    t.expect("tick")
    at = t.type("w")
    t.expect("Watch enabled", at)
    t.expect("Disable Watch", at)
    project.write("src/f", "two")
    wait_for(lambda: project.sh("x", "cat /src/f || true") == "two", "the file to be synced")
    at = t.type("w")
    t.expect("Enable Watch", at)
    t.type("d")
    assert t.end() == 0
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
