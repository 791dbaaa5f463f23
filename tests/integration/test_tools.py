"""cp, stats, and the options and variables of the whole program."""

import io
import json
import os
import re
import signal
import tarfile
from pathlib import Path

import pytest

from harness import wait_for
from test_network import sleeper, write


def tar_of(**files) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.gid, info.mode = len(data), 1234, 1235, 0o640
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def pipe(project, data: bytes, *args) -> bytes:
    child = project.popen(*args, stdin=-1, stderr=-1, text=False, errors=None)
    out, err = child.communicate(data, timeout=30)
    assert child.returncode == 0, err
    return out


def test_cp_through_pipes(project):
    write(project, {"x": sleeper()})
    project.up()
    pipe(project, tar_of(one=b"1", two=b"22"), "cp", "-", "x:/srv")
    assert project.sh("x", "cat /srv/one /srv/two; stat -c %a /srv/one") == "122640"
    out = pipe(project, b"", "cp", "x:/srv", "-")
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert {m.name: m.size for m in tar if m.isfile()} == {"srv/one": 1, "srv/two": 2}


def test_cp_owners_links_and_index(project):
    write(project, {"x": sleeper()})
    project.up("--scale", "x=2")
    project.write("dir/f", "data", mode=0o600)
    (project.dir / "dir/l").symlink_to("f")
    os.chown(project.dir / "dir/f", 1000, 1000)
    project("cp", "-a", "dir", "x:/kept")
    project("cp", "dir", "x:/plain")
    assert project.sh("x", "stat -c '%u %g %a' /kept/f; readlink /kept/l") == "1000 1000 600\nf"
    assert project.sh("x", "stat -c '%u %g' /plain/f") == "0 0"
    project("cp", "--index", "2", "dir/f", "x:/second")
    ids = {n: project("exec", "-T", "--index", n, "x", "sh", "-c", "ls /second 2>/dev/null || echo none").out.strip() for n in ("1", "2")}
    assert ids == {"1": "none", "2": "/second"}
    project.sh("x", "ln -s /kept/f /tmp/link")
    project("cp", "x:/tmp/link", "as-link")
    project("cp", "-L", "x:/tmp/link", "followed")
    assert os.readlink(project.dir / "as-link") == "/kept/f" and (project.dir / "followed").read_text() == "data"
    project("cp", "-a", "x:/kept/f", "owned")
    assert os.stat(project.dir / "owned").st_uid == 1000
    project.sh("x", "mkdir /tree; echo a > /tree/a")
    project("cp", "x:/tree/.", "flat")
    assert (project.dir / "flat/a").read_text() == "a\n"
    project("stop", "-t", "0")
    project("cp", "x:/tree/a", "stopped")
    assert (project.dir / "stopped").read_text() == "a\n", "a container need not run"
    assert 'no container found for service "nobody"' in project("cp", "nobody:/a", "b", code=1).err


def test_cp_does_not_leave_the_container(project):
    """A link in the container that leads out leads into the container's own root."""
    write(project, {"x": sleeper()})
    project.up()
    outside = project.write("secret", "of the machine")
    project.sh("x", f"mkdir -p /t; ln -s {project.dir} /t/out; ln -s / /t/root")
    assert project("cp", "x:/t/out/secret", "stolen", code=1)
    project.write("new", "data")
    project("cp", "new", "x:/t/root/new")
    assert project.sh("x", "cat /new") == "data" and not os.path.exists("/new")
    project("cp", "new", "x:/t/out/new2", code=1)
    assert outside.read_text() == "of the machine" and not (project.dir / "new2").exists()


def test_stats(project):
    write(project, {"x": sleeper(mem_limit="64m"), "busy": {"image": "base", "init": True, "command": ["sh", "-c", "while :; do :; done"], "cpus": 0.2},
                    "gone": {"image": "base", "command": "true"}})
    project.up()
    project.ended("gone")
    lines = project("stats", "--no-stream").out.splitlines()
    assert re.split(r"  +", lines[0]) == ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS"]
    assert len(lines) == 3
    rows = {r["Name"]: r for r in map(json.loads, project("stats", "--no-stream", "-a", "--format", "json").out.splitlines())}
    assert set(rows) == {f"{project.name}-{s}-1" for s in ("x", "busy", "gone")}
    assert rows[f"{project.name}-x-1"]["MemUsage"].endswith("/ 64MiB") and rows[f"{project.name}-x-1"]["PIDs"] == "2"
    assert 5 < float(rows[f"{project.name}-busy-1"]["CPUPerc"].rstrip("%")) < 60, rows
    assert rows[f"{project.name}-gone-1"]["CPUPerc"] == "0.00%"
    assert len(project("stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}", "x").out.strip()) == 64
    live = project.popen("stats", "--format", "{{.Name}}")
    wait_for(lambda: f"{project.name}-x-1" in live.stdout.readline(), "a first table")
    wait_for(lambda: f"{project.name}-x-1" in live.stdout.readline(), "a second one")
    project("stop", "-t", "0")


