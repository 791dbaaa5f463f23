"""Health: the tests, their times, and what they change."""

import time
from pathlib import Path

import pytest

from harness import COMPOSE, wait_for
from images import busybox_layer, docker_archive
from test_network import sleeper, write


def check(project, **health):
    write(project, {"x": sleeper(healthcheck=health)})
    return project.up()


def healthy(project) -> bool:
    return project.health("x") == "healthy"


@pytest.mark.parametrize("test", [["CMD", "test", "-d", "/tmp"], ["CMD-SHELL", "test -d /tmp && true"], "ls /tmp"])
def test_forms(project, test):
    check(project, test=test, interval="10s")
    wait_for(lambda: healthy(project), "it to be healthy", 3)


def test_none_and_disable(project):
    docker_archive(project.dir / "i.tar", "hc:1", [busybox_layer()], {"Healthcheck": {"Test": ["CMD", "false"]}})
    project("image", "load", "-i", "i.tar")
    write(project, {"a": sleeper(image="hc:1", healthcheck={"test": ["NONE"]}),
                    "b": sleeper(image="hc:1", healthcheck={"disable": True})})
    project.up("--wait")
    assert {c["Health"] for c in project.ps()} == {""}


def test_health_check_of_the_image(project):
    docker_archive(project.dir / "i.tar", "hc:1", [busybox_layer()], {
        "Healthcheck": {"Test": ["CMD-SHELL", "test -e /ready"], "Interval": 200_000_000, "Retries": 2}})
    project("image", "load", "-i", "i.tar")
    write(project, {"x": sleeper(image="hc:1"), "y": sleeper(image="hc:1", healthcheck={"retries": 50})})
    project.up()
    wait_for(lambda: project.health("x") == "unhealthy", "two failures")
    assert project.health("y") == "starting"
    project.sh("y", "touch /ready")
    wait_for(lambda: project.health("y") == "healthy", "it to be healthy")


def test_first_probe_runs_at_once(project):
    """Not after the interval, as elsewhere."""
    started = time.monotonic()
    write(project, {"x": sleeper(healthcheck={"test": ["CMD", "true"], "interval": "30s"})})
    project.up("--wait")
    assert time.monotonic() - started < 5


def test_early_probes_do_not_use_up_the_retries(project):
    write(project, {"x": sleeper(command=["sh", "-c", "sleep 1.5; touch /ready; sleep 600"],
                                 healthcheck={"test": "test -e /ready", "interval": "5s", "retries": 1})})
    project.up("--wait", timeout=30)
    assert healthy(project)


def test_becomes_unhealthy_and_healthy_again(project):
    check(project, test="test ! -e /broken", interval="100ms", retries=2, timeout="1s")
    wait_for(lambda: healthy(project), "it to be healthy")
    project.sh("x", "touch /broken")
    wait_for(lambda: project.health("x") == "unhealthy", "it to be unhealthy")
    assert "(unhealthy)" in project("ps").out
    project.sh("x", "rm /broken")
    wait_for(lambda: healthy(project), "it to be healthy again")


def test_probe_that_hangs_is_killed(project):
    check(project, test="echo hanging; sleep 1000", interval="100ms", timeout="200ms", retries=2)
    wait_for(lambda: project.health("x") == "unhealthy", "it to be unhealthy")
    wait_for(lambda: project.sh("x", "ps | grep -c '[s]leep 1000'", code=None) in ("0", "1"), "no heap of probes")


def test_start_period(project):
    check(project, test="test -e /ready", interval="50ms", retries=1, start_period="30s", start_interval="50ms")
    wait_for(lambda: project.record("x").get("health_failing_streak", 0) == 0 and project.health("x") == "starting", "a start")
    project.sh("x", "touch /ready")
    wait_for(lambda: healthy(project), "it to be healthy")
    project.sh("x", "rm /ready")
    wait_for(lambda: project.health("x") == "unhealthy", "the start period to count no more once healthy")


def test_probe_sees_the_service_s_environment_and_user(project):
    write(project, {"x": sleeper(user="app", environment={"A": "b"}, working_dir="/srv",
                                 healthcheck={"test": '[ "$$A" = b ] && [ $$(id -u) = 1000 ] && [ $$(pwd) = /srv ]', "interval": "1s", "retries": 1})})
    project.up("--wait")


def test_up_wait_says_who_is_unhealthy(project):
    write(project, {"good": sleeper(), "bad": sleeper(healthcheck={"test": "echo broken pipe; false", "interval": "50ms", "retries": 2})})
    result = project.up("--wait", code=1)
    assert f"{project.name}-bad-1" in result.err and "unhealthy" in result.err
    assert "broken pipe" in result.err


