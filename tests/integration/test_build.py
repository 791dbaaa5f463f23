"""Builds: every key of the build section, in what the image then holds or in what is said."""

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness import cgroups_of, mounts_below, processes_of, run, wait_for
from images import ARCH, BUSYBOX, busybox_layer, layer


def build(project, *options, **more):
    return project("build", *options, timeout=120, **more)


def shown(project, service: str = "x") -> str:
    """What the built image prints."""
    return project("run", "--rm", "-T", service).out


def inspect(project, image: str) -> dict:
    return json.loads(project("image", "inspect", image).out)[0]


def test_remote_cache(project, make_project, registry):
    """cache_to fills a repository from which another machine's first build takes its steps."""
    text = f"""
        services:
          x:
            network_mode: none
            build:
              context: .
              network: host
              cache_from: ["type=registry,ref={registry.host}/cache:any"]
              cache_to: ["type=registry,ref={registry.host}/cache:any,mode=max", "type=inline"]
              dockerfile_inline: |
                FROM base
                RUN echo slow > /slow
                CMD cat /slow
        """
    project.file(text)
    first = build(project)
    assert "cache_to type=inline is not used" in first
    other = make_project()
    other.file(text)
    second = build(other)
    assert "Cache pulled from remote" in second or "Using cache" in second, second
    assert shown(other) == "slow\n"


def test_every_key_reaches_the_steps(project):
    """args, secrets, labels, tags, limits, shm_size and network, seen from inside of a RUN."""
    project.write("key.txt", "from a file")
    project.write("x/Dockerfile", r"""
        FROM base
        ARG GIVEN=0
        ARG FROM_ENV
        ARG OVER
        ARG TARGETARCH
        RUN echo "args $GIVEN $FROM_ENV $OVER $TARGETARCH" >> /seen
        RUN --mount=type=secret,id=file --mount=type=secret,id=renamed \
            echo "secrets $(cat /run/secrets/file) $(cat /run/secrets/renamed)" >> /seen
        RUN echo "limits $(ulimit -n) $(ulimit -Hn)" >> /seen
        RUN echo "shm $(df -k /dev/shm | tail -1 | awk '{print $2}')" >> /seen
        RUN echo "net $(ls /sys/class/net | tr '\n' ' ')" >> /seen
        CMD cat /seen
        """)
    project.file("""
        services:
          x:
            network_mode: none
            image: named:1
            build:
              context: x
              network: none
              args: {GIVEN: 1, FROM_ENV: , OVER: file}
              secrets: [file, {source: variable, target: renamed}]
              labels: {mine: "yes"}
              tags: ["other:2", "localhost:5/third"]
              ulimits: {nofile: {soft: 123, hard: 456}}
              shm_size: 8m
        secrets:
          file: {file: key.txt}
          variable: {environment: THE_SECRET}
        """)
    build(project, "--build-arg", "OVER=line", env={"FROM_ENV": "env", "THE_SECRET": "from a variable"})
    seen = dict(line.split(" ", 1) for line in shown(project).splitlines())
    assert seen["args"].split()[:3] == ["1", "env", "line"] and len(seen["args"].split()) == 4
    assert seen["secrets"] == "from a file from a variable"
    assert seen["limits"] == "123 456"
    assert seen["shm"] == "8192"
    assert seen["net"].split() in (["lo"], [])
    info = inspect(project, "named:1")
    assert {"named:1", "other:2", "localhost:5/third:latest"} == set(info["RepoTags"])
    labels = info["Config"]["Labels"]
    assert labels["mine"] == "yes" and labels["com.docker.compose.service"] == "x"
    assert labels["com.docker.compose.project"] == project.name
    assert "from a" not in json.dumps(info), "no secret stays in the image"


def test_extra_hosts(project):
    project.write("Dockerfile", "FROM base\nRUN cat /etc/hosts > /seen\nCMD cat /seen\n")
    project.file("""
        services:
          x: {network_mode: none, build: {context: ., network: host, extra_hosts: ["far=10.1.2.3", "gate:host-gateway", "six=::2"]}}
        """)
    build(project)
    hosts = {name: line.split()[0] for line in shown(project).splitlines() for name in line.split()[1:]}
    assert hosts["far"] == "10.1.2.3" and hosts["gate"] == "127.0.0.1" and hosts["six"] == "::2"
    with socket.create_server(("127.0.0.1", 0)) as server:
        project.write("Dockerfile", f"FROM base\nRUN nc gate {server.getsockname()[1]} > /seen </dev/null\nCMD cat /seen\n")
        child = project.popen("build")
        server.settimeout(60)
        with server.accept()[0] as step:
            step.sendall(b"the host\n")
    assert child.wait(60) == 0 and shown(project) == "the host\n", child.stdout.read()


