"""Another version of the program takes over what runs, or says in one line why it cannot."""

import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from harness import COMPOSE, SANITIZED, TOP, alive, wait_for
from test_network import fetch, sleeper, web, write

# name: version, protocol, state
OTHERS = {"newer": ("9.9.9", 1, 1), "older": ("0.0.9", 1, 1), "future": ("9.9.9", 2, 2)}


@pytest.fixture(scope="session")
def others(shared):
    """Programs of other versions: the same objects, linked with other numbers."""
    folder = shared / "versions"
    with open(shared / "versions.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name, (version, protocol, state) in OTHERS.items():
            if (folder / name / "compose-image.so").exists():
                continue
            compiler = ["CC=clang"] if "/clang/" in COMPOSE else ["CC=gcc"]
            options = ["SANITIZE=1", "CFLAGS=-O1 -g"] if SANITIZED else []
            done = subprocess.run(["make", "-s", "-C", TOP, *compiler, *options, "other", f"INTO={folder / name}", f"VERSION={version}",
                                   f"PROTOCOL={protocol}", f"STATE={state}"], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
    return {name: str(folder / name / "compose") for name in OTHERS}


def by(project, program, *args, **options):
    """Runs a command with another program."""
    import harness
    before, harness.COMPOSE = harness.COMPOSE, program
    try:
        return project.compose(*args, **options)
    finally:
        harness.COMPOSE = before


def program_of(project):
    return os.readlink(f"/proc/{project.supervisor()}/exe")


def one_line(result, *words):
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len(lines) == 1 and all(word in lines[0] for word in words), str(result)


def test_newer_takes_over(project, others):
    assert by(project, others["newer"], "version", "--short").out.strip() == "9.9.9"
    write(project, {"web": web(ports=["41720:80"]), "x": sleeper(init=False, command=[
        "sh", "-c", "i=0; while [ ! -e /end ]; do i=$$((i+1)); echo line $$i; sleep 0.02; done; exit 11"])})
    project.up()
    first, monitors = project.supervisor(), sorted(project.monitors())
    pids = {s: project.pid(s) for s in ("web", "x")}
    assert by(project, others["newer"], "up", "-d").code == 0
    assert not alive(first) and program_of(project) == others["newer"]
    assert {s: project.pid(s) for s in ("web", "x")} == pids and sorted(project.monitors()) == monitors
    assert fetch("http://127.0.0.1:41720/") == fetch("http://[::1]:41720/") == "web"
    assert "web" in project.sh("x", "wget -qO- http://web/")
    project.sh("x", "touch /end")
    assert project.ended("x") == 11
    numbers = [int(line.rsplit(" ", 1)[1]) for line in project.logs("--no-log-prefix", "x").splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "no line is missing"
    assert by(project, others["newer"], "start", "x").code == 0
    project("down", "-t", "0")


def test_older_is_served(project, others):
    """The same protocol: who is older works with what there is."""
    write(project, {"x": sleeper()})
    project.up()
    first = project.supervisor()
    by(project, others["older"], "restart", "-t", "0")
    assert project.supervisor() == first and project.state("x") == "running"


def test_replaced_in_place(project, others):
    """The package is upgraded while a project runs; whoever starts a supervisor again starts the new one."""
    folder = project.tmp / "bin"
    shutil.copytree(Path(COMPOSE).parent, folder, ignore=lambda d, names: [n for n in names if not n.startswith("compose")])
    program = str(folder / "compose")
    write(project, {"x": sleeper()})
    by(project, program, "up", "-d")
    pid, first = project.pid("x"), project.supervisor()
    shutil.copy(others["newer"], folder / "new")
    os.rename(folder / "new", program)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
    version = subprocess.run([f"/proc/{project.supervisor()}/exe", "version", "--short"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == "9.9.9"
    by(project, program, "up", "-d")
    assert project.pid("x") == pid


def test_takeover_waits_for_what_is_under_way(project, others):
    write(project, {"slow": sleeper(healthcheck={"test": "test -e /go", "interval": "100ms", "start_period": "60s"}),
                    "after": sleeper(depends_on={"slow": {"condition": "service_healthy"}})})
    first = project.popen("up", "-d")
    wait_for(lambda: project.state("slow") == "running", "the first to be on its way")
    old = project.supervisor()
    child = subprocess.Popen([others["future"], "up", "-d"], cwd=project.dir, env=project.environment(), stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    project.children.append(child)
    wait_for(lambda: "takes over" in (project.run_root / "projects" / project.name / "supervisor.log").read_text(), "the wish to be known")
    assert alive(old)
    project.sh("slow", "touch /go")
    outs = [c.communicate(timeout=30)[0] for c in (first, child)]
    assert [first.returncode, child.returncode] == [0, 0], outs
    assert program_of(project) == others["future"]
    by(project, others["future"], "down", "-t", "0")


def test_what_is_newer_is_refused_in_one_line(project, others):
    """Nothing is guessed, left out or touched."""
    write(project, {"x": sleeper()})
    by(project, others["future"], "up", "-d")
    pid = project.pid("x")
    try:
        for args in (("ps", "-a"), ("down", "-t", "0"), ("logs",)):
            one_line(project(*args, code=1), "newer compose", "container.json")
        one_line(project("restart", "-t", "0", code=1), "9.9.9", "0.1.0", "protocol")
        first = project.supervisor()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: project.supervisor() not in (None, first), "the newer one again")
        assert program_of(project) == others["future"] and project.pid("x") == pid and alive(pid)
    finally:
        by(project, others["future"], "down", "-t", "0")
