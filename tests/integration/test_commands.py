"""The commands: what they do, what they print where, and what they exit with."""

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import time

import pytest

from harness import COMPOSE, wait_for
from test_network import sleeper, write


def two(project, **keys):
    write(project, {"web": sleeper(depends_on=["db"], **keys), "db": sleeper(**keys)})


# --- up, down, ps ----------------------------------------------------------------------------------


def test_up_and_down_say_what_they_do(project):
    two(project)
    n = project.name
    up = project.up()
    assert up.out == "", "progress is for stderr"
    for line in (f"Network {n}_default  Created", f"Container {n}-db-1  Started", f"Container {n}-web-1  Started"):
        assert line in up.err, str(up)
    again = project.up()
    assert f"Container {n}-web-1  Running" in again.err
    down = project("down", "-t", "1")
    for line in (f"Container {n}-web-1  Stopped", f"Container {n}-web-1  Removed", f"Network {n}_default  Removed"):
        assert line in down.err, str(down)
    assert project.ps() == []
    project("down")


def test_up_recreates_only_what_changed(project):
    two(project)
    project.up()
    before = {r["service"]: r["id"] for r in project.records()}
    write(project, {"web": sleeper(depends_on=["db"], environment={"NEW": "1"}), "db": sleeper()})
    result = project.up("-t", "0")
    after = {r["service"]: r["id"] for r in project.records()}
    assert after["db"] == before["db"] and after["web"] != before["web"]
    assert f"Container {project.name}-web-1  Recreated" in result.err
    project.up("--force-recreate", "-t", "0")
    assert {r["service"]: r["id"] for r in project.records()}["db"] != before["db"]
    write(project, {"web": sleeper(depends_on=["db"], environment={"NEW": "2"}), "db": sleeper()})
    kept = {r["service"]: r["id"] for r in project.records()}
    project.up("--no-recreate")
    assert {r["service"]: r["id"] for r in project.records()} == kept


def test_scale(project):
    write(project, {"x": sleeper()})
    project.up("--scale", "x=3")
    assert sorted(c["Name"] for c in project.ps()) == [f"{project.name}-x-{n}" for n in (1, 2, 3)]
    project.up("--scale", "x=1", "-t", "0")
    assert [c["Name"] for c in project.ps()] == [f"{project.name}-x-1"]
    project("scale", "x=2")
    assert len(project.ps()) == 2


def test_orphans(project):
    two(project)
    project.up()
    write(project, {"web": sleeper()})
    result = project.up()
    assert "orphan" in result.err and f"{project.name}-db-1" in result.err
    project.up("--remove-orphans", "-t", "0")
    assert {c["Service"] for c in project.ps()} == {"web"}


def test_down_leaves_what_it_was_not_asked_for(project):
    """A service of a profile that is not enabled runs on, with all that is its own, and is still known."""
    write(project, {"web": sleeper(stop_grace_period="0s"), "tool": sleeper(profiles=["tools"], stop_grace_period="0s")})
    project("--profile", "tools", "up", "-d")
    project.sh("tool", "echo mine > /kept")
    assert "Resource is still in use" in project("down").err
    assert [(c["Service"], c["State"]) for c in project.ps()] == [("tool", "running")]
    os.kill(project.supervisor(), signal.SIGKILL)
    assert project.sh("tool", "cat /kept") == "mine"
    project("--profile", "tools", "stop")
    project("--profile", "tools", "start")
    assert project.sh("tool", "cat /kept") == "mine"
    project("--profile", "tools", "down")
    assert project.ps() == [] and not (project.root / "projects" / project.name).exists()


@pytest.mark.parametrize("bond", ["depends_on: [db]", "network_mode: 'service:db'"])
def test_down_does_not_wait_for_dependents_that_it_leaves(project, bond):
    db, w = ("  db: {image: base, init: true, command: sleep 600}", "  w: {image: base, init: true, command: sleep 600, %s}" % bond)
    project.file(f"services:\n{db}\n{w}\n")
    project.up()
    named = project("down", "-t", "0", "db", timeout=15).err
    assert f"Container {project.name}-db-1  Removed" in named
    assert ("Resource is still in use" in named) == ("depends_on" in bond), "with the namespace of db its endpoint is gone"
    assert [(c["Service"], c["State"]) for c in project.ps()] == [("w", "running")]
    project.up("-t", "0")
    project.file(f"services:\n{db}\n")
    assert f"Container {project.name}-db-1  Removed" in project("down", "-t", "0", timeout=15).err
    assert [(c["Service"], c["State"]) for c in project.ps("--orphans")] == [("w", "running")]
    project("down", "-t", "0", "--remove-orphans")
    assert project.ps() == []


