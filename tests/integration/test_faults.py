"""kill -9 of everything at random moments; then `up` and `down` are clean."""

import contextlib
import os
import random
import signal
import subprocess
import time

import pytest

from harness import SANITIZED, alive, libc, processes_of, run, wait_for
from test_network import fetch, sleeper, web, write

KILLS = 16 if SANITIZED else 60


def one_of(project, kind: str) -> list[int]:
    if kind == "supervisor":
        return project.supervisors()
    if kind == "monitor":
        return project.monitors()
    return [r["pid"] for r in project.records() if r.get("pid") and r["status"] == "running" and alive(r["pid"])]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_random_kills(project, seed):
    """Kills of the CLI, the supervisor, monitors and containers in `up` and in `down`."""
    rng = random.Random(seed)
    write(project, {
        "db": sleeper(healthcheck={"test": "true", "interval": "1s"}, volumes=["data:/data"]),
        "web": web(depends_on={"db": {"condition": "service_healthy"}}, ports=["41700:80"]),
        "many": sleeper(scale=3, networks=["default", "back"])}, networks={"default": {}, "back": {}}, volumes={"data": {}})
    kills = {"cli": 0, "supervisor": 0, "monitor": 0, "container": 0}
    deadline = time.monotonic() + 240
    while sum(kills.values()) < KILLS // 2 and time.monotonic() < deadline:
        command = rng.choice([("up", "-d"), ("up", "-d"), ("down", "-t", "0"), ("restart", "-t", "0")])
        child = project.popen(*command, stdout=subprocess.DEVNULL)
        for _ in range(rng.randrange(1, 3)):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(rng.uniform(0, 0.25))
            kind = rng.choice(list(kills))
            victims = [child.pid] if kind == "cli" and child.poll() is None else one_of(project, kind) if kind != "cli" else []
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    kills[kind] += 1
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(20)
        assert child.poll() is not None, f"{command} hangs after {kills}"
    assert sum(kills.values()) >= KILLS // 2, kills
    project.up(timeout=60)
    assert fetch("http://127.0.0.1:41700/") == "web"
    assert len(project.ps()) == 5 and all(c["State"] == "running" for c in project.ps())
    assert project.sh("db", "echo ok > /data/f; cat /data/f") == "ok"
    project("down", "-v", "-t", "0")
    assert not list(project.root.glob("projects/*/containers/*"))


def test_container_killed_is_seen_at_once(project):
    write(project, {"x": sleeper()})
    project.up()
    os.kill(project.pid("x"), signal.SIGKILL)
    assert project.ended("x") == 137


def test_damaged_state_is_told_and_survived(project):
    write(project, {"x": sleeper(), "y": sleeper()})
    project.up()
    path = next(project.root.glob("projects/*/containers/*/container.json"))
    project("stop", "-t", "0")
    wait_for(lambda: project.supervisor() is None, "the supervisor to end")
    whole = path.read_text()
    path.write_text(whole[:len(whole) // 2])
    result = project("ps", "-a", code=None)
    assert result.code == 0 and len(result.out.splitlines()) >= 2, "the others are still shown"
    path.write_text(whole)


def test_disk_full_while_starting(make_project, base_images):
    project = make_project(with_base=False)
    run("mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "tmpfs", project.root)
    run("cp", "-a", base_images, project.root / "images")
    write(project, {"x": sleeper()})
    filler = project.root / "filler"
    subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False)
    result = project.up(code=None, timeout=30)
    assert result.code != 0
    assert "no space left" in result.err.lower(), str(result)
    filler.unlink()
    project.up()
    project("down", "-v", "-t", "0")
    wait_for(lambda: libc.umount2(str(project.root).encode(), 0) == 0, "the disk to be free", 5)


def test_after_a_reboot(project):
    """Everything that lives in /run and in the kernel is gone; what is on disk stays."""
    write(project, {"x": sleeper(restart="unless-stopped", volumes=["data:/d"], ports=["41800:80"])}, volumes={"data": {}})
    project.up()
    project.sh("x", "echo kept > /d/f; echo kept > /layer")
    for pid in [project.supervisor(), *project.monitors()]:
        os.kill(pid, signal.SIGKILL)
    for record in project.records():
        with contextlib.suppress(ProcessLookupError):
            os.kill(record["pid"], signal.SIGKILL)
    wait_for(lambda: not processes_of(project.tmp), "all to be dead", 5)
    from harness import MNT_DETACH, links, mounts_below
    for point in sorted(mounts_below(project.tmp), reverse=True):
        libc.umount2(point.encode(), MNT_DETACH)
    run("rm", "-rf", project.run_root)
    run("nft", "flush", "ruleset")
    for table in run("nft", "list", "tables").stdout.splitlines():
        run("nft", "delete", *table.split())
    for name in links() - project.links_before:
        subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    assert project.state("x") == "exited"
    project.up()
    assert project.sh("x", "cat /d/f /layer") == "kept\nkept"


def test_unhealthy_dependency_and_down(project):
    write(project, {"db": sleeper(healthcheck={"test": "false", "interval": "100ms", "retries": 1}),
                    "web": sleeper(depends_on={"db": {"condition": "service_healthy"}})})
    project.up(code=1)
    project("down", "-t", "0")
    assert project.ps() == []


def test_companion_missing(project):
    """Without its monitor beside it, it says so."""
    import shutil

    from harness import COMPOSE
    folder = project.tmp / "bin"
    folder.mkdir()
    shutil.copy(COMPOSE, folder / "compose")
    write(project, {"x": sleeper()})
    done = subprocess.run([folder / "compose", "up", "-d"], cwd=project.dir, env=project.environment(), capture_output=True,
                          text=True, timeout=30, check=False)
    assert done.returncode != 0 and "compose-monitor" in done.stderr
