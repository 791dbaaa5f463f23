"""compose.lock: which digest an image had, and commands that use nothing else."""

import json
import shutil
import subprocess

import pytest

from harness import run
from images import ARCH, busybox_layer, layer


def lock_of(project) -> dict[str, dict]:
    lock = json.loads((project.dir / "compose.lock").read_text())
    assert lock["version"] == 1
    return {entry["image"]: entry for entry in lock["images"]}


def registry_digest(name: str) -> str:
    return run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{name}").stdout.strip()


def says(registry, text: str, name: str = "app:1") -> str:
    return registry.push(name, [busybox_layer(), layer(("v", text))], {"Cmd": ["cat", "/v"]})


def locked_run(project, *options) -> str:
    return project("run", "--rm", "-T", "--locked", *options, "x").out


def test_lock_pins_what_the_tag_meant(project, registry):
    name = says(registry, "1")
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    first = registry_digest(name)
    result = project("lock")
    assert f"added {name} linux/" in result.out and first in result.out
    assert project("image", "ls", "-q", name).out == "", "no layer was moved"
    entry = lock_of(project)[name]
    assert entry["digest"] == first and entry["platform"].startswith("linux/") and entry["time"].startswith("20")
    before = (project.dir / "compose.lock").read_text()

    says(registry, "2")
    second = registry_digest(name)
    assert second != first
    assert locked_run(project) == "1"
    assert project("run", "--rm", "-T", "--pull", "always", "x").out == "2", "without --locked the tag counts"
    assert locked_run(project) == "1"
    assert locked_run(project, "--pull", "always") == "1"
    assert (project.dir / "compose.lock").read_text() == before, "only lock writes it"

    assert "changed" in project("lock", "--check", code=1).out
    assert (project.dir / "compose.lock").read_text() == before
    assert f"changed {name}" in project("lock").out
    assert lock_of(project)[name]["digest"] == second
    assert project("lock", "--check").out == ""
    assert locked_run(project) == "2"


def test_up_locked_recreates_what_is_not_the_locked_image(project, registry):
    name = says(registry, "1")
    project.file(f"services: {{x: {{image: '{name}', network_mode: none, init: true, command: sleep 60}}}}")
    project("lock")
    says(registry, "2")
    project.up("--pull", "always")
    assert project("exec", "-T", "x", "cat", "/v").out == "2"
    project.up("--locked")
    assert project("exec", "-T", "x", "cat", "/v").out == "1"
    record = project.ps()[0]
    project.up("--locked")
    assert project.ps()[0]["ID"] == record["ID"], "it is the locked image already"
    assert lock_of(project)[name]["digest"] in project("images", "--format", "json").out or \
        lock_of(project)[name]["digest"] in project("ps", "--format", "json").out


def test_locked_fails_where_the_lock_has_no_answer(project, registry):
    name = says(registry, "1")
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    result = project("up", "--locked", code=1)
    assert "compose.lock" in result.err and "compose lock" in result.err
    assert project.ps() == []
    project("lock")

    project.file(f"""
        services:
          x: {{image: '{name}', network_mode: none}}
          y: {{image: 'base:2', network_mode: none}}
        """)
    for command in (["up", "-d", "--locked"], ["create", "--locked"], ["pull", "--locked"]):
        result = project(*command, code=1)
        assert 'service "y"' in result.err and "base:2" in result.err and "compose.lock" in result.err
        assert project.ps() == []
    assert locked_run(project) == "1", "y is not asked for"

    other = "sha256:" + "0" * 64
    project.file(f"services: {{x: {{image: '{name}@{other}', network_mode: none}}}}")
    result = project("up", "-d", "--locked", code=1)
    assert "another digest" in result.err and lock_of(project)[name]["digest"] in result.err

    project.file(f"services: {{x: {{image: '{name}', platform: linux/s390x, network_mode: none}}}}")
    assert "linux/s390x" in project("up", "-d", "--locked", code=1).err
    (project.dir / "compose.lock").write_text('{"version": 1, "images": [{"image": "a"}]}')
    assert "compose.lock" in project("up", "--locked", code=1).err
    (project.dir / "compose.lock").write_text("{")
    assert "compose.lock" in project("up", "--locked", code=1).err


def test_locked_digest_that_is_gone_from_the_registry(project, registry):
    name = says(registry, "1")
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    project("lock")
    lock = (project.dir / "compose.lock").read_text()
    (project.dir / "compose.lock").write_text(lock.replace(lock_of(project)[name]["digest"], "sha256:" + "1" * 64))
    result = project("up", "-d", "--locked", code=1)
    assert "1" * 64 in result.err
    assert project.ps() == []