def test_down_of_two_that_need_each_other(project):
    """The file turned round, of which only one service was brought up again."""
    file = "services:\n  a: {image: base, init: true, command: sleep 600, %s}\n  b: {image: base, init: true, command: sleep 600, %s}\n"
    project.file(file % ("depends_on: [b]", "tty: false"))
    project.up()
    project.file(file % ("tty: false", "depends_on: [a]"))
    project.up("--no-deps", "b")
    project("down", "-t", "0", timeout=15)
    assert project.ps() == []


def test_what_was_left_of_a_project_has_its_network_again(project):
    """As in the reference, a network goes with the last container that runs in it."""
    two(project, stop_grace_period="0s")
    project.up()
    project("stop")
    assert f"Network {project.name}_default  Removed" in project("down", "web").err
    project("start", "db")
    assert project.state("db") == "running" and project.address("db")


def test_one_off_containers_that_have_ended_are_orphans(project):
    """As in the reference: up tells of them, and removes them where it is asked to; kill reaches those that run."""
    write(project, {"x": sleeper(stop_grace_period="0s")})
    project("run", "-T", "--name", f"{project.name}-done", "x", "true")
    name = project("run", "-d", "--name", f"{project.name}-going", "x").out.strip()
    warning = project.up().err
    assert f"Found orphan containers ([{project.name}-done])" in warning
    assert "orphan" not in project.up(env={"COMPOSE_IGNORE_ORPHANS": "1"}).err
    project.up("--remove-orphans")
    assert {c["Name"] for c in project.ps("-a")} == {f"{project.name}-x-1", f"{project.name}-going"}
    project("kill")
    assert {c["Name"]: c["State"] for c in project.ps("-a")} == {f"{project.name}-x-1": "exited", f"{project.name}-going": "exited"}
    assert len(name) == 64


def test_attached_up(project):
    write(project, {"a": {"image": "base", "command": ["sh", "-c", "echo one; echo two >&2"]},
                    "longname": {"image": "base", "command": ["echo", "three"]}})
    result = project("up", timeout=30)
    assert re.search(r"^a-1 +\| one$", result.out, re.M) and re.search(r"^a-1 +\| two$", result.text, re.M)
    assert re.search(r"^longname-1 +\| three$", result.out, re.M)
    assert "a-1 exited with code 0" in result.text
    widths = {line.index("|") for line in result.out.splitlines() if "|" in line}
    assert len(widths) == 1, "the bars stand below each other"


WAITING_FOR_A_JOB = """
services:
  slow:
    image: base
    command: sleep 100
    stop_grace_period: 0s
    healthcheck: {test: sleep 100, interval: 100s, timeout: 90s}
  late: {image: base, depends_on: {slow: {condition: service_healthy}}}
  job: {image: base, command: sh -c 'echo job; exit %d'}
"""


@pytest.mark.parametrize("options", [("--abort-on-container-exit",), ("--exit-code-from", "job")])
@pytest.mark.parametrize("code", [0, 3])
def test_an_end_while_others_wait_aborts_all(project, options, code):
    """What has not started yet is given up, which is no failure: the code is the job's."""
    project.file(WAITING_FOR_A_JOB % code)
    result = project("up", *options, code=code, timeout=30)
    for words in ("| job\n", f"exited with code {code}", "Aborting on container exit...", "Stopping", "Stopped"):
        assert words in result.text
    assert "meanwhile" not in result
    assert project.state("slow") == "exited"
    assert project.state("late") == "created"


def test_abort_on_container_exit(project):
    write(project, {"job": {"image": "base", "command": ["sh", "-c", "sleep 0.3; exit 3"]}, "x": sleeper()})
    result = project("up", "--abort-on-container-exit", code=None, timeout=30)
    assert project.state("x") == "exited"
    assert result.code == 3
    result = project("up", "--exit-code-from", "job", code=3, timeout=30)
    assert "job-1 exited with code 3" in result.text


def test_exit_code_from_one_that_was_ended_early(project):
    """Another's end is no success of the one whose code counts, however politely it leaves."""
    polite = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    write(project, {"tests": {"image": "base", "command": polite}, "db": {"image": "base", "command": ["sh", "-c", "sleep 0.3"]}})
    project("up", "--exit-code-from", "tests", code=143, timeout=30)


def test_exit_code_from_one_that_was_ended_while_others_wait(project):
    project.file(WAITING_FOR_A_JOB % 0)
    project("up", "--exit-code-from", "slow", code=137, timeout=30)


