"""The image store: what is in it, who may break it, and what it then says and mends."""

import json
import os
import random
import shutil
import signal
import stat
import subprocess
import tarfile
import threading
import time
from pathlib import Path

import pytest

from harness import processes_of, run, wait_for
from images import big_layer, busybox_layer, digest, docker_archive, layer, oci_layout, write_oci_layout


def fsck(project, *options, code=0):
    return project("image", "fsck", *options, code=code)


def rows(project, *options) -> list[dict]:
    return [json.loads(line) for line in project("image", "ls", "--format", "json", *options).out.splitlines()]


def listed(project, *filters) -> set[str]:
    options = [word for one in filters for word in ("--filter", one)]
    return {f"{row['Repository']}:{row['Tag']}" for row in rows(project, *options)}


def load(project, name: str, layers: list[bytes], config: dict | None = None) -> None:
    docker_archive(project.dir / "image.tar", name, layers, config)
    project("image", "load", "-q", "-i", "image.tar")


# ---- kill -9

class Victim:
    """One kind of command that is killed: what makes the state it starts from, and how long it takes."""

    def __init__(self, project, prepare: list[list], command: list):
        self.project, self.prepare, self.command = project, prepare, command
        self.ready()
        started = time.monotonic()
        project(*command)
        self.seconds = time.monotonic() - started

    def ready(self) -> None:
        for command in self.prepare:
            self.project(*command, code=None)

    def kill(self, moment: float) -> bool:
        """Whether it was killed before it ended by itself."""
        self.ready()
        child = self.project.popen(*self.command)
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
        child.communicate()
        return child.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_killed_commands_leave_a_sound_store(project, registry):
    """pull, load, import, commit, build, rm and prune, killed 120 times: the next command finds nothing to complain of, an
    image is there whole or not at all, and in the end nothing has been left lying about."""
    seed = random.randrange(1 << 32)
    dice = random.Random(seed)
    layers = [busybox_layer(), *(big_layer(f"big{n}", 2) for n in range(4)), layer(("etc/mark", "whole"))]
    name = registry.push("victim:1", layers)
    docker_archive(project.dir / "victim.tar", "victim:2", layers)
    (project.dir / "tree.tar").write_bytes(layer(("etc/mark", "whole"), *((f"big{n}", os.urandom(1 << 20)) for n in range(8))))
    project.write("big", os.urandom(8 << 20))
    project.write("Dockerfile", "FROM base\nCOPY big /big\nRUN echo -n whole >/etc/mark\n")
    project.file("""
        services:
          x: {image: base, network_mode: none, command: sh -c 'echo -n whole >/etc/mark; head -c 8000000 /dev/urandom >/big'}
          b: {image: victim:5, build: {context: ., network: host, no_cache: true}, scale: 0}
        """)
    project.up()
    project.ended("x")
    load_it = ["image", "load", "-q", "-i", "victim.tar"]
    made = [name, *(f"victim:{n}" for n in range(2, 6))]
    gone = [*(["image", "rm", "-f", one] for one in made), ["image", "prune", "-f"]]
    victims = [
        Victim(project, gone, ["image", "pull", "-q", name]),
        Victim(project, gone, load_it),
        Victim(project, gone, ["image", "import", "tree.tar", "victim:3"]),
        Victim(project, gone, ["commit", "x", "victim:4"]),
        Victim(project, gone, ["build", "-q", "b"]),
        Victim(project, [load_it], ["image", "rm", "-f", "victim:2"]),
        Victim(project, [load_it], ["image", "prune", "-a", "-f"]),
    ]
    killed = dict.fromkeys(range(len(victims)), 0)
    attempts = 0
    while sum(killed.values()) < 120:
        attempts += 1
        assert attempts < 1200, f"too few kills: {killed}"
        number = min(killed, key=killed.get)
        victim = victims[number]
        moment = dice.uniform(0, victim.seconds * 1.1)
        if not victim.kill(moment):
            continue
        killed[number] += 1
        what = f"seed {seed}: {' '.join(victim.command)} killed after {moment:.4f} s"
        result = fsck(project, code=None)
        assert result.code == 0 and "0 findings" in result.out, f"{what}\n{result}"
        for row in rows(project):
            whole = project("image", "inspect", f"{row['Repository']}:{row['Tag']}", code=None)
            assert whole.code == 0, f"{what}\n{whole}"
    assert all(killed.values()), killed
    fsck(project, "--deep")
    for victim in victims:
        if victim.prepare is gone:
            project(*victim.command)
    fsck(project, "--deep")
    project("down")
    for one in made[:2] + made[3:]:
        project.file(f"services: {{x: {{image: '{one}', network_mode: none}}}}")
        assert project("run", "--rm", "-T", "x", "cat", "/etc/mark").out == "whole"
    project("down")
    wait_for(lambda: not processes_of(project.tmp), f"the supervisor's end (seed {seed})")
    project("image", "prune", "-a", "-f")
    store = project.root / "images"
    for folder in ("blobs/sha256", "layers", "tmp", "locks"):
        assert not list((store / folder).iterdir()), f"seed {seed}: left in {folder}"