def test_up_wait_takes_a_finished_one_shot_as_success(project):
    write(project, {"once": {"image": "base", "command": "true"}, "x": sleeper()})
    project.up("--wait")
    slow = {"test": "test -e /seen || { touch /seen; exit 1; }", "interval": "500ms"}
    write(project, {"once": {"image": "base", "command": ["sh", "-c", "exit 9"]}, "x": sleeper(healthcheck=slow)})
    result = project.up("--wait", code=1)
    assert "once" in result.err and "9" in result.err


def test_up_wait_timeout(project):
    write(project, {"x": sleeper(healthcheck={"test": "false", "interval": "1s", "start_period": "60s"})})
    result = project.up("--wait", "--wait-timeout", "1", code=1)
    assert 0.9 < result.seconds < 6


def test_health_events(project):
    write(project, {"x": sleeper(healthcheck={"test": "test -e /ready", "interval": "50ms"})})
    project.up()
    events = project.popen("events", "--json")
    wait_for(lambda: "/tmp" not in project.sh("x", "touch /ready; echo done"), "the change")
    line = ""
    while "healthy" not in line:
        line = events.stdout.readline()
        assert line, "the events ended"
    assert "health_status: healthy" in line


SERVES = ["sh", "-c", "mkdir -p /w && echo hi > /w/ok && exec httpd -f -p 8080 -h /w"]


def test_port_probes(project):
    """http and tcp, made without a process in the container: also where the image has no program for it."""
    quick = {"interval": "100ms", "retries": 2, "timeout": "1s"}
    write(project, {"http": sleeper(command=SERVES, healthcheck=quick, **{"x-healthcheck": {"http": {"port": 8080, "path": "/ok"}}}),
                    "tcp": sleeper(command=SERVES, healthcheck=quick, **{"x-healthcheck": {"tcp": 8080}}),
                    "web": sleeper(depends_on={"http": {"condition": "service_healthy"}})})
    project.up("--wait")
    assert project.health("http") == project.health("tcp") == "healthy"
    assert project.record("http")["health_output"] == "HTTP/1.1 200 OK"
    project.sh("http", "rm /w/ok")
    wait_for(lambda: project.health("http") == "unhealthy", "it to be unhealthy")
    assert "404" in project.record("http")["health_output"]
    project.sh("http", "echo hi > /w/ok")
    wait_for(lambda: project.health("http") == "healthy", "it to be healthy again")
    assert "[runc]" not in project.sh("http", "ps") and "crun" not in project.sh("http", "ps")


def test_port_probes_that_fail(project):
    quick = {"interval": "50ms", "retries": 2, "timeout": "300ms"}
    mute = ["sh", "-c", "exec nc -ll -p 8080 -e sleep 600"]
    write(project, {"closed": sleeper(healthcheck=quick, **{"x-healthcheck": {"tcp": {"port": 8080}}}),
                    "mute": sleeper(command=mute, healthcheck=quick, **{"x-healthcheck": {"http": 8080}}),
                    "other": sleeper(command=SERVES, healthcheck=quick, **{"x-healthcheck": {"http": {"port": 8080, "host": "127.0.0.9", "path": "/no"}}})})
    project.up()
    for service, words in (("closed", "connection refused"), ("mute", "exceeded timeout (300ms)"), ("other", "404")):
        wait_for(lambda s=service: project.health(s) == "unhealthy", f"{service} to be unhealthy")
        assert words in project.record(service)["health_output"]


@pytest.mark.parametrize("probe, words", [
    ({"http": {"port": 0}}, "port must be 1 to 65535"), ({"udp": 53}, "must have one of tcp and http"),
    ({"http": {"port": 1, "path": "x"}}, "path must begin with"), ({"tcp": {"port": 1, "host": "db"}}, "host must be an IP address"),
    ({"tcp": {"port": 1, "path": "/"}}, 'unknown key "path"')])
def test_port_probe_that_is_no_probe(project, probe, words):
    write(project, {"x": sleeper(**{"x-healthcheck": probe})})
    assert words in project("config", "-q", code=1).err


def test_no_probes_while_paused(project):
    check(project, test="date +%s >> /probes", interval="100ms")
    wait_for(lambda: healthy(project), "it to be healthy")
    project("pause")
    time.sleep(0.5)
    assert healthy(project), "its health stays what it was"
    project("unpause")
    count = int(project.sh("x", "wc -l < /probes"))
    wait_for(lambda: int(project.sh("x", "wc -l < /probes")) > count + 2, "probes to go on")
    assert healthy(project)