def test_ps(project):
    write(project, {"x": sleeper(), "gone": {"image": "base", "command": "true"}})
    project.up()
    wait_for(lambda: project.state("gone") == "exited", "it to end")
    lines = project("ps").out.splitlines()
    assert lines[0].split() == ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]
    assert len(lines) == 2 and f"{project.name}-x-1" in lines[1] and "Up " in lines[1]
    assert "Exited (0)" in project("ps", "-a").out
    assert project("ps", "--services").out.split() == ["x"]
    assert len(project("ps", "-q").out.strip()) == 64
    assert project("ps", "--status", "exited", "--services", "-a").out.split() == ["gone"]
    assert project("ps", "--format", "{{.Service}}={{.State}}").out.split() == ["x=running"]
    container = project.ps("x")[0]
    assert {"ID", "Name", "Service", "State", "Health", "ExitCode", "Publishers", "Image", "Labels", "Project"} <= set(container)


def test_ls(project):
    two(project)
    project.up()
    listed = json.loads(project("ls", "--format", "json").out)
    assert listed[0]["Name"] == project.name and listed[0]["Status"] == "running(2)"
    assert listed[0]["ConfigFiles"] == str(project.dir / "compose.yaml")
    assert project.name in project("ls").out
    project("stop", "-t", "0")
    assert project.name not in project("ls").out and "exited(2)" in project("ls", "-a").out


# --- logs ------------------------------------------------------------------------------------------


def test_logs(project):
    write(project, {"a": {"image": "base", "command": ["sh", "-c", "seq 1 20"]}, "b": {"image": "base", "command": ["echo", "bee"]}})
    project.up()
    wait_for(lambda: all(c["State"] == "exited" for c in project.ps()), "both to end")
    assert {"a-1  | 20", "b-1  | bee"} <= set(project.logs().splitlines())
    assert project.logs("--tail", "2", "a").splitlines() == ["a-1  | 19", "a-1  | 20"]
    assert project.logs("--no-log-prefix", "b") == "bee\n"
    assert re.match(r"b-1  \| \d{4}-\d\d-\d\dT[\d:.]+Z bee$", project.logs("-t", "b").strip())
    assert project.logs("--since", "1h", "b").strip() == "b-1  | bee"
    assert project.logs("--until", "1h", "b").strip() == ""
    assert project("logs", "nobody", code=1).err.strip().endswith("no such service: nobody")


def test_logs_follow(project):
    write(project, {"x": sleeper(init=False, command=["sh", "-c", "echo first; while [ ! -e /go ]; do sleep 0.05; done; echo second; exec sleep 600"])})
    project.up()
    child = project.popen("logs", "-f", "--no-color")
    assert "first" in child.stdout.readline()
    project.sh("x", "touch /go")
    started = time.monotonic()
    assert "second" in child.stdout.readline()
    assert time.monotonic() - started < 2
    project("stop", "-t", "0")
    child.communicate(timeout=10)
    assert child.returncode == 0, "it ends with the last container"


# --- exec and run ----------------------------------------------------------------------------------


def test_exec(project):
    write(project, {"x": sleeper(environment={"A": "1"}, working_dir="/srv")})
    project.up()
    result = project.exec("x", "sh", "-c", "echo out; echo err >&2; echo $A; pwd; exit 7", code=7)
    assert result.out == "out\n1\n/srv\n" and "err" in result.err
    assert project("exec", "-T", "-u", "app", "-w", "/tmp", "-e", "B=2", "x", "sh", "-c", "id -u; pwd; echo $B").out == "1000\n/tmp\n2\n"
    assert project("exec", "-T", "x", "cat", stdin="through stdin").out == "through stdin"
    assert project.exec("x", "nosuch", code=127).code == 127
    assert project.exec("x", "/etc/passwd", code=126).code == 126
    assert project.exec("x", "sh", "-c", "kill -KILL $$", code=137).code == 137
    project("exec", "-d", "x", "touch", "/detached")
    wait_for(lambda: project.sh("x", "ls /detached", code=None) == "/detached", "the detached command")


def test_exec_in_what_does_not_run(project):
    write(project, {"x": {"image": "base", "command": "true"}})
    result = project.exec("x", "true", code=1)
    assert 'service "x" is not running' in result.err
    assert 'service "nobody" is not running' in project.exec("nobody", "true", code=1).err


