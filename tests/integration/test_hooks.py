"""pre_start, post_start, pre_stop: when they run, as whom, and what becomes of one that fails."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from harness import cgroups_of, wait_for
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


# --- pre_start


def test_pre_start_runs_once_before_the_service(project):
    """Before the first container of a service starts, in containers of its own that leave nothing."""
    file(project, scale=2, restart="always", pre_start=[note("one"), note("two")], post_start=[note("up")])
    project.up()
    assert noted(project) == ["one", "two", "up", "up"] and len(project.ps()) == 2 == len(project.records())
    project.up()
    assert len(noted(project)) == 4, "nothing to start"
    project.up("--scale", "a=3")
    assert noted(project)[4:] == ["up"], "another one beside those that run"
    pid = project.pid("a")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: project.pid("a") not in (0, pid) and project.state("a") == "running", "the restart by policy")
    project("restart")
    assert set(noted(project)[5:]) == {"up"}
    before = len(noted(project))
    project.up("--force-recreate")
    assert noted(project)[before:] == ["one", "two", "up", "up"]
    project("stop")
    project("start")
    assert noted(project)[before + 4:] == ["one", "two", "up", "up"]


def test_what_a_pre_start_step_has(project):
    """The service's image, environment, mounts and networks; user and privileges of its own."""
    look = ["sh", "-c", 'echo "$$(id -u) $$(pwd) $$A $$B $$(grep CapEff /proc/self/status | cut -f2) $$(cat /conf) $$(nslookup db | grep -c 10.9.8.7)" >> /data/hooks']
    service = sleeper(user="app", working_dir="/srv", environment={"A": "service", "B": "service"}, cap_add=["SYS_ADMIN"],
                      volumes=["data:/data"], configs=[{"source": "conf", "target": "/conf"}], depends_on=["db"],
                      networks=["front"], container_name="named", ports=["127.0.0.1:18099:80"],
                      pre_start=[{"command": "sh -c 'chmod 777 /data; touch /data/hooks; chmod 666 /data/hooks'", "user": "root"},
                                 {"command": look},
                                 {"command": look, "user": "0", "privileged": True, "working_dir": "/tmp", "environment": {"B": "hook"}},
                                 {"image": "other", "command": ["-c", "echo other $$(id -u) $$A $$WHO >> /data/hooks"]}])
    other = {"build": ".", "image": "other", "profiles": ["x"]}
    write(project, {"a": service, "other": other, "db": sleeper(networks={"front": {"ipv4_address": "10.9.8.7"}})}, volumes={"data": None},
          networks={"front": {"ipam": {"config": [{"subnet": "10.9.8.0/24"}]}}}, configs={"conf": {"content": "written"}})
    project.write("Dockerfile", 'FROM base\nENV WHO=entry\nENTRYPOINT ["sh"]\n')
    project("build", "other")
    project.up()
    plain, privileged, other = project.sh("a", "cat /data/hooks").splitlines()
    assert plain == "1000 /srv service service 0000000000000000 written 1"
    assert privileged.startswith("0 /tmp service hook ") and int(privileged.split()[4], 16) > 0xA80425FB
    assert privileged.endswith("written 1")
    assert other == "other 0 service entry"


def test_pre_start_and_anonymous_volumes(project):
    """What a step leaves in one is there for the container, and stays when that is replaced."""
    volumes = {"volumes": ["/cache", "data:/data"], "stop_grace_period": "0s"}
    write(project, {"a": sleeper(pre_start=[{"command": ["sh", "-c", "echo $$(cat /cache/n)x > /cache/n"]}], **volumes)},
          volumes={"data": None})
    project.up()
    assert project.sh("a", "cat /cache/n") == "x"
    project.up("--force-recreate")
    assert project.sh("a", "cat /cache/n") == "xx"
    project.up("--force-recreate", "-V")
    assert project.sh("a", "cat /cache/n") == "x"
    assert len(list((project.root / "volumes").iterdir())) == 3