def test_many_processes_at_once(project, registry):
    """Eight commands that add, name, remove and look, each several times: none fails, nothing is lost."""
    name = registry.push("many:1", [busybox_layer(), big_layer("big", 2)])
    load(project, "keep:1", [busybox_layer(), layer(("kept", "1"))])
    script = f"""
        for i in 1 2 3 4; do
            case $1 in
            1|2) "$C" image pull -q {name} ;;
            3) "$C" image rm -f {name} || true ;;
            4|5) "$C" image tag keep:1 tag$1:$i ;;
            6) "$C" image prune -f ;;
            7) "$C" image load -q -i image.tar ;;
            8) "$C" image ls -q && "$C" image fsck ;;
            esac || exit 1
        done 2>&1"""
    argv = project.argv()
    wrapper = project.tmp / "compose"
    wrapper.write_text("#!/bin/sh\nexec " + " ".join(map(str, argv)) + ' "$@"\n')
    wrapper.chmod(0o755)
    children = [subprocess.Popen(["sh", "-c", script, "sh", str(n)], cwd=project.dir, text=True,
                                 env=project.environment() | {"C": str(wrapper)}, stdout=subprocess.PIPE)
                for n in range(1, 9)]
    for child in children:
        out, _ = child.communicate(timeout=120)
        assert child.returncode == 0, out
    assert {f"tag{n}:{i}" for n in (4, 5) for i in range(1, 5)} | {"keep:1"} <= listed(project)
    assert "0 findings" in fsck(project, "--deep").out


# ---- fsck

def blob(project, of: str) -> Path:
    return project.root / "images/blobs/sha256" / of.removeprefix("sha256:")


def test_fsck_finds_and_mends(project, registry):
    name = registry.push("sick:1", [busybox_layer(), layer(("etc/word", "well"))])
    project("image", "pull", "-q", name)
    assert fsck(project, "--deep").out == "0 findings\n"
    manifest = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").stdout)
    top = blob(project, manifest["layers"][1]["digest"])

    data = bytearray(top.read_bytes())
    data[-9] ^= 1
    top.write_bytes(data)
    assert fsck(project).out == "0 findings\n", "the size is right: only a deep look can tell"
    result = fsck(project, "--deep", code=1)
    assert "sick:1" in result.out and "damaged" in result.out and "1 finding\n" in result.out
    assert "mended" in fsck(project, "--deep", "--mend").out
    project("image", "pull", "-q", name)
    assert fsck(project, "--deep").out == "0 findings\n"

    os.truncate(top, 5)
    assert "5 bytes" in fsck(project, code=1).out
    fsck(project, "--mend")
    project("image", "pull", "-q", name)
    assert fsck(project, "--deep").out == "0 findings\n"

    folder = next(p for p in (project.root / "images/layers").iterdir() if (p / "fs/etc/word").exists())
    (folder / "layer.json").unlink()
    assert "not whole" in fsck(project, code=1).out
    fsck(project, "--mend")
    project.file(f"services: {{x: {{image: '{name}', network_mode: none}}}}")
    assert project("run", "--rm", "-T", "x", "cat", "/etc/word").out == "well", "unpacked again from its blob"
    assert fsck(project, "--deep").out == "0 findings\n"

    blob(project, manifest["config"]["digest"]).unlink()
    missing = fsck(project, code=1).out
    assert "sick:1" in missing and manifest["config"]["digest"][:19] in missing and "missing" in missing
    fsck(project, "--mend")
    assert name not in listed(project)
    project("image", "pull", "-q", name)
    assert fsck(project, "--deep").out == "0 findings\n"


