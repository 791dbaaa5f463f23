"""The supervisor: started when it is needed, gone when it is not, and nothing is lost when it is killed."""

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

import faults
import images
from harness import SLOWER, alive, wait_for
from test_network import fetch, sleeper, web, write


def talk(project, *lines: str) -> list[dict]:
    """Says the lines to the control socket; all that it answers."""
    path = project.run_root / "projects" / project.name / "control.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(str(path))
        s.sendall("".join(line + "\n" for line in lines).encode())
        data = b""
        while chunk := s.recv(65536):
            data += chunk
    return [json.loads(line) for line in data.decode().splitlines()]


def test_one_a_project_and_gone_when_idle(project):
    write(project, {"x": sleeper()})
    project("config", "-q")
    project("ps")
    assert project.supervisor() is None, "looking needs none"
    project.up()
    first = project.supervisor()
    assert first
    project.up()
    project("restart", "-t", "0")
    assert project.supervisor() == first
    project("stop", "-t", "0")
    wait_for(lambda: not alive(first), "it to end with nothing to supervise")
    assert project.monitors() == []


def test_gone_after_one_shots(project):
    write(project, {"x": {"image": "base", "command": "true"}})
    project.up()
    wait_for(lambda: project.supervisor() is None, "it to end")
    assert project.state("x") == "exited"


def test_socket_is_private(project):
    write(project, {"x": sleeper()})
    project.up()
    path = project.run_root / "projects" / project.name / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_protocol(project):
    write(project, {"x": sleeper()})
    project.up()
    pong = talk(project, '{"v":1,"op":"ping"}')
    assert pong[-1]["event"] == "done" and pong[-1]["pid"] == project.supervisor()
    for line in ('{"v":0,"op":"ping"}', '{"v":1,"op":"fly"}', '{"v":1,"op":"stop","services":"all"}', "not json", "{}",
                 '{"v":1,"op":"stop","options":{"timeout":"soon"}}', '[1,2]'):
        answer = talk(project, line)
        assert answer[-1]["event"] == "error" and answer[-1]["message"], line
    assert project.state("x") == "running" and alive(project.supervisor())


def test_endless_line_is_cut_off(project):
    write(project, {"x": sleeper()})
    project.up()
    path = project.run_root / "projects" / project.name / "control.sock"
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        try:
            for _ in range(70):
                s.sendall(b"x" * (1 << 20))
        except OSError:
            pass
    assert talk(project, '{"v":1,"op":"ping"}')[-1]["event"] == "done"


