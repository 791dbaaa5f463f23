"""Images: import, load, pull, build; layers laid upon each other; and what broken ones leave (nothing)."""

import contextlib
import datetime
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from harness import libc, run, wait_for
from images import big_layer, busybox_layer, digest, docker_archive, layer, oci_archive, oci_layout, write_oci_layout
from registry import FaultyRegistry, free_port


def names(project) -> set[str]:
    out = project("image", "ls", "--format", "json").out
    return {f"{i['Repository']}:{i['Tag']}" for i in map(json.loads, out.splitlines())} if out.lstrip().startswith("{") \
        else {f"{i['Repository']}:{i['Tag']}" for i in json.loads(out or "[]")}


def store_files(project) -> set[str]:
    return {str(p) for p in (project.root / "images").rglob("*") if p.is_file() and p.parent.name != "layers"}


def in_image(project, image: str, script: str) -> str:
    """What a shell in a container of the image prints; the image needs a /bin/sh."""
    project.file(f"services: {{x: {{image: '{image}', entrypoint: [sh, -c], network_mode: none}}}}")
    return project("run", "--rm", "-T", "x", script).out.strip()


def test_import_makes_an_image(project):
    (project.dir / "root.tar").write_bytes(busybox_layer())
    project("image", "import", "--change", 'CMD ["echo", "from the image"]', "--change", "ENV A=b",
            "root.tar", "mine:v1")
    assert "mine:v1" in names(project)
    project.file("services: {x: {image: 'mine:v1', network_mode: none}}")
    assert project("run", "--rm", "-T", "x").out == "from the image\n"
    assert project("run", "--rm", "-T", "x", "sh", "-c", "echo $A").out == "b\n"


@pytest.mark.parametrize("whole", [None, "gz", "zstd"])
def test_load_docker_archive(project, whole):
    docker_archive(project.dir / "image.tar", "loaded:1", [busybox_layer(), layer(("hello", "over there\n"))], whole=whole)
    result = project("image", "load", "-i", "image.tar")
    assert "loaded:1" in result
    assert in_image(project, "loaded:1", "cat /hello") == "over there"


@pytest.mark.parametrize("how", [None, "gz", "zstd"])
def test_load_oci_archive(project, how):
    oci_archive(project.dir / "image.tar", "localhost/oci:2", [busybox_layer(), layer(("hello", "oci\n"))], how=how)
    project("image", "load", "--input", "image.tar")
    assert in_image(project, "localhost/oci:2", "cat /hello") == "oci"


