"""Volumes: what is in them at first, who owns it, and when it goes."""

import json

from harness import wait_for
from images import busybox_layer, docker_archive, layer
from test_network import sleeper, write


def volumes(project) -> set[str]:
    return {p.name for p in (project.root / "volumes").iterdir() if p.is_dir()} if (project.root / "volumes").exists() else set()


def test_named_volume_outlives_its_containers(project):
    write(project, {"x": sleeper(volumes=["data:/data"])}, volumes={"data": {}})
    project.up()
    project.sh("x", "echo kept > /data/file")
    project("down", "-t", "0")
    assert volumes(project) == {f"{project.name}_data"}
    project.up()
    assert project.sh("x", "cat /data/file") == "kept"
    project("down", "-v", "-t", "0")
    assert volumes(project) == set()
    project.up()
    assert project.sh("x", "ls /data") == ""


def test_named_volume_is_seeded_from_the_image(project):
    docker_archive(project.dir / "i.tar", "seed:1", [busybox_layer(), layer(
        ("srv/data/", b"", {"uid": 1000, "gid": 2000, "mode": 0o750}), ("srv/data/file", "from the image", {"uid": 1000, "mode": 0o600}),
        ("srv/data/sub/", b""), ("srv/data/sub/link", ("link", "../file")))])
    project("image", "load", "-i", "i.tar")
    write(project, {"x": sleeper(image="seed:1", volumes=["data:/srv/data"]),
                    "y": sleeper(image="seed:1", volumes=["/srv/data"]),
                    "n": sleeper(image="seed:1", volumes=[{"type": "volume", "source": "empty", "target": "/srv/data", "volume": {"nocopy": True}}])},
          volumes={"data": {}, "empty": {}})
    project.up()
    for service in ("x", "y"):
        assert project.sh(service, "stat -c '%a %u %g' /srv/data") == "750 1000 2000"
        assert project.sh(service, "cat /srv/data/sub/link; stat -c ' %a %u' /srv/data/file") == "from the image 600 1000"
    assert project.sh("n", "ls /srv/data") == ""
    project.sh("x", "echo changed > /srv/data/file")
    project.up("--force-recreate", "-t", "0")
    assert project.sh("x", "cat /srv/data/file") == "changed", "seeded once only"


def test_anonymous_volumes(project):
    docker_archive(project.dir / "i.tar", "vol:1", [busybox_layer()], {"Volumes": {"/var/lib/thing": {}}})
    project("image", "load", "-i", "i.tar")
    write(project, {"x": sleeper(image="vol:1", volumes=["/more"])})
    project.up()
    assert len(volumes(project)) == 2
    project.sh("x", "echo a > /var/lib/thing/f; echo b > /more/f")
    project.up("--force-recreate", "-t", "0")
    assert project.sh("x", "cat /var/lib/thing/f /more/f") == "a\nb", "a new container takes them over"
    project.up("--force-recreate", "--renew-anon-volumes", "-t", "0")
    assert project.sh("x", "ls /var/lib/thing /more | grep -c f", code=None) == "0"
    project("down", "-v", "-t", "0")
    assert volumes(project) == set()


def test_bind_mount(project):
    project.write("here/file", "from outside")
    write(project, {"x": sleeper(volumes=["./here:/there", "./made:/made", {"type": "bind", "source": "./here/file", "target": "/one", "read_only": True}])})
    project.up()
    assert project.sh("x", "cat /there/file; cat /one") == "from outsidefrom outside"
    project.sh("x", "echo back > /there/new")
    assert (project.dir / "here/new").read_text() == "back\n"
    assert (project.dir / "made").is_dir(), "the short form makes a missing folder"
    assert project.exec("x", "sh", "-c", "echo > /one", code=None).code != 0


def test_missing_bind_source(project):
    write(project, {"x": sleeper(volumes=[{"type": "bind", "source": "./gone", "target": "/x"}])})
    result = project.up(code=None)
    assert result.code != 0 and "gone" in result.err
    assert "does not exist" in result.err or "no such file" in result.err.lower()


def test_read_only_and_subpath(project):
    write(project, {"x": sleeper(volumes=["data:/data"]), "r": sleeper(volumes=["data:/data:ro"]),
                    "s": sleeper(volumes=[{"type": "volume", "source": "data", "target": "/sub", "volume": {"subpath": "a/b"}}], profiles=["later"])},
          volumes={"data": {}})
    project.up()
    project.sh("x", "mkdir -p /data/a/b; echo deep > /data/a/b/f")
    assert project.sh("r", "cat /data/a/b/f") == "deep"
    assert project.exec("r", "touch", "/data/no", code=None).code != 0
    project("--profile", "later", "up", "-d", "s")
    assert project.sh("s", "cat /sub/f") == "deep"


def test_tmpfs_volume(project):
    write(project, {"x": sleeper(volumes=[{"type": "tmpfs", "target": "/t", "tmpfs": {"size": "2m", "mode": 0o700}}])})
    project.up()
    assert project.sh("x", "df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2; stat -c %a /t").split() == ["2048", "700"]


def test_volumes_from(project):
    write(project, {"x": sleeper(volumes=["data:/data"]), "y": sleeper(volumes_from=["x:ro"])}, volumes={"data": {}})
    project.up()
    project.sh("x", "echo shared > /data/f")
    assert project.sh("y", "cat /data/f") == "shared"
    assert project.exec("y", "touch", "/data/g", code=None).code != 0