def test_failing_pre_start(project):
    """The service does not start, nor what depends on it; where the step stands is said. The next up tries again."""
    project.file("""
        services:
          a:
            image: base
            init: true
            command: sleep 600
            volumes: ["data:/data"]
            pre_start:
              - command: ["sh", "-c", "echo first >> /data/hooks"]
              - command: ["sh", "-c", "echo because >&2; test -e /data/ok || exit 3"]
              - command: ["sh", "-c", "echo third >> /data/hooks"]
          web:
            image: base
            command: sleep 600
            init: true
            depends_on: [a]
        volumes:
          data:
    """)
    failed = project.up(code=1)
    assert 'service "a" pre_start[1] exited with code 3 (compose.yaml:9)\n  | because\n' in failed.err
    assert [r["status"] for r in project.records()] == ["created", "created"], "and nothing of the steps"
    assert 'service "a" pre_start[1] exited with code 3 (compose.yaml:9)\n  | because\n' in project("start", "a", code=1).err
    data = project.root / "volumes" / f"{project.name}_data" / "_data"
    (data / "ok").write_text("")
    project.up()
    assert project.state("a") == project.state("web") == "running"
    assert noted(project) == ["first"] * 3 + ["third"]


def test_pre_start_that_cannot_run(project):
    file(project, pre_start=[{"command": ["nosuch"]}])
    assert 'service "a" pre_start[0]: ' in project.up(code=1).err
    file(project, pre_start=[{"image": "localhost:1/none", "command": "true"}])
    assert project.up(code=1).err and project.state("a") == "created"
    assert not [r for r in project.records() if r["oneoff"]]


def test_pre_start_per_replica(project):
    each = note("each") | {"per_replica": True}
    file(project, scale=2, pre_start=[note("once"), each])
    project.up()
    assert noted(project) == ["once", "each", "each"]
    project.up("--scale", "a=3")
    assert noted(project)[3:] == ["each"]


def test_pre_start_of_an_attached_up(project):
    """What it says is shown; its end is no end of the service."""
    say = {"command": ["sh", "-c", "echo out; echo err >&2; printf part"]}
    file(project, pre_start=[say])
    up = project.popen("up", "--abort-on-container-exit")
    wait_for(lambda: project.state("a") == "running", "it to run")
    up.send_signal(signal.SIGINT)
    out, _ = up.communicate(timeout=20)
    for word in ("out", "err", "part"):
        assert f"a pre_start[0] ->  | {word}\n" in out
    assert "Aborting" not in out and "exited with code 0" not in out
    assert "out" not in project.logs()


def test_pre_start_in_a_dry_run(project):
    file(project, scale=2, pre_start=[note("once"), note("each") | {"per_replica": True}])
    name = project.name
    told = project("--dry-run", "up", "-d").err
    assert f"Container {name}-a-1-pre_start-1  Exited" in told and f"Container {name}-a-1-pre_start-2  Exited" in told
    assert f"Container {name}-a-2-pre_start-1" not in told and f"Container {name}-a-2-pre_start-2  Exited" in told
    project.up()
    assert "pre_start" not in project("--dry-run", "up", "-d").err
    project("stop")
    assert f"Container {name}-a-1-pre_start-1  Exited" in project("--dry-run", "start").err


def hanging_start(project):
    file(project, pre_start=[{"command": "sleep 777"}])
    up = project.popen("up", "-d")
    wait_for(lambda: any(r["oneoff"] and r["pid"] for r in project.records()), "the step to run")
    return up


def steps_of(project) -> list[dict]:
    return [r for r in project.records() if r["oneoff"]]


def test_interrupted_pre_start(project):
    up = hanging_start(project)
    up.send_signal(signal.SIGINT)
    up.communicate(timeout=20)
    wait_for(lambda: not steps_of(project), "the step to go")
    assert project.state("a") == "created"


def test_down_ends_a_pre_start(project):
    hanging_start(project)
    project("down", timeout=20)
    assert not project.records()


def hanging(word: str) -> dict:
    """Notes the word, and waits as long as nobody says that it may go on."""
    return {"command": ["sh", "-c", f"echo {word} >> /data/hooks; test -e /data/go || exec sleep 777"]}


def data(project):
    return project.root / "volumes" / f"{project.name}_data" / "_data"


def written(project) -> list[str]:
    path = data(project) / "hooks"
    return path.read_text().split() if path.exists() else []