def test_exec_with_a_terminal(project):
    write(project, {"x": sleeper()})
    project.up()
    master, slave = pty.openpty()
    child = project.popen("exec", "x", "sh", "-c", "tty; stty size; echo $TERM; read a; echo got $a",
                          stdin=slave, stdout=slave, stderr=slave, text=False)
    os.close(slave)
    seen = b""
    os.write(master, b"typed\n")
    deadline = time.monotonic() + 20
    while b"got typed" not in seen and time.monotonic() < deadline:
        if select.select([master], [], [], 0.2)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:
                break
    os.close(master)
    child.wait(20)
    assert b"/dev/pts" in seen and b"got typed" in seen and child.returncode == 0, seen


def test_exec_where_the_container_ends_meanwhile(project):
    """Between our look at it and the runtime's: that is said, and no runtime's riddle is the exit code."""
    runtime = project.tmp / "late-runtime"
    env = {"PATH": f"{project.tmp}:{os.environ['PATH']}"}
    runtime.write_text(f"""#!/bin/sh
        case " $* " in *" exec "*) read -r pid <{project.tmp}/pid; kill -9 "$pid"; while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done;; esac
        exec {shutil.which("crun") or shutil.which("runc")} "$@"
        """)
    runtime.chmod(0o755)
    write(project, {"x": sleeper(runtime=runtime.name)})
    project.up(env=env)
    (project.tmp / "pid").write_text(f"{project.pid('x')}\n")
    result = project("exec", "-T", "x", "true", code=1, env=env)
    assert f"container {project.record('x')['id']} is not running" in result.err


def test_run(project):
    write(project, {"x": {"image": "base", "command": ["echo", "default"], "environment": {"A": "1"}, "ports": ["41400:80"]}, "db": sleeper()})
    assert project("run", "--rm", "-T", "x").out == "default\n"
    assert project("run", "--rm", "-T", "-e", "A=2", "x", "sh", "-c", "echo $A; exit 4", code=4).out == "2\n"
    assert project("run", "--rm", "-T", "x", "cat", stdin="in").out == "in"
    assert project("run", "--rm", "-T", "--entrypoint", "echo", "x", "a", "b").out == "a b\n"
    assert project("run", "--rm", "-T", "-u", "app", "-w", "/tmp", "x", "sh", "-c", "id -un; pwd").out == "app\n/tmp\n"
    (project.dir / "v").mkdir()
    (project.dir / "v/f").write_text("bound")
    assert project("run", "--rm", "-T", "-v", f"{project.dir}/v:/v", "x", "cat", "/v/f").out == "bound"
    assert project.ps() == [], "--rm"
    project("run", "-T", "--name", f"{project.name}-mine", "x", "true")
    assert any(r["name"] == f"{project.name}-mine" and r["oneoff"] for r in project.records())
    assert project("run", "--rm", "-T", "x", "nosuch", code=127)


def test_run_starts_dependencies(project):
    write(project, {"x": {"image": "base", "depends_on": {"db": {"condition": "service_healthy"}}},
                    "db": sleeper(healthcheck={"test": "true", "interval": "1s"})})
    assert project("run", "--rm", "-T", "x", "echo", "hi").out == "hi\n"
    assert project.state("db") == "running"
    again = project("run", "--rm", "-T", "x", "true").err
    assert again.count("db-1  Running") == 1 and again.count("Healthy") == 1
    project("down", "-t", "0")
    project("run", "--rm", "-T", "--no-deps", "x", "true")
    assert project.state("db") is None


def test_run_detached(project):
    write(project, {"x": sleeper()})
    name = project("run", "-d", "x").out.strip()
    assert any(name in (r["id"], r["name"]) and r["status"] == "running" for r in project.records())
    assert project("ps", "-q").out == "", "one-offs are shown with those that do not run"
    for options in ("-a",), ("--status", "running"), ("--filter", "status=running"):
        assert project("ps", "--format", "{{.Service}}", *options).out == "x\n"


# --- the rest --------------------------------------------------------------------------------------


def test_stop_start_restart_kill(project):
    two(project)
    project.up()
    pid = project.pid("web")
    project("stop", "-t", "1", "web")
    assert project.state("web") == "exited" and project.state("db") == "running"
    project("start", "web")
    assert project.state("web") == "running"
    pid = project.pid("web")
    project("restart", "-t", "1", "web")
    assert project.pid("web") != pid
    project("kill", "-s", "KILL", "web")
    assert project.ended("web") == 137
    project("rm", "-f")
    assert {c["Service"] for c in project.ps()} == {"db"}
    removed = project("rm", "-s", "-f", "db").err
    assert [line.split()[-1] for line in removed.splitlines()] == ["Stopping", "Stopped", "Removing", "Removed"]
    assert "no such service: nobody" in project("stop", "nobody", code=1).err