def test_killed_supervisor_is_adopted(project):
    write(project, {
        "web": web(ports=["41600:80"]),
        "talker": sleeper(init=False, command=["sh", "-c", "i=0; while :; do i=$$((i+1)); echo line $$i; sleep 0.02; done"]),
        "short": sleeper(init=False, command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done; echo last words; exit 23"])})
    project.up()
    pids = {s: project.pid(s) for s in ("web", "talker", "short")}
    assert fetch("http://127.0.0.1:41600/") == "web"
    os.kill(project.supervisor(), signal.SIGKILL)
    assert all(alive(pid) for pid in pids.values()), "the containers run on"
    project.sh("short", "touch /end")
    wait_for(lambda: not alive(pids["short"]), "one to end meanwhile")
    project.up("--no-recreate", "web")
    wait_for(project.supervisor, "a supervisor again")
    wait_for(lambda: project.record("short")["exit_code"] == 23 and project.state("short") == "exited", "its exit code")
    assert "last words" in project.logs("short")
    assert {s: project.pid(s) for s in ("web", "talker")} == {s: pids[s] for s in ("web", "talker")}
    assert fetch("http://127.0.0.1:41600/") == "web"
    numbers = [int(line.rsplit(" ", 1)[1]) for line in project.logs("--no-log-prefix", "talker").splitlines()]
    assert numbers == list(range(1, len(numbers) + 1)), "no line is missing"


def test_killed_supervisor_comes_back_by_itself(project):
    """The monitor that sees it gone starts another."""
    write(project, {"x": sleeper(restart="always", init=False, command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done"])})
    project.up()
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
    project.sh("x", "touch /end", code=None)  # its end may be the command's as well
    wait_for(lambda: project.record("x")["restart_count"] > 0, "the restart policy to hold")


def test_killed_while_a_restart_waits(project):
    """No container runs and no monitor has work: somebody sees to it all the same."""
    write(project, {"x": sleeper(restart="always", init=False, command=["sh", "-c", "date >> /runs/log; exit 7"], volumes=["runs:/runs"])},
          volumes={"runs": {}})
    project.up()
    runs = project.root / "volumes" / f"{project.name}_runs" / "_data" / "log"
    for _ in range(3):
        wait_for(lambda: project.record("x")["status"] == "restarting" and not project.record("x")["pid"], "it to wait")
        first, before = wait_for(project.supervisor, "a supervisor"), len(runs.read_text().splitlines())
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: project.supervisor() not in (None, first), "another supervisor", 2)
        wait_for(lambda: len(runs.read_text().splitlines()) > before, "another start")
    project("stop", "-t", "0")
    wait_for(lambda: not project.monitors() and not project.supervisor(), "all to end")


def kill_successors(project, times: int) -> None:
    """Each as soon as it is seen, whatever it has come to; the last one stays."""
    for _ in range(times):
        doomed = wait_for(project.supervisors, "a supervisor", 2)
        for pid in doomed:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not set(doomed) & set(project.supervisors()), "it to be gone")  # noqa: B023


def test_successors_killed_at_once(project):
    """Again and again, before they have connected to anything."""
    write(project, {"x": sleeper(scale=3), "end": sleeper(restart="always", init=False, command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done"])})
    project.up()
    for times in (2, 5, 9):
        kill_successors(project, times)
        began, count = time.monotonic(), project.record("end")["restart_count"]
        project.sh("end", "touch /end", code=None)
        wait_for(lambda: project.record("end")["restart_count"] > count, "the restart policy to hold", 5)  # noqa: B023
        assert time.monotonic() - began < 3 * SLOWER and len(project.supervisors()) == 1
        wait_for(lambda: project.record("end")["status"] == "running", "it to run")


def test_successors_killed_at_once_while_a_restart_waits(project):
    """What ran has ended, its folder in RUN is gone: its monitor sees to it until there is another."""
    write(project, {"x": sleeper(restart="always", scale=2, init=False, command=["sh", "-c", "date >> /runs/log; exit 7"], volumes=["runs:/runs"])},
          volumes={"runs": {}})
    project.up()
    runs = project.root / "volumes" / f"{project.name}_runs" / "_data" / "log"
    for times in (2, 5, 9):
        wait_for(lambda: all(r["status"] == "restarting" and not r["pid"] for r in project.records()), "both to wait")
        kill_successors(project, times)
        before = len(runs.read_text().splitlines())
        wait_for(lambda: len(runs.read_text().splitlines()) > before, "another start", 5)  # noqa: B023
    project("stop", "-t", "0")
    wait_for(lambda: not project.monitors() and not project.supervisors(), "all to end")
    assert not list(project.run_root.glob("projects/*/ended-*"))


def test_a_command_outlives_its_supervisor(project):
    """Killed in the middle of an `up` and of a `down`: the next one goes on, and the command does not notice."""
    write(project, {"slow": sleeper(healthcheck={"test": "test -e /go", "interval": "100ms", "start_period": "60s"}),
                    "after": sleeper(depends_on={"slow": {"condition": "service_healthy"}})})
    child = project.popen("up", "-d")
    for _ in range(2):
        wait_for(lambda: project.state("slow") == "running" and project.supervisor(), "it to be on its way")
        os.kill(project.supervisor(), signal.SIGKILL)
    project.sh("slow", "touch /go")
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0, out
    assert project.state("after") == "running"
    child = project.popen("down", "-t", "0")
    os.kill(project.supervisor(), signal.SIGKILL)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0 and project.ps() == [], out


def test_a_start_taken_over_half_way(project):
    """Supervisor, then monitors killed while `start` is under way: it ends, and all runs."""
    write(project, {"x": sleeper(scale=3), "y": sleeper(depends_on=["x"])})
    project.up()
    for delay in (0.03, 0.05, 0.07, 0.1):
        project("stop", "-t", "0")
        child = project.popen("start")
        time.sleep(delay)
        for pid in project.supervisors():
            os.kill(pid, signal.SIGKILL)
        time.sleep(delay)
        for pid in project.monitors()[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        out, _ = child.communicate(timeout=30)
        assert child.returncode == 0, out
        wait_for(lambda: all(c["State"] == "running" for c in project.ps()), "all to run")


def test_killed_while_it_starts(project):
    """At whatever moment of an `up` that nobody waits for any more: what was begun is supervised."""
    write(project, {"x": sleeper(restart="always", scale=2)})
    for delay in (0.01, 0.03, 0.06, 0.1, 0.15):
        child = project.popen("up", "-d")
        first = wait_for(project.supervisor, "a supervisor")
        time.sleep(delay)
        child.kill()
        os.kill(first, signal.SIGKILL)
        child.wait()
        if project.monitors():
            wait_for(lambda: project.supervisor() not in (None, first), "another supervisor", 2)
        project("down", "-t", "0")


def test_killed_monitor_loses_nothing(project):
    write(project, {"x": sleeper(init=False, command=["sh", "-c", "i=0; while [ ! -e /end ]; do i=$$((i+1)); echo line $$i; sleep 0.01; done; exit 11"])})
    project.up()
    pid = project.pid("x")
    for _ in range(3):
        monitors = project.monitors()
        os.kill(monitors[0], signal.SIGKILL)
        wait_for(lambda: project.monitors() not in ([], monitors), "another monitor")
        assert alive(pid)
    before = project.logs("--no-log-prefix").count("\n")
    wait_for(lambda: project.logs("--no-log-prefix").count("\n") > before + 5, "more lines")
    project.sh("x", "touch /end")
    assert project.ended("x") == 11
    numbers = [int(line.rsplit(" ", 1)[1]) for line in project.logs("--no-log-prefix").splitlines()]
    assert sorted(set(numbers)) == list(range(1, max(numbers) + 1)), "no line is missing"


def test_health_goes_on_after_adoption(project):
    write(project, {"x": sleeper(healthcheck={"test": "test ! -e /broken", "interval": "100ms", "retries": 1})})
    project.up("--wait")
    os.kill(project.supervisor(), signal.SIGKILL)
    wait_for(project.supervisor, "another supervisor")
    project.sh("x", "touch /broken")
    wait_for(lambda: project.health("x") == "unhealthy", "probes to go on")


def test_probes_of_before_count(project):
    """The third failure in a row is the third, whoever saw the first two."""
    write(project, {"x": sleeper(healthcheck={"test": "test ! -e /broken || { echo failed >> /probes; false; }",
                                              "interval": "1s", "retries": 3})})
    project.up("--wait")
    project.sh("x", "touch /broken")
    wait_for(lambda: project.record("x")["health_failing_streak"] == 2, "two failures")
    assert project.health("x") == "healthy"
    os.kill(project.supervisor(), signal.SIGKILL)
    wait_for(lambda: project.health("x") == "unhealthy", "the third failure")
    assert project.sh("x", "cat /probes").splitlines() == ["failed"] * 3


def test_probes_stay_in_their_container(project):
    """Whoever starts them, and through whichever descriptors: each writes where it is."""
    write(project, {"x": sleeper(scale=5, healthcheck={"test": "echo $$(hostname) >> /probes", "interval": "100ms"})})
    project.up("--wait")
    for number in range(4):
        first = project.supervisor()
        os.kill(first, signal.SIGKILL)
        if number % 2:
            for pid in project.monitors()[:2]:
                os.kill(pid, signal.SIGKILL)
        wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")  # noqa: B023
        for n in range(1, 6):
            project("exec", "-T", "--index", n, "x", "sh", "-c", ": > /probes")
            wait_for(lambda: project("exec", "-T", "--index", n, "x", "cat", "/probes").out, "probes to go on")  # noqa: B023
    for n in range(1, 6):
        assert set(project("exec", "-T", "--index", n, "x", "cat", "/probes").out.split()) == {project.record("x", n)["id"][:12]}


def test_the_last_to_be_killed_for_memory(project):
    """Supervisor and monitors, and nothing that runs in a container: as far down as the kernel lets us."""
    own = Path("/proc/self/oom_score_adj")
    try:
        own.write_text("-500")
        lowest = -500
    except OSError:
        lowest = 0
    write(project, {"x": sleeper(healthcheck={"test": "cat /proc/self/oom_score_adj > /probe", "interval": "1s"}),
                    "y": sleeper(oom_score_adj=321)})
    own.write_text("200")
    try:
        project.up("--wait")
    finally:
        own.write_text("0")

    def score(pid):
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    assert [score(pid) for pid in (project.supervisor(), *project.monitors())] == [lowest] * 3
    assert (score(project.pid("x")), score(project.pid("y"))) == (0, 321)
    assert project.sh("x", "cat /proc/self/oom_score_adj /probe").split() == ["0", "0"]
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
    wait_for(lambda: score(project.supervisor()) == lowest, "its score")


def test_exit_code_without_anybody(project):
    """Supervisor and monitor are dead, and the container's parent is a stranger: the code is known all the same."""
    write(project, {"x": sleeper(init=False, command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done; exit 23"])})
    project.up()
    supervisor, monitors = project.supervisor(), project.monitors()
    for pid in (supervisor, *monitors):
        os.kill(pid, signal.SIGKILL)
    project.up()
    os.kill(wait_for(lambda: project.monitors(), "a monitor again")[0], signal.SIGSTOP)
    project.sh("x", "touch /end")
    wait_for(lambda: not alive(project.pid("x")), "it to end")
    os.kill(project.monitors()[0], signal.SIGKILL)
    assert project.ended("x") == 23


def test_everything_killed(project):
    """As after a crash of the machine's init: no supervisor, no monitor; the containers run."""
    write(project, {"x": sleeper(scale=3)})
    project.up()
    pids = {project.pid("x", n) for n in (1, 2, 3)}
    doomed = [project.supervisor(), *project.monitors()]
    for pid in doomed:
        os.kill(pid, signal.SIGKILL)
    project.up()
    assert {project.pid("x", n) for n in (1, 2, 3)} == pids
    project("down", "-t", "1")
    assert not any(alive(pid) for pid in pids)


def test_two_ups_at_once(project):
    write(project, {"x": sleeper(scale=4), "slow": sleeper(healthcheck={"test": "test -e /go", "interval": "100ms", "start_period": "60s"}),
                    "after": sleeper(depends_on={"slow": {"condition": "service_healthy"}})})
    first = project.popen("up", "-d")
    wait_for(lambda: project.state("slow") == "running", "the first to be on its way")
    second = project.popen("up", "-d")
    project.sh("slow", "touch /go")
    outs = [child.communicate(timeout=30)[0] for child in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outs
    assert len(project.ps()) == 6
    assert len({r["name"] for r in project.records()}) == 6


def test_up_and_down_at_once(project):
    write(project, {"x": sleeper(scale=5)})
    for _ in range(3):
        children = [project.popen(*args) for args in (("up", "-d"), ("down", "-t", "0"), ("up", "-d"), ("down", "-t", "0"))]
        outs = [child.communicate(timeout=60)[0] for child in children]
        assert all("internal" not in out and "assert" not in out.lower() for out in outs), outs
    project("down", "-t", "0")
    project.up()
    assert len(project.ps()) == 5


def test_reads_need_no_supervisor(project):
    write(project, {"x": sleeper(init=False, command=["sh", "-c", "echo words; exec sleep 600"])})
    project.up()
    project.wait_log("x", "words")
    supervisor = project.supervisor()
    os.kill(supervisor, signal.SIGSTOP)
    try:
        assert "words" in project.logs()
        assert project.state("x") == "running"
        assert project.sh("x", "echo hi") == "hi"
    finally:
        os.kill(supervisor, signal.SIGCONT)


def test_records_do_not_grow_with_the_project(project):
    """Each holds what its own container is made from, and no more."""
    sizes = []
    for n in (2, 40):
        write(project, {f"s{i}": sleeper() for i in range(n)})
        project("create")
        sizes.append(max(p.stat().st_size for p in project.root.glob("projects/*/containers/*/container.json")))
    assert sizes[1] < sizes[0] + 200


def test_turns_of_the_loop_are_told(project):
    """How long it was busy between two waits; looking at a project costs it nothing."""
    write(project, {"x": sleeper(scale=3)})
    project.up()
    first = talk(project, '{"v":1,"op":"turns"}')[-1]
    assert sum(first["turns"]) > 3 and len(first["turns"]) == len(first["ms"]) + 1
    follower = project.popen("events")
    project.ps()
    project.logs()
    then = talk(project, '{"v":1,"op":"turns"}')[-1]
    assert 0 < sum(then["turns"]) and then["worst_cpu"] < 5 * SLOWER, then
    follower.kill()


def test_nothing_is_left_open(project):
    """File descriptors and memory of a supervisor do not grow with what it has done."""
    write(project, {"x": sleeper(), "y": sleeper()})
    project.up()
    pid = project.supervisor()

    def descriptors():
        return len(os.listdir(f"/proc/{pid}/fd"))
    project("restart", "-t", "0")
    before = descriptors()
    for _ in range(8):
        project("restart", "-t", "0")
        project.up()
    wait_for(lambda: descriptors() <= before + 2, f"at most {before} descriptors, not {descriptors()}")


def test_one_supervisor_of_many_commands(project):
    write(project, {"x": sleeper()})
    children = [project.popen("up", "-d") for _ in range(5)]
    for child in children:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0, out
    assert len(project.supervisors()) == 1
    assert len(project.ps()) == 1


COUNT = ["sh", "-c", "i=0; while [ ! -e /end ]; do i=$$((i+1)); echo line $$i; sleep 0.01; done; exit 7"]


def killed(project) -> None:
    """The supervisor, and another is there."""
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first), "another supervisor", 2)


def counted(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"line (\d+)", text)]


def test_attached_up_outlives_its_supervisor(project):
    """It goes on with the next one: no line is lost or doubled, and it sees what ends and what starts."""
    write(project, {"x": sleeper(init=False, command=COUNT), "y": sleeper()})
    with open(project.tmp / "output", "w") as output:
        child = project.popen("up", "--exit-code-from", "x", stdout=output)
    said = lambda: (project.tmp / "output").read_text()  # noqa: E731
    wait_for(lambda: "line 5" in said(), "lines")
    for _ in range(3):
        killed(project)
        lines = said().count("line")
        wait_for(lambda: said().count("line") > lines + 20 or child.poll() is not None, "more lines")  # noqa: B023
    # It ends while nobody supervises.
    os.kill(project.supervisor(), signal.SIGKILL)
    project.sh("x", "touch /end", code=None)
    assert child.wait(20) == 7, said()
    assert counted(said()) == list(range(1, len(counted(said())) + 1))
    assert said().count("exited with code 7") == 1 and project.state("y") == "exited"


def test_attached_up_on_a_terminal_outlives_its_supervisor(project, terminal):
    write(project, {"x": sleeper(init=False, command=COUNT, restart="on-failure:1"), "y": sleeper()})
    t = terminal("up")
    t.expect("line 5")
    killed(project)
    project("restart", "-t", "0", "y")
    t.expect("y-1 exited with code")
    killed(project)
    at = len(t.seen)
    project.sh("x", "touch /end", code=None)
    t.expect("x-1 exited with code 7 (restarting)", at)
    project("stop", "-t", "0", "y")
    assert t.end() == 0
    first = t.seen[:t.seen.index("(restarting)")]
    assert counted(first) == list(range(1, len(counted(first)) + 1))
    assert t.seen.count("exited with code 7") == 2 and t.seen.count("y-1 exited with code") == 2


def test_followers_outlive_their_supervisor(project):
    """logs -f, events and wait: what ends while nobody supervises is told by the next one."""
    write(project, {"x": sleeper(init=False, command=COUNT)})
    project.up()
    output = project.tmp / "output"
    with open(output, "w") as file:
        logs = project.popen("logs", "-f", "--no-color", stdout=file)
    events, waiter = project.popen("events"), project.popen("wait", "x")
    wait_for(lambda: "line 5" in output.read_text(), "lines")
    pipes = lambda pid: sum("socket:" in os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir())  # noqa: E731
    wait_for(lambda: pipes(events.pid) and pipes(waiter.pid), "both to listen")
    for _ in range(2):
        killed(project)
    os.kill(project.supervisor(), signal.SIGKILL)
    project.sh("x", "touch /end", code=None)
    assert logs.wait(20) == 0
    text = output.read_text()
    assert text.count("x-1 exited with code 7") == 1 and counted(text) == list(range(1, len(counted(text)) + 1))
    assert "exited with status code 7" in waiter.communicate(timeout=20)[0] and waiter.returncode == 7
    events.terminate()
    told = events.communicate(timeout=20)[0]
    assert told.count("container die") == 1 and told.count("container start") == 0, told


# --- killed at whatever moment of a command, which goes on with the next one ------------------------

MOMENTS = "rename,unlink,mkdir,mount,setns,socket,spawn"  # calls of the supervisor at which it dies


def each_moment(project, box, begin, *command, deaths: int = 1, step: int = 1):
    """Runs the command once for every moment at which the supervisor can die, step by step; yields what came of it."""
    after, hit = 0, True
    while hit:
        begin()
        box.arm(MOMENTS, "SIGKILL", after, deaths, role=1)
        result = project(*command, code=None)
        hit = box.disarm()
        if hit:
            log = project.run_root / "projects" / project.name / "supervisor.log"
            result.err += f"--died at {after}--\n" + "\n".join(log.read_text().splitlines()[-12:])
            yield result
        after += step
    assert after > 3 * step, "moments"


def has_run(project, times: int, *services: str) -> None:
    """Each of them, which write themselves down, has run so often and not once more."""
    folder = project.root / "volumes" / f"{project.name}_runs" / "_data"
    runs = lambda: [len((folder / s).read_text().splitlines()) if (folder / s).exists() else 0 for s in services]  # noqa: E731
    wait_for(lambda: min(runs()) >= times, f"{services} to have run {times} times")
    assert runs() == [times] * len(services)


def noted(service: str, then: str = "exec sleep 600", **more) -> dict:
    return sleeper(command=["sh", "-c", f"date >> /runs/{service}; {then}"], volumes=["runs:/runs"], **more)


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [1, 4])
def test_up_goes_on_whenever_its_supervisor_dies(project, shared, deaths):
    """Before anything runs, while networks are made, while it waits: all run, the one-shot has run once, nothing is left."""
    box = faults.Faults(project, shared)
    write(project, {
        "db": sleeper(healthcheck={"test": "true", "interval": "1s", "start_interval": "50ms", "start_period": "5s"}, volumes=["data:/data"]),
        "once": noted("once", "exit 0"),
        "web": noted("web", depends_on={"db": {"condition": "service_healthy"}, "once": {"condition": "service_completed_successfully"}})},
          volumes={"data": {}, "runs": {}})
    for result in each_moment(project, box, lambda: project("down", "-v", "-t", "0"), "up", "-d", deaths=deaths, step=3 * SLOWER):
        assert result.code == 0, str(result)
        assert {c["Service"]: c["State"] for c in project.ps()} == {"db": "running", "once": "exited", "web": "running"}, str(result)
        has_run(project, 1, "once", "web")
        wait_for(lambda: len(project.supervisors()) == 1, "one supervisor", 2)


@pytest.mark.slow
def test_up_makes_anew_once(project, shared):
    """What the dead supervisor has made for --force-recreate is not made again."""
    box = faults.Faults(project, shared)
    write(project, {"x": noted("x"), "y": sleeper()}, volumes={"runs": {}})
    project.up()
    before, times = set(), 1

    def begin():
        nonlocal before, times
        has_run(project, times, "x")
        before, times = {r["id"] for r in project.records()}, times + 1
    for result in each_moment(project, box, begin, "up", "-d", "--force-recreate", "-t", "0", step=2 * SLOWER):
        assert result.code == 0, str(result)
        assert [c["State"] for c in project.ps()] == ["running"] * 2, str(result)
        has_run(project, times, "x")
        assert not before & {r["id"] for r in project.records()}


@pytest.mark.slow
def test_restart_and_start_go_on_whenever_their_supervisor_dies(project, shared):
    box = faults.Faults(project, shared)
    write(project, {s: noted(s) for s in ("x", "y")}, volumes={"runs": {}})
    project.up()
    times = 1

    def count():
        nonlocal times
        has_run(project, times, "x", "y")
        times += 1

    def stop():
        count()
        project("stop", "-t", "0")
    for begin, command in ((count, ("restart", "-t", "0")), (stop, ("start",))):
        for result in each_moment(project, box, begin, *command, step=2 * SLOWER):
            assert result.code == 0, str(result)
            assert [c["State"] for c in project.ps()] == ["running"] * 2, str(result)
            has_run(project, times, "x", "y")
        has_run(project, times, "x", "y")


@pytest.mark.slow
@pytest.mark.parametrize("remove", [True, False])
def test_run_goes_on_whenever_its_supervisor_dies(project, shared, remove):
    """The command runs once, its output and code are there, and with --rm nothing is left."""
    box = faults.Faults(project, shared)
    write(project, {"x": {"image": "base", "volumes": ["runs:/runs"]}}, volumes={"runs": {}})
    times = 0

    def begin():
        nonlocal times
        project("down", "-t", "0")
        times += 1
    command = ["run", "-T", *(["--rm"] if remove else []), "x", "sh", "-c", "date >> /runs/x; echo words; exit 7"]
    for result in each_moment(project, box, begin, *command, step=SLOWER):
        assert (result.code, result.out) == (7, "words\n"), str(result)
        has_run(project, times, "x")
        wait_for(lambda: not project.supervisors(), "the supervisor to end")
        assert [c["State"] for c in project.ps()] == ([] if remove else ["exited"])


def test_pause_and_kill_go_on_when_their_supervisor_dies(project, shared):
    box = faults.Faults(project, shared)
    write(project, {"x": sleeper(), "y": sleeper()})
    project.up()
    for command, state in (("pause", "paused"), ("unpause", "running"), ("kill", "exited")):
        for result in each_moment(project, box, lambda: project("up", "-d") if state == "exited" else None, command):  # noqa: B023
            assert result.code == 0, str(result)
            assert [c["State"] for c in project.ps()] == [state] * 2
            break


def test_supervisors_that_die_again_and_again(project, shared):
    """One error, at once, that says where to look; afterwards everything works."""
    box = faults.Faults(project, shared)
    write(project, {"x": sleeper()})
    box.arm(MOMENTS, "SIGKILL", 0, 1000, role=1)
    failed = project.up(code=1)
    assert 5 <= box.disarm() <= 20
    assert re.search(r"ended \d+ times, one soon after the other: \S+/supervisor.log", failed.err) and failed.seconds < 5 * SLOWER, failed
    project.up()
    assert project.state("x") == "running"


def test_killed_while_an_image_is_pulled(project, registry):
    """One that supervises something else meanwhile: there is another long before the image is there."""
    image = registry.push("slow", [images.busybox_layer()])
    write(project, {"x": sleeper()})
    project.up()
    write(project, {"x": sleeper(), "y": sleeper(image=image)})
    os.kill(registry.process.pid, signal.SIGSTOP)
    child = project.popen("up", "-d")
    try:
        wait_for(lambda: any("socket:" in os.readlink(f) for f in Path(f"/proc/{child.pid}/fd").iterdir()), "the pull")
        killed(project)
    finally:
        os.kill(registry.process.pid, signal.SIGCONT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0, out
    assert (project.state("x"), project.state("y")) == ("running", "running")


def test_up_does_not_take_a_dead_process_for_a_running_one(project):
    """It has ended, and its monitor has not said so yet."""
    write(project, {"x": sleeper()})
    project.up()
    first, monitor = project.pid("x"), project.monitors()[0]
    os.kill(monitor, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    child = project.popen("up", "-d")
    wait_for(lambda: any("socket:" in os.readlink(f) for f in Path(f"/proc/{child.pid}/fd").iterdir()), "it to ask")
    os.kill(monitor, signal.SIGCONT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0, out
    assert project.pid("x") != first and project.sh("x", "echo hi") == "hi"


def test_a_runtime_killed_half_way_is_cleaned_up_after(project):
    """What it left is in the way of one start at most."""
    write(project, {"x": sleeper()})
    project.up()
    project("stop", "-t", "0")
    [state] = project.run_root.glob("runtime-*")
    (state / project.record("x")["id"]).mkdir(exist_ok=True)
    project("start", code=None)
    project("start")
    assert project.state("x") == "running" and project.sh("x", "echo hi") == "hi"


def test_run_ends_where_its_container_cannot_be_removed(project, shared):
    box = faults.Faults(project, shared)
    write(project, {"x": {"image": "base"}})
    project("run", "--rm", "-T", "x", "true")
    box.arm("unlink", "EIO", 0, 1000, role=1)
    result = project("run", "--rm", "-T", "x", "sh", "-c", "exit 7", code=7)
    box.disarm()
    assert "cannot be removed" in result.err and result.seconds < 10 * SLOWER, result


def test_run_ends_when_its_monitor_dies_at_once(project):
    """Before or after the command has run: somebody says how it ended, and with --rm nothing is left."""
    write(project, {"x": {"image": "base"}})
    for _ in range(10):
        child = project.popen("run", "--rm", "-T", "x", "true")
        monitors = wait_for(lambda: project.monitors() or child.poll() is not None, "a monitor")  # noqa: B023
        for pid in monitors if monitors is not True else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        child.communicate(timeout=30)
        wait_for(lambda: not project.records() and not project.supervisors(), "all to be gone")


def test_a_supervisor_that_had_to_refuse_its_only_client_goes(project, shared):
    fault = faults.Faults(project, shared)
    write(project, {"x": sleeper()})
    fault.arm("accept", "EMFILE", role=1)
    assert "too many open files" in project("up", "-d", code=1).err
    assert fault.disarm() == 1
    wait_for(lambda: not project.supervisors(), "the supervisor to go")


def test_up_waits_for_the_end_of_what_was_killed(project):
    """The first process of a namespace stays as long as another of it has not been reaped, by a parent out here."""
    write(project, {"x": sleeper()})
    project.up()
    pid = project.pid("x")
    parent = subprocess.Popen(["nsenter", "-p", "-t", str(pid), "sleep", "600"])
    try:
        wait_for(lambda: Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text(), "a process in the container")
        os.kill(parent.pid, signal.SIGSTOP)
        wait_for(lambda: ") T " in Path(f"/proc/{parent.pid}/stat").read_text(), "it to reap nobody")
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{pid}/cmdline").read_text(), "its death to begin")
        up = project.popen("up", "-d")
        with pytest.raises(subprocess.TimeoutExpired):
            up.wait(0.5)
        os.kill(parent.pid, signal.SIGCONT)
        assert up.wait(20) == 0
        assert project.pid("x") != pid and alive(project.pid("x"))
    finally:
        os.kill(parent.pid, signal.SIGCONT)
        parent.kill()
        parent.wait()
