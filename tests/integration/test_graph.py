"""Order: who starts when, what a failed dependency says, and how a project stops."""

import json
import re

from harness import wait_for


def times(project) -> dict[str, dict[str, int]]:
    return {r["service"]: r for r in project.records()}


def seconds(ns: int) -> float:
    return ns / 1e9


def test_conditions(project):
    project.file("""
        services:
          once:
            image: base
            command: sh -c 'sleep 0.4; echo done'
          healthy:
            image: base
            init: true
            command: sh -c 'sleep 0.6; touch /ready; sleep 60'
            healthcheck: {test: [CMD, test, -e, /ready], interval: 10s, start_period: 10s, start_interval: 50ms}
          plain:
            image: base
            init: true
            command: sleep 60
          last:
            image: base
            init: true
            command: sleep 60
            depends_on:
              once: {condition: service_completed_successfully}
              healthy: {condition: service_healthy}
              plain: {condition: service_started}
        """)
    project.up()
    at = times(project)
    assert at["last"]["started"] > at["once"]["finished"] > 0
    assert at["last"]["started"] > at["plain"]["started"]
    assert seconds(at["last"]["started"] - at["healthy"]["started"]) > 0.55
    assert {c["Service"]: c["State"] for c in project.ps()} == {
        "once": "exited", "healthy": "running", "plain": "running", "last": "running"}
    assert project.health("healthy") == "healthy"


def test_dependent_starts_at_once_when_its_condition_holds(project):
    """In the same turn of the loop: nothing else happens to any container in between."""
    project.file("""
        services:
          once: {image: base, command: sleep 0.3}
          next:
            image: base
            command: "true"
            depends_on: {once: {condition: service_completed_successfully}}
        """)
    project.up(env={"COMPOSE_TRACE": "1"})
    log = (project.run_root / "projects" / project.name / "supervisor.log").read_text()
    changes = [line.split("]: ", 1)[1] for line in log.splitlines() if " -> " in line]
    ended = changes.index(f"{project.name}-once-1: cleaning -> idle")
    assert changes[ended + 1] == f"{project.name}-next-1: idle -> preparing"


def test_chain_of_ten_healthy_services_is_quick(project):
    lines = ["services:"]
    for n in range(10):
        lines += [f"  s{n}:", "    image: base", "    init: true", "    command: sleep 60",
                  "    healthcheck: {test: [CMD, 'true'], interval: 30s, start_period: 10s, start_interval: 100ms}"]
        if n:
            lines += [f"    depends_on: {{s{n - 1}: {{condition: service_healthy}}}}"]
    project.write("compose.yaml", "\n".join(lines) + "\n")
    result = project.up("--wait")
    assert all(c["Health"] == "healthy" for c in project.ps())
    assert result.seconds < 6


def test_optional_dependency(project):
    project.file("""
        services:
          web:
            image: base
            init: true
            command: sleep 60
            depends_on:
              extra: {condition: service_started, required: false}
              broken: {condition: service_completed_successfully, required: false}
          extra: {image: base, profiles: [never]}
          broken: {image: base, command: "false"}
        """)
    project.up(code=None)
    assert project.state("web") == "running"
    assert project.state("extra") is None


def test_failed_dependency_names_its_cause(project):
    project.file("""
        services:
          migrate:
            image: base
            command: sh -c 'echo connecting; echo schema version 7 is unknown >&2; exit 3'
          web:
            image: base
            command: sleep 60
            depends_on: {migrate: {condition: service_completed_successfully}}
        """)
    result = project.up(code=1)
    assert re.search(r"service \"migrate\" didn't complete successfully: exit 3", result.err), str(result)
    assert "schema version 7 is unknown" in result.err, "the end of its log"
    assert "exited with code" not in result.err, "said once"
    assert project.state("web") in (None, "created")


def test_unhealthy_dependency_shows_its_last_probe(project):
    project.file("""
        services:
          db:
            image: base
            init: true
            command: sleep 60
            healthcheck: {test: "echo no route to disk; exit 1", interval: 100ms, retries: 2}
          web:
            image: base
            depends_on: {db: {condition: service_healthy}}
        """)
    result = project.up(code=1)
    assert f"container {project.name}-db-1 is unhealthy" in result.err
    assert "no route to disk" in result.err, "what the last probe said"
    assert project.state("web") in (None, "created")


def test_dependency_that_exits_before_it_is_healthy(project):
    project.file("""
        services:
          db:
            image: base
            command: sh -c 'echo out of coffee; exit 4'
            healthcheck: {test: "false", interval: 5s, start_period: 30s}
          web: {image: base, depends_on: {db: {condition: service_healthy}}}
        """)
    result = project.up(code=1, timeout=15)
    assert "db" in result.err and "4" in result.err and "out of coffee" in result.err


def test_up_of_one_service_brings_its_dependencies(project):
    project.file("""
        services:
          db: {image: base, init: true, command: sleep 60}
          web: {image: base, init: true, command: sleep 60, depends_on: [db]}
          other: {image: base, init: true, command: sleep 60}
        """)
    project.up("web")
    assert {c["Service"] for c in project.ps()} == {"db", "web"}
    project("down")
    project.up("--no-deps", "web")
    assert {c["Service"] for c in project.ps()} == {"web"}


def test_stop_goes_the_other_way_round(project):
    project.file("""
        x-slow: &slow
          image: base
          init: true
          command: ["sh", "-c", "trap 'sleep 0.3; exit 0' TERM; echo ready; while :; do sleep 0.05; done"]
        services:
          db: *slow
          api: {<<: *slow, depends_on: [db]}
          web: {<<: *slow, depends_on: [api]}
          side: {<<: *slow, depends_on: [db]}
        """)
    project.up()
    wait_for(lambda: project.logs().count("ready") == 4, "all to hear signals")
    result = project("stop")
    at = times(project)
    assert at["web"]["finished"] < at["api"]["finished"] < at["db"]["finished"]
    assert seconds(at["api"]["finished"] - at["web"]["finished"]) > 0.2
    assert at["side"]["finished"] < at["api"]["finished"], "in parallel where it can be"
    assert result.seconds < 5


def test_restart_of_a_dependency_restarts_its_dependents(project):
    project.file("""
        services:
          db: {image: base, init: true, command: sleep 60}
          web: {image: base, init: true, command: sleep 60, depends_on: {db: {condition: service_started, restart: true}}}
        """)
    project.up()
    before = {s: project.pid(s) for s in ("db", "web")}
    project("restart", "db")
    wait_for(lambda: project.pid("web") not in (0, before["web"]), "web to be restarted")
    assert project.pid("db") != before["db"]


def test_graph_command(project):
    project.file("services: {a: {image: base, depends_on: [b]}, b: {image: base}}")
    result = project("graph", "--format", "json")
    assert {"a", "b"} <= set(re.findall(r'"(\w+)"', json.dumps(json.loads(result.out))))