def test_verbs_leave_what_is_not_in_the_file(project):
    """Orphans, services of profiles that are not enabled and, but for kill, what run has started."""
    db, quick = "  db: {image: base, init: true, command: sleep 600, stop_grace_period: 0s%s}\n", "stop_grace_period: 0s"
    tool = "  tool: {image: base, init: true, command: sleep 600, profiles: [x], %s}\n" % quick
    gone = "  gone: {image: base, init: true, command: sleep 600, depends_on: [db], %s}\n" % quick
    project.file("services:\n" + db % "" + tool + gone)
    project("--profile", "x", "up", "-d")
    project("run", "-d", "--name", f"{project.name}-one", "db")
    project.file("services:\n" + db % "" + tool)

    def states():
        return {c["Name"].removeprefix(f"{project.name}-"): (c["State"], c["State"] != "exited" and r["pid"]) for c in project.ps("--orphans")
                for r in project.records() if r["name"] == c["Name"]}

    before = states()
    assert sorted(before) == ["db-1", "gone-1", "one", "tool-1"]
    for verb, state in (("pause", "paused"), ("unpause", "running"), ("restart", "running"), ("stop", "exited"), ("start", "running"),
                        ("kill", "exited"), ("rm -fs", None)):
        result = project(*verb.split()).text
        after = states()
        assert after.pop("db-1", (None, 0))[0] == state, result
        if verb == "kill":
            before["one"] = after["one"]
            assert after["one"][0] == "exited"
        assert after.items() <= before.items() and "gone" not in result and "tool" not in result, result
        if verb == "rm -fs":
            assert set(after) == {"gone-1", "one", "tool-1"}
    assert "no container to kill" in project("kill").err
    assert "no such service: gone" in project("stop", "gone", code=1).err
    project("stop", "tool")
    assert project.state("tool") == "exited"
    assert "gone" not in project("--dry-run", "kill").err
    for dry in ("--dry-run", "--progress=plain"):
        assert f"Container {project.name}-gone-1  Killed" in project(dry, "kill", "--remove-orphans").err
    assert states()["gone-1"][0] == "exited"
    # A name alone means all that goes by it.
    project("-p", project.name, "start", cwd=project.tmp)
    assert {s for s, _ in states().values()} == {"running", "exited"} and states()["tool-1"][0] == "running"
    project("-p", project.name, "rm", "-fs")
    assert set(states()) == {"one"}
    project("-p", project.name, "down")
    assert states() == {}


def services(project) -> dict[str, str]:
    return {c["Service"]: c["State"] for c in project.ps()}


def needy(project):
    """db; loader, which comes again with it and ends; next, which waits for that end; waits, for db; and other, which does not."""
    last = "image: base, init: true, stop_grace_period: 0s, command"
    project.file(f"""
        services:
          db: {{{last}: sleep 600, healthcheck: {{test: ["CMD", "true"], interval: 100ms}}}}
          loader: {{{last}: "true", depends_on: {{db: {{condition: service_healthy, restart: true}}}}}}
          next: {{{last}: "true", depends_on: {{loader: {{condition: service_completed_successfully, restart: true}}}}}}
          waits: {{{last}: sleep 600, depends_on: {{db: {{condition: service_healthy}}}}}}
          other: {{{last}: sleep 600, depends_on: [db]}}
          tool: {{{last}: sleep 600, profiles: [x]}}
        """)


def test_start_and_restart_say_which_containers_are_missing(project):
    needy(project)
    none = 'service "db" has no container to start'
    assert none in project("start", code=1).err
    assert "loader is missing dependency db" in project("restart", code=1).err
    for verb in ("stop", "pause", "unpause"):
        project(verb)
    project.up()
    project.ended("next")
    project("down", "-t", "0")
    for verb in (["start"], ["start", "db"], ["start", "other"]):
        assert none in project(*verb, code=1).err
    project.up()
    project.ended("next")
    project("stop")
    project("rm", "-f", "db")
    project("start", "other")
    assert services(project)["other"] == "running"
    ended = project.record("loader")["started"]
    for verb, words in (("start loader", "loader is missing dependency db"), ("start waits", "waits is missing dependency db"),
                        ("start", "is missing dependency db"), ("restart", "loader is missing dependency db"),
                        ("restart db", "loader is missing dependency db")):
        assert words in project(*verb.split(), code=1).err
        assert project.record("loader")["started"] == ended, "it was started all the same"
        assert services(project)["waits"] == ("running" if verb.startswith("restart") else "exited"), verb
    project("restart", "loader")
    project.up()
    project("rm", "-fs", "loader")
    pid = project.pid("waits")
    assert "next is missing dependency loader" in project("restart", code=1).err
    assert project.pid("waits") != pid, "the others were held up"


