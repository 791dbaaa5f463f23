"""What `up` makes of a changed file: what is replaced, why, and what is left alone."""

import json
import re

import pytest

from harness import alive, wait_for

SLEEP = "image: base, init: true, command: sleep 60"


def lines(result) -> list[str]:
    """What was said, without indentation and without the mark of a dry run."""
    return [line.replace("DRY-RUN MODE -", "").strip() for line in result.err.splitlines() if line.strip()]


def containers(result) -> list[str]:
    return [line.split("-", 1)[1] for line in lines(result) if line.startswith("Container ")]


def ids(project) -> dict[str, str]:
    return {f"{r['service']}-{r['number']}": r["id"] for r in project.records()}


def changed(project, before) -> set[str]:
    after = ids(project)
    return {name for name in before if after.get(name) != before[name]}


def test_recreate_says_why_field_by_field(project):
    project.file("""
        services:
          web:
            image: base
            init: true
            command: sleep 60
            environment: {A: "1", PASSWORD: old}
            labels: {gone: x}
            ports: ["127.0.0.1:0:80"]
          other: {image: base, init: true, command: sleep 60}
        """)
    project.up()
    before = ids(project)
    project.file("""
        services:
          web:
            image: base
            init: true
            command: sleep 61
            environment:
              A: "2"
              PASSWORD: new
            hostname: h
            ports: ["127.0.0.1:0:81"]
          other: {image: base, init: true, command: sleep 60}
        """)
    for dry in (["--dry-run"], []):
        result = project(*dry, "up", "-d")
        text = lines(result)
        at = text.index(f"Container {project.name}-web-1  Recreate")
        assert text[at + 1].startswith(("command", "environment", "labels", "hostname", "ports")), text
        assert 'command: ["sleep", "60"] -> ["sleep", "61"] (compose.yaml:5)' in text
        assert 'environment.A: "1" -> "2" (compose.yaml:7)' in text
        assert "environment.PASSWORD: *** -> *** (compose.yaml:8)" in text, "not repeated in logs of CI"
        assert 'hostname: (none) -> "h" (compose.yaml:9)' in text
        assert 'labels.gone: "x" -> (none) (compose.yaml:2)' in text
        assert "ports[0].target: 80 -> 81 (compose.yaml:10)" in text
        assert changed(project, before) == (set() if dry else {"web-1"})
    assert not any("Recreate" in line for line in lines(project.up()))


def test_reasons_in_json_and_quiet(project):
    project.file(f"services: {{x: {{{SLEEP}}}}}")
    project.up()
    project.file(f"services: {{x: {{{SLEEP}, hostname: h}}}}")
    events = [json.loads(line) for line in project("--progress", "json", "--dry-run", "up", "-d").err.splitlines()]
    why = [e["reasons"] for e in events if "reasons" in e]
    assert why == [[{"field": "hostname", "old": "(none)", "new": '"h"', "at": "compose.yaml:1"}]]
    assert project("--progress", "quiet", "up", "-d").err == ""


def test_force_says_so(project):
    project.file(f"services: {{a: {{{SLEEP}}}, b: {{{SLEEP}, depends_on: [a]}}}}")
    project.up()
    before = ids(project)
    assert "--force-recreate" in lines(project.up("--force-recreate", "b"))
    assert changed(project, before) == {"b-1"}
    before = ids(project)
    assert "--always-recreate-deps" in lines(project.up("--always-recreate-deps", "b"))
    assert changed(project, before) == {"a-1"}


@pytest.mark.parametrize("section", ["configs", "secrets"])
@pytest.mark.parametrize(("source", "says"), [
    ("file: ./nope", "bind source path does not exist: {folder}/nope"),
    ("environment: NOPE", 'environment variable "NOPE" required by {kind} "q" is not set'),
    ("external: true", "unsupported external {kind} q"),
])
def test_a_content_that_cannot_be_had_stops_nothing(project, section, source, says):
    """It changed, so the container would be made anew; without it that could not start."""
    words = says.format(folder=project.dir, kind=section[:-1])
    file = f"services: {{a: {{{SLEEP}, {section}: [q]}}}}\n{section}: {{q: {{%s}}}}"
    project.write("yes", "one")
    project.file(file % "file: ./yes")
    project.up()
    before = ids(project)
    project.file(file % source)
    for dry in ("--dry-run",), ():
        result = project(*dry, "up", "-d", code=1)
        assert words in result.err and "(compose.yaml:2)" in result.err, result
        assert project.state("a") == "running" and changed(project, before) == set()
    project.file(file % "file: ./yes")
    project.up()
    assert changed(project, before) == set()