def test_fsck_mends_what_others_left(project):
    """Blobs and folders that nobody needs go; what another program is writing at the moment does not exist here."""
    images = project.root / "images"
    stray = blob(project, digest(b"stray"))
    stray.write_bytes(b"stray")
    (images / "layers" / digest(b"x")[7:]).mkdir()
    (images / "tmp/0123456789abcdef").mkdir()
    (images / "index.json.new").write_text("{")
    fsck(project, "--mend")
    assert not stray.exists() and not list((images / "tmp").iterdir()) and not (images / "index.json.new").exists()
    assert not (images / "layers" / digest(b"x")[7:]).exists()
    assert "base:latest" in listed(project)


def other_file(path: Path, data: bytes, **changes) -> None:
    """Another file in its place, with its mode, owner and time: files of a store may be shared by hard links."""
    st = path.lstat()
    path.unlink()
    path.write_bytes(data)
    os.chown(path, changes.get("uid", st.st_uid), st.st_gid)
    path.chmod(changes.get("mode", stat.S_IMODE(st.st_mode)))
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def replaced(path: Path, make) -> None:
    """What make() puts in its place, with its time."""
    st = path.lstat()
    path.unlink()
    make()
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns), follow_symlinks=False)


def folder_of(project, name: str) -> Path:
    """The unpacked layer that has this file."""
    return next(path for path in (project.root / "images/layers").glob("*/fs") if os.path.lexists(path / name))


def relink(path: Path) -> None:
    """The same file, but one of its own."""
    st = path.stat()
    other_file(path, path.read_bytes())
    assert path.stat().st_ino != st.st_ino


DAMAGES = {  # what is done to the layer at `fs`, and what is said of it
    "content": (lambda fs: other_file(fs / "etc/attributes", b"y"), "etc/attributes has other attributes"),
    "one byte": (lambda fs: other_file(fs / "data/a", b"b"), "data/a has another content"),
    "size": (lambda fs: other_file(fs / "data/a", b"aa"), "data/a has another size"),
    "mode": (lambda fs: other_file(fs / "bin/tool", b"tool", mode=0o755), "bin/tool has another mode"),
    "owner": (lambda fs: other_file(fs / "data/a", b"a", uid=7), "data/a has another owner"),
    "time": (lambda fs: os.utime(fs / "etc/sym", (5, 5), follow_symlinks=False), "etc/sym has another time"),
    "missing": (lambda fs: (fs / "etc/empty").unlink(), "etc/empty is missing"),
    "missing folder": (lambda fs: shutil.rmtree(fs / "long"), "long is missing"),
    "added": (lambda fs: (fs / "data/deep/evil").write_text("x"), "data/deep/evil does not belong there"),
    "added folder": (lambda fs: (fs / "data/evil/deep").mkdir(parents=True), "data/evil does not belong there"),
    "link": (lambda fs: replaced(fs / "etc/dangling", lambda: os.symlink("/no/wher", fs / "etc/dangling")), "etc/dangling leads elsewhere"),
    "type": (lambda fs: (shutil.rmtree(fs / "gone"), (fs / "gone").write_text("x")), "gone is of another type"),
    "folder's mode": (lambda fs: (fs / "data").chmod(0o777), "data has another mode"),
    "attribute of a folder": (lambda fs: os.setxattr(fs / "data", "trusted.overlay.opaque", b"y"), "data has other attributes"),
    "device": (lambda fs: replaced(fs / "dev/disk", lambda: (os.mknod(fs / "dev/disk", 0o660 | stat.S_IFBLK, os.makedev(7, 98)),
                                                            os.chown(fs / "dev/disk", 0, 6), (fs / "dev/disk").chmod(0o660))), "dev/disk is another device"),
    "hard link": (lambda fs: relink(fs / "bin/hard2"), "bin/hard2 is a file of its own"),
    "file with two names": (lambda fs: other_file(fs / "bin/hard1", b"sharee"), "bin/hard1 has another content"),
}


def test_fsck_looks_into_unpacked_layers(project):
    """Whatever is different in a layer is told and put right, also below a container that runs."""
    layout = write_oci_layout(project.tmp / "layout", oci_layout("rich", rich_layers()))
    run("skopeo", "copy", "-q", f"oci:{layout}:rich", f"oci-archive:{project.dir}/rich.tar:rich:1")
    project("image", "load", "-q", "-i", "rich.tar")
    fs = folder_of(project, "bin/hard1")
    before = tree(fs)
    for what, (damage, message) in DAMAGES.items():
        damage(fs)
        said = fsck(project, "--deep", code=1).out
        assert "rich:1: the unpacked layer sha256:" in said and f"is damaged: /{message}" in said and "1 finding\n" in said, (what, said)
        assert "1 finding, mended" in fsck(project, "--deep", "--mend").out, what
        assert tree(fs) == before, what
    for damage, _ in list(DAMAGES.values())[:5]:
        damage(fs)
    (fs / "data/deep/evil").write_text("x")
    assert fsck(project).out == "0 findings\n", "only a deep look can tell"
    assert ", and " in fsck(project, "--deep", "--mend").out
    assert tree(fs) == before
    assert fsck(project, "--deep").out == "0 findings\n"


