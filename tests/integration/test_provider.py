"""Services that another program provides, and models: the program is a script of the test."""

import json
import os
import signal

import pytest

from harness import alive, wait_for

FILE = """
    services:
      db:
        provider: {type: mycloud, options: {type: mysql, size: 256, tags: [a, b]}}
      app: {image: base, init: true, command: sleep 600, depends_on: [db]}
      other: {image: base, init: true, command: sleep 600}
    """


@pytest.fixture
def cloud(project):
    """Writes the program, which notes how it was called; body: what `up` does."""
    def make(body: str, metadata: str = "exit 1", name: str = "bin/mycloud"):
        project.write(name, f"""
            #!/bin/sh
            echo "$@" >> {project.dir}/calls
            case "$2 $3" in
            "metadata ") {metadata} ;;
            *" up") {body} ;;
            *" down") echo '{{"type":"info","message":"giving it back"}}' ;;
            esac
            """, mode=0o755)
        project.env["PATH"] = f"{project.dir}/bin:{os.environ['PATH']}"
    return make


def calls(project) -> list[str]:
    path = project.dir / "calls"
    return [c for c in path.read_text().splitlines() if c != "compose metadata"] if path.exists() else []


def message(kind: str, text: str) -> str:
    return "echo '" + json.dumps({"type": kind, "message": text}) + "'"


def test_dependents_get_the_variables(project, cloud):
    cloud("; ".join([message("info", "making it"), message("setenv", "URL=http://x:1"), message("rawsetenv", "TOKEN=t=1"),
                     message("debug", "unseen"), "printf '{\"type\":'", "sleep 0.1", "printf '\"setenv\",\"message\":\"B=2\"}'"]))
    project.file(FILE)
    up = project.up()
    assert " db  making it" in up.err and " db  Created" in up.err and "unseen" not in up.text
    assert calls(project) == [f"compose --project-name={project.name} up --size=256 --tags=a --tags=b --type=mysql db"]
    names = "echo $DB_URL $TOKEN $DB_B"
    assert project.sh("app", names) == "http://x:1 t=1 2"
    assert project.sh("other", names) == "", "it does not depend on it"
    assert {c["Service"] for c in project.ps()} == {"app", "other"}, "a provided service has no container"
    before = {r["service"]: r["id"] for r in project.records()}
    project.up()
    assert {r["service"]: r["id"] for r in project.records()} == before, "the same variables: nothing is replaced"
    assert project("run", "--rm", "-T", "app", "sh", "-c", names).out == "http://x:1 t=1 2\n"
    project("stop", "-t", "0")
    assert not [c for c in calls(project) if " stop " in c], "only a provider that says it can stop is told to"
    down = project("down", "-t", "0")
    assert " db  giving it back" in down.err and " db  Removed" in down.err
    assert calls(project)[-1].startswith(f"compose --project-name={project.name} down ")


def test_other_variables_replace_the_dependent(project, cloud):
    cloud(message("setenv", "URL=1"))
    project.file(FILE)
    project.up()
    before = {r["service"]: r["id"] for r in project.records()}
    cloud(message("setenv", "URL=2"))
    project.up("-t", "0")
    after = {r["service"]: r["id"] for r in project.records()}
    assert after["app"] != before["app"] and after["other"] == before["other"]
    assert project.sh("app", "echo $DB_URL") == "2"


@pytest.mark.parametrize("body, words", [
    (message("error", "no quota"), "no quota"),
    ("echo boom >&2; exit 3", "failed to create service provider: exit status 3\nboom"),
    ("echo nonsense", "invalid response from plugin: nonsense"),
    (message("dance", "x"), "invalid response from plugin: dance"),
    (message("setenv", "NOVALUE"), "invalid response from plugin: NOVALUE"),
    ("printf '{\"type\":'", "invalid response from plugin: {\"type\":"),
])
def test_failures_end_up(project, cloud, body, words):
    cloud(body)
    project.file(FILE)
    assert words in project.up(code=1).err
    assert project.ps() == [], "nothing was made"