# --- the whole program -----------------------------------------------------------------------------


def test_ansi_and_color(project):
    write(project, {"x": {"image": "base", "command": ["echo", "hi"]}})
    project.up()
    project.ended("x")
    assert "\x1b[" not in project("logs").out
    assert "\x1b[" in project("--ansi", "always", "logs").out and "\x1b[" in project("logs", env={"COMPOSE_ANSI": "always"}).out
    assert "\x1b[" not in project("--ansi", "always", "logs", "--no-color").out
    assert project("--ansi", "never", "--progress", "tty", "ps", code=1).err.strip() == "can't use --progress tty while ANSI support is disabled"
    assert project("--ansi", "always", "--progress", "plain", "ps", code=1).err.strip() == "can't use --progress plain while ANSI support is forced"


def test_progress_modes(project):
    write(project, {"x": sleeper()})
    lines = [json.loads(line) for line in project("--progress", "json", "up", "-d").err.splitlines()]
    assert any(event["id"] == f"Container {project.name}-x-1" and event.get("status") == "Started" for event in lines)
    assert project("--progress", "quiet", "down", "-t", "0").text == ""
    up = project("up", "-d", env={"COMPOSE_STATUS_STDOUT": "1"})
    assert "Started" in up.out and up.err == ""
    assert "Removed" in project("down", "-t", "0", env={"COMPOSE_PROGRESS": "plain"}).err
    assert 'unsupported --progress value "fast"' in project("--progress", "fast", "ps", code=1).err


def test_env_files_and_folders(project):
    project.write("one.env", "A=1\nB=1\n")
    project.write("two.env", "B=2\n")
    project.write("sub/compose.yaml", "services: {x: {image: base, environment: {V: '${A-}${B-}'}, volumes: ['./d:/d']}}\n")
    project.write("sub/.env", "A=dot\n")

    def config(*args, **env):
        return json.loads(project(*args, "-f", "sub/compose.yaml", "config", "--format", "json", env=env).out)["services"]["x"]
    assert config("--env-file", "one.env", "--env-file", "two.env")["environment"]["V"] == "12"
    assert config(COMPOSE_ENV_FILES="one.env,two.env")["environment"]["V"] == "12"
    assert config()["environment"]["V"] == "dot"
    assert config(COMPOSE_DISABLE_ENV_FILE="1")["environment"]["V"] == ""
    assert config("--project-directory", str(project.tmp))["volumes"][0]["source"] == f"{project.tmp}/d"
    assert json.loads(project("config", "--format", "json", env={"COMPOSE_FILE": "sub/compose.yaml"}).out)["services"]
    assert json.loads(project("config", "--format", "json", env={"COMPOSE_FILE": "sub/compose.yaml@sub/compose.yaml", "COMPOSE_PATH_SEPARATOR": "@"}).out)["services"]
    assert "couldn't find env file" in project("--env-file", "none.env", "-f", "sub/compose.yaml", "config", code=1).err


def test_version_and_roots(project):
    assert re.match(r"Compose version v?\d", project("--version").out) and project("-v").out == project("version").out
    assert project("version", "--short").out.strip() in project("version").out
    write(project, {"x": sleeper()})
    other = project.tmp / "other"
    assert project("--root", other, "ls", "-q").out == ""


@pytest.mark.parametrize("template, text", [
    ("{{pad .Service 1 2}}|", " x  |"), ("{{truncate .Service 9}}", "x"), ("{{split .Name \"-\" | len}}", "3"),
    ("{{join (split .Name \"-\") \",\"}}", None), ("{{printf \"%s/%s\" .Service .State}}", "x/running"), ("{{lower (upper .Service)}}", "x"),
    ("{{if eq .State \"running\"}}up{{else}}down{{end}}", "up"), ("{{json .Service}}", '"x"'), ("{{.Label \"com.docker.compose.service\"}}", "x"),
])
def test_format_functions(project, template, text):
    write(project, {"x": sleeper()})
    project("create")
    out = project("ps", "-a", "--format", template.replace("running", "created")).out.rstrip("\n")
    assert out == (text if text is not None else f"{project.name},x,1").replace("running", "created")


