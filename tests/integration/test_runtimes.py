"""runc and crun: the choice, and that both do the job."""

import os
import shutil
from pathlib import Path

import pytest

import harness
from harness import processes_of, run, wait_for
from test_network import fetch, sleeper, web, write

V2 = Path("/sys/fs/cgroup/unified/cgroup.controllers")


def hybrid() -> bool:
    """Both trees in use: crun refuses such a machine unless its v2 tree is hidden from it."""
    return V2.exists() and V2.read_text().strip() != ""


@pytest.fixture
def machine(project):
    """Gives the project another machine: one whose mounts a script has changed."""
    made = []

    def make(script: str):
        made.append(harness.Mounts(script))
        project.mounts = made[-1]
        return made[-1]

    yield make
    for mounts in made:
        project("down", "-t", "0", "--remove-orphans", code=None)
        mounts.close()
    project.mounts = None


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


def test_crun(project):
    slice_of_everything(project, "crun")


def test_crun_with_cgroup_v1_alone(project, machine):
    mounts = machine("! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified")
    if "cgroup v2" not in project("doctor", code=None).out:
        assert "crun is preferred, and the host has cgroup v1" in project("doctor", code=None).out
    slice_of_everything(project, "crun")
    assert not mounts.below(project.tmp)


@pytest.mark.parametrize("runtime", ["", "runc"], ids=["chosen", "runc"])
def test_cgroup_v2_alone(project, machine, runtime):
    """What the v2 tree can do depends on the controllers that it has here: no limits are asked for."""
    mounts = machine("umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    project.env["COMPOSE_RUNTIME"] = runtime
    assert "ok    cgroups              cgroup v2" in project("doctor", code=None).out
    write(project, {"db": sleeper(healthcheck={"test": "true", "interval": "1s"}),
                    "web": web(ports=["41901:80"], depends_on={"db": {"condition": "service_healthy"}})})
    project.up("--wait")
    assert fetch("http://127.0.0.1:41901/") == "web"
    assert project.sh("db", "cat /proc/self/cgroup | grep ^0::") == "0::/"
    project("pause", "web")
    assert project.ps("web")[0]["State"] == "paused"
    project("unpause", "web")
    assert fetch("http://127.0.0.1:41901/") == "web"
    assert project.exec("db", "sh", "-c", "exit 5", code=5).code == 5
    project("restart", "-t", "0", "web")
    assert fetch("http://127.0.0.1:41901/") == "web"
    project("down", "-t", "0")
    assert not mounts.below(project.tmp)


def test_choice_is_explained(project):
    said = project("doctor", code=None).out
    assert "crun is preferred, and " in said
    if hybrid():
        assert "compose-crun hides the host's cgroup v2 tree" in said


def test_runc_where_there_is_no_crun(project, tmp_path):
    """PATH and the folders that are looked through besides hold every program but crun."""
    write(project, {"x": sleeper()})
    hide = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null "$0" && exec "$@"', shutil.which("crun"), harness.COMPOSE]
    said = run(*hide, "doctor", check=False, env=os.environ | project.environment()).stdout
    assert "crun, which starts faster, is not installed" in said and "/runc" in said


def test_what_is_mounted_for_a_container_is_mounted_for_the_host(project):
    """compose-crun's mount namespace is no barrier to propagation."""
    write(project, {"x": sleeper(privileged=True, volumes=[
        {"type": "bind", "source": str(project.tmp / "shared"), "target": "/shared", "bind": {"propagation": "rshared"}}])})
    (project.tmp / "shared").mkdir()
    run("mount", "--bind", project.tmp / "shared", project.tmp / "shared")
    run("mount", "--make-rshared", project.tmp / "shared")
    try:
        project.up()
        project.sh("x", "mkdir /shared/in && mount -t tmpfs tmpfs /shared/in && echo hi >/shared/in/file")
        assert (project.tmp / "shared/in/file").read_text() == "hi\n"
        project.sh("x", "umount /shared/in")
        project("down", "-t", "0")
    finally:
        run("umount", "-R", project.tmp / "shared")


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