def test_fsck_mends_below_running_containers(project):
    """While containers have the layer mounted and others pull, load and remove; a layer that needs those below it, too."""
    load(project, "app:1", [busybox_layer(), layer(("etc/word", "well"), ("etc/other", "o")), layer(("etc/late", ("hardlink", "etc/word")))])
    project.file("services: {x: {image: app:1, network_mode: none, init: true, command: sleep 600}}")
    project.up()
    assert project.sh("x", "cat /etc/late") == "well"
    stop = threading.Event()

    def others():
        while not stop.is_set():
            project("image", "load", "-q", "-i", "image.tar"), project("image", "ls", "-q"), project("image", "prune", "-f")
    thread = threading.Thread(target=others)
    thread.start()
    try:
        for round in range(4):
            other_file(folder_of(project, "etc/late") / "etc/late", b"sick")
            (folder_of(project, "etc/other") / "etc/other").unlink()
            assert "2 findings, mended" in fsck(project, "--deep", "--mend").out
            assert fsck(project, "--deep").out == "0 findings\n"
    finally:
        stop.set()
        thread.join()
    assert project.sh("x", "ls /bin | wc -l; echo b >>/etc/passwd; tail -1 /etc/passwd").splitlines()[1] == "b"
    project.up("--force-recreate", "-t", "0")
    assert project.sh("x", "cat /etc/late /etc/other") == "wello"


# ---- listing

def test_ls_filters_and_formats(project):
    load(project, "team/web:1", [layer(("a", "1"))], {"Labels": {"tier": "front", "old": "yes"}})
    load(project, "team/web:2", [layer(("a", "2"))], {"Labels": {"tier": "front"}})
    load(project, "db:1", [layer(("a", "3"))], {"Labels": {"tier": "back"}})
    load(project, "db:1", [layer(("a", "4"))], {"Labels": {"tier": "back"}})
    assert listed(project, "dangling=true") == {"<none>:<none>"}
    assert listed(project, "dangling=false") == {"base:latest", "team/web:1", "team/web:2", "db:1"}
    assert listed(project, "label=tier=front") == {"team/web:1", "team/web:2"}
    assert listed(project, "label=tier=front", "label=old") == {"team/web:1"}
    assert listed(project, "reference=db") == {"db:1"}
    assert listed(project, "reference=*/web:2", "reference=base") == {"team/web:2", "base:latest"}
    assert listed(project, "reference=*web*") == set(), "a * does not match a slash"
    # All but base were "made" at the beginning of 2026.
    assert listed(project, "since=db:1") == {"base:latest"}
    assert "base:latest" not in listed(project, "before=base") and "db:1" in listed(project, "before=base")
    assert listed(project, "until=1h") == {"team/web:1", "team/web:2", "db:1", "<none>:<none>"}
    assert "invalid filter 'foo=1'" in project("image", "ls", "-f", "foo=1", code=1).err
    assert "nope" in project("image", "ls", "-f", "since=nope", code=1).err
    assert project("image", "ls", "team/web", "--format", "{{.Tag}}").out.split() in (["1", "2"], ["2", "1"])
    table = project("image", "ls", "--format", "table {{.Repository}}\t{{.Size}}", "base").out.splitlines()
    assert table[0].split() == ["REPOSITORY", "SIZE"] and table[1].startswith("base ")
    row = rows(project, "--filter", "reference=db")[0]
    assert set(row) >= {"Repository", "Tag", "ID", "Digest", "CreatedAt", "CreatedSince", "Size"}
    assert row["CreatedAt"].startswith("2026-01-01 00:00:00 +0000")
    ids = project("image", "ls", "-q", "--no-trunc", "base").out.split()
    assert len(ids) == 1 and ids[0].startswith("sha256:") and len(ids[0]) == 71


def test_prune_filters(project):
    load(project, "keep:1", [layer(("a", "1"))], {"Labels": {"keep": "1"}})
    load(project, "go:1", [layer(("a", "2"))])
    project("image", "prune", "-a", "-f", "--filter", "label!=keep", "--filter", "until=24h")
    assert listed(project) == {"keep:1", "base:latest"}, "base is not that old"


