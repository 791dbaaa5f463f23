"""--dry-run tells what would happen, in the words of the real thing, and changes nothing on the machine."""

import os
import re

import pytest

from harness import links, mounts_below, processes_of, run, wait_for

def machine(project) -> dict:
    """All that a command could change: files with their times, mounts, links, rules, processes, namespaces."""
    files = {}
    for top in (project.tmp,):
        for folder, _, names in os.walk(top):
            for name in [*names, "."]:
                path = os.path.join(folder, name)
                st = os.lstat(path)
                files[path] = (st.st_mode, st.st_size, st.st_mtime_ns, st.st_ino)
    processes = processes_of(project.tmp)
    return {
        "files": files,
        "mounts": mounts_below(project.tmp),
        "links": links(),
        "rules": run("nft", "list", "ruleset").stdout,
        "processes": processes,
        "namespaces": {pid: os.readlink(f"/proc/{pid}/ns/net") for pid in processes},
    }


def difference(before: dict, after: dict) -> list[str]:
    found = []
    for what in before:
        if before[what] == after[what]:
            continue
        if what == "files":
            found += [path for path in sorted({*before[what], *after[what]})
                      if before[what].get(path) != after[what].get(path)]
        else:
            found.append(f"{what}: {before[what]} -> {after[what]}")
    return found


@pytest.fixture
def living(project):
    project.write("Dockerfile", "FROM base\nRUN echo x > /x\n")
    project.file("""
        services:
          db: {image: base, init: true, command: sleep 60, volumes: ["data:/data"]}
          web: {image: base, init: true, command: sleep 60, depends_on: {db: {condition: service_started, restart: true}}}
          off: {image: base, command: "true", depends_on: [web]}
          image: {build: ., profiles: [x]}
        volumes: {data: {}}
        """)
    project.up()
    project.ended("off")
    project("pause", "db")
    project("unpause", "db")
    return project


# command, and what it says of what it would do (the project's name for P)
COMMANDS = [
    (["up", "-d", "--force-recreate"], ["Container P-web-1  Stopped", "Container P-db-1  Recreated", "Container P-off-1  Started"]),
    (["up", "--scale", "web=3", "-d"], ["Container P-db-1  Running", "Container P-web-3  Created", "Container P-web-3  Started"]),
    (["up"], ["Container P-web-1  Running"]),
    (["up", "--build", "-d", "image"], ["image ==> ==> naming to P-image", "image  Built", "Container P-image-1  Created"]),
    (["create", "--force-recreate"], ["Container P-db-1  Recreated"]),
    (["scale", "web=0"], ["Container P-web-1  Stopped", "Container P-web-1  Removed"]),
    (["start"], ["Container P-off-1  Starting", "Container P-off-1  Started"]),
    (["stop"], ["Container P-web-1  Stopping", "Container P-db-1  Stopped"]),
    (["restart", "db"], ["Container P-db-1  Restarting", "Container P-web-1  Started"]),
    (["kill"], ["Container P-web-1  Killing", "Container P-db-1  Killed"]),
    (["pause"], ["Container P-db-1  Paused"]),
    (["rm", "-f"], ["Container P-off-1  Removed"]),
    (["rm", "-s", "-f", "-v"], ["Container P-db-1  Stopped", "Container P-db-1  Removed"]),
    (["down", "-v", "--rmi", "all"], ["Container P-db-1  Removed", "Network P_default  Removed", "Volume P_data  Removed",
                                      "Image base:latest  Removed"]),
    (["run", "--rm", "-T", "web", "true"], ["Container P-db-1  Running", "interactive run is not supported in dry-run mode"]),
    (["run", "-d", "web", "true"], ["Container P-db-1  Running"]),
    (["exec", "-T", "web", "touch", "/made"], ["interactive exec is not supported in dry-run mode"]),
    (["cp", "web:/etc/passwd", "copied"], ["P-web-1 copy P-web-1:/etc/passwd to copied Copied"]),
    (["cp", "compose.yaml", "web:/copied"], ["P-web-1 copy compose.yaml to P-web-1:/copied Copied"]),
    (["pull", "db"], ["db Pulling", "db Pulled"]),
    (["push"], []),
    (["lock"], None),
    (["build", "image"], ["image ==> ==> naming to P-image", "image  Built"]),
    (["commit", "web", "new"], []),
    (["export", "-o", "out.tar", "web"], []),
    (["watch", "--no-up"], None),
    (["wait", "--down-project", "off"], None),
    (["image", "tag", "base", "other"], ["has no dry run"]),
    (["image", "rm", "base"], ["has no dry run"]),
    (["image", "prune", "-f", "-a"], ["has no dry run"]),
    (["image", "load", "-i", "compose.yaml"], ["has no dry run"]),
]


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=lambda v: "-".join(v) if v and isinstance(v, list) else "")
def test_changes_nothing(living, command, said):
    up = [r for r in living.records() if r["status"] in ("running", "paused")]
    wait_for(lambda: sum(name.startswith("veth") for name in links()) == sum(len(r["networks"]) for r in up),
             "the cables of what has ended to go")
    before = machine(living)
    code = None
    result = living("--dry-run", *command, code=code, timeout=20)
    assert difference(before, machine(living)) == [], str(result)
    for words in said or []:
        assert re.sub(r"\bP-|\bP_", lambda m: living.name + m[0][1], words) in result.err, str(result)
    for line in result.err.splitlines():
        if line.strip().startswith(("Container", "Network", "Volume", "Image")):
            raise AssertionError(f"not marked as a dry run: {line}")
