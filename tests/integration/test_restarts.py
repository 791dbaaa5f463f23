"""What brings a container back: its restart policy, a reboot, failed probes."""

import contextlib
import os
import shlex
import shutil
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest

from harness import alive, mounts_below, processes_of, run, wait_for
from test_network import sleeper, write

UNIT = Path(__file__).resolve().parents[2] / "systemd/compose.service.in"


def failing(**more) -> dict:
    return {"image": "base", "command": ["sh", "-c", "exit 3"]} | more


def settled(project, service: str) -> dict:
    wait_for(lambda: project.record(service)["status"] == "exited", f"{service} to be given up")
    return project.record(service)


def test_policy_of_deploy(project):
    """condition, delay and max_attempts; window makes the count begin anew."""
    policy = {"condition": "on-failure", "delay": "20ms", "max_attempts": 2}
    long = {"command": ["sh", "-c", "sleep 0.3; exit 3"]}
    write(project, {"short": failing(deploy={"restart_policy": policy}),
                    "any": failing(command="true", deploy={"restart_policy": policy | {"condition": "any"}}),
                    "none": failing(restart="always", deploy={"restart_policy": {"condition": "none"}}),
                    "slow": failing(deploy={"restart_policy": policy | {"delay": "30s"}}),
                    "long": failing(**long, deploy={"restart_policy": policy | {"window": "100ms"}})})
    project.up()
    assert settled(project, "short")["restart_count"] == 2
    assert settled(project, "any")["restart_count"] == 2
    assert settled(project, "none")["restart_count"] == 0
    wait_for(lambda: project.record("long")["restart_count"] > 3, "more restarts than attempts, each a success")
    assert project.record("slow")["restart_count"] == 1 and project.state("slow") == "restarting"


def test_backoff_doubles(project):
    write(project, {"x": failing(command=["sh", "-c", "echo; exit 3"], restart="always")})
    project.up()
    def starts():
        return [datetime.fromisoformat(line.strip()[:26]).timestamp() for line in project.logs("-t", "--no-log-prefix").splitlines()]
    at = wait_for(lambda: len(starts()) > 4 and starts()[:5], "four restarts")
    gaps = [b - a for a, b in zip(at, at[1:])]
    assert gaps[0] >= 0.1 and gaps[1] >= 0.2 and gaps[2] >= 0.4 and gaps[3] >= 0.8, gaps


def reboot(project) -> None:
    """All processes die at once; of what was mounted, bound or made in the kernel nothing is left."""
    ids = [record["id"] for record in project.records()]
    pids = [r["pid"] for r in project.records() if r["pid"] and r["status"] in ("running", "paused")]
    def all_dead():
        doomed = [*processes_of(project.tmp), *filter(alive, pids)]
        for pid in doomed:  # a monitor may have started a supervisor before its turn came
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not doomed
    wait_for(all_dead, "all to be dead")
    for point in reversed(mounts_below(project.tmp)):
        if point != str(project.root):
            run("umount", "-l", point)
    shutil.rmtree(project.run_root)
    for link in run("ip", "-br", "link").stdout.split("\n"):
        if link.startswith("br-"):
            run("ip", "link", "del", link.split()[0])
    run("nft", "flush", "ruleset")
    for folder, names, _ in os.walk("/sys/fs/cgroup", topdown=False):
        if any(i in folder for i in ids):
            os.rmdir(folder)


def unit(project, key: str) -> None:
    """Runs what the unit runs."""
    line = next(line for line in UNIT.read_text().splitlines() if line.startswith(f"{key}="))
    program, *args = shlex.split(line.split("=", 1)[1])
    assert program == "@BINDIR@/compose"
    project(*args)


