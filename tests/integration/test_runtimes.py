"""runc and crun: the choice, and that both do the job."""

import fcntl
from pathlib import Path

import pytest

from harness import SLOWER, processes_of, run, wait_for
from test_network import fetch, sleeper, web, write

V2 = Path("/sys/fs/cgroup/unified/cgroup.controllers")


def hybrid() -> bool:
    """Both trees in use: crun before 1.9 refuses such a machine."""
    return V2.exists() and V2.read_text().strip() != ""


@pytest.fixture
def crun_host(shared):
    """A machine on which crun serves. On a hybrid one whose v2 tree holds the hugetlb controller only,
    mounting that as v1 takes it away, which is enough; nobody else uses it meanwhile."""
    with open("/run/lock/compose-test-hugetlb", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mine = None
        if hybrid() and V2.read_text().split() == ["hugetlb"]:
            mine = shared / "hugetlb"
            mine.mkdir(exist_ok=True)
            run("mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", mine)
        yield
        if mine:
            run("umount", mine)
            wait_for(lambda: "hugetlb" in V2.read_text(), "the controller to be back", 10 * SLOWER)


def slice_of_everything(project, runtime: str) -> None:
    write(project, {
        "db": sleeper(healthcheck={"test": "true", "interval": "1s"}, mem_limit="64m", pids_limit=50),
        "once": {"image": "base", "command": ["sh", "-c", "exit 0"]},
        "web": web(ports=["41900:80"], depends_on={"db": {"condition": "service_healthy"},
                                                   "once": {"condition": "service_completed_successfully"}}),
        "bad": {"image": "base", "command": ["sh", "-c", "exit 9"]},
        "tty": sleeper(tty=True, command=["sh", "-c", "tty; sleep 600"])})
    project.env["COMPOSE_RUNTIME"] = runtime
    project.up()
    assert fetch("http://127.0.0.1:41900/") == "web"
    assert project.sh("db", "cat /proc/1/comm") in ("docker-init", "tini", "init")
    assert project.exec("db", "sh", "-c", "exit 5", code=5).code == 5
    wait_for(lambda: project.record("bad")["exit_code"] == 9, "an exit code")
    assert "/dev/" in project.wait_log("tty", "/dev/")
    write(project, {"x": {"image": "base", "command": ["/no/such"]}})
    result = project.up("--remove-orphans", "-t", "1", code=None)
    assert project.record("x")["exit_code"] == 127 and "/no/such" in result.err
    write(project, {"x": {"image": "base", "command": ["/etc/passwd"]}})
    result = project.up("-t", "1", code=None)
    assert project.record("x")["exit_code"] == 126 and "permission denied" in result.err.lower()
    project("down", "-t", "0")


def test_runc(project):
    slice_of_everything(project, "runc")


@pytest.mark.alone
def test_crun(project, crun_host):
    slice_of_everything(project, "crun")


@pytest.mark.alone
def test_crun_is_chosen_where_it_serves(project, crun_host):
    project.env.clear()
    result = project("doctor", code=None)
    assert "crun" in result.text
    write(project, {"x": sleeper()})
    project.up()
    assert project.state("x") == "running"
    project("down", "-t", "0")  # while crun still serves


@pytest.mark.alone
def test_choice_is_explained(project):
    project.env.clear()
    result = project("doctor", code=None)
    assert "runtime" in result.text.lower()
    if hybrid():
        assert "runc" in result.text and "hybrid" in result.text.lower()


def test_a_container_keeps_its_runtime(project):
    """What is chosen today does not matter to a container of yesterday."""
    write(project, {"x": sleeper()})
    project.up(env={"COMPOSE_RUNTIME": "runc"})
    assert project.exec("x", "echo", "hi", env={"COMPOSE_RUNTIME": "crun"}).out == "hi\n"
    project("pause", env={"COMPOSE_RUNTIME": "crun"})
    project("down", "-t", "1", env={"COMPOSE_RUNTIME": "crun"})


def test_unknown_runtime(project):
    write(project, {"x": sleeper(runtime="nosuchruntime")})
    result = project.up(code=None)
    assert result.code != 0 and "nosuchruntime" in result.err


def test_runtime_of_a_service(project):
    write(project, {"x": sleeper(runtime="runc")})
    project.up()
    assert any("--runtime=" in args and args.split("--runtime=")[1].split(" ")[0].endswith("/runc")
               for args in processes_of(project.tmp).values()), "its monitor was given it"