def test_restart_takes_dependents_along_that_have_ended(project):
    needy(project)
    project.up()
    project.ended("next")
    before = {s: project.record(s)["started"] for s in ("loader", "next", "waits", "other")}
    assert "next-1  Restarting" in project("--dry-run", "restart", "db").err
    project("restart", "--no-deps", "db")
    assert {s: project.record(s)["started"] for s in before} == before
    project("restart", "db")
    after = {s: project.record(s)["started"] for s in before}
    assert {s for s in before if after[s] != before[s]} == {"loader", "next"} and after["loader"] < after["next"]
    project.ended("next")


def test_down_of_a_service_of_a_profile(project):
    """Named it is known, whether it has a container or none."""
    needy(project)
    project.up("other")
    project("down", "tool")
    assert services(project) == {"db": "running", "other": "running"}
    project.up("tool")
    project("down", "-t", "0", "tool")
    assert "tool" not in services(project)
    assert "no such service: nobody" in project("down", "nobody", code=1).err


def test_verbs_read_a_file_from_stdin(project):
    text = "services: {db: {image: base, init: true, command: sleep 600, stop_grace_period: 0s}}"
    for verb, state in (("up -d", "running"), ("stop", "exited"), ("start", "running"), ("kill", "exited"), ("rm -f", None)):
        said = project("-f", "-", *verb.split(), stdin=text)
        assert [c["State"] for c in project.ps("--orphans")] == ([state] if state else []), str(said)
        if verb == "kill":
            project.ended("db")


def test_rm_stops_dependents_first(project):
    two(project, stop_grace_period="0s")
    project.up()
    said = project("rm", "-fs").err.splitlines()
    assert said.index(f" Container {project.name}-web-1  Stopped") < said.index(f" Container {project.name}-db-1  Stopping")


def test_pause(project):
    write(project, {"x": sleeper()})
    project.up()
    project("pause")
    assert project.state("x") == "paused" and "(Paused)" in project("ps").out
    project("unpause")
    assert project.state("x") == "running"
    project("pause")
    project("down", "-t", "1")


def test_create_then_start(project):
    write(project, {"x": sleeper()})
    project("create")
    assert project.state("x") == "created"
    project("start")
    assert project.state("x") == "running"


def test_top_port_wait_and_version(project):
    write(project, {"x": sleeper(ports=["41500:80"]), "job": {"image": "base", "command": ["sh", "-c", "sleep 0.5; exit 6"]}})
    project.up()
    wait_for(lambda: "sleep 600" in project("top", "x").out, "the process in its list")
    assert project("port", "x", "80").out.strip() == "0.0.0.0:41500"
    result = project("wait", "job", code=6)
    assert "6" in result.out
    assert re.match(r"v?\d+\.\d+", project("version", "--short").out)
    assert json.loads(project("version", "-f", "json").out)["version"]


def test_cp(project):
    write(project, {"x": sleeper()})
    project.up()
    project.write("up.txt", "to and fro\n")
    project("cp", "up.txt", "x:/tmp/there.txt")
    assert project.sh("x", "cat /tmp/there.txt") == "to and fro"
    project("cp", "x:/tmp/there.txt", "back.txt")
    assert (project.dir / "back.txt").read_text() == "to and fro\n"