def test_a_source_that_changed_between_two_that_cannot_be_had(project):
    file = f"services: {{a: {{{SLEEP}, secrets: [q]}}}}\nsecrets: {{q: {{%s}}}}"
    project.file(file % "file: ./nope")
    assert "does not exist" in project("up", "-d", code=1).err
    project.file(file % "environment: NOPE")
    assert 'variable "NOPE" required by secret "q"' in project("up", "-d", code=1).err
    result = project.up(env={"NOPE": "found"})
    assert project.exec("a", "cat", "/run/secrets/q").out.strip() == "found"
    assert "found" not in result.text


def test_another_folder_as_a_config(project):
    file = f"services: {{a: {{{SLEEP}, configs: [q]}}}}\nconfigs: {{q: {{file: %s}}}}"
    for name in "one", "two":
        project.write(f"{name}/f", name)
    project.file(file % "./one")
    project.up()
    before = ids(project)
    assert changed(project, before) == set()
    project.file(file % "./two")
    assert "configs.q.file: " in project.up().err
    assert changed(project, before) == {"a-1"}
    assert project.exec("a", "cat", "/q/f").out.strip() == "two"


@pytest.mark.parametrize("section", ["configs", "secrets"])
def test_contents_count(project, section):
    file = f"""
        services:
          a: {{{SLEEP}, {section}: [%s]}}
          b: {{{SLEEP}}}
        {section}:
          text: {{content: "%s"}}
          file: {{file: ./f}}
          env: {{environment: V}}
        """ if section == "configs" else f"""
        services:
          a: {{{SLEEP}, {section}: [%s]}}
          b: {{{SLEEP}}}
        {section}:
          file: {{file: ./f}}
          env: {{environment: V}}
        """
    keys = "text, file, env" if section == "configs" else "file, env"
    fill = (lambda text: file % (keys, text)) if section == "configs" else (lambda text: file % keys)
    project.write("f", "one")
    project.env["V"] = "1"
    project.file(fill("hello"))
    project.up()
    before = ids(project)
    project.up()
    assert changed(project, before) == set()
    project.write("f", "two")
    result = project.up()
    assert f"{section}.file.file: its content changed" in result.err and changed(project, before) == {"a-1"}
    before = ids(project)
    project.env["V"] = "hidden"
    result = project.up()
    assert "hidden" not in result.text
    assert f"{section}.env.environment: its content changed" in result.err and changed(project, before) == {"a-1"}
    if section == "configs":
        before = ids(project)
        project.file(fill("bye"))
        result = project.up()
        assert 'configs.text.content: "hello" -> "bye" (compose.yaml:' in result.err
        assert changed(project, before) == {"a-1"}
        assert project.exec("a", "cat", "/text").out.strip() == "bye"


def test_a_new_image_replaces(project):
    project.file(f"services: {{x: {{{SLEEP}}}}}")
    project.up()
    before = ids(project)
    project("commit", "x", "base2")
    project("image", "tag", "base2", "base")
    assert re.search(r" image: [0-9a-f]{12} -> [0-9a-f]{12} \(compose.yaml:1\)$", project.up().err, re.M)
    assert changed(project, before) == {"x-1"}


NETWORK = """
    services:
      db: {image: base, init: true, command: sleep 60, networks: [n], stop_grace_period: 1s}
      web: {image: base, init: true, command: sleep 60, networks: [n], depends_on: [db]}
      out: {image: base, init: true, command: sleep 60, networks: [m]}
    networks:
      n: {labels: {a: "%s"}}
      m: {}
    """


def test_a_changed_network_is_made_anew(project):
    project.file(NETWORK % 1)
    project.up()
    before, pids = ids(project), {s: project.pid(s) for s in ("db", "web", "out")}
    was = json.loads((project.root / "networks" / f"{project.name}_n" / "network.json").read_text())["id"]
    project.file(NETWORK % 2)
    expected = [f"Container {project.name}-web-1  Stopping", f"Container {project.name}-web-1  Stopped",
                f"Container {project.name}-db-1  Stopping", f"Container {project.name}-db-1  Stopped",
                f"Network {project.name}_n  Removed", 'networks.n.labels.a: "1" -> "2" (compose.yaml:6)',
                f"Network {project.name}_n  Creating", f"Network {project.name}_n  Created"]
    why = 'networks.n.labels.a: "1" -> "2" (compose.yaml:6)'
    for dry in (["--dry-run"], []):
        said = lines(project(*dry, "up", "-d", "web", "out"))
        told = [line for line in said if line != why]
        assert told[:7] == [line for line in expected if line != why]
        assert said.count(why) == 3, "at each container, and at the network"
    assert changed(project, before) == set(), "the containers stay, as in the reference"
    now = {s: project.pid(s) for s in ("db", "web", "out")}
    assert {s for s in pids if pids[s] != now[s]} == {"db", "web"}
    assert json.loads((project.root / "networks" / f"{project.name}_n" / "network.json").read_text())["id"] != was
    assert project.exec("web", "ping", "-c", "1", "-W", "2", "db").code == 0