def test_health_begins_anew_with_each_start(project):
    check(project, test="test ! -e /broken", interval="100ms", retries=1)
    wait_for(lambda: healthy(project), "it to be healthy")
    project.sh("x", "touch /broken")
    wait_for(lambda: project.health("x") == "unhealthy", "it to be unhealthy")
    write(project, {"x": sleeper(healthcheck={"test": "test ! -e /broken", "interval": "100ms", "retries": 1, "start_period": "60s"})})
    project.up()
    project("restart", "-t", "0")
    record = project.record("x")
    assert record["health"] in ("starting", "healthy") and record["health_failing_streak"] == 0


LOOK = r"""(grep -E '^(Uid|Gid|Groups|Umask|Cap|NoNewPrivs|Seccomp|Speculation|Cpus_allowed_list|Mems_allowed_list|SigBlk)' /proc/self/status
cat /proc/self/limits /proc/self/cgroup; cat /proc/self/attr/current 2>/dev/null
for n in cgroup ipc mnt net pid user uts; do readlink /proc/self/ns/$n; done; pwd; ls -l /proc/self/fd | wc -l
env | grep -v '^SHLVL' | sort; cat /proc/self/stat | cut -d' ' -f7) 2>&1"""


@pytest.mark.parametrize("keys", [
    {}, {"user": "app", "group_add": ["2000"], "working_dir": "/srv", "environment": {"A": "b"}},
    {"cap_add": ["NET_ADMIN"], "cap_drop": ["CHOWN"], "security_opt": ["no-new-privileges:true"]},
    {"privileged": True}, {"security_opt": ["seccomp:unconfined"], "pid": "host", "network_mode": "host", "ipc": "host"},
    {"mem_limit": "64m", "pids_limit": 50, "ulimits": {"nofile": {"soft": 100, "hard": 200}, "core": -1}, "read_only": True, "tmpfs": ["/out:mode=1777"]}])
def test_probe_is_as_confined_as_exec(project, keys):
    """It is made without the OCI runtime, and is in everything like a process that the runtime makes."""
    script = project.write("look.sh", LOOK, mode=0o755)
    write(project, {"x": sleeper(healthcheck={"test": ["CMD", "sh", "-c", "sh /look.sh > /out/probe.tmp; mv /out/probe.tmp /out/probe"], "interval": "200ms"},
                                 volumes=[f"{script}:/look.sh:ro"], **({"tmpfs": ["/out:mode=1777"]} | keys))})
    project.up("--wait")
    probe = project.sh("x", "cat /out/probe")
    assert probe == project.sh("x", "sh /look.sh"), "by the runtime's exec"
    log = (project.run_root / f"projects/{project.name}/supervisor.log").read_text()
    assert "by the runtime" not in log, log


def test_probe_that_cannot_be_executed(project):
    write(project, {"missing": sleeper(healthcheck={"test": ["CMD", "nosuch"], "interval": "50ms", "retries": 1}),
                    "path": sleeper(healthcheck={"test": ["CMD", "/etc/passwd"], "interval": "50ms", "retries": 1})})
    project.up()
    for service, words in (("missing", 'exec: "nosuch": executable file not found in $PATH'), ("path", 'exec: "/etc/passwd": Permission denied')):
        wait_for(lambda s=service: project.health(s) == "unhealthy", f"{service} to be unhealthy")
        assert words in project.record(service)["health_output"]


def test_probe_stays_in_the_container(project):
    """A working folder that names a descriptor of the host's, and the program that entered: CVE-2024-21626, CVE-2019-5736."""
    (project.dir / "w").mkdir()
    grab = "for p in /proc/[0-9]*; do exe=$$(readlink $$p/exe); case $$exe in *compose*) (echo x >> $$p/exe) 2>>/out/grab || true;; esac; done; true"
    services = {f"d{fd}": sleeper(working_dir=f"/proc/self/fd/{fd}", healthcheck={"test": "ls /tmp/c*/r && touch /escaped; pwd", "interval": "100ms"})
                for fd in (3, 4, 5, 6, 7, 10)}
    write(project, services | {"x": sleeper(tmpfs=["/out"], healthcheck={"test": grab, "interval": "100ms"})})
    before = (Path(COMPOSE).parent / "compose-monitor").read_bytes()
    project.up(code=None)
    wait_for(lambda: project.health("x") == "healthy", "a probe")
    time.sleep(0.5)
    assert (Path(COMPOSE).parent / "compose-monitor").read_bytes() == before
    for record in project.records():
        assert not (project.root / f"projects/{project.name}/containers/{record['id']}/upper/escaped").exists()


def test_probe_over_its_time_is_killed_with_its_children(project):
    check(project, test="sleep 777 & sleep 778", interval="100ms", timeout="300ms", retries=1)
    wait_for(lambda: project.health("x") == "unhealthy", "it to be unhealthy")
    def left():
        return project.sh("x", "ps | grep -cE 'sleep 77[78]'", code=None)
    assert int(left()) <= 5, "at most one probe's"
