"""kill -9 of everything at random moments; then `up` and `down` are clean."""

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import threading
import time

import pytest

import faults
from harness import SANITIZED, alive, libc, mounts_below, processes_of, run, wait_for
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
    assert [c["State"] for c in project.ps()] == ["running"] * 5
    assert project.sh("db", "echo ok > /data/f; cat /data/f") == "ok"
    project("down", "-v", "-t", "0")
    assert not list(project.root.glob("projects/*/containers/*"))


CHANGES = {"network": ("up", "-d"), "restart": ("restart", "-t", "1"), "recreate": ("up", "-d", "--force-recreate"), "volume": ("up", "-d", "-y")}


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES)
def test_what_ran_runs_again(project, shared, what):
    """The command, and mostly the supervisor as well, are killed at one moment after the other of what stops containers
    only to start them again."""
    box = faults.Faults(project, shared)

    def change(number: int):
        write(project, {"db": sleeper(volumes=["data:/data"]), "web": web(depends_on={"db": {"condition": "service_started", "restart": True}}),
                        "down": sleeper()},
              networks={"default": {"labels": {"n": str(number if what == "network" else 0)}}},
              volumes={"data": {"labels": {"n": str(number if what == "volume" else 0)}}})
    change(0)
    project.up()
    project("stop", "-t", "0", "down")
    hit, after = True, 0
    while hit:
        change(after + 1)
        box.arm("rename,unlink,umount", "SIGSTOP", after, role=1)
        child = project.popen(*CHANGES[what])
        wait_for(lambda: box.hits() or child.poll() is not None, "the moment")  # noqa: B023
        child.kill()
        hit = box.disarm()
        for pid in project.supervisors() if hit else []:
            os.kill(pid, signal.SIGKILL if after % 4 else signal.SIGCONT)
        wait_for(lambda: all(project.state(s) == "running" and alive(project.pid(s)) for s in ("db", "web")), f"both to run after {after}", 15)
        after += 3
    assert after > 10
    project.up()


@pytest.mark.slow
def test_an_end_is_written_down_whenever_the_supervisor_dies(project, shared):
    box = faults.Faults(project, shared)
    write(project, {"x": sleeper(), "other": sleeper()})
    hit, after = True, 0
    while hit:
        project.up()
        box.arm("rename,unlink,umount", "SIGSTOP", after, role=1)
        child = project.popen("stop", "-t", "0", "x")
        wait_for(lambda: box.hits() or child.poll() is not None, "the moment")  # noqa: B023
        wait_for(lambda: not project.record("x")["pid"] or not alive(project.pid("x")), "its end")
        child.kill()
        hit = box.disarm()
        for pid in project.supervisors() if hit else []:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: project.record("x")["status"] == "exited", f"its end on disk after {after}")
        assert (project.record("x")["exit_code"], project.record("x")["pid"], project.record("x")["networks"]) == (137, 0, [])
        after += 1
    assert after > 5


@pytest.mark.slow
@pytest.mark.parametrize("after", ["up", "down", "rm"])
def test_killed_before_anything_ran(project, shared, after):
    """Command and supervisor are killed while the first container is prepared: nobody watches, and the next command sees to it."""
    box = faults.Faults(project, shared)
    write(project, {"db": sleeper(volumes=["data:/data"]), "web": web(depends_on=["db"], ports=["41720:80"])}, volumes={"data": {}})
    moment, hit, before = 0, True, 0
    while hit:
        box.arm("rename,mkdir,mount,setns,socket,spawn", "SIGSTOP", moment, role=1)
        child = project.popen("up", "-d")
        wait_for(lambda: box.hits() or child.poll() is not None, "the moment")  # noqa: B023
        child.kill()
        hit = box.disarm()
        for pid in project.supervisors() if hit else []:
            os.kill(pid, signal.SIGKILL)
        before += not project.monitors()
        told, listed = project.ps(), project("ls", "-a", "--format", "json").out
        ids = [r["id"] for r in project.records()]
        assert {c["State"] for c in told} <= {"created", "running"} and len(told) == len(ids), told
        assert not told or f'"Name":"{project.name}"' in listed, listed
        if after == "up":
            project.up()
            assert fetch("http://127.0.0.1:41720/") == "web" and [c["State"] for c in project.ps()] == ["running"] * 2
        elif after == "rm":
            project("rm", "-f", "-s")
            assert project.ps() == []
            wait_for(lambda: not project.supervisor() and not project.monitors(), "all to end")
            assert not mounts_below(project.tmp) and not list(project.run_root.glob("containers/*"))
        project("down", "-t", "0")
        wait_for(lambda: not project.leftovers(ids), f"nothing to be left at {moment}: {project.leftovers(ids)}", 5)  # noqa: B023
        moment += 5
    assert before > 5, "moments at which nobody watched"


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


