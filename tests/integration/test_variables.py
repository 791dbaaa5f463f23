"""The variables that docker compose reads: from the environment, and from .env where it does so too."""

import json
import shutil

import pytest

from test_network import sleeper, write

ONE = {"services": {"one": {"image": "base", "command": ["sleep", "600"], "init": True}}}
TWO = {"services": {"two": {"image": "base", "profiles": ["extra"]}}}


@pytest.fixture
def two_files(project):
    project.write("one.yaml", json.dumps(ONE))
    project.write("two.yaml", json.dumps(TWO))
    return project


def services(project, *args, **env) -> list[str]:
    return sorted(project(*args, "config", "--services", env=env).out.split())


def test_compose_file_and_path_separator(two_files):
    everything = {"COMPOSE_PROFILES": "*"}
    assert services(two_files, COMPOSE_FILE="one.yaml") == ["one"]
    assert services(two_files, COMPOSE_FILE="one.yaml:two.yaml", **everything) == ["one", "two"]
    assert services(two_files, COMPOSE_FILE="one.yaml|two.yaml", COMPOSE_PATH_SEPARATOR="|", **everything) == ["one", "two"]
    assert services(two_files, "-f", "one.yaml", COMPOSE_FILE="two.yaml", **everything) == ["one"], "the option wins"


def test_compose_file_and_profiles_of_the_env_file(two_files):
    two_files.write(".env", "COMPOSE_FILE=one.yaml:two.yaml\nCOMPOSE_PROFILES=extra\n")
    assert services(two_files) == ["one", "two"]
    assert services(two_files, COMPOSE_PROFILES="other") == ["one"], "the environment wins"


def test_env_files(project):
    project.write("compose.yaml", json.dumps({"services": {"x": {"image": "${IMAGE:-none}", "environment": ["N=${N:-0}"]}}}))
    project.write("a.env", "IMAGE=a\nN=1\n")
    project.write("b.env", "IMAGE=b\n")
    project.write(".env", "IMAGE=dotenv\n")

    def image(*args, **env):
        service = json.loads(project(*args, "config", "--format", "json", env=env).out)["services"]["x"]
        return service["image"], service["environment"]["N"]
    assert image() == ("dotenv", "0")
    assert image(COMPOSE_ENV_FILES="a.env,b.env") == ("b", "1"), "the last one wins"
    assert image("--env-file", "a.env", COMPOSE_ENV_FILES="b.env") == ("a", "1"), "the option wins"
    assert image(COMPOSE_DISABLE_ENV_FILE="1") == ("none", "0")


def test_project_name_of_the_env_file(project):
    project.write("compose.yaml", json.dumps({"name": "inside"} | ONE))
    project.write(".env", "COMPOSE_PROJECT_NAME=dotenv\n")

    def name(*args, **env):
        return json.loads(project(*args, "config", "--format", "json", env=env).out)["name"]
    assert name() == "dotenv"
    assert name(COMPOSE_PROJECT_NAME="environment") == "environment"
    assert name("-p", "option", COMPOSE_PROJECT_NAME="environment") == "option"


def test_status_goes_to_stdout_on_demand(project):
    project.write("compose.yaml", json.dumps(ONE))
    result = project("up", "-d", env={"COMPOSE_STATUS_STDOUT": "1"})
    assert "Started" in result.out and "Started" not in result.err
    result = project("down", "-t", "0")
    assert "Removed" in result.err and "Removed" not in result.out


def test_progress(project):
    project.write("compose.yaml", json.dumps(ONE))
    events = [json.loads(line) for line in project("up", "-d", env={"COMPOSE_PROGRESS": "json"}).err.splitlines()]
    assert {"id": f"Container {project.name}-one-1", "status": "Started"}.items() <= events[-1].items()
    assert project("stop", "-t", "0", env={"COMPOSE_PROGRESS": "quiet"}).err == ""
    assert " Removed" in project("--progress", "plain", "down", env={"COMPOSE_PROGRESS": "quiet"}).err, "the option wins"


def test_ansi(project):
    """Prefixes of logs have colors on a terminal, and elsewhere on demand."""
    project.write("compose.yaml", json.dumps({"services": {"one": {"image": "base", "command": ["echo", "hello"]}}}))
    project("up", env={"COMPOSE_ANSI": "never"})
    assert "\x1b[" not in project("logs").out
    assert "\x1b[" in project("logs", env={"COMPOSE_ANSI": "always"}).out
    assert "\x1b[" in project("--ansi", "always", "logs", env={"COMPOSE_ANSI": "never"}).out, "the option wins"
    assert "\x1b[" not in project("--ansi", "always", "logs", "--no-color").out


def test_parallel_limit(project):
    """A limit is a number; how many things are done at a time does not change what is done."""
    project.write("compose.yaml", json.dumps({"services": {f"s{i}": ONE["services"]["one"] for i in range(3)}}))
    refused = project("up", "-d", env={"COMPOSE_PARALLEL_LIMIT": "many"}, code=1)
    assert 'COMPOSE_PARALLEL_LIMIT must be an integer (found: "many")' in refused.err
    project("up", "-d", env={"COMPOSE_PARALLEL_LIMIT": "1"})
    assert len(project.ps()) == 3
    project("down", "-t", "0")


def test_bytes_that_are_not_utf8(project):
    """They come as U+FFFD, as from Go's encoder; all else of the value stays."""
    bad, good = "bad\udcff", "bad\N{REPLACEMENT CHARACTER}"
    write(project, {"x": sleeper(environment={"V": "$V"})})
    project.env["V"] = bad
    assert 'V: !!binary YmFk/w==' in project("config").out
    assert json.loads(project("config", "--format", "json").out)["services"]["x"]["environment"]["V"] == good
    project.up()
    assert project.sh("x", "echo $V") == good
    assert "Running" in project.up().err, "the same configuration"
    for verb in (["exec", "-T"], ["run", "--rm", "-T"]):
        said = project(*verb, "-e", f"Q={bad}", "-e", "V", "-w", f"/tmp/{bad}" if verb[0] == "run" else "/tmp", "x",
                       "sh", "-c", 'echo "$Q $V $1"; pwd', "sh", f"2{bad}").out.split()
        assert said == [good, good, f"2{good}", f"/tmp/{good}" if verb[0] == "run" else "/tmp"]
    folder = project.dir / bad
    folder.mkdir()
    shutil.copy(project.dir / "compose.yaml", folder)
    for command in (["create"], ["up", "-d"], ["run", "--rm", "-T", "x", "true"], ["down", "-t", "0"]):
        project(*command, cwd=folder)