def test_ssh_agent(project):
    """RUN --mount=type=ssh gets the agent of --ssh default, and of ssh: in the file."""
    agent = project.tmp / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", agent], stdout=subprocess.DEVNULL)
    try:
        project.write("Dockerfile", "FROM base\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo agent > /seen\nCMD cat /seen\n")
        project.file("services: {x: {network_mode: none, build: {context: ., network: host}}}")
        assert build(project, code=None).code != 0
        build(project, "--ssh", "default", env={"SSH_AUTH_SOCK": str(agent)})
        assert shown(project) == "agent\n"
        project.file(f"services: {{x: {{network_mode: none, build: {{context: ., network: host, no_cache: true, ssh: ['default={agent}']}}}}}}")
        build(project)
    finally:
        process.kill()
        process.wait()


def test_privileged(project):
    """All capabilities and the devices of this machine; the latter not beside what only an OCI runtime can do."""
    device = next(path for path in ("/dev/kmsg", "/dev/fuse", "/dev/loop-control", "/dev/net/tun") if os.access(path, os.R_OK))
    project.write("Dockerfile", f"FROM base\nRUN grep CapEff /proc/self/status > /seen; (: <{device}) 2>/dev/null && echo opened >> /seen; true\nCMD cat /seen\n")
    seen = {}
    for name, more in {"plain": "", "privileged": "privileged: true", "limited": "privileged: true, shm_size: 1m"}.items():
        project.file(f"services: {{x: {{network_mode: none, build: {{context: ., network: host, no_cache: true, {more}}}}}}}")
        said = build(project).err
        assert ("privileged: steps get no devices" in said) == (name == "limited") and "not supported" not in said, said
        _, caps, *opened = shown(project).split()
        seen[name] = int(caps, 16) >> 21 & 1, opened  # CAP_SYS_ADMIN
    assert seen == {"plain": (0, []), "privileged": (1, ["opened"]), "limited": (1, [])}


def test_dockerignore_and_place_of_the_dockerfile(project):
    for name in ("keep", "drop", "sub/keep", "sub/drop", "sub/deep/drop"):
        project.write(f"ctx/{name}", name)
    project.write("ctx/.dockerignore", "# comment\n**/drop\n!sub/deep/drop\nbuild\n")
    project.write("ctx/build/in.Dockerfile", "FROM base\nCOPY . /ctx\nCMD cd /ctx && find . -type f | sort\n")
    project.file("services: {x: {network_mode: none, build: {context: ctx, dockerfile: build/in.Dockerfile}}}")
    build(project)
    files = shown(project).split()
    assert {"./keep", "./sub/keep", "./sub/deep/drop"} <= set(files)
    assert not {"./drop", "./sub/drop", "./build/in.Dockerfile"} & set(files)
    project.write("ctx/build/in.Dockerfile.dockerignore", "keep\n")
    build(project)
    files = shown(project).split()
    assert "./keep" not in files and "./drop" in files, "that of the Dockerfile comes first"


def test_additional_contexts(project):
    """A folder, an image, and another service's image, which is built before."""
    project.write("extra/word", "extra ")
    project.write("a/Dockerfile", "FROM early\nCOPY --from=files word /1\nCOPY --from=img /bin/busybox /2\nCMD cat /1 /0\n")
    project.write("z/Dockerfile", "FROM base\nRUN echo early > /0\n")
    project.file("""
        services:
          a:
            network_mode: none
            build:
              context: a
              network: host
              additional_contexts: {files: ./extra, img: "docker-image://base", early: "service:z"}
          z: {build: {context: z, network: host}}
        """)
    result = build(project, "a")
    assert shown(project, "a") == "extra early\n"
    assert result.err.index(f"{project.name}-z  Built") < result.err.index(f"{project.name}-a  Built")