def test_a_changed_network_with_guests_stays(project):
    project.file(NETWORK % 1)
    project.up()
    project.write("guest.yaml", f"""
        name: {project.name}guest
        services: {{g: {{{SLEEP}, networks: [n]}}}}
        networks: {{n: {{external: true, name: {project.name}_n}}}}
        """)
    project("-f", "guest.yaml", "up", "-d")
    pids = {s: project.pid(s) for s in ("db", "web")}
    project.file(NETWORK % 2)
    for dry in (["--dry-run"], []):
        result = project(*dry, "up", "-d", code=1)
        assert f"containers of other projects are in it: {project.name}guest-g-1" in result.err
        assert pids == {s: project.pid(s) for s in pids}, "nothing was stopped for nothing"
    project("-f", "guest.yaml", "down", "-t", "0")
    project.up()


def test_a_network_by_another_name(project):
    file = f"services: {{x: {{{SLEEP}, networks: [n]}}, y: {{{SLEEP}}}}}\nnetworks: {{n: {{name: {project.name}%s}}}}"
    project.file(file % "a")
    project.up()
    before = ids(project)
    project.file(file % "b")
    assert f'networks.n.name: "{project.name}a" -> "{project.name}b" (compose.yaml:2)' in project.up().err
    assert changed(project, before) == {"x-1"}
    assert project.record("x")["networks"][0]["network"] == f"{project.name}b"


VOLUME = """
    services:
      db: {image: base, init: true, command: sleep 60, volumes: ["data:/data", /anon]}
      web: {image: base, init: true, command: sleep 60, depends_on: {db: {condition: service_started, restart: true}}}
      out: {image: base, init: true, command: sleep 60}
    volumes:
      data: {labels: {a: "%s"}}
    """


def test_a_changed_volume_asks(project):
    project.file(VOLUME % 1)
    project.up()
    project.sh("db", "echo kept > /data/f; echo kept > /anon/f")
    before, pids = ids(project), {s: project.pid(s) for s in ("db", "web", "out")}
    project.file(VOLUME % 2)
    question = f'Volume "{project.name}_data" exists but doesn\'t match configuration in compose file. ' \
               "Recreate (data will be lost)?"
    result = project.up()
    assert question in result.text, "without an answer nothing is lost"
    assert 'volumes.data.labels.a: "1" -> "2" (compose.yaml:6)' in result.text
    assert changed(project, before) == set() and project.sh("db", "cat /data/f").strip() == "kept"
    assert question in project("up", "-d", stdin="n\n").text
    assert project.sh("db", "cat /data/f").strip() == "kept"
    dry = project("--dry-run", "up", "-d", "-y")
    real = project("up", "-d", "-y")
    assert question not in real.text
    for result in (dry, real):
        said = lines(result)
        for what in ("Stopping", "Stopped", "Removing", "Removed", "Creating", "Created", "Starting", "Started"):
            assert f"Container {project.name}-db-1  {what}" in said
        assert f"Volume {project.name}_data  Created" in said
        assert said.index(f"Container {project.name}-db-1  Removed") < said.index(f"Volume {project.name}_data  Creating")
    assert changed(project, before) == {"db-1"}
    assert {s for s in pids if pids[s] != project.pid(s)} == {"db", "web"}, "who depends on it with restart: true restarts"
    assert project.exec("db", "cat", "/data/f", code=None).code != 0
    assert project.sh("db", "cat /anon/f").strip() == "kept", "anonymous volumes go over"
    assert question not in project.up().text


def test_yes_on_a_question(project):
    project.file(VOLUME % 1)
    project.up()
    project.sh("db", "echo kept > /data/f")
    project.file(VOLUME % 2)
    project("up", "-d", stdin="y\n")
    assert project.exec("db", "cat", "/data/f", code=None).code != 0