def test_history_and_inspect(project):
    load(project, "it:1", [layer(("a", "12345")), layer(("b", "1"))], {"Cmd": ["x"], "Env": ["A=b"], "Labels": {"k": "v"}})
    history = [json.loads(line) for line in project("image", "history", "--format", "json", "it:1").out.splitlines()]
    assert [h["CreatedBy"] for h in history] == ["layer 1", "layer 0"]
    assert history[1]["ID"] == "<missing>" and history[1]["Size"] == "5B"
    exact = project("image", "history", "-H=false", "it:1").out
    assert "CREATED AT" in exact and "2026-01-01T00:00:00Z" in exact
    assert project("image", "history", "-q", "it:1").out.split()[1] == "<missing>"
    assert project("image", "inspect", "-f", "{{.RootFS.Type}} {{index .Config.Env 0}} {{json .RepoTags}}",
                   "it:1").out == 'layers A=b ["it:1"]\n'
    both = json.loads(project("image", "inspect", "it:1", "base").out)
    assert [i["RepoTags"] for i in both] == [["it:1"], ["base:latest"]]
    assert "No such image: nope" in project("image", "inspect", "nope", code=1).err


# ---- the same tree as others make of it

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep, version 2


def rich_layers() -> list[bytes]:
    """Three layers with all that a tar can hold."""
    def x(**headers):
        return {key: value if isinstance(value, str) else value.decode("utf-8", "surrogateescape") for key, value in headers.items()}

    when = {"mtime": 1500000000.123456789}
    long = "long/" + "/".join(f"{n}-" + "d" * 60 for n in range(5)) + "/" + "f" * 200
    xattrs = {"pax_headers": {"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.user.empty": "x",
                              "SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}}
    folders = ["bin/", "dev/", "etc/", "data/", "data/deep/", "gone/", "long/"] + \
              [long[:i + 1] for i, c in enumerate(long) if c == "/" and i > 5]
    lower = layer(*[(name, b"", when | {"mode": 0o750, "uid": 5, "gid": 6}) for name in folders],
                  ("bin/tool", "tool", {"mode": 0o6755, "uid": 100, "gid": 200} | when),
                  ("bin/hard1", "shared", when), ("bin/hard2", ("hardlink", "bin/hard1"), when),
                  ("etc/big-owner", "x", {"uid": 3000000, "gid": 4000000} | when),
                  ("etc/attributes", "x", xattrs | when), ("etc/old", "old", {"mtime": 0}),
                  ("etc/sym", ("link", "../bin/tool"), when), ("etc/dangling", ("link", "/no/where"), when),
                  ("etc/utf-8-ä", "ä", when), ("etc/empty", "", when), ("etc/twice", "first", when), ("etc/twice", "second", when),
                  ("dev/null", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3, "mode": 0o666} | when),
                  ("dev/disk", b"", {"type": tarfile.BLKTYPE, "devmajor": 7, "devminor": 99, "mode": 0o660, "gid": 6} | when),
                  ("dev/pipe", b"", {"type": tarfile.FIFOTYPE, "mode": 0o600} | when),
                  (long, "long", when), ("data/a", "a", when), ("data/deep/b", "b", when), ("gone/c", "c", when),
                  ("becomes-folder", "file", when), ("becomes-file/", b"", when), ("becomes-file/in", "x", when))
    middle = layer(("data/", b"", when | {"mode": 0o711}), ("data/.wh..wh..opq", "", when), ("data/new", "new", when),
                   (".wh.gone", "", when), ("etc/", b"", when), ("etc/.wh.old", "", when),
                   ("etc/late", ("hardlink", "bin/hard1"), when), ("becomes-folder/", b"", when), ("becomes-folder/in", "x", when),
                   ("becomes-file", "file", when))
    upper = layer(("etc/", b"", when | {"mode": 0o700}), ("etc/old", "again", when), ("bin/", b"", when),
                  ("bin/tool", "newer", {"mode": 0o4711} | when), ("gone/", b"", when), ("gone/back", "x", when))
    return [lower, middle, upper]


def tar_layer(folder: Path, form: str) -> bytes:
    """Written by tar itself: files with holes (at the front, in between, at the end, nothing else), names and links that are
    too long for a header, names that are no UTF-8."""
    top = folder / "made"
    top.mkdir(parents=True)
    for name, size, parts in (("front", 1 << 20, {1 << 19: b"x"}), ("between", (4 << 20) + 5, {0: b"a", (4 << 20) + 4: b"z"}),
                              ("end", 3 << 20, {0: b"begin"}), ("many", 8 << 20, {n << 18: b"m" * 5000 for n in range(0, 32, 2)}),
                              ("empty", 2 << 20, {})):
        with open(top / name, "wb") as file:
            file.truncate(size)
            for at, data in parts.items():
                file.seek(at)
                file.write(data)
    long = "n" * 250
    (top / long / long).mkdir(parents=True)
    (top / long / long / long).write_text("long")
    os.symlink("/" + "/".join(["t" * 200] * 10), top / "long-link")
    os.link(top / long / long / long, top / "hard")
    Path(os.fsdecode(os.fsencode(top) + b"/not-\xff-utf8")).write_text("bytes")
    for path in [top, *top.rglob("*")]:
        os.utime(path, ns=(1500000000 * 10**9,) * 2, follow_symlinks=False)
    archive = folder / f"{form}.tar"
    run("tar", "-C", top.parent, "--sparse", f"--format={form}", "--numeric-owner", "-cf", archive, "made")
    return archive.read_bytes()


def tree(top: Path) -> dict[str, tuple]:
    """What a look from outside can tell of each path; hard links by the first name of the file."""
    found, inodes = {}, {}
    for folder, folders, files in os.walk(top):
        folders.sort()
        for name in sorted(folders + files):
            path = Path(folder, name)
            st = path.lstat()
            kind, rel = stat.S_IFMT(st.st_mode), str(path.relative_to(top))
            content = path.read_bytes() if kind == stat.S_IFREG else os.readlink(path) if kind == stat.S_IFLNK else None
            attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)
                          if not key.startswith("trusted.overlay.")}
            first = inodes.setdefault(st.st_ino, rel) if kind == stat.S_IFREG and st.st_nlink > 1 else rel
            found[rel] = (oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, st.st_rdev, content, attributes, first)
    return found