def test_lock_of_one_service_keeps_the_others(project, registry):
    a, b = says(registry, "a1", "a:1"), says(registry, "b1", "b:1")
    project.file(f"services: {{a: {{image: '{a}'}}, b: {{image: '{b}'}}}}")
    project("lock")
    first = lock_of(project)
    says(registry, "a2", "a:1")
    says(registry, "b2", "b:1")
    project("lock", "b")
    second = lock_of(project)
    assert second[a] == first[a] and second[b]["digest"] != first[b]["digest"]
    project.file(f"services: {{b: {{image: '{b}'}}}}")
    assert f"removed {a}" in project("lock", "b").out
    assert set(lock_of(project)) == {b}


def test_lock_fails_with_the_name_of_the_image(project, registry):
    project.file(f"services: {{x: {{image: '{registry.host}/nothing:1'}}}}")
    result = project("lock", code=1)
    assert f"{registry.host}/nothing:1" in result.err
    assert not (project.dir / "compose.lock").exists()


def test_locked_images_of_mounts_and_builds(project, registry):
    """A build starts from the locked image, and what is mounted is the locked one, too."""
    data = registry.push("data:1", [layer(("word", "old"))])
    base = says(registry, "old", "base:1")
    project.write("Dockerfile", f"FROM {base}\nCOPY --from={data} /word /word\nRUN cat /v /word > /both\n")
    project.file(f"""
        services:
          x:
            build: {{context: ., network: host}}
            network_mode: none
            command: cat /both /data/word
            volumes: [{{type: image, source: '{data}', target: /data}}]
        """)
    project("lock")
    assert set(lock_of(project)) == {data, base}
    registry.push("data:1", [layer(("word", "new"))])
    says(registry, "new", "base:1")
    project("build", "--locked", timeout=120)
    assert locked_run(project) == "oldoldold"
    project("build", "--pull", timeout=120)
    project("image", "pull", "-q", data)
    assert project("run", "--rm", "-T", "x").out == "newnewnew"
    lock = json.loads((project.dir / "compose.lock").read_text())
    lock["images"] = [e for e in lock["images"] if e["image"] != base]
    (project.dir / "compose.lock").write_text(json.dumps(lock))
    result = project("build", "--locked", code=1)
    assert base in result.err and "compose lock" in result.err


def test_bases_of_all_platforms(project, registry):
    """What `build` starts from for each of its platforms, and what `up` does for this machine's."""
    name, other = says(registry, "1"), says(registry, "2", "other:1")
    project.write("Dockerfile", f"FROM {name}\n")
    project.file(f"""
        services:
          x: {{build: {{context: ., platforms: [linux/riscv64, linux/s390x], additional_contexts: {{c: "docker-image://{other}"}}}}}}
        """)
    project("lock")
    entries = json.loads((project.dir / "compose.lock").read_text())["images"]
    assert {(entry["image"], entry["platform"]) for entry in entries} == \
        {(image, platform) for image in (name, other) for platform in ("linux/riscv64", "linux/s390x", f"linux/{ARCH}")}


def test_config_digests(project, registry):
    a, b = says(registry, "a", "a:1"), says(registry, "b", "b:1")
    project.file(f"services: {{a: {{image: '{a}', build: .}}, b: {{image: '{b}', environment: {{K: v}}}}}}")
    whole = json.loads(project("config", "--resolve-image-digests", "--format", "json").out)
    assert whole["services"]["b"]["image"] == f"{b}@{registry_digest(b)}"
    assert whole["services"]["b"]["environment"] == {"K": "v"}
    lock = json.loads(project("config", "--lock-image-digests", "--format", "json").out)
    empty = {"command": None, "entrypoint": None}
    assert lock["services"] == {s: empty | {"image": f"{name}@{registry_digest(name)}"} for s, name in (("a", a), ("b", b))}
    assert project("image", "ls", "-q", b).out == "", "nothing was pulled"
    project.write("pinned.yaml", json.dumps(lock))
    both = project("-f", "compose.yaml", "-f", "pinned.yaml", "config", "--images").out.split()
    assert set(both) == {f"{a}@{registry_digest(a)}", f"{b}@{registry_digest(b)}"}
    registry.close()
    result = project("config", "--resolve-image-digests", code=1)
    assert "failed to resolve digest for" in result.err and registry.host in result.err
