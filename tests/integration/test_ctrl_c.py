"""Ctrl-C and SIGTERM while `up` is attached."""

import os
import signal
import subprocess
import time

import pytest

from harness import wait_for
from test_network import sleeper, write

SLOW = ["sh", "-c", "trap 'sleep 0.4; echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
STUBBORN = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"]


def attached(project, *args) -> subprocess.Popen:
    """`up` in the foreground with its output in a file, once its containers are ready."""
    project.output = open(project.tmp / "output", "w+")
    child = project.popen("up", *args, stdout=project.output)
    wait_for(lambda: "ready" in said(project), "the containers", 20)
    return child


def said(project) -> str:
    return (project.tmp / "output").read_text()


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_once_stops_in_order(project, sig):
    write(project, {"web": sleeper(init=False, command=SLOW, depends_on=["db"]), "db": sleeper(init=False, command=SLOW)})
    child = attached(project)
    wait_for(lambda: said(project).count("ready") == 2, "both")
    child.send_signal(sig)
    code = child.wait(15)
    text = said(project)
    assert "Gracefully Stopping... press Ctrl+C again to force" in text
    assert text.count("bye") == 2, "their last words are shown"
    at = {r["service"]: r for r in project.records()}
    assert at["web"]["finished"] < at["db"]["finished"]
    assert {r["status"] for r in project.records()} == {"exited"}
    assert {r["exit_code"] for r in project.records()} == {0}
    assert code in ((130,) if sig == signal.SIGINT else (0, 130, 143)), code


def test_twice_kills(project):
    write(project, {"x": sleeper(init=False, command=STUBBORN, stop_grace_period="60s")})
    child = attached(project)
    child.send_signal(signal.SIGINT)
    wait_for(lambda: "Gracefully" in said(project), "the first to be heard")
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    child.wait(15)
    assert time.monotonic() - started < 5
    assert project.ended("x") == 137


def test_stop_that_times_out_kills(project):
    write(project, {"x": sleeper(init=False, command=STUBBORN)})
    child = attached(project, "--timeout", "1")
    child.send_signal(signal.SIGINT)
    child.wait(20)
    assert project.ended("x") == 137


def test_while_things_are_still_starting(project):
    write(project, {"slow": sleeper(healthcheck={"test": "false", "interval": "1s", "start_period": "60s"}),
                    "after": sleeper(depends_on={"slow": {"condition": "service_healthy"}})})
    child = project.popen("up")
    wait_for(lambda: project.state("slow") == "running", "the first to run")
    child.send_signal(signal.SIGINT)
    out, _ = child.communicate(timeout=20)
    assert child.returncode != 0, out
    assert project.state("after") in (None, "created")


def test_detached_up_interrupted(project):
    write(project, {"slow": sleeper(healthcheck={"test": "false", "interval": "1s", "start_period": "60s"})})
    child = project.popen("up", "-d", "--wait")
    wait_for(lambda: project.state("slow") == "running", "it to run")
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode != 0
    project("down", "-t", "0")


def test_logs_follow_interrupted(project):
    write(project, {"x": sleeper(init=False, command=SLOW)})
    project.up()
    child = project.popen("logs", "-f")
    assert "ready" in child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert project.state("x") == "running"


def test_terminal_is_whole_after_a_kill_of_run(project):
    import pty
    import termios
    write(project, {"x": sleeper()})
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    child = project.popen("run", "--rm", "x", "sh", "-c", "echo up; sleep 600", stdin=slave, stdout=slave, stderr=slave, text=False)
    seen = b""
    while b"up" not in seen:
        seen += os.read(master, 4096)
    wait_for(lambda: termios.tcgetattr(slave) != before, "the raw terminal")
    child.send_signal(signal.SIGTERM)
    child.wait(20)
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


def test_signal_reaches_the_container_of_run(project):
    write(project, {"x": sleeper(init=False)})
    child = project.popen("run", "--rm", "-T", "x", "sh", "-c", "trap 'echo got it; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    line = ""
    while "ready" not in line:
        line = child.stdout.readline()
        assert line
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=20)
    assert "got it" in out and child.returncode == 9