def test_compatibility_names(project):
    project.write("Dockerfile", "FROM base\n")
    project.file("services: {x: {build: ., init: true, command: sleep 600}, y: {image: base, init: true, command: sleep 600}}")
    n = project.name
    result = project("--compatibility", "up", "-d")
    assert f"Container {n}_x_1  Started" in result.err
    assert {c["Name"] for c in project.ps()} == {f"{n}_x_1", f"{n}_y_1"}
    assert f"{n}_x" in project("image", "ls").out
    assert project("up", "-d", "--no-build", env={"COMPOSE_COMPATIBILITY": "1"}).err.count("Running") == 2
    assert "x_1  |" not in project.logs() and f"{n}_default" in [p.name for p in project.root.glob("networks/*")]
    assert f"Container {n}_y_2  Started" in project("--compatibility", "up", "-d", "--scale", "y=2").err
    name = project("--compatibility", "run", "-d", "y").out.strip()
    assert any(r["id"] == name and r["name"].startswith(f"{n}_y_run_") for r in project.records())
    project("--compatibility", "down", "-t", "0", "--rmi", "local")
    assert f"{n}_x" not in project("image", "ls").out


def history(project, *args) -> list[tuple[str, str]]:
    out = project("events", "--json", *args).out
    return [(e["service"], e["action"]) for e in map(json.loads, out.splitlines())]


def test_events_have_a_history(project):
    write(project, {"x": sleeper(), "job": {"image": "base", "command": ["sh", "-c", "exit 3"]}})
    project.up()
    project.ended("job")
    supervisor = project.supervisor()
    os.kill(supervisor, 9)
    wait_for(lambda: project.supervisor() not in (None, supervisor), "another supervisor")
    project("stop", "-t", "0")
    seen = history(project, "--since", "5m", "--until", "0s")
    assert [a for s, a in seen if s == "job"] == ["create", "start", "die"]
    assert [a for s, a in seen if s == "x"][:2] == ["create", "start"] and "die" in [a for s, a in seen if s == "x"]
    assert {s for s, _ in history(project, "--since", "5m", "--until", "0s", "job")} == {"job"}
    last = [json.loads(line) for line in project("events", "--json", "--since", "5m", "--until", "0s", "job").out.splitlines()][-1]
    assert last["attributes"]["exitCode"] == "3"
    assert history(project, "--since", last["time"], "--until", last["time"]) == [("job", "die")]
    assert history(project, "--until", "0s") == []
    child = project.popen("events", "--since", "5m")
    wait_for(lambda: "die" in child.stdout.readline(), "the past")
    project("start", "x")
    wait_for(lambda: "container start" in child.stdout.readline(), "what happens now")


def test_history_is_bounded(project):
    write(project, {"x": sleeper()})
    project("create")
    folder = project.root / "projects" / project.name
    line = json.dumps({"event": "container", "action": "start", "time": 1, "id": "0" * 64, "name": "x", "service": "x", "number": 1}) + "\n"
    (folder / "events").write_text(line * 2000 + "{cut sho")
    project("start")
    assert os.path.getsize(folder / "events") < 4096 and os.path.getsize(folder / "events.1") > 100000
    assert ("x", "start") in history(project, "--since", "5m", "--until", "0s")


def test_a_failed_dependency_is_marked(project):
    project.file("""
        services:
          db: {image: base, init: true, command: sleep 600, healthcheck: {test: "false", interval: 100ms, retries: 2}}
          web: {image: base, init: true, command: sleep 600, depends_on: {db: {condition: service_healthy}}}
        """)
    err = project.up(code=1).err
    assert f" Container {project.name}-db-1  Error" in err and "is unhealthy" in err


def test_all_resources(project):
    project.file("""
        services: {x: {image: base, init: true, command: sleep 600}, y: {image: base, networks: [only-y]}}
        networks: {unused: {}, only-y: {}}
        volumes: {spare: {}}
        """)
    n = project.name

    def there():
        return {p.name for kind in ("networks", "volumes") for p in project.root.glob(f"{kind}/{n}_*")}
    project.up("x")
    assert there() == {f"{n}_default"}
    project("--all-resources", "up", "-d", "x")
    assert there() == {f"{n}_default", f"{n}_unused", f"{n}_spare"}, "what other services use is theirs to make"
    project("--all-resources", "down", "-v", "-t", "0")
    assert there() == set()
    assert f"Network {n}_unused  Created" in project("--all-resources", "--dry-run", "up", "-d", "x").err
    assert there() == set()