def merged(project, image: str, where: Path) -> Path:
    """The image's layers laid upon each other, as a container sees them."""
    by_id = {}
    for description in (project.root / "images/layers").glob("*/layer.json"):
        by_id[json.loads(description.read_text())["diff_id"]] = description.parent / "fs"
    ids = json.loads(project("image", "inspect", "-f", "{{json .RootFS.Layers}}", image).out)
    where.mkdir()
    lower = ":".join(str(by_id[one]) for one in reversed(ids))
    run("mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}", where)
    return where


@pytest.mark.parametrize("how, form", [("gz", "gnu"), ("zstd", "pax")])
def test_the_tree_is_that_of_umoci(project, how, form):
    layers = [*rich_layers(), tar_layer(project.tmp / "ours", form)]
    layout = write_oci_layout(project.tmp / "layout", oci_layout("rich", layers, how=how))
    run("skopeo", "copy", "-q", f"oci:{layout}:rich", f"oci-archive:{project.dir}/rich.tar:rich:1")
    project("image", "load", "-q", "-i", "rich.tar")
    assert "0 findings" in fsck(project, "--deep").out
    # umoci reads neither zstd nor the sparse files of the old GNU format: it gets the same tree in another form.
    layers[-1] = tar_layer(project.tmp / "theirs", "pax")
    layout = write_oci_layout(project.tmp / "plain", oci_layout("rich", layers, how="gz"))
    run("umoci", "unpack", "--image", f"{layout}:rich", project.tmp / "bundle")
    point = merged(project, "rich:1", project.tmp / "merged")
    try:
        ours, theirs = tree(point), tree(project.tmp / "bundle/rootfs")
        holes = {path.name for path in (point / "made").iterdir() if path.is_file() and path.stat().st_blocks * 512 < path.stat().st_size}
    finally:
        run("umount", point)
    assert set(ours) == set(theirs)
    assert holes == {"front", "between", "end", "many", "empty"}, "they stay holes"
    # A hard link to a file of a lower layer: an overlay has no links between layers, so it is a file of its own.
    assert theirs["etc/late"][-1] == "bin/hard1" and ours["bin/hard2"][-1] == "bin/hard1" and ours["etc/late"][-1] == "etc/late"
    ours["etc/late"] = (*ours["etc/late"][:-1], "bin/hard1")
    different = {path: (ours[path], theirs[path]) for path in ours if ours[path] != theirs[path]}
    assert not different
    assert ours["etc/attributes"][6]["security.capability"] == CAPABILITY
    assert ours["data/new"] and "data/a" not in ours and "gone/c" not in ours and ours["etc/twice"][5] == b"second"