def test_reboot(project):
    write(project, {"always": sleeper(restart="always", depends_on={"db": {"condition": "service_healthy"}}),
                    "db": sleeper(restart="unless-stopped", healthcheck={"test": "sleep 0.5", "interval": "1s"}),
                    "by_hand": sleeper(restart="unless-stopped"), "stopped": sleeper(restart="always"),
                    "no": sleeper(), "failed": sleeper(restart="on-failure")}, networks={"default": {}})
    project.up("--wait")
    project("stop", "-t", "0", "by_hand", "stopped")
    wait_for(lambda: project.record("by_hand")["status"] == "exited", "the stop on disk")
    reboot(project)
    assert not any(c["State"] == "running" for c in project.ps("-a"))
    unit(project, "ExecStart")
    states = {c["Service"]: c["State"] for c in project.ps("-a")}
    assert states == {"always": "running", "db": "running", "by_hand": "exited", "stopped": "running", "no": "exited",
                      "failed": "running"}
    assert project.health("db") == "healthy", "what depends on it was started after it had become healthy"
    assert project.sh("always", "nslookup db >/dev/null && echo resolved") == "resolved"
    project("start", "no")  # by hand it works as well


def test_orderly_reboot(project):
    """The unit's stop is nobody's wish: what it stopped comes back, what a person stopped does not."""
    write(project, {"x": sleeper(restart="unless-stopped"), "y": sleeper(restart="unless-stopped"), "n": sleeper()})
    project.up()
    project("stop", "-t", "0", "y")
    unit(project, "ExecStop")
    assert {c["State"] for c in project.ps("-a")} == {"exited"}
    wait_for(lambda: not project.supervisor(), "the supervisor to end")
    reboot(project)
    unit(project, "ExecStart")
    assert {c["Service"]: c["State"] for c in project.ps("-a")} == {"x": "running", "y": "exited", "n": "exited"}


def test_unhealthy_is_restarted(project):
    """Until it was in vain as often as the file allows; a success begins a new count."""
    write(project, {"x": sleeper(stop_grace_period="0s", healthcheck={"test": "test -e /data/ok", "interval": "50ms", "retries": 1},
                                 volumes=["data:/data"], **{"x-restart-unhealthy": {"max_attempts": 2}}),
                    "y": sleeper(healthcheck={"test": "false", "interval": "50ms", "retries": 1})}, volumes={"data": None})
    project.up()
    wait_for(lambda: project.record("x")["unhealthy_restarts"] == 2 and project.health("x") == "unhealthy", "two restarts in vain")
    pid = project.pid("x")
    time.sleep(0.3)
    assert project.pid("x") == pid and project.record("x")["restart_count"] == 2
    assert project.record("y")["restart_count"] == 0 and project.health("y") == "unhealthy", "only where it is asked for"
    project.sh("x", "touch /data/ok")
    wait_for(lambda: project.health("x") == "healthy", "it to be healthy")
    project.sh("x", "rm /data/ok")
    wait_for(lambda: project.record("x")["restart_count"] > 2, "another restart")


def test_start_waits_for_conditions(project):
    write(project, {"db": sleeper(healthcheck={"test": "test -e /dev/shm/ready", "interval": "50ms", "start_period": "60s"},
                                  command=["sh", "-c", "sleep 1; touch /dev/shm/ready; sleep 600"], stop_grace_period="0s"),
                    "once": {"image": "base", "command": ["sh", "-c", "sleep 0.5"]},
                    "web": sleeper(depends_on={"db": {"condition": "service_healthy"},
                                               "once": {"condition": "service_completed_successfully"}})})
    project("create")
    project("start", "web")
    assert project.health("db") == "healthy" and project.state("web") == "running"
    assert project.record("once")["finished"] < project.record("web")["started"]
    first = project.record("db")["started"]
    project("restart", "-t", "0")
    assert project.record("db")["started"] > first
    assert project.record("web")["started"] - project.record("db")["started"] > 0.9e9, "not before it was healthy again"


@pytest.mark.parametrize("condition, words", [
    ("service_healthy", "dependency failed to start: container {}-db-1 has no healthcheck configured"),
    ("service_completed_successfully", "service \"db\" didn't complete successfully: exit 3")])
def test_start_fails_with_its_dependency(project, condition, words):
    db = sleeper() if condition == "service_healthy" else failing()
    write(project, {"db": db, "web": sleeper(depends_on={"db": {"condition": condition}})})
    project("create")
    assert words.format(project.name) in project("start", "web", code=1).err
    assert project.record("web")["status"] == "created"