@pytest.fixture
def git_server(project):
    """A repository behind a git daemon on loopback: `main`, and a branch with the build in a folder."""
    repo = project.tmp / "git/app"
    repo.mkdir(parents=True)
    env = os.environ | {f"GIT_{who}_{what}": "t@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}

    def git(*args):
        run("git", "-C", repo, *args, env=env)
    git("init", "-q", "-b", "main")
    shutil.copy(BUSYBOX, repo / "busybox")
    (repo / "Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/cat\nCOPY Dockerfile /seen\nCMD ["cat", "/seen"]\n')
    git("add", "."), git("commit", "-qm", "1"), git("checkout", "-qb", "side")
    (repo / "sub").mkdir()
    shutil.copy(BUSYBOX, repo / "sub/busybox")
    (repo / "sub/Dockerfile").write_text('FROM scratch\nCOPY busybox /bin/cat\nCOPY word /seen\nCMD ["cat", "/seen"]\n')
    (repo / "sub/word").write_text("side\n")
    git("add", "."), git("commit", "-qm", "2"), git("checkout", "-q", "main")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = subprocess.Popen(["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}",
                                f"--base-path={project.tmp}/git", "--reuseaddr"], stderr=subprocess.DEVNULL, start_new_session=True)
    yield f"git://127.0.0.1:{port}/app"
    os.killpg(process.pid, 15)
    process.wait()


def test_git_contexts(project, git_server):
    for suffix, word in (("", "FROM scratch"), ("#side:sub", "side")):
        project.file(f"services: {{x: {{network_mode: none, build: {{context: '{git_server}{suffix}'}}}}}}")
        build(project)
        assert shown(project).splitlines()[0] == word


def test_builds_run_beside_each_other(project):
    """Two independent builds meet on a port; with COMPOSE_PARALLEL_LIMIT=1 they would wait for each other for ever."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    project.write("Dockerfile", f"""
        FROM base
        ARG SIDE
        RUN if [ $SIDE = a ]; then nc -w 30 -l -p {port} 127.0.0.1 < /etc/passwd > /met; \\
            else for i in $(seq 300); do echo hello | nc -w 2 127.0.0.1 {port} && exit 0; sleep 0.1; done; exit 1; fi
        """)
    service = "{{build: {{context: ., network: host, no_cache: true, args: {{SIDE: {0}}}}}}}"
    project.file(f"services: {{a: {service.format('a')}, b: {service.format('b')}}}")
    result = build(project)
    assert "a | " in result and "b | " in result, "lines name their service"


def test_parallel_limit(project):
    """One at a time with COMPOSE_PARALLEL_LIMIT=1 and --parallel 1."""
    project.write("Dockerfile", "FROM base\nRUN cut -d' ' -f1 /proc/uptime > /t; sleep 0.3; cut -d' ' -f1 /proc/uptime >> /t\nCMD cat /t\n")
    service = "{network_mode: none, build: {context: ., network: host, no_cache: true}}"
    project.file(f"services: {{a: {service}, b: {service}}}")
    for options, env in (([], {"COMPOSE_PARALLEL_LIMIT": "1"}), (["--parallel", "1"], {})):
        project(*options, "build", timeout=120, env=env)
        spans = sorted([float(t) for t in shown(project, s).split()] for s in "ab")
        assert spans[0][1] <= spans[1][0], f"{spans} overlap"


def test_only_what_changed_is_done_again(project):
    """A changed script costs the last steps; nothing changed, nothing is done."""
    project.write("Dockerfile", "FROM base\nRUN echo slow >> /log\nCOPY script /script\nRUN sh /script >> /log\nCMD cat /log\n")
    project.write("script", "echo one")
    project.file("services: {x: {network_mode: none, build: {context: ., network: host}}}")
    build(project)
    again = build(project)
    assert again.text.count("Using cache") == 4, again
    project.write("script", "echo two")
    changed = build(project)
    assert changed.text.count("Using cache") == 1, changed
    assert shown(project) == "slow\ntwo\n"
    assert changed.seconds < 20
    assert build(project, "--no-cache").text.count("Using cache") == 0


def commands(text: str) -> list[str]:
    """The processes whose command line that is."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes().replace(b"\0", b" ").strip() == text.encode():
                found.append(path.parent.name)
    return found


def mounts_anywhere(folder) -> list[str]:
    """In the mount namespace of any process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        with contextlib.suppress(OSError):
            found += mounts_below(folder, path.parent.name)
    return found


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_nothing_is_left_of_a_build_that_was_broken_off(project, how):
    """In the midst of a step: its processes and mounts end with compose, what the builder has kept goes with the next build."""
    sleep = f"sleep {secrets.randbelow(10**6) + 10**6}"
    project.write("Dockerfile", f"FROM base\nRUN echo before >/a\nRUN {sleep} & {sleep}\n")
    project.file("services: {x: {network_mode: none, build: {context: ., network: host}}}")
    child = project.popen("build")
    wait_for(lambda: len(commands(sleep)) == 2, "the step to run", 30)
    containers = [path.name for path in project.run_root.glob("buildah/uses/*/runtime/*")]
    assert containers and cgroups_of(containers) and mounts_anywhere(project.root / "buildah")
    assert not mounts_below(project.root / "buildah"), "its mounts are its own"
    child.send_signal(how)
    child.wait(30)
    wait_for(lambda: not commands(sleep) and not processes_of(project.tmp), "its processes to end", 5)
    assert not mounts_anywhere(project.root / "buildah")
    project.write("Dockerfile", "FROM base\nRUN echo before >/a\nRUN echo after >>/a\nCMD cat /a\n")
    assert build(project).text.count("Using cache") == 1, "the step before it was not lost"
    assert shown(project) == "before\nafter\n"
    assert json.loads((project.root / "buildah/overlay-containers/containers.json").read_text()) == []
    assert not cgroups_of(containers)
    assert not list(project.run_root.glob("buildah/uses/*")) and not list((project.root / "images/tmp").iterdir())


def test_builder_cache_is_pruned(project):
    """All of it goes, also what a killed build left; the next build does its steps again."""
    sleep = f"sleep {secrets.randbelow(10**6) + 10**6}"
    project.write("Dockerfile", "FROM base\nRUN head -c 3000000 /dev/urandom >/a\nRUN wc -c </a >/n\nCMD cat /n\n")
    project.file("services: {x: {network_mode: none, build: {context: ., network: host}}}")
    assert project("image", "prune", "--builder", "-f").out == "Total reclaimed space: 0B\n", "there is no cache yet"
    build(project)
    project.write("Slow", f"FROM base\nRUN {sleep}\n")
    project.write("slow.yaml", "services: {y: {build: {context: ., dockerfile: Slow, network: host}}}")
    child = project.popen("-f", "slow.yaml", "build")
    wait_for(lambda: commands(sleep), "the step to run", 30)
    assert "a build is running: its cache is kept" in project("image", "prune", "--builder", "-f", code=1).err
    assert build(project).text.count("Using cache") == 3, "nothing was removed"
    containers = [path.name for path in project.run_root.glob("buildah/uses/*/runtime/*")]
    child.kill()
    child.wait(30)
    wait_for(lambda: not commands(sleep) and not processes_of(project.tmp), "its processes to end", 5)
    (project.root / "buildah/trash/left").mkdir(parents=True)  # of a prune that was killed
    project("image", "prune", "--builder", "--filter", "until=1h", "-f", code=1)
    assert project("image", "prune", "--builder", stdin="n\n").out.count("Total reclaimed") == 0
    said = project("image", "prune", "--builder", "-f").out
    assert re.fullmatch(r"Total reclaimed space: [0-9.]+MB\n", said) and float(re.search(r"[0-9.]+", said)[0]) > 3, said
    assert [path.name for path in (project.root / "buildah").iterdir()] == ["compose.lock"]
    assert not list(project.run_root.glob("buildah/uses/*")) and not list((project.root / "images/tmp").iterdir())
    assert containers and not cgroups_of(containers)
    assert shown(project) == "3000000\n", "images stay"
    assert build(project).text.count("Using cache") == 0
    assert shown(project) == "3000000\n"


def test_prunes_beside_builds(project):
    """Whoever comes first: a build that starts meanwhile waits, a prune that comes too late is refused; no build fails."""
    project.file("services: {x: {network_mode: none, build: {context: ., network: host, dockerfile_inline: \"FROM base\\nRUN true\\nRUN echo x >/x\\nCMD cat /x\"}}}")
    stop = threading.Event()
    said = []

    def prune():
        while not stop.is_set():
            said.append(project("image", "prune", "--builder", "-f", code=None))

    thread = threading.Thread(target=prune)
    thread.start()
    try:
        built = [build(project, code=None) for _ in range(6)]
    finally:
        stop.set()
        thread.join()
    assert all(one.code == 0 for one in built), built
    assert all(one.code == 0 or "a build is running" in one.err for one in said), [one for one in said if one.code]
    assert any(one.code == 0 for one in said)
    assert shown(project) == "x\n"


def foreign(program: bytes) -> bytes:
    """The same, as if for another processor: ELF's e_machine."""
    return program[:18] + (b"\xf3" if ARCH == "arm64" else b"\xb7") + program[19:]


OTHER = "riscv64" if ARCH == "arm64" else "arm64"


def test_several_platforms(project, make_project, registry):
    """One index in the store: run takes this machine's image, push takes all, and only `build` makes more than one."""
    name = f"{registry.host}/many:1"
    project.write(f"{ARCH}/cat", Path(BUSYBOX).read_bytes(), 0o755)
    project.write(f"{OTHER}/cat", foreign(Path(BUSYBOX).read_bytes()), 0o755)
    project.write("Dockerfile", """
        FROM --platform=$BUILDPLATFORM base AS cross
        ARG TARGETARCH
        RUN echo "for $TARGETARCH" >/word
        FROM scratch
        ARG TARGETARCH
        COPY $TARGETARCH/cat /bin/cat
        COPY --from=cross /word /word
        CMD ["/bin/cat", "/word"]
        """)
    project.file(f"services: {{x: {{image: '{name}', network_mode: none, build: {{context: ., network: host, tags: ['too:2'], "
                 f"labels: {{l: v}}, platforms: [linux/{ARCH}, linux/{OTHER}]}}}}}}")
    result = build(project)
    assert f"x | [linux/{OTHER}] [1/2] STEP 1/3: FROM base AS cross\n" in result.err
    assert shown(project) == f"for {ARCH}\n"
    rows = [json.loads(line) for line in project("image", "ls", "--format", "json").out.splitlines()]
    assert sorted(row["Repository"] for row in rows) == [f"{registry.host}/many", "base", "too"]
    assert project("image", "fsck", "--deep").out == "0 findings\n"

    project("push", "-q")
    index = json.loads(run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}").stdout)
    assert [entry["platform"] for entry in index["manifests"]] == [{"architecture": a, "os": "linux"} for a in (ARCH, OTHER)]
    other = make_project()
    for arch in (ARCH, OTHER):
        other("image", "pull", "-q", "--platform", f"linux/{arch}", name)
        info = inspect(other, name)
        assert info["Architecture"] == arch and info["Config"]["Labels"]["l"] == "v" and info["Config"]["Cmd"] == ["/bin/cat", "/word"]
        words = list((other.root / "images/layers").glob("*/fs/word"))
        assert any(path.read_text() == f"for {arch}\n" for path in words)

    again = build(project)
    assert again.text.count("STEP") - 2 == again.text.count("Using cache") + 2, "all but FROM comes from the cache"
    project("image", "rm", "too:2"), project("image", "rm", name)
    assert project("image", "ls", "-q").out.count("\n") == 1, "all of it is gone"
    project("create", "--build")
    stored = json.loads((project.root / "images/index.json").read_text())["manifests"]
    assert not [entry for entry in stored if "index" in entry["mediaType"]], "up needs one"


def test_platforms_that_cannot_be_built(project):
    project.write("sh", foreign(Path(BUSYBOX).read_bytes()), 0o755)
    project.write("Dockerfile", "FROM scratch\nCOPY sh /bin/sh\nRUN true\n")
    project.file(f"services: {{x: {{build: {{context: ., network: host, platforms: [linux/{OTHER}]}}}}}}")
    assert f"this machine runs no programs of linux/{OTHER}: apt-get install qemu-user-static" in build(project, code=1).err
    project.write("Dockerfile", "FROM --platform=$BUILDPLATFORM base AS b\nFROM base\nCOPY --from=b / /\n")
    twice = build(project, code=1).err
    assert f"image base is wanted for linux/{ARCH} and for linux/{OTHER}: the builder takes a name for one platform only" in twice
    project.file(f"services: {{x: {{build: {{context: ., platforms: [linux/{ARCH}, linux/{OTHER}]}}}}}}")
    wrong = build(project, env={"DOCKER_DEFAULT_PLATFORM": "linux/s390x"}, code=1).err
    assert 'service "x" build.platforms does not support value set by DOCKER_DEFAULT_PLATFORM: linux/s390x' in wrong


def test_steps_of_another_processor(project):
    """Where binfmt_misc knows an interpreter: here one of its own, in a user namespace (Linux 6.7), so that it is not the machine's."""
    interpreter = project.dir / "interpreter"
    run("cc", "-O1", "-static", "-o", interpreter, Path(__file__).with_name("foreign.c"))
    header = foreign(Path(BUSYBOX).read_bytes())[:20]
    magic, mask = ("".join(f"\\x{byte:02x}" for byte in part) for part in (header, b"\xff" * 7 + b"\0" * 9 + b"\xfe" + b"\xff" * 3))
    rule = project.write("rule", f":compose-test:M::{magic}:{mask}:{interpreter}:F")
    project.write("sh", foreign(Path(BUSYBOX).read_bytes()), 0o755)
    project.write("Dockerfile", "FROM scratch\nCOPY sh /bin/sh\nRUN echo ran $(/bin/sh -c 'echo by another') > /seen\n")
    project.file(f"services: {{x: {{build: {{context: ., network: host, platforms: [linux/{OTHER}]}}}}}}")
    register = f"mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && cat {rule} >/proc/sys/fs/binfmt_misc/register && exec \"$@\""
    child = project.popen("build", within=["unshare", "-rm", "sh", "-c", register, "sh"])
    said, _ = child.communicate(timeout=120)
    assert child.returncode == 0, said
    assert [path.read_text() for path in (project.root / "images/layers").glob("*/fs/seen")] == ["ran by another\n"]
    name = f"{project.name}-x"
    assert inspect(project, name)["Architecture"] == OTHER


def test_check_asks_the_registry_for_variables(project, registry):
    """Of a base that is not here, without pulling it; one that does not answer is passed over at once."""
    name = registry.push("vars:1", [busybox_layer()], {"Env": ["FROM_BASE=1"]})
    project.write("Dockerfile", f"FROM {name}\nCOPY $FROM_BASE $FROM_BASS /k\nFROM 127.0.0.1:1/none\nCOPY $UNKNOWN /k\n")
    project.file("services: {x: {build: .}}")
    result = build(project, "--check", code=1)
    assert [line.split(": ", 3)[3] for line in result.out.splitlines() if "UndefinedVar" in line] == \
        ["Usage of undefined variable '$FROM_BASS' (did you mean $FROM_BASE?)"]
    assert result.seconds < 10 and project("image", "ls", "-q").out.count("\n") == 1, "base alone"
    registry.close()
    assert "UndefinedVar" not in build(project, "--check", code=None).out


def test_pull_of_bases(project, registry):
    name = registry.push("b:1", [busybox_layer(), layer(("v", "1"))])
    project.write("Dockerfile", f"FROM {name}\nCMD cat /v\n")
    project.file("services: {x: {network_mode: none, build: {context: .}}}")
    build(project)
    registry.push("b:1", [busybox_layer(), layer(("v", "2"))])
    build(project)
    assert shown(project) == "1"
    build(project, "--pull")
    assert shown(project) == "2"
    registry.push("b:1", [busybox_layer(), layer(("v", "3"))])
    project.file("services: {x: {network_mode: none, build: {context: ., pull: true}}}")
    build(project)
    assert shown(project) == "3"
    digest = inspect(project, name)["RepoDigests"][0]
    project.write("Dockerfile", f"FROM {digest}\nCMD cat /v\n")
    registry.close()
    project.file("services: {x: {network_mode: none, build: {context: .}}}")
    build(project)
    assert shown(project) == "3", "a base by its digest"


def test_build_and_push(project, registry):
    project.write("Dockerfile", "FROM base\nCOPY Dockerfile /f\n")
    project.file(f"services: {{x: {{image: '{registry.host}/made:1', build: .}}, y: {{build: .}}}}")
    build(project, "--push")
    assert run("skopeo", "inspect", "--tls-verify=false", f"docker://{registry.host}/made:1").stdout


def test_without_buildah(project):
    project.write("Dockerfile", "FROM base\n")
    project.file("services: {x: {build: .}}")
    result = build(project, env={"PATH": "/nowhere"}, code=1)
    assert "apt-get install buildah" in result.err
    assert len([line for line in result.err.splitlines() if "buildah" in line]) <= 2


def test_quiet_print_and_dry_run(project):
    project.write("Dockerfile", "FROM base\nRUN echo loud\n")
    project.file("""
        name: printed
        services:
          x:
            image: named:1
            platform: linux/amd64
            depends_on: [y]
            build: {context: ., args: {A: "1", B: }, tags: ["t:2"], extra_hosts: ["h=1.2.3.4"], shm_size: 1m, provenance: "mode=max",
                    additional_contexts: {z: "service:z"}, secrets: [s], target: t, ulimits: {nproc: 5}, privileged: true}
          y: {build: {context: ., dockerfile: D2}}
          z: {build: {context: ., dockerfile_inline: "FROM base"}}
        secrets: {s: {file: ./s}}
        """)
    plan = json.loads(build(project, "--print", "--push", "x").out)
    assert plan["group"] == {"default": {"targets": ["x", "z"]}} and set(plan["target"]) == {"x", "y", "z"}
    x = plan["target"]["x"]
    assert list(x) == ["context", "contexts", "dockerfile", "args", "labels", "tags", "target", "secret", "platforms",
                       "shm-size", "ulimits", "entitlements", "extra-hosts", "output", "attest"]
    assert x["tags"] == ["t:2", "named:1"] and x["args"] == {"A": "1"} and x["contexts"] == {"z": "target:z"}
    assert x["output"] == ["type=registry"] and x["attest"] == ["type=provenance,mode=max"]
    assert x["secret"] == [f"id=s,type=file,src={project.dir}/s"]
    assert plan["target"]["y"]["dockerfile"] == f"{project.dir}/D2" and plan["target"]["y"]["output"] == ["type=docker"]
    assert plan["target"]["z"]["dockerfile-inline"] == "FROM base" and "dockerfile" not in plan["target"]["z"]
    assert "Built" in build(project, "--dry-run", "y").err
    assert project("image", "ls", "-q", "printed-y").out == ""
    project.file("services: {x: {build: {context: ., network: host}}}")
    quiet = build(project, "-q", "--provenance", "mode=max", "--sbom", "false")
    assert "loud" not in quiet


# What docker compose 2.40.3 prints for the file below.
BAKE_FILE = """
name: same
services:
  a: {build: {context: ., args: [X=1, Y], cache_from: ["type=registry,ref=r/x", "foo:1"], cache_to: ["type=inline"], labels: {l: v}, ssh: [k=/k]}}
  b: {image: "r.example:5000/b", platform: linux/arm64, build: {context: ./sub, dockerfile: D, no_cache: true, pull: true, network: host,
      ulimits: {nofile: {soft: 1, hard: 2}}, extra_hosts: ["h=1.1.1.1", "h=2.2.2.2"], sbom: true, platforms: [linux/arm64, linux/amd64]}}
  c: {image: c, build: "https://example.invalid/x.git#main:sub"}
"""
BAKE = {'group': {'default': {'targets': ['a', 'b', 'c']}},
 'target': {'a': {'context': 'DIR',
                  'dockerfile': 'DIR/Dockerfile',
                  'args': {'X': '1', 'Y': 'y', 'Z': '1'},
                  'labels': {'com.docker.compose.project': 'same', 'com.docker.compose.service': 'a', 'l': 'v'},
                  'tags': ['same-a'],
                  'cache-from': ['type=registry,ref=r/x', 'foo:1'],
                  'cache-to': ['type=inline'],
                  'ssh': ['default=', 'k=/k'],
                  'output': ['type=docker']},
            'b': {'context': 'DIR/sub',
                  'dockerfile': 'DIR/sub/D',
                  'args': {'Z': '1'},
                  'labels': {'com.docker.compose.project': 'same', 'com.docker.compose.service': 'b'},
                  'tags': ['r.example:5000/b'],
                  'ssh': ['default='],
                  'platforms': ['linux/arm64', 'linux/amd64'],
                  'pull': True,
                  'no-cache': True,
                  'network': 'host',
                  'ulimits': ['nofile=1:2'],
                  'extra-hosts': {'h': '1.1.1.1,2.2.2.2'},
                  'output': ['type=image,push=true'],
                  'attest': ['type=sbom']},
            'c': {'context': 'https://example.invalid/x.git#main:sub',
                  'dockerfile': 'Dockerfile',
                  'args': {'Z': '1'},
                  'labels': {'com.docker.compose.project': 'same', 'com.docker.compose.service': 'c'},
                  'tags': ['c'],
                  'ssh': ['default='],
                  'output': ['type=registry']}}}


def test_print_is_what_docker_compose_prints(project):
    project.file(BAKE_FILE)
    plan = json.loads(build(project, "--print", "--push", "--ssh", "default", "--build-arg", "Z=1", env={"Y": "y"}).out)
    for target in plan["target"].values():
        target["labels"].pop("com.docker.compose.version")
        target.get("ssh", []).sort()
    assert json.loads(json.dumps(plan).replace(str(project.dir), "DIR")) == BAKE
    for name, target in BAKE["target"].items():
        assert list(plan["target"][name]) == list(target), "the order of the members"


QUESTIONABLE = """FROM --platform=linux/amd64 scratch as Foo
MAINTAINER me
ARG PASSWORD=x
ENV A b
WORKDIR rel
CMD echo hi
ENTRYPOINT echo ho
from scratch as foo
# a comment between is fine
RUN a \\
# so is one inside
  && b \\

  c
RUN <<EOF
cmd in a here-document
EOF
FROM scratch AS scratch
CMD ["a"]
CMD ["b"]
EXPOSE 80/TCP 81
FROM --platform=$TARGETPLATFORM scratch
SHELL ["/bin/bash", "-c"]
ENV PUBLIC_KEY="a TOKEN=b" AUTH_MODE=c D=e
CMD now with a shell
"""


def test_check_warns_as_docker_build_check_does(project):
    """Rules and lines are those that docker compose 2.40.3 (Docker 28.5) gives for this file."""
    project.write("Dockerfile", QUESTIONABLE)
    project.file("services: {x: {build: .}, url: {build: 'https://example.invalid/x.git'}}")
    result = build(project, "--check", code=1)
    found = sorted((int(line.split(":")[1]), line.split(": ")[2]) for line in result.out.splitlines() if ": warning: " in line)
    assert found == [
        (1, "FromAsCasing"), (1, "FromPlatformFlagConstDisallowed"), (1, "StageNameCasing"), (2, "MaintainerDeprecated"),
        (3, "SecretsUsedInArgOrEnv"), (4, "LegacyKeyValueFormat"), (5, "WorkdirRelativePath"), (6, "JSONArgsRecommended"),
        (7, "JSONArgsRecommended"), (8, "ConsistentInstructionCasing"), (8, "DuplicateStageName"), (14, "NoEmptyContinuation"),
        (18, "ReservedStageName"), (19, "MultipleInstructionsDisallowed"), (21, "ExposeProtoCasing"), (22, "RedundantTargetPlatform"),
        (24, "SecretsUsedInArgOrEnv")]
    assert "17 warnings" in result.out
    assert "url" in result.err and "is not checked" in result.err
    assert project("image", "ls", "-q", f"{project.name}-x").out == "", "nothing is built"
    project.write("Dockerfile", 'FROM base AS one\nWORKDIR /srv\nWORKDIR sub\nRUN true\nCMD ["true"]\n')
    assert "no warnings found" in build(project, "--check", "x").out


VARIABLES = r"""ARG TAG
ARG BASE=alpine:${TAG}
ARG GOOD=scratch
ARG WORD=$TAG
FROM base$TAG AS a
FROM base${X:-} AS b
FROM ${BASE} AS c
FROM --platform=$BUILDPLATFOM $GOOD AS d
FROM $GOOD AS two
ARG foo
ARG bar=${undefd} late=$bar
ENV A=$foo B=${nothing} C=$A
COPY $src /x
COPY --chown=$usr --from=$unseen x /y
RUN echo $anything ${other}
WORKDIR /$PWDX
USER u$usr2
EXPOSE $port
LABEL a=$lbl l$k=v z="$lab1 $lab2" y='$lab3'
VOLUME /v$vol
ENV PATH=$PATH:/x
COPY $TARGETARCH $HTTP_PROXY /d
ARG TARGETARCH HTTP_PROXY
COPY $TARGETARCH $HTTP_PROXY /d
CMD ["$cmdvar"]
HEALTHCHECK CMD $hc
ADD ${f:-z} ${g:+z} /z
ENV Q='$single' R="$double" S=\$escaped
ONBUILD COPY $onb /x
COPY <<EOT /here
in $heredoc
EOT
COPY <<'EOT' /here
in $plain
EOT
ENV x y $z2
COPY ["$js1", "/k"]
COPY x${n1:-${n2}} \
  $last /k
RUN --mount=type=bind,target=/m$mt true
FROM two
COPY $bar $foo $A $zork /k
FROM based AS e
COPY $BASEVAR $BASEVAQ /k
FROM 127.0.0.1:1/unknown
COPY $FROM_THERE_PERHAPS /k
"""


def test_check_knows_variables(project):
    """Rules, lines and variables as docker compose 2.40.3 (Docker 28.5) tells them, where nothing else in the file stops it."""
    archive = project.tmp / "based.tar"
    archive.write_bytes(busybox_layer())
    project("image", "import", "-c", "ENV BASEVAR=1", archive, "based")
    project.write("Dockerfile", VARIABLES)
    project.file("services: {x: {build: .}}")
    result = build(project, "--check", code=1)
    found = [line.split(": ", 3)[1:] for line in result.out.splitlines() if ": warning: " in line]
    lines = [int(line.split(":")[1]) for line in result.out.splitlines() if ": warning: " in line]
    told = [(number, rule, text) for number, (_, rule, text) in zip(lines, found)]
    assert [(number, text) for number, rule, text in told if rule == "InvalidDefaultArgInFrom"] == \
        [(7, "Default value for ARG ${BASE} results in empty or invalid base image name")]
    assert [(number, text) for number, rule, text in told if rule == "UndefinedArgInFrom"] == \
        [(6, "FROM argument 'X' is not declared"), (8, "FROM argument 'BUILDPLATFOM' is not declared (did you mean BUILDPLATFORM?)")]
    names = [(number, text.split("'")[1]) for number, rule, text in told if rule == "UndefinedVar"]
    assert sorted(names) == [
        (11, "$undefd"), (12, "$A"), (12, "$nothing"), (13, "$src"), (14, "$usr"), (16, "$PWDX"), (17, "$usr2"),
        (19, "$k"), (19, "$lab1"), (19, "$lab2"), (19, "$lbl"), (20, "$vol"), (22, "$HTTP_PROXY"), (22, "$TARGETARCH"), (27, "$f"),
        (27, "$g"), (28, "$double"), (30, "$heredoc"), (36, "$z2"), (37, "$js1"), (38, "$last"), (38, "$n1"), (38, "$n2"),
        (40, "$mt"), (42, "$zork"), (44, "$BASEVAQ")]
    assert "Usage of undefined variable '$BASEVAQ' (did you mean $BASEVAR?)" in result.out
    project.file("services: {x: {build: {context: ., args: {BASE: '127.0.0.1:1/other', undefd: x}}}}")
    assert build(project, "--check", code=1).out.count("warning: Un") == len(names) + 2, "what the build gives makes nothing declared"
