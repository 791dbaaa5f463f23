"""Ctrl-C and SIGTERM while `up` is attached."""

import os
import signal
import socket
import subprocess
import time

import pytest

from harness import mounts_below, processes_of, run, wait_for
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


def test_terminal_is_whole_after_a_kill_of_run(project, terminal):
    write(project, {"x": sleeper()})
    t = terminal("run", "--rm", "x", "sh", "-c", "echo up; sleep 600")
    t.expect("up")
    wait_for(t.raw, "the raw terminal")
    t.child.send_signal(signal.SIGTERM)
    t.end()


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


# --- every phase ---------------------------------------------------------------------------------------


def whole(project) -> None:
    """Nothing half-made: what exists can be taken down, and nothing else is there."""
    assert not list(project.root.glob("images/tmp/*")), "unfinished images"
    def all_named():
        named = {r["id"] for r in project.records()}
        return all(folder.name in named for folder in [*project.root.glob("projects/*/containers/*"),
                                                       *project.run_root.glob("containers/*")])
    wait_for(all_named, "each folder to be a container's")
    project("down", "-t", "0")
    assert project.records() == [] and mounts_below(project.tmp) == []


@pytest.mark.parametrize("how", [["-d"], []])
def test_while_pulling(project, how):
    """A registry that accepts and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as registry:
        write(project, {"here": sleeper(), "x": {"image": f"127.0.0.1:{registry.getsockname()[1]}/slow"}})
        child = project.popen("--progress", "plain", "up", *how)
        connection, _ = registry.accept()
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, _ = child.communicate(timeout=20)
        connection.close()
    assert child.returncode == 130, out
    assert time.monotonic() - started < 5
    assert project.records() == [], "nothing was created"
    whole(project)


def test_while_building(project):
    project.file("""
        services:
          x:
            build:
              context: .
              dockerfile_inline: |
                FROM base
                RUN echo at it; sleep 55
        """)
    child = project.popen("--progress", "plain", "up", "--build")
    lines = []
    while not any("at it" in line for line in lines[1:]) or "echo at it" in lines[-1]:
        lines.append(child.stdout.readline())
        assert lines[-1], "".join(lines)
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 130, out
    assert time.monotonic() - started < 8
    wait_for(lambda: not processes_of(project.tmp), "the builder to be gone")
    assert run("pgrep", "-f", "sleep 55", check=False).stdout == ""
    assert f"{project.name}-x" not in project("image", "ls").out
    whole(project)


@pytest.mark.parametrize("how", [["-d"], []])
def test_while_creating(project, how):
    write(project, {f"s{i}": sleeper() for i in range(30)})
    child = project.popen("--progress", "plain", "up", *how, stdout=open(project.tmp / "output", "w"))
    wait_for(lambda: "Creat" in said(project), "the first container")
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    wait_for(lambda: all(r["status"] in ("created", "running", "exited") for r in project.records()), "all to be settled")
    if not how:
        assert {r["status"] for r in project.records()} <= {"created", "exited"}, "what was attached is stopped"
    whole(project)


def test_while_waiting_for_health(project):
    write(project, {"slow": sleeper(healthcheck={"test": "false", "interval": "1s", "start_period": "60s"}),
                    "after": sleeper(depends_on={"slow": {"condition": "service_healthy"}})})
    child = project.popen("up")
    wait_for(lambda: project.state("slow") == "running", "the first to run")
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == 130
    assert {r["service"]: r["status"] for r in project.records()} == {"slow": "exited", "after": "created"}
    whole(project)


def test_twice_while_starting_kills(project):
    write(project, {"x": sleeper(init=False, command=STUBBORN, stop_grace_period="60s",
                                 healthcheck={"test": "false", "interval": "1s", "start_period": "60s"}),
                    "after": sleeper(depends_on={"x": {"condition": "service_healthy"}})})
    child = project.popen("up", stdout=open(project.tmp / "output", "w"))
    wait_for(lambda: "ready" in project.logs(), "it to run")
    child.send_signal(signal.SIGINT)
    wait_for(lambda: "Gracefully" in said(project), "the first to be heard")
    child.send_signal(signal.SIGINT)
    child.wait(15)
    assert project.ended("x") == 137
    whole(project)


# --- who is slow to stop -------------------------------------------------------------------------------


def test_the_straggler_is_named(project):
    write(project, {"quick": sleeper(), "deaf": sleeper(init=False, command=["sleep", "600"], stop_grace_period="3s"),
                    "slow": sleeper(init=False, command=STUBBORN, stop_grace_period="3s")})
    project.up()
    for command in (["stop"], ["down"]):
        text = project(*command).err
        late = [line.strip() for line in text.splitlines() if "still running" in line]
        assert sorted(late) == [
            f"Container {project.name}-deaf-1  Stopping (still running after 1.5s, killed in 1.5s: "
            "its first process, sleep, does not catch SIGTERM; init: true helps)",
            f"Container {project.name}-slow-1  Stopping (still running after 1.5s, killed in 1.5s: "
            "its first process, sh, does not catch SIGTERM; init: true helps)"]
        assert f"Container {project.name}-quick-1  Stopped" in text
        project.up() if command == ["stop"] else None


def test_stop_is_parallel_by_level(project):
    slow = ["sh", "-c", "trap 'sleep 1; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
    write(project, {"db": sleeper(init=False, command=slow),
                    **{f"w{i}": sleeper(init=False, command=slow, depends_on=["db"]) for i in range(4)}})
    project.up()
    wait_for(lambda: project.logs().count("ready") == 5, "all traps")
    project("stop")
    at = {r["service"]: r["finished"] / 1e9 for r in project.records()}
    workers = [at[f"w{i}"] for i in range(4)]
    assert max(workers) - min(workers) < 0.9, "together"
    assert at["db"] - max(workers) > 0.9, "then what they need"