def test_cp_says_what_cannot_be(project):
    write(project, {"x": sleeper()})
    project.up()
    project.write("dir/file", "")
    os.mknod(project.dir / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(project.dir / "pipe")
    for args, words in [(("x:/etc/passwd", "device"), f'invalid output path: "{project.dir}/device" must be a directory or a regular file: got a device'),
                        (("x:/etc/passwd", "pipe"), "got an irregular file"),
                        (("dir/file", "x:"), "x: the path in the container is empty"),
                        (("x:", "there"), "x: the path in the container is empty"),
                        (("dir", "x:/etc/passwd"), "cannot copy directory dir to /etc/passwd")]:
        assert words in project("cp", *args, code=1).err
    assert stat.S_ISCHR(os.stat(project.dir / "device").st_mode) and stat.S_ISFIFO(os.stat(project.dir / "pipe").st_mode)
    assert [line.split()[-1] for line in project("cp", "x:/etc/passwd", "-").err.splitlines()] == ["Copying", "Copied"]
    assert "Copying" not in project("cp", "x:/etc/passwd", "-", env={"COMPOSE_STATUS_STDOUT": "1"}).text


def test_events(project):
    write(project, {"x": {"image": "base", "command": ["sh", "-c", "exit 2"]}})
    project("create")
    child = project.popen("events", "--json")
    project("start")
    wait_for(lambda: project.state("x") == "exited", "it to end")
    actions = []
    while "die" not in actions:
        line = child.stdout.readline()
        assert line, "the events ended"
        actions.append(json.loads(line)["action"])
    assert "start" in actions


def test_dry_run_changes_nothing(project):
    two(project)
    result = project("--dry-run", "up", "-d")
    assert "DRY-RUN" in result.err
    assert project.ps() == [] and not list(project.root.glob("networks/*/network.json"))


def test_doctor(project):
    result = project("doctor", code=None)
    for word in ("cgroup", "oci runtime", "overlay", "53", "forward", "disk"):
        assert word in result.text.lower(), word


def test_unknown_command_flag_and_service(project):
    two(project)
    for args, words in [(("fly",), "fly"), (("up", "--wings"), "unknown flag: --wings"), (("up", "nobody"), "no such service: nobody")]:
        result = project(*args, code=None)
        assert result.code != 0 and words in result.err, str(result)


def test_help(project):
    top = project("--help").out
    for command in ("up", "down", "ps", "logs", "exec", "run", "build", "config", "image", "doctor"):
        assert re.search(rf"^  {command}\b", top, re.M), command
    assert "--scale" in project("up", "--help").out == project("help", "up").out
    assert 'unknown command: "compose fly"' in project("help", "fly", code=1).err


def test_progress_on_a_terminal(project):
    two(project)
    master, slave = pty.openpty()
    child = project.popen("up", "-d", stdin=slave, stdout=slave, stderr=slave, text=False)
    os.close(slave)
    seen = b""
    with pytest.raises(OSError):
        while True:
            seen += os.read(master, 65536)
    os.close(master)
    assert child.wait(20) == 0
    text = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", seen).decode()
    assert "[+] Running" in text and "✔ Container" in text and "Started" in text


def test_closed_output_pipe(project):
    two(project)
    for _ in range(3):
        done = subprocess.run(["sh", "-c", f"{COMPOSE} config | head -n 1"], cwd=project.dir, env=project.environment(),
                              capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0 and "rror" not in done.stderr


def test_keys_that_are_not_honoured_are_told(project):
    project.file("""
        services:
          x:
            image: base
            init: true
            command: sleep 60
            use_api_socket: true
            logging: {driver: fluentd}
        """)
    result = project.up()
    assert re.search(r'compose.yaml:\d+:\d+: warning: service "x": use_api_socket is not supported', result.err)
    assert re.search(r'compose.yaml:\d+:\d+: warning: service "x": logging.driver "fluentd" is not supported', result.err)
    assert result.err.count("use_api_socket") == 1, "told once"
    assert "use_api_socket" not in project("config", "-q").err


def test_kill_reaches_a_paused_container(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60}}")
    project.up()
    project("pause")
    assert project("pause", code=1).err.count("already paused") >= 1
    assert "unpause" in project.up(code=1).err
    project("kill", timeout=20)
    assert project.ended("x") == 137


def test_dependents_follow_a_container_that_is_replaced(project):
    file = """
        services:
          a: {image: base, init: true, command: sleep 60, environment: {X: "%s"}}
          b: {image: base, init: true, command: sleep 60, network_mode: "service:a"}
          w: {image: base, init: true, command: sleep 60, depends_on: {a: {condition: service_started, restart: true}}}
          o: {image: base, init: true, command: sleep 60, depends_on: [a]}
        """
    project.file(file % 1)
    project.up()
    before = {s: project.pid(s) for s in "abwo"}
    project.file(file % 2)
    project.up()
    after = {s: project.pid(s) for s in "abwo"}
    assert {s for s in "abwo" if before[s] != after[s]} == {"a", "b", "w"}
    assert os.readlink(f"/proc/{after['a']}/ns/net") == os.readlink(f"/proc/{after['b']}/ns/net")


def test_scaling_down_keeps_anonymous_volumes(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60, volumes: [/data]}}")
    project.up("--scale", "x=2")
    volumes = len(list(project.root.glob("volumes/*/_data")))
    project.up("--scale", "x=1")
    assert len(project.ps()) == 1
    assert volumes == 2 == len(list(project.root.glob("volumes/*/_data")))