def test_dependents_stop_before_what_they_depend_on_is_replaced(project):
    file = f"""
        services:
          a: {{{SLEEP}, environment: {{X: "%s"}}}}
          b: {{{SLEEP}, depends_on: {{a: {{condition: service_started, restart: true}}}}}}
          c: {{{SLEEP}, depends_on: {{b: {{condition: service_started, restart: true}}}}}}
          d: {{{SLEEP}, depends_on: [a]}}
        """
    project.file(file % 1)
    project.up()
    pids = {s: project.pid(s) for s in "abcd"}
    project.file(file % 2)
    dry, real = lines(project("--dry-run", "up", "-d")), lines(project.up())
    for said in (dry, real):
        short = [line.split(f"{project.name}-")[1] for line in said if line.startswith("Container")]
        assert short[:6] == ["c-1  Stopping", "c-1  Stopped", "b-1  Stopping", "b-1  Stopped", "a-1  Recreate", "a-1  Recreated"]
        assert "d-1  Running" in short
        assert "depends_on.a: it restarts with what it depends on (compose.yaml:3)" in said
    assert {s for s in pids if pids[s] != project.pid(s)} == set("abc")


def test_scaling_down_takes_the_outdated_first(project):
    project.file(f"services: {{x: {{{SLEEP}}}}}")
    project.up()
    project.file(f"services: {{x: {{{SLEEP}, hostname: h}}}}")
    project.up("--no-recreate", "--scale", "x=3")
    before = ids(project)
    project.up("--scale", "x=2")
    assert ids(project) == {name: i for name, i in before.items() if name != "x-1"}


def test_a_renamed_service_takes_the_name_over(project):
    """container_name stays: the holder goes first where orphans are removed, and else the name is taken."""
    name, last = f"{project.name}-mine", "init: true, command: sleep 600, stop_grace_period: 0s"
    project.file(f"services: {{one: {{image: base, container_name: {name}, {last}}}}}")
    project.up()
    project.file(f"""
        services:
          two: {{image: base, container_name: {name}, depends_on: [dep], {last}}}
          dep: {{image: base, {last}}}
        """)
    assert f'The container name "/{name}" is already in use' in project.up(code=1).err
    assert (project.record("one")["name"], project.state("one")) == (name, "running")
    said = project.up("--remove-orphans").err
    assert said.index(f"Container {name}  Removed") < said.index(f"Container {name}  Creating"), said
    assert {c["Service"]: (c["Name"], c["State"]) for c in project.ps("--orphans")} == {
        "two": (name, "running"), "dep": (f"{project.name}-dep-1", "running")}


def test_a_renamed_service_leaves_an_orphan(project):
    project.file(f"services: {{old: {{{SLEEP}}}}}")
    project.up()
    project.file(f"services: {{new: {{{SLEEP}}}}}")
    warning = f"Found orphan containers ([{project.name}-old-1]) for this project."
    assert warning in project("--dry-run", "up", "-d").err
    assert warning in project.up().err
    assert project.state("old") == "running"
    assert warning not in project("up", "-d", env={"COMPOSE_IGNORE_ORPHANS": "1"}).err
    project("up", "-d", env={"COMPOSE_REMOVE_ORPHANS": "1"})
    assert set(ids(project)) == {"new-1"}


def test_depends_on_alone_replaces_nothing(project):
    project.file(f"services: {{a: {{{SLEEP}}}, b: {{{SLEEP}}}}}")
    project.up()
    before = ids(project)
    project.file(f"services: {{a: {{{SLEEP}, depends_on: [b]}}, b: {{{SLEEP}}}}}")
    project.up()
    assert changed(project, before) == set()
    said = lines(project("stop"))
    assert said.index(f"Container {project.name}-a-1  Stopped") < said.index(f"Container {project.name}-b-1  Stopping"), \
        "but the new order holds"


def test_created_containers_show_their_command(project):
    project.file("services: {x: {image: base, init: true, command: [sh, -c, sleep 60]}}")
    project("create")
    assert project.ps("-a")[0]["Command"] == '"sh -c \'sleep 60\'"'


def test_what_an_older_version_left_serves(project):
    """Records without what they were given, networks and volumes without their definition."""
    project.file(VOLUME % 1)
    project.up()
    before = ids(project)
    supervisor = project.supervisor()
    project("stop", "-t", "0")
    wait_for(lambda: not alive(supervisor), "the supervisor to retire")
    for path, member in [*((p, "inputs") for p in project.root.glob("projects/*/containers/*/container.json")),
                         *((p, "definition") for p in project.root.glob("networks/*/network.json")),
                         *((p, "definition") for p in project.root.glob("volumes/*/volume.json"))]:
        record = json.loads(path.read_text())
        record.pop(member, None)
        path.write_text(json.dumps(record))
    project.file(VOLUME % 2)
    result = project.up()
    assert "Recreate" not in result.text and changed(project, before) == set()
    assert all(r["inputs"] for r in project.records()), "from now on it is known"