def test_load_from_stdin_and_of_podman_and_skopeo(project):
    folder = write_oci_layout(project.tmp / "layout", oci_layout("image", [busybox_layer()]))
    run("skopeo", "copy", "-q", f"oci:{folder}:image", f"docker-archive:{project.dir}/image.tar:sk:1")
    with open(project.dir / "image.tar", "rb") as archive:
        done = subprocess.run(project.argv("image", "load"), stdin=archive, env=project.environment(),
                              capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "sk:1" in names(project)


def test_store_is_an_oci_layout(project):
    """Other programs read it."""
    project("image", "tag", "base", "localhost/base:1")
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{project.root}/images:localhost/base:1").stdout)
    assert config["os"] == "linux"


def test_save_gives_back_what_was_loaded(project, make_project):
    docker_archive(project.dir / "image.tar", "there:1", [busybox_layer(), layer(("x", "y"))], {"Cmd": ["cat", "/x"]})
    project("image", "load", "-i", "image.tar")
    project("image", "save", "-o", "back.tar", "there:1")
    other = make_project()
    other("image", "load", "-i", project.dir / "back.tar")
    other.file("services: {x: {image: 'there:1', network_mode: none}}")
    assert other("run", "--rm", "-T", "x").out == "y"


def test_whiteouts_opaque_folders_and_links(project):
    lower = layer(("etc/gone", "1"), ("etc/stays", "1"), ("data/", b""), ("data/old", "1"), ("data/deep/", b""),
                  ("data/deep/old", "1"), ("folder/", b""), ("folder/x", "1"), ("file-then-folder", "1"),
                  ("first", "shared"), ("mode", "1", {"mode": 0o4751, "uid": 1000, "gid": 2000}))
    upper = layer(("etc/.wh.gone", ""), ("data/", b""), ("data/.wh..wh..opq", ""), ("data/new", "1"),
                  (".wh.folder", ""), ("file-then-folder/", b""), ("file-then-folder/in", "1"),
                  ("second", ("hardlink", "first")), ("sym", ("link", "/etc/stays")))
    docker_archive(project.dir / "image.tar", "layers:1", [busybox_layer(), lower, upper])
    project("image", "load", "-i", "image.tar")
    found = in_image(project, "layers:1", "cd /; ls etc data file-then-folder; ls -d folder 2>&1; cat first second; "
                     "echo; readlink sym; stat -c '%a %u %g' mode; echo > /first; cat second").split()
    assert "gone" not in found and "stays" in found
    assert "old" not in found and "new" in found and "deep" not in found
    assert "in" in found and "sharedshared" in "".join(found)
    assert "/etc/stays" in found
    assert {"4751", "1000", "2000"} <= set(found)


def test_hostile_layers_stay_inside(project):
    outside = project.tmp / "outside"
    outside.mkdir()
    for number, entries in enumerate([
        [("../../../../../../.." + str(outside) + "/a", "x")],
        [("esc", ("link", str(outside))), ("esc/b", "x")],
        [("hard", ("hardlink", "../../../../../../.." + str(outside / "c"))), ("hard", "x")],
        [("up", ("link", "../../../../../../../..")), ("up" + str(outside) + "/d", "x")],
    ]):
        archive = docker_archive(project.dir / f"{number}.tar", f"hostile:{number}", [layer(*entries)])
        project("image", "load", "-i", archive, code=None)
        assert not list(outside.iterdir()), f"layer {number} escaped"


def test_pull_and_run(project, registry):
    name = registry.push("app:1", [busybox_layer(), layer(("hello", "pulled\n"))], {"Cmd": ["cat", "/hello"]})
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    project("pull")
    assert name in names(project)
    registry.close()
    assert project("run", "--rm", "-T", "x").out == "pulled\n", "no registry is needed any more"


def test_up_pulls_what_is_missing(project, registry):
    name = registry.push("app:1", [busybox_layer()])
    project.file(f"services: {{x: {{image: '{name}', init: true, command: sleep 60}}}}")
    result = project.up()
    assert "Pulled" in result.err
    assert project.state("x") == "running"


def test_pull_with_zstd_layers(project, registry):
    name = registry.push("zstd:1", [busybox_layer(), layer(("hello", "z"))], how="zstd")
    project("image", "pull", name)
    assert in_image(project, name, "cat /hello") == "z"


def test_pull_with_basic_auth(project, private_registry):
    import base64
    name = private_registry.push("secret/app:1", [busybox_layer()])
    result = project("image", "pull", name, code=None)
    assert result.code != 0 and name.split("/")[0] in result.err
    auth = base64.b64encode(b"ann:secret").decode()
    (project.tmp / ".docker").mkdir()
    (project.tmp / ".docker/config.json").write_text(json.dumps({"auths": {private_registry.host: {"auth": auth}}}))
    project("image", "pull", name)
    assert name in names(project)


def test_pull_with_bearer_token(project):
    server = FaultyRegistry([busybox_layer()], "token")
    try:
        project("image", "pull", server.name)
        assert any("/token" in r for r in server.requests)
    finally:
        server.close()


def test_pull_over_https(project):
    """A registry that is not on loopback is spoken to over HTTPS alone, and must be known."""
    address = "198.51.100.7"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", "/CN=test", "-addext", f"subjectAltName=IP:{address}", "-keyout", project.tmp / "key", "-out", project.tmp / "cert")
    both = project.tmp / "both"
    both.write_text((project.tmp / "key").read_text() + (project.tmp / "cert").read_text())
    run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    server = FaultyRegistry([busybox_layer(), layer(("hello", "tls"))], address=address, certificate=both)
    trusted = Path("/etc/containers/certs.d") / server.host
    try:
        result = project("image", "pull", server.name, code=None)
        assert result.code != 0 and server.host in result.err and "certificate" in result.err.lower()
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_text((project.tmp / "cert").read_text())
        project("image", "pull", server.name)
        assert in_image(project, server.name, "cat /hello") == "tls"
    finally:
        server.close()
        shutil.rmtree(trusted, ignore_errors=True)
        run("ip", "addr", "del", f"{address}/32", "dev", "lo")


def test_plain_http_is_refused_off_loopback(project):
    address = "198.51.100.8"
    run("ip", "addr", "add", f"{address}/32", "dev", "lo")
    server = FaultyRegistry([busybox_layer()], address=address)
    try:
        result = project("image", "pull", server.name, code=None)
        assert result.code != 0 and server.host in result.err
        assert server.requests == [], "nothing was said in the clear"
    finally:
        server.close()
        run("ip", "addr", "del", f"{address}/32", "dev", "lo")


def test_pull_policies(project, registry):
    name = registry.push("app:1", [busybox_layer(), layer(("v", "1"))], {"Cmd": ["cat", "/v"]})
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    assert project("run", "--rm", "-T", "x").out == "1"
    registry.push("app:1", [busybox_layer(), layer(("v", "2"))], {"Cmd": ["cat", "/v"]})
    assert project("run", "--rm", "-T", "x").out == "1", "missing: it is there"
    assert project("run", "--rm", "-T", "--pull", "always", "x").out == "2"
    other = registry.push("other:1", [busybox_layer()])
    project.file(f"services: {{x: {{image: '{other}', network_mode: none, pull_policy: never}}}}")
    result = project.up(code=None)
    assert result.code != 0 and other in result.err


def test_image_not_found(project, registry):
    result = project("image", "pull", f"{registry.host}/nothing:1", code=None)
    assert result.code != 0
    assert f"{registry.host}/nothing" in result.err and ("not found" in result.err or "unknown" in result.err)
    project.file(f"services: {{x: {{image: '{registry.host}/nothing:1'}}}}")
    result = project.up(code=None)
    assert result.code != 0 and "nothing" in result.err
    assert project.ps() == []


def test_registry_down(project):
    port = free_port()
    result = project("image", "pull", f"127.0.0.1:{port}/app:1", code=None, timeout=90)
    assert result.code != 0
    assert f"127.0.0.1:{port}" in result.err
    assert "refused" in result.err.lower() or "connect" in result.err.lower()


def test_corrupt_layer_leaves_nothing(project):
    before = store_files(project)
    server = FaultyRegistry([busybox_layer(), big_layer("x", 1)], "corrupt")
    try:
        result = project("image", "pull", server.name, code=None)
        assert result.code != 0
        assert "digest" in result.err.lower(), result.err
        assert server.name not in names(project)
        bad = {d[7:] for d in server.layers}
        left = {p for p in store_files(project) - before if any(d in p for d in bad)}
        assert not left, "a layer that does not match its digest is not kept"
        assert not list((project.root / "images/tmp").glob("*/*")) if (project.root / "images/tmp").exists() else True
    finally:
        server.close()


def test_interrupted_transfer_is_resumed(project):
    server = FaultyRegistry([busybox_layer(), big_layer("x", 2)], "once-short")
    try:
        project("image", "pull", server.name)
        assert server.name in names(project)
    finally:
        server.close()


def test_server_error_is_tried_again(project):
    server = FaultyRegistry([busybox_layer()], "500-once")
    try:
        project("image", "pull", server.name)
    finally:
        server.close()


def test_disk_full_while_unpacking(make_project):
    project = make_project(with_base=False)
    run("mount", "-t", "tmpfs", "-o", "size=12m,mode=711", "tmpfs", project.root)
    docker_archive(project.dir / "big.tar", "big:1", [busybox_layer(), big_layer("a", 30)])
    result = project("image", "load", "-i", "big.tar", code=None)
    assert result.code != 0
    assert "no space left" in result.err.lower() and ("big" in result.err)
    assert "big:1" not in names(project)
    free = os.statvfs(project.root)
    assert free.f_bavail * free.f_frsize > 9 << 20, "what was begun is gone"
    docker_archive(project.dir / "small.tar", "small:1", [layer(("a", "b"))])
    project("image", "load", "-i", "small.tar")
    assert "small:1" in names(project)
    wait_for(lambda: libc.umount2(str(project.root).encode(), 0) == 0, "the disk to be free", 5)


@pytest.mark.slow
def test_killed_pull_leaves_a_sound_store(project, registry):
    import random
    name = registry.push("big:1", [busybox_layer(), big_layer("a", 12), big_layer("b", 12)])
    for _ in range(8):
        child = project.popen("image", "pull", name)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(random.uniform(0.005, 0.15))
        child.kill()
        child.wait()
        project("image", "rm", name, code=None)
    project("image", "pull", name)
    assert in_image(project, name, "cat /a /b | wc -c") == str(24 << 20)


def test_two_pulls_at_once(project, registry):
    name = registry.push("big:1", [busybox_layer(), big_layer("a", 8)])
    both = [project.popen("image", "pull", name) for _ in range(2)]
    for child in both:
        out, _ = child.communicate(timeout=60)
        assert child.returncode == 0, out
    assert in_image(project, name, "wc -c < /a") == str(8 << 20)


def test_tag_rm_prune_inspect(project):
    project("image", "tag", "base", "again:2")
    assert {"base:latest", "again:2"} <= names(project)
    info = json.loads(project("image", "inspect", "again:2").out)
    assert info[0]["RepoTags"] and info[0]["Id"].startswith("sha256:")
    project("image", "rm", "base")
    assert "base:latest" not in names(project) and "again:2" in names(project)
    project("image", "rm", "again:2")
    assert names(project) == set()


@pytest.mark.parametrize("command", [("up", "-d"), ("--dry-run", "up", "-d"), ("create",), ("run", "a")])
def test_a_name_that_is_none_has_its_place(project, command):
    project.file("""
        services:
          a:
            image: BB:1
        """)
    expected = 'service "a": invalid image name "BB:1": the repository name must be lower case (compose.yaml:3)\n'
    assert project(*command, code=1).err.endswith(expected)


def test_image_in_use_is_not_removed(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60}}")
    project.up()
    result = project("image", "rm", "base", code=None)
    assert result.code != 0 and "base" in result.err
    assert project.state("x") == "running"