def kill_supervisor(project, *clients) -> None:
    """And the clients, which would ask the next one again; hooks may go on then."""
    for client in clients:
        os.kill(client.pid, signal.SIGSTOP)
    os.kill(project.supervisor(), signal.SIGKILL)
    (data(project) / "go").write_text("")
    for client in clients:
        client.kill()
        client.communicate(timeout=20)


def sleeps(project) -> bool:
    for pid in [pid for r in project.records() for pid in pids_of(r["id"])]:
        with suppress(OSError):  # it has just ended
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00777\x00":
                return True
    return False


def pids_of(container: str) -> list[str]:
    return [pid for folder in cgroups_of([container]) for pid in Path(folder, "cgroup.procs").read_text().split()]


def test_pre_start_outlives_its_supervisor(project):
    """The steps begin anew when the command, which does not notice, asks the next supervisor."""
    file(project, pre_start=[note("one"), hanging("two"), note("three")])
    up = project.popen("up", "-d")
    wait_for(lambda: "two" in written(project), "the step to run")
    kill_supervisor(project)
    out, _ = up.communicate(timeout=20)
    assert up.returncode == 0, out
    assert written(project) == ["one", "two", "one", "two", "three"] and not steps_of(project)
    assert project.state("a") == "running"


def test_pre_start_that_nobody_waits_for(project):
    """Nobody would start the service after it: it goes."""
    file(project, pre_start=[hanging("one"), note("two")])
    up = project.popen("up", "-d")
    wait_for(lambda: "one" in written(project), "the step to run")
    kill_supervisor(project, up)
    project("ps")
    wait_for(lambda: not steps_of(project), "the step to go")
    assert project.record("a")["status"] == "created" and written(project) == ["one"]
    project.up()
    assert written(project) == ["one", "one", "two"]


@pytest.mark.parametrize("waited_for", [True, False])
def test_post_start_outlives_its_supervisor(project, waited_for):
    """The hook under way is ended and run again, those before it are not."""
    file(project, post_start=[note("one"), hanging("two"), note("three")])
    up = project.popen("up", "-d")
    wait_for(lambda: "two" in written(project), "the hook to run")
    pid = project.pid("a")
    kill_supervisor(project, *[] if waited_for else [up])
    out, _ = up.communicate(timeout=20)
    assert up.returncode == 0 or not waited_for, out
    wait_for(lambda: "three" in written(project), "the hooks to end")
    assert written(project) == ["one", "two", "two", "three"] and project.pid("a") == pid and not sleeps(project)
    wait_for(lambda: "hook" not in project.record("a"), "the record to say so")
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
    project.up()
    assert len(written(project)) == 4


def test_post_start_of_a_start_taken_over(project):
    """At whatever moment of the start the supervisor is killed: each hook has run when the command is done."""
    file(project, post_start=[note("one"), note("two")])
    project.up()
    for delay in (0.01, 0.03, 0.06, 0.1, 0.15, 0.2):
        project("stop")
        (data(project) / "hooks").unlink()
        start = project.popen("start")
        time.sleep(delay)
        for pid in project.supervisors():
            os.kill(pid, signal.SIGKILL)
        out, _ = start.communicate(timeout=20)
        assert start.returncode == 0, out
        seen = written(project)
        assert [w for i, w in enumerate(seen) if w not in seen[:i]] == ["one", "two"] and len(seen) < 4, delay


@pytest.mark.parametrize("waited_for", [True, False])
def test_pre_stop_and_the_death_of_the_supervisor(project, waited_for):
    """The command asks again, and the hooks begin anew; without it the stop is withdrawn."""
    file(project, pre_stop=[note("one"), hanging("two")])
    project.up()
    stop = project.popen("stop")
    wait_for(lambda: "two" in written(project), "the hook to run")
    first = project.supervisor()
    kill_supervisor(project, *[] if waited_for else [stop])
    stop.communicate(timeout=20)
    if waited_for:
        assert stop.returncode == 0 and project.state("a") == "exited"
        assert written(project) == ["one", "two"] * 2
        return
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
    wait_for(lambda: not sleeps(project), "the hook to end")
    wait_for(lambda: not project.record("a")["stopped_by_user"], "the record to say so")
    assert project.state("a") == "running" and written(project) == ["one", "two"]
