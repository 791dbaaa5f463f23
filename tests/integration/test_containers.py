"""What a container is like from within: its process, its limits, its files, and how it ends."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

from harness import alive, wait_for
from images import busybox_layer, docker_archive

DOCKER_CAPS = 0x00000000A80425FB  # the fourteen of Docker's default


def service(project, **keys):
    """One running service `x`: sleeps with an init unless told otherwise."""
    keys = {"image": "base", "init": True, "command": ["sleep", "600"]} | keys
    project.write("compose.yaml", json.dumps({"services": {"x": keys}}))
    return project.up()


def status(project, *path) -> dict[str, str]:
    lines = project.sh("x", "cat /proc/" + "/".join(path or ("self", "status"))).splitlines()
    return dict(line.split(":\t", 1) if ":\t" in line else (line, "") for line in lines)


def limit(project, v1: tuple[str, str], v2: str) -> str:
    """A limit as the kernel has it for the container, from cgroup v1 or v2."""
    pid = project.pid("x")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        folders = [Path(f"/sys/fs/cgroup/{v1[0]}{path}")] if v1[0] in controllers.split(",") else []
        folders += [Path(f"/sys/fs/cgroup{path}"), Path(f"/sys/fs/cgroup/unified{path}")] if not controllers else []
        for folder in folders:
            for name in (v1[1], v2):
                if (folder / name).exists():
                    return (folder / name).read_text().strip()
    raise AssertionError(f"no {v1} and no {v2} for {pid}")


def text_of(path: str) -> str:
    """A file of /proc; empty when its process has just gone."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


# --- the process -----------------------------------------------------------------------------------


def test_image_config_and_service_keys_merge(project):
    docker_archive(project.dir / "i.tar", "cfg:1", [busybox_layer()], {
        "Entrypoint": ["echo", "ep"], "Cmd": ["cmd"], "Env": ["A=image", "B=image", "PATH=/bin"], "WorkingDir": "/srv",
        "User": "app"})
    project("image", "load", "-i", "i.tar")
    project.file("""
        services:
          plain: {image: "cfg:1", network_mode: none}
          command: {image: "cfg:1", network_mode: none, command: mine}
          entrypoint: {image: "cfg:1", network_mode: none, entrypoint: [echo, other]}
          shown:
            image: cfg:1
            network_mode: none
            entrypoint: [sh, -c]
            command: ["echo $$A $$B; pwd; id -u; id -g; echo $$HOME"]
            environment: {B: service}
          changed:
            image: cfg:1
            network_mode: none
            entrypoint: [sh, -c]
            command: ["pwd; id -u; id -g"]
            working_dir: /made/here
            user: "2000:3000"
        """)
    project.up()
    wait_for(lambda: all(c["State"] == "exited" for c in project.ps()), "all to end")
    log = {s: project.logs("--no-log-prefix", s).split("\n") for s in ("plain", "command", "entrypoint", "shown", "changed")}
    assert log["plain"][0] == "ep cmd"
    assert log["command"][0] == "ep mine"
    assert log["entrypoint"][0] == "other", "an entrypoint of the service clears the image's command"
    assert log["shown"][:5] == ["image service", "/srv", "1000", "1000", "/home/app"]
    assert log["changed"][:3] == ["/made/here", "2000", "3000"]