def test_build(project):
    project.write("app/Dockerfile", """
        FROM base
        ARG WHO=nobody
        RUN echo "built for $WHO" > /built
        COPY hello /hello
        ENV GREETING=hi
        WORKDIR /srv
        CMD ["sh", "-c", "cat /built /hello; echo $GREETING; pwd"]
        """)
    project.write("app/hello", "hello\n")
    project.file("""
        services:
          app:
            build: {context: app, args: {WHO: you}, network: host}
            network_mode: none
        """)
    project("build", timeout=120)
    assert project("run", "--rm", "-T", "app").out.split("\n")[:4] == ["built for you", "hello", "hi", "/srv"]
    project.write("app/hello", "changed\n")
    project.up("--build", timeout=120)
    wait_for(lambda: project.state("app") == "exited", "app to end")
    assert "changed" in project.logs("app")


def test_build_inline_and_target(project):
    project.file("""
        services:
          app:
            image: named:7
            build:
              context: .
              network: host
              target: wanted
              dockerfile_inline: |
                FROM base AS first
                RUN echo one > /one
                FROM base AS wanted
                COPY --from=first /one /two
                FROM base AS unwanted
                RUN false
            command: cat /two
            network_mode: none
        """)
    project("build", timeout=120)
    assert "named:7" in names(project)
    assert project("run", "--rm", "-T", "app").out == "one\n"


