"""post_start, pre_stop: when they run, as whom, and what becomes of one that fails."""

import os
import signal
import time

from harness import wait_for
from test_network import sleeper, write


def noted(project, service: str = "a") -> list[str]:
    return project.sh(service, "cat /data/hooks 2>/dev/null", code=None).split()


def note(word: str, **more) -> dict:
    return {"command": ["sh", "-c", f"echo {word} >> /data/hooks"]} | more


def services(**hooks) -> dict:
    return {"a": sleeper(volumes=["data:/data"], stop_grace_period="0s", **hooks)}


def file(project, **hooks) -> None:
    write(project, services(**hooks), volumes={"data": None})


def test_when_hooks_run(project):
    """By up, start, stop and restart; not when a container is replaced or restarted by its policy."""
    file(project, restart="always", post_start=[note("s1"), note("s2")], pre_stop=[note("p1"), note("p2")])
    project.up()
    assert noted(project) == ["s1", "s2"]
    project("restart")
    assert noted(project) == ["s1", "s2", "p1", "p2", "s1", "s2"]
    project("stop")
    project("start")
    assert noted(project) == ["s1", "s2", "p1", "p2"] * 2 + ["s1", "s2"]
    pid = project.pid("a")
    project("kill")  # no hooks; and by hand, so that no policy applies
    project("start")
    assert project.pid("a") != pid and noted(project)[10:] == ["s1", "s2"]
    project.up("--force-recreate")
    assert noted(project)[12:] == ["s1", "s2"]
    pid = project.pid("a")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: project.pid("a") not in (0, pid) and project.state("a") == "running", "the restart by policy")
    time.sleep(0.3)
    assert len(noted(project)) == 14
    project("down")
    project.up()
    assert noted(project)[14:] == ["p1", "p2", "s1", "s2"]


def test_how_a_hook_runs(project):
    look = ["sh", "-c", 'echo "$$(id -u) $$(pwd) $$A $$B $$(grep CapEff /proc/self/status | cut -f2)" >> /data/hooks']
    file(project, user="app", working_dir="/srv", environment={"A": "service", "B": "service"},
         post_start=[{"command": "sh -c 'chmod 777 /data; touch /data/hooks; chmod 666 /data/hooks'", "user": "root"},
                     {"command": look}, {"command": look, "user": "root", "working_dir": "/tmp", "environment": ["B=hook"]},
                     {"command": look, "user": "0", "privileged": True}])
    project.up()
    plain, root, privileged = project.sh("a", "cat /data/hooks").splitlines()
    assert plain.startswith("1000 /srv service service 0000000000000000")
    assert root.startswith("0 /tmp service hook 00000000a80425fb")
    assert privileged.startswith("0 /srv service service") and int(privileged.split()[-1], 16) > int(root.split()[-1], 16)


def test_dependents_wait_for_hooks(project):
    db = {"db": sleeper(post_start=[{"command": "sleep 0.7"}])}
    write(project, db | {"web": sleeper(depends_on=["db"])})
    project.up()
    assert project.record("web")["started"] - project.record("db")["started"] > 0.7e9


def test_failing_post_start(project):
    """As in the reference: the command fails, what depends on it is not started, the container runs on."""
    file(project, post_start=[{"command": "sh -c 'exit 3'"}, note("second")])
    write(project, services(post_start=[{"command": "sh -c 'exit 3'"}, note("second")]) | {"web": sleeper(depends_on=["a"])},
          volumes={"data": None})
    result = project.up(code=1)
    assert "a hook exited with status 3" in result.err
    assert project.state("a") == "running" and project.record("web")["status"] == "created" and noted(project) == []
    file(project, post_start=[{"command": ["nosuch"]}])
    assert "a hook exited with status" in project.up(code=1).err


def test_failing_pre_stop(project):
    file(project, pre_stop=[{"command": "sh -c 'exit 4'"}])
    project.up()
    for command in (["stop"], ["restart"], ["down"], ["rm", "-sf"]):
        assert "a hook exited with status 4" in project(*command, code=1).err
        assert project.state("a") == "running", command
    project("kill")
    project("down")


def hanging_stop(project):
    file(project, pre_stop=[{"command": "sleep 777"}])
    project.up()
    stop = project.popen("stop")
    wait_for(lambda: "sleep 777" in project.sh("a", "ps"), "the hook to run")
    return stop


def test_kill_ends_a_hook_that_hangs(project):
    stop = hanging_stop(project)
    project("kill")
    out, _ = stop.communicate(timeout=20)
    assert stop.returncode == 0, out
    assert project.ended("a") == 137


def test_interrupted_stop_is_withdrawn(project):
    """A hook that hangs holds nobody up once who asked for it is gone."""
    stop = hanging_stop(project)
    stop.send_signal(signal.SIGINT)
    stop.communicate(timeout=20)
    wait_for(lambda: "sleep 777" not in project.sh("a", "ps"), "the hook to end")
    assert project.state("a") == "running"
    file(project)
    project.up("-t", "0", timeout=20)


def test_attached_up_shows_what_hooks_say(project):
    say = {"command": ["sh", "-c", "echo out; echo err >&2; printf part"]}
    file(project, post_start=[say], pre_stop=[{"command": "echo bye"}])
    up = project.popen("up")
    wait_for(lambda: project.state("a") == "running" and not project.record("a")["stopped_by_user"], "it to run")
    seen = ""
    while "part" not in seen:
        line = up.stdout.readline()
        assert line, seen
        seen += line
    assert "a-1 ->  | out\n" in seen and "a-1 ->  | err\n" in seen
    up.send_signal(signal.SIGINT)
    rest, _ = up.communicate(timeout=20)
    assert "a-1 ->  | bye\n" in rest
    assert "out" not in project.logs(), "it is no output of the container"