def test_default_environment(project):
    service(project, hostname="box")
    env = dict(line.split("=", 1) for line in project.sh("x", "env").splitlines())
    assert env["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert env["HOSTNAME"] == "box" and env["HOME"] == "/root"


def test_groups(project):
    service(project, user="app", group_add=["2500", "extra"])
    assert project.sh("x", "id -G").split() == ["1000", "2500", "2000"] or \
        set(project.sh("x", "id -G").split()) == {"1000", "2000", "2500"}


def test_security_defaults_are_dockers(project):
    service(project)
    state = status(project)
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(state[name], 16) == DOCKER_CAPS, name
    assert state["Seccomp"] == "2"
    assert state["NoNewPrivs"] == "0"
    assert project.sh("x", "cat /proc/kcore | wc -c; ls /sys/firmware | wc -l").split() == ["0", "0"]
    assert project.exec("x", "sh", "-c", "echo 1 > /proc/sys/kernel/printk", code=None).code != 0
    assert project.exec("x", "mount", "-t", "tmpfs", "none", "/tmp", code=None).code != 0
    assert project.exec("x", "unshare", "-U", "true", code=None).code != 0, "seccomp: no user namespaces"
    assert project.exec("x", "mknod", "/dev/mem2", "c", "1", "1", code=None).code == 0, "CAP_MKNOD is there"
    assert project.exec("x", "head", "-c", "1", "/dev/mem2", code=None).code != 0, "the device rules are not"
    assert set(project.sh("x", "ls /dev").split()) >= {
        "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "stdin", "stdout", "stderr", "fd"}


def test_capabilities(project):
    service(project, cap_drop=["ALL"], cap_add=["CHOWN", "NET_BIND_SERVICE"])
    assert int(status(project)["CapEff"], 16) == (1 << 0 | 1 << 10)


def test_privileged(project):
    service(project, privileged=True)
    state = status(project)
    assert int(state["CapEff"], 16) & (1 << 21), "SYS_ADMIN"
    assert state["Seccomp"] == "0"
    project.sh("x", "mount -t tmpfs none /tmp")


def test_security_opt(project):
    service(project, security_opt=["no-new-privileges:true", "seccomp:unconfined"])
    state = status(project)
    assert state["NoNewPrivs"] == "1" and state["Seccomp"] == "0"


def test_init_and_its_absence(project):
    project.file("""
        services:
          with: {image: base, init: true, command: sleep 600}
          without: {image: base, command: sleep 600}
        """)
    project.up()
    assert project.sh("with", "cat /proc/1/comm") in ("docker-init", "tini", "init")
    assert project.sh("without", "cat /proc/1/comm") == "sleep"
    project("stop", "-t", "1")


def test_tty(project):
    service(project, tty=True, init=False, command=["sh", "-c", "tty; stty size; sleep 600"])
    log = project.wait_log("x", "/dev/")
    assert "/dev/" in log and "not a tty" not in log


def test_hostname_domainname_and_extra_hosts(project):
    service(project, hostname="box", domainname="example.org", extra_hosts=["db.local:10.1.2.3", "gw:host-gateway"])
    assert project.sh("x", "hostname") == "box"
    hosts = project.sh("x", "cat /etc/hosts")
    assert "10.1.2.3\tdb.local" in hosts and "127.0.0.1\tlocalhost" in hosts and "gw" in hosts
    assert "box" in hosts
    project.sh("x", "echo >> /etc/hosts")  # as under Docker, a container may write it


def test_sysctls_and_ulimits(project):
    service(project, sysctls={"net.core.somaxconn": 123, "kernel.msgmax": "9000"},
            ulimits={"nofile": {"soft": 200, "hard": 300}, "nproc": 5000})
    assert project.sh("x", "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/msgmax").split() == ["123", "9000"]
    lines = Path(f"/proc/{project.pid('x')}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    assert limits["Max open files"] == ["200", "300"] and limits["Max processes"] == ["5000", "5000"]


def test_namespaces_and_oom_score(project):
    project.file("""
        services:
          x: {image: base, init: true, command: sleep 600, pid: host, ipc: host, uts: host, oom_score_adj: 77}
          y: {image: base, init: true, command: sleep 600, pid: "service:z", network_mode: "service:z", ipc: "service:z"}
          z: {image: base, init: true, command: sleep 600, ipc: shareable}
        """)
    project.up()
    here = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("ipc", "uts")}
    pid = project.pid("x")
    assert {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in here} == here
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "77"
    for kind in ("pid", "net", "ipc"):
        assert os.readlink(f"/proc/{project.pid('y')}/ns/{kind}") == os.readlink(f"/proc/{project.pid('z')}/ns/{kind}")


# --- limits ----------------------------------------------------------------------------------------


def test_memory_cpu_and_pids_limits(project):
    service(project, mem_limit="64m", cpus=0.5, pids_limit=50, mem_reservation="32m", cpu_shares=512)
    assert limit(project, ("memory", "memory.limit_in_bytes"), "memory.max") == str(64 << 20)
    quota = limit(project, ("cpu", "cpu.cfs_quota_us"), "cpu.max")
    assert quota.split()[0] == "50000"
    assert limit(project, ("pids", "pids.max"), "pids.max") == "50"


def test_deploy_resources(project):
    service(project, deploy={"resources": {"limits": {"memory": "48M", "cpus": "0.25", "pids": 40}}})
    assert limit(project, ("memory", "memory.limit_in_bytes"), "memory.max") == str(48 << 20)
    assert limit(project, ("cpu", "cpu.cfs_quota_us"), "cpu.max").split()[0] == "25000"
    assert limit(project, ("pids", "pids.max"), "pids.max") == "40"


def test_cpu_quota_and_cpuset(project):
    service(project, cpu_period=50000, cpu_quota=20000, cpuset="0")
    assert limit(project, ("cpu", "cpu.cfs_quota_us"), "cpu.max").split()[0] == "20000"
    assert limit(project, ("cpu", "cpu.cfs_period_us"), "cpu.max").split()[-1] == "50000"
    assert limit(project, ("cpuset", "cpuset.cpus"), "cpuset.cpus") == "0"
    assert status(project, "1", "status")["Cpus_allowed_list"] == "0"


def test_real_time_share(project):
    """Where the kernel has real-time groups with time to give it holds; else nothing starts without it."""
    project.write("compose.yaml", json.dumps({"services": {"x": {
        "image": "base", "command": ["sleep", "600"], "cpu_rt_period": 1000000, "cpu_rt_runtime": 1000}}}))
    result = project("up", "-d", code=None)
    if result.code == 0:
        assert limit(project, ("cpu", "cpu.rt_runtime_us"), "-") == "1000"
    else:
        assert re.search(r"rt_(runtime|period)|real-?time", result.err) and project.state("x") == "created"


def test_block_io(project):
    disk = next(path.name for path in Path("/sys/block").iterdir() if (path / "device").exists() or path.name.startswith("vd"))
    number = Path(f"/sys/block/{disk}/dev").read_text().strip()
    service(project, blkio_config={"device_read_bps": [{"path": f"/dev/{disk}", "rate": "12mb"}],
                                   "device_write_iops": [{"path": f"/dev/{disk}", "rate": 90}]})
    read = limit(project, ("blkio", "blkio.throttle.read_bps_device"), "io.max")
    write = limit(project, ("blkio", "blkio.throttle.write_iops_device"), "io.max")
    assert read.startswith(f"{number} ") and "12582912" in read
    assert write.startswith(f"{number} ") and "90" in write.replace("=", " ").split()


def test_reservations(project):
    service(project, deploy={"replicas": 2, "labels": {"swarm": "only"}, "endpoint_mode": "dnsrr", "resources": {"reservations": {
        "memory": "24M", "cpus": "0.1", "generic_resources": [{"discrete_resource_spec": {"kind": "x", "value": 1}}]}}})
    assert limit(project, ("memory", "memory.soft_limit_in_bytes"), "memory.low") == str(24 << 20)
    assert [c["Name"] for c in project.ps()] == [f"{project.name}-x-{n}" for n in (1, 2)]
    assert "swarm" not in project.record("x")["labels"]


def test_swap_and_oom_keys(project):
    """Cgroup v1 has them; v2 does not, and that is said."""
    err = service(project, mem_limit="64m", mem_swappiness=7, oom_kill_disable=True).err
    if Path("/sys/fs/cgroup/memory").is_dir():
        assert limit(project, ("memory", "memory.swappiness"), "-") == "7"
        assert limit(project, ("memory", "memory.oom_control"), "-").splitlines()[0] == "oom_kill_disable 1"
    else:
        assert "mem_swappiness 7 is not supported" in err and "oom_kill_disable" in err


def test_cgroup_keys(project):
    project.file(f"""
        services:
          x: {{image: base, init: true, command: sleep 600, cgroup_parent: /{project.name}-parent}}
          y: {{image: base, init: true, command: sleep 600, cgroup: host}}
          z: {{image: base, init: true, command: sleep 600, cgroup: private}}
        """)
    project.up()
    paths = {line.split(":", 2)[2] for line in Path(f"/proc/{project.pid('x')}/cgroup").read_text().splitlines()}
    assert f"/{project.name}-parent/{project.name}/{project.record('x')['id']}" in paths
    here = os.readlink("/proc/self/ns/cgroup")
    assert os.readlink(f"/proc/{project.pid('y')}/ns/cgroup") == here
    assert os.readlink(f"/proc/{project.pid('z')}/ns/cgroup") != here


def test_device_rules(project):
    """A rule opens what the container makes for itself (CAP_MKNOD is there)."""
    project.file("""
        services:
          x: {image: base, init: true, command: sleep 600, device_cgroup_rules: ["c 1:1 r", "c 10:* rwm"]}
          y: {image: base, init: true, command: sleep 600}
          bad: {image: base, command: "true", profiles: [bad], device_cgroup_rules: ["c 1:x r"]}
        """)
    project.up()
    for name, code in (("x", 0), ("y", 1)):
        project.sh(name, "mknod /dev/mem2 c 1 1")
        opened = project.exec(name, "sh", "-c", "exec 3</dev/mem2", code=None)
        assert (opened.code != 0) == code or "Operation not permitted" not in opened.text, name
        if code:
            assert "ermi" in opened.text or "permitted" in opened.text
    assert 'invalid device cgroup rule: "c 1:x r"' in project("--profile", "bad", "up", "-d", "bad", code=1).err


def test_pids_limit_holds(project):
    service(project, pids_limit=12)
    result = project.exec("x", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1 & done; wait", code=None)
    assert "fork" in result.text or "temporarily unavailable" in result.text


def test_oom_kill_is_said(project):
    # Nothing but memory that is written: 64 MB in an environment of 24.
    service(project, mem_limit="24m", memswap_limit="24m", init=False,
            command=["sh", "-c", "x=0123456789abcdef; while :; do x=$$x$$x; done"])
    assert project.ended("x", 20) == 137
    assert project.record("x")["oom_killed"]
    project.file("""
        services:
          x: {image: base, mem_limit: 24m, memswap_limit: 24m, command: ["sh", "-c", "x=0123456789abcdef; while :; do x=$$x$$x; done"]}
          y: {image: base, depends_on: {x: {condition: service_completed_successfully}}}
        """)
    result = project.up(code=1)
    assert "out of memory" in result.err.lower() or "oom" in result.err.lower()


# --- what is handed on, and what is refused --------------------------------------------------------


def test_annotations_and_label_file(project):
    project.write("labels.env", "from.file=yes\nboth=file\n# no label\n")
    service(project, annotations={"org.example.note": "kept"}, label_file="labels.env", labels={"both": "service"})
    config = json.loads((project.run_root / "containers" / project.record("x")["id"] / "config.json").read_text())
    assert config["annotations"]["org.example.note"] == "kept"
    labels = project.record("x")["labels"]
    assert (labels["from.file"], labels["both"]) == ("yes", "service") and "no label" not in str(labels)


def test_stdin_open(project):
    """Its stdin stays open, for whoever attaches; without it there is an end of input at once."""
    project.file("""
        services:
          open: {image: base, command: [sh, -c, "cat; echo over"], stdin_open: true}
          closed: {image: base, command: [sh, -c, "cat; echo over"]}
        """)
    project.up()
    project.wait_log("closed", "over")
    project.ended("closed")
    assert project.state("open") == "running" and "over" not in project.logs("open")


def test_attach_false(project):
    project.file("""
        services:
          quiet: {image: base, command: echo unseen, attach: false}
          seen: {image: base, command: echo shown}
        """)
    out = project("up").out
    assert "shown" in out and "unseen" not in out
    assert "unseen" in project.logs("quiet")


@pytest.mark.parametrize("keys, why", [
    ({"storage_opt": {"size": "1G"}}, "storage_opt: size: sizes of root file systems cannot be limited with overlay"),
    ({"isolation": "hyperv"}, 'isolation: hyperv: only "default" exists on Linux'),
    ({"volumes": [{"type": "npipe", "source": "a", "target": "/b"}]}, "mount /b: type npipe does not exist on Linux"),
    ({"volumes": [{"type": "cluster", "source": "a", "target": "/b"}]}, "mount /b: type cluster does not exist on Linux"),
])
def test_what_linux_has_not_is_refused(project, keys, why):
    project.write("compose.yaml", json.dumps({"services": {"x": {"image": "base", "command": ["true"]} | keys}}))
    assert why in project("up", "-d", code=1).err


# --- files -----------------------------------------------------------------------------------------


def test_read_only_and_tmpfs(project):
    service(project, read_only=True, tmpfs=["/run", "/scratch:size=1m,mode=700,uid=1000"])
    assert project.exec("x", "touch", "/file", code=None).code != 0
    project.sh("x", "touch /run/ok /scratch/ok")
    assert project.sh("x", "stat -c '%a %u' /scratch") == "700 1000"
    assert project.exec("x", "dd", "if=/dev/zero", "of=/scratch/big", "bs=1M", "count=3", code=None).code != 0
    assert project.exec("x", "touch", "/dev/shm/ok", code=None).code == 0


def test_shm_size(project):
    service(project, shm_size="5m")
    assert project.sh("x", "df -k /dev/shm | tail -1").split()[1] == "5120"


def test_changes_stay_in_the_container(project):
    service(project)
    project.sh("x", "echo mine > /etc/mine; rm /etc/group")
    project("restart", "-t", "0")
    assert project.sh("x", "cat /etc/mine; test -e /etc/group || echo gone") == "mine\ngone", "a restart keeps them"
    project.up("--force-recreate", "-t", "0")
    assert project.sh("x", "test -e /etc/mine || ls /etc/group") == "/etc/group", "a new container does not"


def test_secrets_and_configs(project):
    project.write("key.txt", "hidden\n", 0o600)
    project.file("""
        services:
          x:
            image: base
            init: true
            command: sleep 600
            secrets: [key, {source: env, target: other, mode: 0400}, {source: key, target: given, uid: "1000", gid: "7", mode: 0440}]
            configs: [{source: conf, target: /etc/app.conf}, {source: conf, target: /etc/own.conf, uid: "1000", mode: 0600}]
        secrets:
          key: {file: key.txt}
          env: {environment: FROM_ENV}
        configs:
          conf: {content: "port=${PORT}\\n"}
        """)
    project.env |= {"FROM_ENV": "from the shell", "PORT": "99"}
    project.up()
    assert project.sh("x", "cat /run/secrets/key") == "hidden"
    assert project.sh("x", "cat /run/secrets/other") == "from the shell"
    assert project.sh("x", "cat /etc/app.conf") == "port=99"
    assert project.sh("x", "cd /run/secrets; stat -c '%n %a %u:%g' key other given /etc/app.conf /etc/own.conf").splitlines() == [
        "key 600 0:0", "other 400 0:0", "given 440 1000:7", "/etc/app.conf 444 0:0", "/etc/own.conf 600 1000:0"]
    assert project.sh("x", "cat /run/secrets/given") == "hidden"


def test_devices(project):
    service(project, devices=["/dev/zero:/dev/nil:r"])
    assert project.sh("x", "head -c 3 /dev/nil | wc -c") == "3"


@pytest.fixture
def described():
    """Writes descriptions of devices where vendors install them."""
    made = []

    def write(folder, name, kind, devices, edits=None):
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.append(path)
        path.write_text(json.dumps({
            "cdiVersion": "0.6.0", "kind": kind, "containerEdits": edits or {},
            "devices": [{"name": device, "containerEdits": wanted} for device, wanted in devices.items()]}))
        return path

    yield write
    for path in made:
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.parent.rmdir()


def test_devices_by_name(project, described, tmp_path):
    """What their vendors describe (CDI): nodes, mounts, variables, groups and hooks."""
    kind, told = f"{project.name}.example/dev", tmp_path / "told"
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver/version").write_text("12.3")
    described("/etc/cdi", f"{project.name}.yaml", kind, {"one": {"env": ["ONE=outranked"]}})
    described("/var/run/cdi", f"{project.name}.json", kind, {
        "one": {"env": ["ONE=yes"], "deviceNodes": [{"path": "/dev/one", "hostPath": "/dev/null", "fileMode": 0o600}]},
        "two": {"deviceNodes": [{"path": "/dev/sub/two", "type": "c", "major": 1, "minor": 5, "permissions": "r",
                                 "uid": 7, "gid": 8, "fileMode": 0o644}]}},
        {"env": ["DRIVER=12"], "additionalGids": [4321],
         "mounts": [{"hostPath": str(tmp_path / "driver"), "containerPath": "/opt/driver", "options": ["ro", "nosuid", "bind"]}],
         "hooks": [{"hookName": "createRuntime", "path": "/bin/sh", "args": ["sh", "-c", f"echo $WORD >> {told}"],
                    "env": ["WORD=hooked"], "timeout": 5}]})
    service(project, devices=[f"{kind}=one", f"{kind}=two"], user="1000:1000")
    assert project.sh("x", "stat -c '%F %t:%T %a %u:%g' /dev/one /dev/sub/two").splitlines() == [
        "character special file 1:3 600 1000:1000", "character special file 1:5 644 7:8"]
    assert project.sh("x", "head -c 3 /dev/sub/two | wc -c; echo x >/dev/one && echo written") == "3\nwritten"
    assert project.exec("x", "sh", "-c", "echo $DRIVER $ONE; cat /opt/driver/version").text == "12 yes\n12.3"
    assert "4321" in status(project, "1", "status")["Groups"].split()
    assert project.exec("x", "touch", "/opt/driver/new", code=None).code != 0
    assert told.read_text() == "hooked\n"  # once, whatever the number of its devices


def test_devices_that_nobody_describes(project, described):
    kind = f"{project.name}.example/dev"
    keys = {"image": "base", "command": ["true"]}

    def refused(**more):
        project.write("compose.yaml", json.dumps({"services": {"x": keys | more}}))
        return project("up", "-d", code=1).err

    assert f"unresolvable CDI devices {kind}=one, {kind}=two" in refused(devices=[f"{kind}=one", f"{kind}=two"])
    path = described("/var/run/cdi", f"{project.name}-a.json", kind, {"one": {}})
    path.write_text("{cdiVersion: [")
    assert f"{path}:1:14: " in refused(devices=[f"{kind}=one"])
    described("/var/run/cdi", f"{project.name}-a.json", kind, {"one": {"deviceNodes": [{"path": "/dev/no-such"}]}})
    assert f'{path}: device "/dev/no-such": No such file or directory' in refused(devices=[f"{kind}=one"])
    described("/var/run/cdi", f"{project.name}-b.json", kind, {"one": {}})
    assert f"{kind}=one is described by both {path} and " in refused(devices=[f"{kind}=one"])
    assert 'could not select device driver "tpu" with capabilities: [[tpu fast]]' in refused(
        deploy={"resources": {"reservations": {"devices": [{"driver": "tpu", "capabilities": ["tpu", "fast"]}]}}})


def test_gpus(project, described):
    """By what the maker of the card describes, all of them or some."""
    devices = {name: {"env": [f"GPU_{name.upper()}=given"]} for name in ("0", "1", "2", "all", "card")}
    ask = {"image": "base", "command": ["sh", "-c", "env | grep ^GPU_ | sort | tr '\\n' ' '"], "network_mode": "none"}
    project.write("compose.yaml", json.dumps({"services": {
        "all": ask | {"gpus": "all"}, "two": ask | {"gpus": [{"count": 2, "driver": "nvidia"}]},
        "card": ask | {"deploy": {"resources": {"reservations": {"devices": [{"device_ids": ["card"], "capabilities": ["gpu"]}]}}}},
        "named": ask | {"deploy": {"resources": {"reservations": {"devices": [
            {"driver": "cdi", "device_ids": ["nvidia.com/gpu=1"], "capabilities": ["x"]}]}}}},
        "many": ask | {"gpus": [{"count": 1000000000000}]}}}))
    for name in ("all", "two", "card"):
        err = project("up", "-d", name, code=1).err
        assert "could not select device driver" in err and "[[gpu]]: no file in /etc/cdi or /var/run/cdi describes nvidia.com/gpu" in err
    described("/var/run/cdi", f"{project.name}.json", "nvidia.com/gpu", devices)
    for name, given in (("all", ["ALL"]), ("two", ["0", "1"]), ("card", ["CARD"]), ("named", ["1"])):
        assert project("run", "--rm", "-T", name).out.split() == [f"GPU_{word}=given" for word in given]
    assert "unresolvable CDI devices nvidia.com/gpu=3" in project("run", "--rm", "-T", "many", code=1).err


# --- how it ends -----------------------------------------------------------------------------------

TRAP = "trap 'echo got {0}; exit 5' {0}; echo ready; while :; do sleep 0.05; done"


def test_stop_signal(project):
    service(project, init=False, stop_signal="SIGUSR1", command=["sh", "-c", TRAP.format("USR1")])
    project.wait_log("x", "ready")
    project("stop")
    assert "got USR1" in project.logs("x")
    assert project.ended("x") == 5


def test_stop_grace_period(project):
    service(project, init=False, stop_grace_period="400ms",
            command=["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done"])
    project.wait_log("x", "ready")
    result = project("stop")
    assert project.ended("x") == 137
    assert 0.3 < result.seconds < 3


@pytest.mark.parametrize("policy, code, restarted", [
    ("no", 1, False), ("on-failure:2", 1, True), ("on-failure", 0, False), ("always", 0, True)])
def test_restart_policy(project, policy, code, restarted):
    service(project, init=False, restart=policy, command=["sh", "-c", f"echo started; exit {code}"])
    def starts():
        return project.logs("x").count("started")
    if restarted:
        wait_for(lambda: starts() >= 3, "two restarts", 20)
        if policy == "on-failure:2":
            wait_for(lambda: project.state("x") == "exited", "it to give up", 20)
            assert starts() == 3
    else:
        wait_for(lambda: project.state("x") == "exited", "it to end")
        assert starts() == 1 and project.record("x")["restart_count"] == 0


def test_unknown_restart_policy(project):
    project.file("services: {x: {image: base, command: sleep 600, restart: sometimes}}")
    result = project.up(code=None)
    assert result.code != 0 and "sometimes" in result.err


def test_restart_after_a_kill_but_not_after_stop(project):
    service(project, restart="unless-stopped")
    first = project.pid("x")
    os.kill(first, 9)
    wait_for(lambda: project.state("x") == "running" and project.pid("x") != first, "the restart")
    project("stop", "-t", "0")
    assert project.state("x") == "exited"


def test_command_not_found(project):
    project.file("services: {x: {image: base, command: [/no/such/program]}}")
    result = project.up(code=None)
    assert result.code != 0
    assert "/no/such/program" in result.err and "no such file" in result.err.lower()
    assert project.record("x")["exit_code"] == 127
    project.file("services: {x: {image: base, command: [nosuchprogram], restart: always}}")
    result = project.up(code=None, timeout=20)
    assert "nosuchprogram" in result.err and "not found" in result.err.lower()


def test_permission_denied(project):
    project.file("services: {x: {image: base, command: [/etc/passwd]}}")
    result = project.up(code=None)
    assert result.code != 0
    assert "/etc/passwd" in result.err and "permission denied" in result.err.lower()
    assert project.record("x")["exit_code"] == 126


def test_exit_code_and_signal(project):
    project.file("""
        services:
          code: {image: base, command: sh -c 'exit 42'}
          signal: {image: base, command: ["sh", "-c", "kill -SEGV $$$$; sleep 5"], init: true}
        """)
    project.up()
    assert project.ended("code") == 42
    assert project.ended("signal") == 139


def test_processes_left_in_the_container_die_with_it(project):
    service(project, init=False, command=["sh", "-c", "sleep 12345 & sleep 600"])
    def sleepers() -> list[int]:
        return [int(p) for p in os.listdir("/proc") if p.isdigit() and project.record("x")["id"] in text_of(f"/proc/{p}/cgroup")
                and "12345" in text_of(f"/proc/{p}/cmdline").split("\0")]
    pids = wait_for(sleepers, "the process in the background")
    project("down", "-t", "0")
    assert not any(alive(pid) for pid in pids)


# --- logs ------------------------------------------------------------------------------------------


def test_log_limits(project):
    service(project, init=False, logging={"driver": "json-file", "options": {"max-size": "10k", "max-file": "2"}},
            command=["sh", "-c", "i=0; while [ $$i -lt 3000 ]; do echo line $$i; i=$$((i+1)); done; echo the end; sleep 600"])
    log = project.wait_log("x", "the end", 20)
    lines = log.splitlines()
    assert "line 2999" in log and len(lines) < 1500, "the oldest are gone"
    folder = next(project.root.glob("projects/*/containers/*"))
    assert sum(p.stat().st_size for p in folder.glob("log*")) < 40_000


def test_no_log_line_is_lost(project):
    project.file("""
        services:
          x: {image: base, command: ["sh", "-c", "seq 1 200000; seq 1 1000 >&2; printf 'no newline'"]}
        """)
    project.up()
    wait_for(lambda: project.state("x") == "exited", "it to end", 30)
    lines = project.logs("--no-log-prefix").splitlines()
    assert len(lines) == 201001
    assert [int(l) for l in lines if l.isdigit()].count(1000) == 2 and "no newline" in lines


def test_any_bytes_in_the_log(project):
    project.file("""
        services:
          x: {image: base, command: ["printf", 'a\\000b\\001\\377\\303\\244 "quoted" \\\\\\n']}
        """)
    project.up()
    wait_for(lambda: project.state("x") == "exited", "it to end")
    assert 'ä "quoted" \\' in project.logs("--no-log-prefix")


def test_logging_none(project):
    service(project, logging={"driver": "none"}, init=False, command=["sh", "-c", "echo hidden; sleep 600"])
    assert "hidden" not in project("logs", code=None).out


def test_labels_and_names(project):
    service(project, labels={"my.label": "yes"})
    record = project.record("x")
    labels = record["labels"]
    assert labels["my.label"] == "yes" and labels["com.docker.compose.service"] == "x"
    assert labels["com.docker.compose.project"] == project.name
    assert labels["com.docker.compose.container-number"] == "1"
    assert record["name"] == f"{project.name}-x-1"
    service(project, container_name=f"{project.name}-own")
    assert project.record("x")["name"] == f"{project.name}-own"