def test_failed_build_shows_the_step(project):
    project.write("Dockerfile", "FROM base\nRUN echo about to fail && exit 7\n")
    project.file("services: {app: {build: {context: ., network: host}}}")
    result = project("build", code=None, timeout=120)
    assert result.code != 0
    assert "about to fail" in result and "exit 7" in result and "app" in result
    project.file("services: {app: {build: {context: ./gone}}}")
    result = project("build", code=None)
    assert result.code != 0 and "gone" in result.err


def test_digest_reference(project, registry):
    name = registry.push("app:1", [busybox_layer(), layer(("v", "1"))])
    manifest = run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").stdout.encode()
    reference = f"{registry.host}/app@{digest(manifest)}"
    project("image", "pull", reference)
    assert in_image(project, reference, "cat /v") == "1"


def test_images_command(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60}}")
    project.up()
    out = project("images").out
    assert f"{project.name}-x-1" in out and "base" in out and "latest" in out


# ---- policies

@pytest.fixture
def versions(project, registry):
    """A service whose tag moves on at each call of more(); asked() is how often the registry was asked since."""
    class Versions:
        name = f"{registry.host}/app:1"
        count = 0

        def more(self) -> str:
            self.count += 1
            registry.push("app:1", [busybox_layer(), layer(("v", str(self.count)))], {"Cmd": ["cat", "/v"]})
            return str(self.count)

        def service(self, **keys) -> None:
            project.write("compose.yaml", json.dumps({"services": {"x": {"image": self.name, "network_mode": "none", **keys}}}))

        def run(self, *options) -> str:
            return project("run", "--rm", "-T", *options, "x").out

        def age(self, seconds: int) -> None:
            """As if the registry had been asked that long ago."""
            index = project.root / "images/index.json"
            text = json.loads(index.read_text())
            for entry in text["manifests"]:
                if "compose.pulled" in entry.get("annotations", {}):
                    when = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds)
                    entry["annotations"]["compose.pulled"] = when.strftime("%Y-%m-%dT%H:%M:%SZ")
            index.write_text(json.dumps(text))
    return Versions()