def test_no_such_program(project):
    project.file(FILE)
    assert 'exec: "mycloud": executable file not found in $PATH' in project.up(code=1).err


def test_metadata_decides_about_options_and_stop(project, cloud):
    described = {"description": "d", "up": {"parameters": [{"name": "size", "required": True}]},
                 "down": {"parameters": []}, "stop": {"parameters": [{"name": "type"}]}}
    cloud("true", metadata=f"echo '{json.dumps(described)}'", name="plugins/docker-mycloud")
    (project.tmp / ".docker").mkdir()
    (project.tmp / ".docker/cli-plugins").symlink_to(project.dir / "plugins")
    project.file(FILE)
    project.up()
    project("stop", "-t", "0")
    project("down", "-t", "0")
    name = f"compose --project-name={project.name}"
    assert calls(project) == [f"{name} up --size=256 db", f"{name} stop --type=mysql db", f"{name} down db"]
    project.file(FILE.replace("size: 256, ", ""))
    assert 'required parameter "size" is missing from provider "mycloud" definition' in project.up(code=1).err


def test_dry_run_starts_no_program(project, cloud):
    cloud(message("setenv", "URL=1"))
    project.file(FILE)
    project.up()
    n = len(calls(project))
    again = project("--dry-run", "up", "-d")
    assert "db  Created" in again.err and "Recreate" not in again.err
    assert len(calls(project)) == n


def test_interrupt_reaches_the_program(project, cloud):
    cloud(f"echo $$ > {project.dir}/pid; exec sleep 60")
    project.file(FILE)
    child = project.popen("up", "-d")
    pid_file = project.dir / "pid"
    pid = wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), "the program to run")
    child.send_signal(signal.SIGTERM)
    assert child.wait(10) == 130
    assert not alive(int(pid))


def test_models(project, cloud):
    project.file("""
        services:
          app: {image: base, init: true, command: sleep 600, models: {my-llm: {endpoint_var: AI}}}
          b: {image: base, init: true, command: sleep 600, models: [my-llm]}
        models:
          my-llm: {model: ai/smol, context_size: 1024, runtime_flags: [--fast]}
        """)
    assert "'models' support requires Docker Model plugin" in project.up(code=1).err
    project.write("p/docker-model", f"""
        #!/bin/sh
        echo "$@" >> {project.dir}/calls
        case "$1" in
        ls) echo '[{{"tags": ["ai/other"]}}]' ;;
        status) echo '{{"endpoint": "http://models/v1"}}' ;;
        esac
        """, mode=0o755)
    (project.tmp / ".docker").mkdir()
    (project.tmp / ".docker/cli-plugins").symlink_to(project.dir / "p")
    project.up()
    assert calls(project) == ["ls --json", "status --json", "pull ai/smol", "configure --context-size 1024 ai/smol -- --fast"]
    assert project.sh("app", "echo $AI $MY_LLM_MODEL $MY_LLM_URL") == "http://models/v1 ai/smol"
    assert project.sh("b", "echo $MY_LLM_MODEL $MY_LLM_URL") == "ai/smol http://models/v1"


def test_a_provided_service_has_no_containers(project, cloud):
    cloud("true")
    project.file("services: {db: {provider: {type: mycloud}}}")
    assert project("up", timeout=10).err.count("db  Created") == 1, "attached: nothing to wait for"
    project.up("--wait")
    assert 'service "db" has a provider' in project("run", "db", "true", code=1).err
    assert 'service "db" has a provider' in project("scale", "db=2", code=1).err
    assert 'service "db" has a provider' in project.up("--scale", "db=2", code=1).err
    assert 'service "db" is not running' in project("exec", "db", "true", code=1).err
    assert project("pull").err.strip() == "db Skipped - No image to be pulled"
    for command in ("start", "stop", "restart", "pause", "top", "logs", "images", "ps"):
        project(command)
    assert project.records() == []