def test_volumes_show_their_labels(project):
    project.file("""
        services: {x: {image: base, init: true, command: sleep 600, volumes: ["data:/d", "/anonymous"]}}
        volumes: {data: {labels: {team: core}}}
        """)
    project.up()
    assert f"{project.name}_data" in project("volumes", "-q").out.split()
    row = next(json.loads(line) for line in project("volumes", "--format", "json").out.splitlines() if f'{project.name}_data"' in line)
    labels = dict(pair.split("=", 1) for pair in row["Labels"].split(","))
    assert labels["team"] == "core" and labels["com.docker.compose.volume"] == "data" and labels["com.docker.compose.version"]
    assert labels["com.docker.compose.project"] == project.name
    assert "core" in project("volumes", "--format", '{{.Label "team"}}', "x").out.split()
    assert json.loads(project("images", "--format", "json").out)[0]["LastTagTime"] > "2026-01-01"


def test_events_of_exec(project):
    """Of what exec and hooks run, as Docker tells it; one that cannot be run does not end."""
    project.write("compose.yaml", json.dumps({"services": {"x": {"image": "base", "init": True, "command": ["sleep", "60"],
                                                                 "post_start": [{"command": ["true"]}]}}}))
    project.up()
    project.exec("x", "sh", "-c", "exit 3", code=3)
    project.exec("x", "nosuch", code=127)
    seen = exec_events(project)
    assert [(e["action"], e["attributes"].get("exitCode")) for e in seen] == [
        ("exec_create: true ", None), ("exec_start: true ", None), ("exec_die", "0"),
        ("exec_create: sh -c exit 3", None), ("exec_start: sh -c exit 3", None), ("exec_die", "3"),
        ("exec_create: nosuch ", None), ("exec_start: nosuch ", None)]
    ids = [e["attributes"]["execID"] for e in seen]
    assert ids[0] == ids[2] != ids[3] == ids[5] and all(len(i) == 64 for i in ids)
    assert {e["id"] for e in seen} == {project.record("x")["id"]}


def exec_events(project) -> list[dict]:
    out = project("events", "--json", "--since", "1h", "--until", "0s").out
    return [event for event in map(json.loads, out.splitlines()) if event["action"].startswith("exec")]


def ends_of_exec(project) -> list[str]:
    return [e["attributes"]["exitCode"] for e in exec_events(project) if e["action"] == "exec_die"]


def test_end_of_a_detached_exec(project):
    """Somebody waits for it who holds nothing of who started it, and tells whichever supervisor there is."""
    project.write("compose.yaml", json.dumps({"services": {"x": {"image": "base", "init": True, "command": ["sleep", "600"], "stop_grace_period": "0s"}}}))
    project.up()
    project("exec", "-d", "x", "sh", "-c", "sleep 0.1; exit 4")
    wait_for(lambda: ends_of_exec(project) == ["4"], "its end to be told")
    start, end = exec_events(project)[1:]
    assert start["action"] == "exec_start: sh -c sleep 0.1; exit 4" and start["attributes"]["execID"] == end["attributes"]["execID"]
    assert project("exec", "-d", "x", "nosuch", code=127).err
    project("exec", "-d", "x", "sh", "-c", "trap '' TERM; while [ ! -e /go ]; do sleep 0.05; done; exit 5")
    first = project.supervisor()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: project.supervisor() not in (None, first) and project.state("x") == "running", "another supervisor")
    project.sh("x", "touch /go")
    wait_for(lambda: ends_of_exec(project) == ["4", "0", "5"] or ends_of_exec(project) == ["4", "5", "0"], "its end to be told to the next supervisor")
    project("exec", "-d", "x", "sleep", "600")
    project("stop")
    wait_for(lambda: ends_of_exec(project)[-1] == "137", "the end of what ended with the container")
    wait_for(lambda: not [p for p in Path("/proc").glob("[0-9]*/cmdline") if project.name.encode() in p.read_bytes() and b"\0detach\0" in p.read_bytes()],
             "nobody to wait any more")