def test_ps_shows_exposed_ports_and_ranges(project):
    write(project, {"x": sleeper(expose=["9000", "53/udp", "80"], ports=["41510:80", "127.0.0.1:41520-41522:41520-41522"])})
    project.up()
    assert project("ps", "--format", "{{.Ports}}").out.strip() == (
        "53/udp, 9000/tcp, 127.0.0.1:41520-41522->41520-41522/tcp, 0.0.0.0:41510->80/tcp, [::]:41510->80/tcp")
    ports = [(p["URL"], p["TargetPort"], p["PublishedPort"], p["Protocol"]) for p in project.ps()[0]["Publishers"]]
    assert ports[0] == ("", 53, 0, "udp") and ("", 9000, 0, "tcp") in ports and ("0.0.0.0", 80, 41510, "tcp") in ports
    assert project("ps", "--format", "{{.Publishers}}").out.startswith("[{ 53 0 udp} {0.0.0.0 80 41510 tcp} {:: 80 41510 tcp}")
    assert project("port", "x", "9000", code=1).err.startswith("no port 9000/tcp for container")
    project("stop", "-t", "0")
    assert project("ps", "-a", "--format", "{{.Ports}}").out.strip() == ""


def test_ps_shows_files_of_secrets_and_configs_as_mounts(project):
    project.write("file", "")
    project.file("""
        services: {x: {image: base, init: true, command: sleep 60, volumes: [/data], secrets: [s], configs: [c, text]}}
        secrets: {s: {file: ./file}}
        configs: {c: {file: ./file}, text: {content: some}}
        """)
    project.up()
    mounts = project("ps", "--no-trunc", "--format", "{{.Mounts}}").out.strip().split(",")
    assert len(mounts[0]) == 64 and mounts[1:] == [str(project.dir / "file")] * 2


@pytest.mark.parametrize("runtime", ["crun", "runc"])
def test_exec_leaves_the_callers_files_to_the_caller(project, runtime):
    """OCI runtimes give what they get as standard streams to the container's user."""
    project.write("compose.yaml", '{services: {x: {image: base, init: true, command: [sleep, "600"], user: "1000"}}}')
    project.env["COMPOSE_RUNTIME"] = runtime
    project.up()
    given, kept = project.dir / "in", project.dir / "out"
    given.write_bytes(os.urandom(3 << 20))
    with open(given, "rb") as source, open(kept, "wb") as target:
        child = project.popen("exec", "-T", "x", "cat", stdin=source, stdout=target, stderr=target)
        assert child.wait(20) == 0
    assert kept.read_bytes() == given.read_bytes()
    assert (given.stat().st_uid, kept.stat().st_uid) == (0, 0)
    assert project.exec("x", "sh", "-c", "echo out; echo err >&2; exit 3", code=3).text == "out\nerr\n"
    project("exec", "-d", "x", "sh", "-c", "echo quiet; sleep 600")
    null = open("/dev/null", "r+b")
    child = project.popen("exec", "-T", "x", "sh", "-c", "sleep 600 & echo", stdin=null, stdout=null, stderr=null)
    assert child.wait(20) == 0, "who holds the output in the background is not waited for"
    assert os.stat("/dev/null").st_uid == 0
    null.close()


def test_exec_ends_with_its_process(project):
    """Whatever its input does: it has no end, nobody reads it, or it does not come."""
    write(project, {"x": sleeper()})
    project.up()
    background = "sleep 600 <&3 >/dev/null 2>&1 & exit 4"  # holds the input, and does not read it
    with open("/dev/zero", "rb") as endless:
        for script in ("head -c 100000 | wc -c", f"exec 3<&0; {background}"):
            child = project.popen("exec", "-T", "x", "sh", "-c", script, stdin=endless)
            out, _ = child.communicate(timeout=20)
            assert (out.strip(), child.returncode) in (("100000", 0), ("", 4))
    master, slave = pty.openpty()
    child = project.popen("exec", "-T", "x", "sh", "-c", "read a; echo got $a", stdin=slave)
    os.write(master, b"typed\n")
    assert child.communicate(timeout=20)[0] == "got typed\n"
    child = project.popen("exec", "-T", "x", "true", stdin=slave)
    assert child.wait(20) == 0
    assert not fcntl.fcntl(slave, fcntl.F_GETFL) & os.O_NONBLOCK, "the terminal is the caller's"
    os.close(slave)
    os.close(master)


def test_rm_straight_after_kill(project):
    """What ps says to have ended is removed, however little later."""
    write(project, {"x": sleeper(scale=2)})
    for _ in range(5):
        project.up()
        project("kill")
        project("rm", "-f")
        assert project.ps() == []