@pytest.mark.parametrize("policy, young, old", [
    ("daily", 23 * 3600, 25 * 3600), ("weekly", 6 * 86400, 8 * 86400), ("every_2h", 3600, 3 * 3600), ("every_1d", 23 * 3600, 25 * 3600)])
def test_policies_of_age(project, versions, policy, young, old):
    versions.service(pull_policy=policy)
    first = versions.more()
    assert versions.run() == first, "it was missing"
    second = versions.more()
    assert versions.run() == first
    versions.age(young)
    assert versions.run() == first
    versions.age(old)
    assert versions.run() == second
    third = versions.more()
    assert versions.run() == second, "it has just been asked"
    assert versions.run("--pull", "always") == third, "the option wins over the file"


def test_policy_always_and_if_not_present(project, versions):
    versions.service(pull_policy="always")
    for _ in range(2):
        latest = versions.more()
        assert versions.run() == latest
    versions.service(pull_policy="if_not_present")
    versions.more()
    assert versions.run() == latest
    assert versions.run("--pull", "missing") == latest


def test_policy_build(project):
    """The image is built at each up, though it is there; and never pulled."""
    project.write("Dockerfile", "FROM base\nCOPY word /word\nCMD cat /word\n")
    project.file("services: {x: {image: 'nowhere.invalid/x:1', pull_policy: build, network_mode: none, build: .}}")
    for word in ("one", "two"):
        project.write("word", word)
        project.up("--no-start", timeout=120)
        assert project("run", "--rm", "-T", "--pull", "never", "x").out == word
    result = project.up("--no-build", "--no-start", code=None)
    assert result.code == 0, "it is there"


def test_missing_image_that_can_be_built(project):
    """A failed pull is a warning where the image can be built; --no-build makes it an error."""
    project.write("Dockerfile", "FROM base\nCMD echo built\n")
    port = free_port()
    project.file(f"services: {{x: {{image: '127.0.0.1:{port}/x:1', network_mode: none, build: .}}}}")
    assert project.up("--no-build", code=None, timeout=90).code != 0
    result = project.up(timeout=120)
    assert "Warning" in result.err and "Built" in result.err
    wait_for(lambda: project.state("x") == "exited", "x to end")
    assert project.logs("x").strip().endswith("built")


def test_pull_options(project, registry):
    a, b = registry.push("a:1", [busybox_layer()]), registry.push("b:1", [busybox_layer(), layer(("b", "1"))])
    project.write("Dockerfile", "FROM base\n")
    project.file(f"""
        services:
          a: {{image: '{a}', depends_on: [b]}}
          b: {{image: '{b}'}}
          made: {{image: '{registry.host}/made:1', build: .}}
          local: {{build: .}}
          off: {{image: '{registry.host}/off:1', pull_policy: never}}
        """)
    project("pull", "a")
    assert a in names(project) and b not in names(project)
    project("pull", "--include-deps", "a")
    assert b in names(project)
    result = project("pull", "--ignore-buildable", "--no-parallel")
    assert "made" in result.err and "Image can be built" in result.err and "No image to be pulled" in result.err
    result = project("pull", code=None)
    assert "made" in result.err and result.code == 0, "what can be built need not be there"
    project.file(f"services: {{a: {{image: '{a}'}}, gone: {{image: '{registry.host}/gone:1'}}}}")
    assert project("pull", code=None).code != 0
    project("image", "rm", a)
    project("pull", "--ignore-pull-failures")
    assert a in names(project)
    assert "already present" in project("pull", "--policy", "missing", "a").err
    assert project("pull", "-q", "a").err == ""
    assert "--policy value" in project("pull", "--policy", "daily", code=1).err


def test_quiet_pull(project, registry):
    name = registry.push("a:1", [busybox_layer()])
    project.file(f"services: {{x: {{image: '{name}', network_mode: none, command: 'true'}}}}")
    result = project.up("--quiet-pull")
    assert "Pull" not in result.err and "Created" in result.err


