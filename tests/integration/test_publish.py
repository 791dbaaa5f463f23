"""Projects as OCI artifacts: publish, and -f oci://NAME."""

import json
import re
import urllib.error
import urllib.request

import pytest

from images import busybox_layer

PROJECT = "application/vnd.docker.compose.project"


def manifest(registry, name: str, tag: str) -> dict:
    request = urllib.request.Request(f"http://{registry.host}/v2/{name}/manifests/{tag}", headers={
        "Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def files(registry, layers: list[dict]) -> dict[str, str]:
    """Content by name."""
    found = {}
    for item in layers:
        notes = item["annotations"]
        name = notes.get("com.docker.compose.file") or notes["com.docker.compose.envfile"]
        found[name] = registry.blob(item["digest"]).read_text()
    return found


@pytest.fixture
def shop(project):
    project.file("""
        name: shop
        services:
          web:
            image: base
            command: [sh, -c, 'echo $$A $$B $$C ${WORD:-hi}']
            extends: {file: "parts/common.yaml", service: common}   # a comment that stays
            env_file: [a.env, {path: none.env, required: false}]
        """)
    project.write("a.env", "A=1\n")
    project.write("parts/common.yaml", """
        services:
          common:
            extends: {file: deeper.yaml, service: d}
            labels: {from: common}
            env_file: '${WHICH:-b}.env'
        """)
    project.write("parts/deeper.yaml", "services: {d: {environment: {C: '3'}}}\n")
    project.write("parts/b.env", "B=2\n")
    return project


def test_publish_and_run_from_the_registry(shop, registry, make_project):
    name = f"{registry.host}/apps/shop:1"
    result = shop("publish", "--with-env", "-y", name)
    assert f" {name} published" in result.err and result.out == ""
    m = manifest(registry, "apps/shop", "1")
    assert (m["artifactType"], m["config"]["mediaType"]) == (PROJECT, "application/vnd.oci.empty.v1+json")
    kinds = [(i["mediaType"].rsplit(".", 1)[1], "com.docker.compose.extends" in i["annotations"]) for i in m["layers"]]
    assert kinds == [("file+yaml", False), ("file+yaml", True), ("file+yaml", True), ("envfile", False), ("envfile", False)]
    text = files(registry, m["layers"])["compose.yaml"]
    assert "a comment that stays" in text and "${WORD:-hi}" in text, "only the paths are replaced"
    assert str(shop.dir) not in json.dumps(files(registry, m["layers"])) and not re.search(r"\ba\.env", text)

    other = make_project()
    run = other("-f", f"oci://{name}", "run", "--rm", "-T", "web")
    assert run.out == "1 2 3 hi\n"
    assert json.loads(other("-f", f"oci://{name}", "config", "--format", "json").out)["services"]["web"]["labels"] == {"from": "common"}
    registry.process.kill()
    assert "failed to pull OCI resource" in other("-f", f"oci://{name}", "config", code=1).err


def test_include_and_extend_what_is_published(project, registry):
    project.write("compose.yaml", "name: lib\nservices: {db: {image: base, command: [echo, db]}}\n")
    project("publish", f"{registry.host}/lib")
    project.write("main.yaml", f"""
        include: ["oci://{registry.host}/lib"]
        services:
          more: {{extends: {{file: "oci://{registry.host}/lib:latest", service: db}}, labels: {{a: b}}}}
        """)
    config = json.loads(project("-f", "main.yaml", "config", "--format", "json").out)
    assert config["services"]["db"]["command"] == config["services"]["more"]["command"] == ["echo", "db"]


def test_old_format_and_unknown_version(project, registry):
    project.write("compose.yaml", "services: {db: {image: base}}\n")
    project("publish", "--oci-version", "1.0", f"{registry.host}/old:1")
    m = manifest(registry, "old", "1")
    assert "artifactType" not in m and m["config"]["mediaType"] == "application/vnd.docker.compose.config.empty.v1+json"
    assert project("-f", f"oci://{registry.host}/old:1", "config", "--services").out == "db\n"
    assert "unsupported OCI version: 3" in project("publish", "--oci-version", "3", f"{registry.host}/old:1", code=1).err


def test_what_is_not_published_unasked(project, registry):
    name = f"{registry.host}/x:1"
    for body, words in [
        ("{web: {build: .}}", 'it only contains a build section for service(s):\n- "web"'),
        ("{web: {image: base, environment: {A: b}}}", 'service "web" has environment variable(s) declared.'),
        ("{web: {image: base, volumes: ['./data:/data']}}", f"web: {project.dir}/data:/data:rw"),
        ("{web: {image: base, labels: {k: AKIAABCDEFGHIJKLMNOP}}}", "AWS Client ID: "),
    ]:
        project.write("compose.yaml", f"services: {body}\n")
        assert words in project("publish", name, code=1).err, body
    project.write("part.yaml", "services: {}\n")
    project.write("compose.yaml", "include: [part.yaml]\nservices: {web: {image: base}}\n")
    assert "cannot publish compose file with local includes" in project("publish", "-y", name, code=1).err
    with pytest.raises(urllib.error.HTTPError):
        manifest(registry, "x", "1")


def test_dry_run_publishes_nothing(project, registry):
    project.write("compose.yaml", "services: {web: {image: base}}\n")
    assert "published" in project("--dry-run", "publish", f"{registry.host}/x:1").err
    with pytest.raises(urllib.error.HTTPError):
        manifest(registry, "x", "1")


def test_whole_application_with_pinned_images(project, registry):
    image = registry.push("web:1", [busybox_layer()])
    project.write("compose.yaml", f"services: {{web: {{image: '{image}', command: [echo, hi]}}}}\n")
    name = f"{registry.host}/apps/whole:1"
    project("publish", "--app", name)
    index = manifest(registry, "apps/whole", "1")
    assert index["artifactType"] == PROJECT and index["subject"]["digest"] == index["manifests"][0]["digest"]
    copied = index["manifests"][1]["digest"]
    assert manifest(registry, "apps/whole", copied)["layers"], "the image is in the repository of the application"
    pinned = json.loads(project("-f", f"oci://{name}", "config", "--format", "json").out)["services"]["web"]["image"]
    assert pinned == f"{image}@{copied}"


def test_hostile_and_foreign_artifacts(project, registry):
    image = registry.push("image:1", [busybox_layer()])
    assert "it is no artifact of type" in project("-f", f"oci://{image}", "config", code=1).err
    assert "not found" in project("-f", f"oci://{registry.host}/nothing", "config", code=1).err
    assert "remote Compose files are not supported" in project("-f", "https://127.0.0.1:1/x", "config", code=1).err
    project.write("compose.yaml", "services: {web: {image: base, extends: {file: e.yaml, service: e}}}\n")
    project.write("e.yaml", "services: {e: {}}\n")
    project("publish", f"{registry.host}/evil:1")
    m = manifest(registry, "evil", "1")
    m["layers"][1]["annotations"]["com.docker.compose.file"] = "../../escaped.yaml"
    body = json.dumps(m).encode()
    put = urllib.request.Request(f"http://{registry.host}/v2/evil/manifests/2", data=body, method="PUT",
                                 headers={"Content-Type": "application/vnd.oci.image.manifest.v1+json"})
    urllib.request.urlopen(put, timeout=5).close()
    assert 'the file name "../../escaped.yaml"' in project("-f", f"oci://{registry.host}/evil:2", "config", code=1).err
    assert not list(project.tmp.rglob("escaped.yaml")) and len(list(project.root.glob("oci/*"))) == 0