def test_disk_full_while_running(make_project, base_images, tmp_path):
    """Containers go on; the log and the supervisor say what is missing; nothing is wrong afterwards."""
    project = make_project(with_base=False)
    end = tmp_path / "end"  # where there is room
    run("mount", "-t", "tmpfs", "-o", "size=16m,mode=711", "tmpfs", project.root)
    run("cp", "-a", base_images, project.root / "images")
    write(project, {
        "talker": sleeper(init=False, command=["sh", "-c", "i=0; while :; do i=$$((i+1)); echo line $$i; echo $$i > /dev/shm/at; sleep 0.01; done"]),
        "ends": sleeper(init=False, command=["sh", "-c", "while [ ! -e /dev/shm/end ]; do sleep 0.02; done; exit 9"]),
        "again": sleeper(init=False, restart="always", volumes=[f"{tmp_path}:/given"],
                         command=["sh", "-c", "while [ ! -e /given/end ]; do sleep 0.02; done; exit 5"])})
    project.up()
    pid = project.pid("talker")
    filler, stop = project.root / "filler", threading.Event()

    def fill():  # what others give back is taken as well
        with open(filler, "ab", buffering=0) as file:
            while not stop.wait(0.001):
                with contextlib.suppress(OSError):
                    while file.write(bytes(4096)) == 4096:
                        pass
    filling = threading.Thread(target=fill)
    filling.start()
    try:
        wait_for(lambda: os.statvfs(project.root).f_bfree == 0, "a full disk")
        before = int(project.sh("talker", "cat /dev/shm/at") or 0)
        project.sh("ends", "touch /dev/shm/end")
        end.touch()
        wait_for(lambda: project.state("ends") == "exited", "its end to be known")
        assert next(c for c in project.ps() if c["Service"] == "ends")["ExitCode"] == 9
        # A start needs room, and may find a little of it: it is tried again and again.
        wait_for(lambda: project.state("again") == "restarting", "its restart to wait")
        # The supervisor dies as well: what has no room on disk is not forgotten.
        first = project.supervisor()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: project.supervisor() not in (None, first), "another supervisor")
        assert project.state("ends") == "exited"
        wait_for(lambda: int(project.sh("talker", "cat /dev/shm/at") or 0) > before + 120, "it to go on")
        assert alive(pid)
        log = (project.run_root / "projects" / project.name / "supervisor.log").read_text()
        assert "No space left on device" in log
        stop.set()
        filling.join()
        filler.unlink()
        end.unlink()
        wait_for(lambda: project.record("ends")["status"] == "exited" and project.record("ends")["exit_code"] == 9, "it to be on disk", 15)
        wait_for(lambda: project.state("again") == "running", "its restart", 60)
        text = project.wait_log("talker", "bytes of output are missing here: No space left on device")
        numbers = [int(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "| line" in line]
        assert numbers == sorted(numbers)
        wait_for(lambda: project.logs("talker").splitlines()[-1] != text.splitlines()[-1], "lines again")
        project("down", "-v", "-t", "0")
    finally:
        stop.set()
        filling.join()
        filler.unlink(missing_ok=True)
        project("down", "-v", "-t", "0", code=None)
    wait_for(lambda: libc.umount2(str(project.root).encode(), 0) == 0, "the disk to be free", 5)


def test_descriptors_run_out(project):
    """Requests are refused with a reason, containers are neither lost nor killed, and it recovers."""
    write(project, {"web": web(ports=["41710:80"]), "x": sleeper(healthcheck={"test": "true", "interval": "100ms", "retries": 1}),
                    "ends": sleeper(init=False, command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done; exit 9"])})
    project.up("--wait", "web", "x")
    project.up()
    pid, pids = project.supervisor(), {s: project.pid(s) for s in ("web", "x")}
    usual = run("prlimit", "-p", pid, "--nofile", "-o", "SOFT", "--noheadings").stdout.strip()
    highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
    run("prlimit", "-p", pid, f"--nofile={highest + 1}:")
    taken = []
    try:
        path = str(project.run_root / "projects" / project.name / "control.sock")
        refused = 0
        while len(taken) < 64 and refused < 5:  # what gaps there are, those that a probe leaves too
            taken.append(socket.socket(socket.AF_UNIX))
            taken[-1].settimeout(5)
            taken[-1].connect(path)
            taken[-1].setblocking(False)
            time.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                refused += bool(taken[-1].recv(1000))
        for command in (("restart", "-t", "0", "x"), ("up", "-d", "--force-recreate")):
            result = project(*command, code=1)
            assert "too many open files" in result.err, str(result)
        monitor = next(m for m, args in processes_of(project.tmp).items() if project._is_monitor(args) and project.record("x")["id"] in args)
        os.kill(monitor, signal.SIGKILL)
        project.sh("ends", "touch /end")
        assert project.ended("ends") == 9
        time.sleep(0.5)
        assert all(alive(p) for p in pids.values()) and project.state("x") == project.state("web") == "running"
        assert project.health("x") == "healthy", "our own trouble is not the container's"
    finally:
        run("prlimit", "-p", pid, f"--nofile={usual}:")
        for s in taken:
            s.close()
    assert project.supervisor() == pid
    wait_for(lambda: len(project.monitors()) == 2, "another monitor", 15)
    assert fetch("http://127.0.0.1:41710/") == "web" and {s: project.pid(s) for s in pids} == pids
    project("restart", "-t", "0", "x")
    assert project.pid("x") != pids["x"]


@pytest.mark.parametrize(("call", "error", "after"), [("setns", "ENOMEM", 0), ("socket", "EMFILE", 12)])
def test_names_and_ports_of_a_takeover_are_tried_again(project, shared, call, error, after):
    """What a new supervisor cannot open for what runs it opens as soon as it can."""
    box, number = faults.Faults(project, shared), 5
    write(project, {f"s{i}": web(ports=[f"{41730 + i}:80"]) for i in range(number)})
    project.up()
    pids = [project.pid(f"s{i}") for i in range(number)]
    log = project.run_root / "projects" / project.name / "supervisor.log"
    box.arm(call, error, after, 10, role=1)
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: box.hits() == 10, "the failures")
    box.disarm()
    assert os.strerror(getattr(errno, error)) in log.read_text()

    def whole():
        names = [project.exec(f"s{i}", "nslookup", f"s{(i + 1) % number}", "127.0.0.11", code=None).code for i in range(number)]
        held = run("ss", "-Hltn").stdout
        return not any(names) and all(f":{41730 + i} " in held for i in range(number))
    wait_for(whole, "names and ports of all", 15)
    assert all(fetch(f"http://127.0.0.1:{41730 + i}/") == "web" for i in range(number))
    assert [project.pid(f"s{i}") for i in range(number)] == pids and all(c["State"] == "running" and c["Publishers"] for c in project.ps())


def test_probes_of_a_takeover_are_tried_again(project, shared):
    box = faults.Faults(project, shared)
    write(project, {"x": sleeper(healthcheck={"test": "test ! -e /broken", "interval": "100ms", "retries": 1})})
    project.up("--wait")
    box.arm("mktemp", "EMFILE", times=2, role=1)
    os.kill(project.supervisor(), signal.SIGKILL)
    wait_for(lambda: box.hits() == 2, "the failures")
    project.sh("x", "touch /broken")
    wait_for(lambda: project.health("x") == "unhealthy", "probes to go on")


def test_clock_jumps(project, shared):
    """A wall clock that is set by days changes what is shown, and nothing else."""
    box = faults.Faults(project, shared)
    write(project, {
        "x": sleeper(healthcheck={"test": "test ! -e /broken", "interval": "300ms", "retries": 2}),
        "young": sleeper(healthcheck={"test": "false", "interval": "100ms", "retries": 1, "start_period": "60s"}),
        "again": sleeper(init=False, restart="always", command=["sh", "-c", "while [ ! -e /end ]; do sleep 0.02; done"]),
        "slow": sleeper(init=False, stop_grace_period="1s", command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])})
    project.up()
    wait_for(lambda: project.health("x") == "healthy", "it to be well")
    for days in (2, -2):
        box.clock(days * 86400)
        first, pid = project.supervisor(), project.pid("again")
        started = project.record("again")["started"]
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: project.supervisor() not in (None, first), "another supervisor", 2)
        os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        wait_for(lambda: project.state("again") == "running" and project.pid("again") != pid, "a restart")
        assert project.record("again")["started"] > started, "monitors have the true time here"
        assert (project.health("x"), project.health("young")) == ("healthy", "starting")
        begun = time.monotonic()
        project("restart", "slow")
        assert 0.9 < time.monotonic() - begun < 4, "the grace period is what it was"
    shown = project("events", "--since", "5s", "--until", "0s", "--json", code=None)
    assert shown.code == 0
    project.sh("x", "touch /broken")
    wait_for(lambda: project.health("x") == "unhealthy", "two failures")


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