def test_push(project, registry, make_project):
    project.write("Dockerfile", "FROM base\nRUN echo built >/f\n")
    x, y = f"{registry.host}/x:1", f"{registry.host}/y:1"
    project.file(f"""
        services:
          x: {{image: '{x}', build: {{context: ., tags: ['{registry.host}/x:also']}}, depends_on: [y]}}
          y: {{image: '{y}', build: .}}
          z: {{image: 'base'}}
          unnamed: {{build: .}}
        """)
    assert project("push", "z", "unnamed").err.split("\n") == [" unnamed Skipped ", " z Skipped ", ""]
    assert project("push", "-q", "z").text == ""
    project("build", "x", "y", timeout=120)
    pushed = project("push", "x").err
    assert "x Pushed" in pushed and "y Push" not in pushed
    assert "z Skipped" in project("--dry-run", "push", "x", "z").err
    second = make_project()
    second.file(f"services: {{x: {{image: '{x}', command: cat /f, network_mode: none}}}}")
    assert second("run", "--rm", "-T", "x").out == "built\n"
    assert "not found" in second("image", "pull", y, code=1).err
    project("push", "--include-deps", "-q", "x")
    second("image", "pull", y)
    project("image", "rm", y)
    assert "y:1" in project("push", "y", code=1).err
    project("push", "--ignore-push-failures", "x", "y")
    registry.close()
    assert registry.host in project("push", "x", code=1).err
    project("push", "--ignore-push-failures", "x")


# ---- containers to images and archives

def test_commit(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60, network_mode: none}}")
    project.up()
    project.exec("x", "sh", "-c", "echo new > /made; rm /etc/group; mkdir /srv/deep; ln /made /srv/deep/again; chown 7:8 /made")
    result = project("commit", "-a", "Ann <ann@example.org>", "-m", "a word", "-c", "CMD cat /made", "-c", "ENV A=b", "-c", "USER app", "x", "kept:1")
    assert "Committed" in result.err and result.out == ""
    assert project.state("x") == "running", "it was paused and goes on"
    info = json.loads(project("image", "inspect", "kept:1").out)[0]
    assert info["Author"] == "Ann <ann@example.org>" and info["Comment"] == "a word" and "A=b" in info["Config"]["Env"]
    assert "a word" in project("image", "history", "--no-trunc", "kept:1").out
    look = "cat /made /srv/deep/again; stat -c '%u %g %h' /made; test -e /etc/group || echo gone; id -u"
    assert in_image(project, "kept:1", look) == "new\nnew\n7 8 2\ngone\n1000"
    assert "0 findings" in project("image", "fsck", "--deep").out
    assert "must be lower" in project("commit", "x", "Bad:1", code=1).err
    assert 'no container found for service "nobody"' in project("commit", "nobody", "z:1", code=1).err


def test_export(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60, network_mode: none}}")
    project.up()
    project.exec("x", "sh", "-c", "echo new > /made; rm /etc/group; ln -s made /link")
    project("export", "-o", "x.tar", "x")
    with tarfile.open(project.dir / "x.tar") as tar:
        found = {member.name.removeprefix("./").rstrip("/"): member for member in tar}
        assert tar.extractfile(found["made"]).read() == b"new\n" and found["link"].linkname == "made"
    assert "bin/busybox" in found and "etc/group" not in found and found["tmp"].mode == 0o1777
    out, _ = project.popen("export", "x", text=False, errors=None).communicate(timeout=30)
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert {name.removeprefix("./").rstrip("/") for name in tar.getnames()} == set(found)
    project("image", "import", "x.tar", "again:1")
    assert in_image(project, "again:1", "cat /made") == "new"
    assert "/nonexistent/x.tar" in project("export", "-o", "/nonexistent/x.tar", "x", code=1).err
    assert project("export", "--index", "2", "x", code=None).code != 0
    assert 'no container found for service "nobody"' in project("export", "nobody", code=1).err


def test_images_formats(project):
    project.file("services: {x: {image: base, init: true, command: sleep 60, network_mode: none, scale: 2}, y: {image: base}}")
    project.up("x")
    rows = json.loads(project("images", "--format", "json").out)
    assert [row["ContainerName"] for row in rows] == [f"{project.name}-x-1", f"{project.name}-x-2"]
    assert rows[0]["Repository"] == "base" and rows[0]["Tag"] == "latest" and rows[0]["ID"].startswith("sha256:")
    ids = project("images", "-q").out.split()
    assert len(ids) == 1 and len(ids[0]) == 12 or len(ids[0]) == 64
