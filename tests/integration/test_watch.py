"""watch: what follows a change of a file."""

import signal

import pytest

from harness import wait_for


@pytest.fixture
def watching(project):
    """Starts watch (or what else) and waits until it watches."""
    def start(*args, command=("watch",)):
        child = project.popen(*command, *args)
        seen = ""
        while "Watch enabled" not in seen:
            line = child.stdout.readline()
            assert line, seen
            seen += line
        return child
    return start


def stop(child) -> str:
    child.send_signal(signal.SIGINT)
    return child.communicate(timeout=20)[0]


def service(rules: str, more: str = "") -> str:
    return f"""
        services:
          x:
            image: base
            init: true
            command: sh -c 'cat /proc/uptime > /started; exec sleep 600'
            {more}
            develop:
              watch:
{rules}
        """


def test_sync(project, watching):
    project.file(service("""
                - action: sync
                  path: src
                  target: /srv/app
                  initial_sync: true
                  ignore: ["*.log", "build/"]
        """))
    project.write("src/a.txt", "one")
    project.write("src/noise.log", "log")
    project.write("src/deep/b.txt", "b")
    child = watching()
    wait_for(lambda: project.sh("x", "cat /srv/app/a.txt /srv/app/deep/b.txt", code=None) == "oneb", "the first synchronisation")
    started = project.sh("x", "cat /started")
    project.write("src/a.txt", "two")
    project.write("src/new/c.txt", "c", mode=0o755)
    project.write("src/build/out", "no")
    wait_for(lambda: project.sh("x", "cat /srv/app/a.txt; test -x /srv/app/new/c.txt && echo +", code=None) == "two+", "the change")
    (project.dir / "src/deep/b.txt").unlink()
    wait_for(lambda: project.sh("x", "ls /srv/app/deep", code=None) == "", "the removal")
    assert project.sh("x", "ls /srv/app") == "a.txt\ndeep\nnew", "what is ignored stays out"
    assert project.sh("x", "cat /started") == started, "nothing was restarted"
    assert "Syncing" in stop(child) or child.returncode == 0


def test_sync_of_one_file_with_include(project, watching):
    project.file(service("""
                - {action: sync, path: ., target: /srv, include: ["*.py"]}
        """))
    child = watching()
    project.write("b.txt", "no")
    project.write("a.py", "yes")
    wait_for(lambda: project.sh("x", "cat /srv/a.py", code=None) == "yes", "the file")
    assert project.sh("x", "ls /srv") == "a.py"
    stop(child)


@pytest.mark.parametrize("action", ["restart", "sync+restart"])
def test_restart(project, watching, action):
    project.file(service(f"""
                - {{action: {action}, path: conf, target: /conf}}
        """))
    project.write("conf/a", "1")
    child = watching()
    before, pid = project.sh("x", "cat /started"), project.pid("x")
    project.write("conf/a", "2")
    wait_for(lambda: project.pid("x") not in (pid, 0) and project.state("x") == "running", "the restart", 20)
    wait_for(lambda: project.sh("x", "cat /started", code=None) not in ("", before), "the new process")
    if action == "sync+restart":
        assert project.sh("x", "cat /conf/a") == "2"
    stop(child)


def test_sync_and_exec(project, watching):
    project.file(service("""
                - action: sync+exec
                  path: conf
                  target: /conf
                  exec: {command: sh -c 'cat /conf/a > /seen', working_dir: /tmp, environment: [A=1]}
        """))
    project.write("conf/a", "1")
    child = watching()
    started = project.sh("x", "cat /started")
    project.write("conf/a", "2")
    wait_for(lambda: project.sh("x", "cat /seen", code=None) == "2", "the command after the synchronisation")
    assert project.sh("x", "cat /started") == started
    stop(child)


def test_rebuild(project, watching):
    project.write("Dockerfile", "FROM base\nCOPY v /v\n")
    project.write("v", "1")
    project.file("""
        services:
          x:
            build: .
            init: true
            command: sleep 600
            develop: {watch: [{action: rebuild, path: v}]}
        """)
    child = watching()
    assert project.sh("x", "cat /v") == "1"
    project.write("v", "2")
    wait_for(lambda: project.sh("x", "cat /v", code=None) == "2", "the new container", 60)
    stop(child)
    names = [line.split()[0] for line in project("image", "ls").out.splitlines()[1:]]
    assert "<none>" not in names, "--prune is the default"


def test_up_with_watch_and_no_up(project, watching):
    project.file(service("""
                - {action: sync, path: src, target: /srv}
        """))
    project.write("src/a", "1")
    child = watching(command=("up", "--watch"))
    project.write("src/a", "2")
    wait_for(lambda: project.sh("x", "cat /srv/a", code=None) == "2", "the change")
    stop(child)
    project.up()
    child = watching("--no-up", "x")
    project.write("src/a", "3")
    wait_for(lambda: project.sh("x", "cat /srv/a", code=None) == "3", "the change")
    stop(child)
    assert project.state("x") == "running"


def test_nothing_to_watch(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60}}")
    assert "none of the selected services is configured for watch" in project("watch", code=1).err