def test_anonymous_volumes_go_with_the_last_who_has_them(project):
    write(project, {"x": sleeper(volumes=["/data"]), "y": sleeper(volumes_from=["x"])})
    project.up()
    project.sh("x", "echo both >/data/f")
    assert project.sh("y", "cat /data/f") == "both"
    project("stop", "-t", "0")
    project("rm", "-f", "-v", "x")
    assert list((project.root / "volumes").glob("*/_data")), "y still has it"
    project("down", "-v", "-t", "0")
    assert not list((project.root / "volumes").glob("*/_data"))


def test_a_volume_that_another_project_has_stays(project):
    write(project, {"x": sleeper(volumes=["data:/data"])}, volumes={"data": {}})
    project.up()
    project.sh("x", "echo precious >/data/f")
    other = project.tmp / "other"
    other.mkdir()
    (other / "compose.yaml").write_text(json.dumps({
        "name": f"{project.name}b", "services": {"y": sleeper(volumes=["data:/data"])},
        "volumes": {"data": {"external": True, "name": f"{project.name}_data"}}}))
    project.up(cwd=other)
    project("stop", "-t", "0", cwd=other)
    assert "Resource is still in use" in project("down", "-v", "-t", "0").err
    project.up(cwd=other)
    assert project("exec", "-T", "y", "cat", "/data/f", cwd=other).out == "precious\n"
    project("down", "-t", "0", cwd=other)
    project.up()
    project("down", "-v", "-t", "0")
    assert not list((project.root / "volumes").glob("*/_data"))


def test_targets_that_cannot_be(project):
    for target, message in (("relative/path", "invalid mount path: 'relative/path': it must be absolute"),
                            ("/a/..", "invalid mount path: it can't be '/'")):
        write(project, {"x": sleeper(volumes=[{"type": "volume", "source": "data", "target": target}])}, volumes={"data": {}})
        assert message in project("up", "-d", code=1).err


def test_external_volume(project):
    name = f"{project.name}_kept"
    write(project, {"x": sleeper(volumes=["vol:/v"])}, volumes={"vol": {"external": True, "name": name}})
    result = project.up(code=None)
    assert result.code != 0
    assert f'external volume "{name}" not found' in result.err
    write(project, {"x": sleeper(volumes=["vol:/v"])}, volumes={"vol": {"name": name}})
    project.up()
    project.sh("x", "echo a > /v/f")
    project("down", "-t", "0")
    write(project, {"x": sleeper(volumes=["vol:/v"])}, volumes={"vol": {"external": True, "name": name}})
    project.up()
    assert project.sh("x", "cat /v/f") == "a"
    project("down", "-v", "-t", "0")
    assert volumes(project) == {name}, "an external volume is not ours to remove"


def test_volume_of_driver_opts(project):
    (project.dir / "real").mkdir()
    (project.dir / "real/f").write_text("bound")
    write(project, {"x": sleeper(volumes=["bound:/b", "ram:/t"])}, volumes={
        "bound": {"driver_opts": {"type": "none", "o": "bind", "device": str(project.dir / "real")}},
        "ram": {"driver_opts": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}})
    project.up()
    assert project.sh("x", "cat /b/f") == "bound"
    assert "1024" in project.sh("x", "df -k /t | tail -1")
    project("down", "-v", "-t", "0")
    assert (project.dir / "real/f").exists(), "what was bound stays"


def test_volume_shared_by_running_services(project):
    write(project, {"w": {"image": "base", "command": ["sh", "-c", "echo made > /d/f"], "volumes": ["data:/d"]},
                    "r": sleeper(volumes=["data:/d"], depends_on={"w": {"condition": "service_completed_successfully"}})},
          volumes={"data": {}})
    project.up()
    assert project.sh("r", "cat /d/f") == "made"
    wait_for(lambda: project.state("w") == "exited", "the writer to end")
    names = json.loads("[" + ",".join(project("volumes", "--format", "json").out.splitlines()) + "]")
    assert [v["Name"] for v in names] == [f"{project.name}_data"]


def test_image_mount(project, registry):
    """type: image with several layers: laid upon each other, read-only, pulled when missing, kept while in use."""
    lower = layer(("site/", b""), ("site/index", "below"), ("site/gone", "1"), ("conf/", b""), ("conf/a", "1"))
    upper = layer(("site/index", "above"), ("site/.wh.gone", ""), ("site/deep/x", "deep"))
    name = registry.push("site:1", [lower, upper])
    project.file(f"""
        services:
          x:
            image: base
            init: true
            command: sleep 60
            volumes:
              - {{type: image, source: '{name}', target: /whole}}
              - {{type: image, source: '{name}', target: /part, image: {{subpath: site}}}}
        """)
    result = project.up()
    assert "Pulled" in result.err
    look = "cd /whole; cat site/index; find . | sort; cat /part/deep/x; touch /whole/new 2>&1; touch /part/new 2>&1"
    out = project("exec", "-T", "x", "sh", "-c", look, code=1).out
    assert out.startswith("above") and "deep" in out and "gone" not in out and "./conf/a" in out
    assert out.count("Read-only file system") == 2
    assert "used by a container" in project("image", "rm", name, code=1).err
    project("image", "prune", "-a", "-f")
    project("restart", "-t", "0")
    assert project("exec", "-T", "x", "cat", "/part/index").out == "above"
    project("down", "-t", "0")
    project("image", "rm", name)
    project.file("services: {x: {image: base, volumes: [{type: image, source: 'gone:1', target: /m}]}}")
    assert "gone:1" in project.up("--pull", "never", code=None).err
