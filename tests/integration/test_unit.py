"""The unit that `make install` ships, under a real systemd: one that runs in a container, with this machine's programs."""

import subprocess
from pathlib import Path

import pytest

import images
from harness import COMPOSE, TOP, run, wait_for
from test_network import write

def root_layer() -> bytes:
    """Nothing of its own but /etc: the programs are the machine's."""
    links = [(name, ("link", f"usr/{name}")) for name in ("bin", "sbin", "lib", "lib64")]
    folders = [(f"{name}/", b"") for name in ("usr", "etc", "proc", "sys", "dev", "run", "tmp", "var", "var/lib", "root", "srv", "opt",
                                              "etc/systemd", "etc/systemd/system", "etc/systemd/system/multi-user.target.wants")]
    return images.layer(
        *folders, *links, ("etc/passwd", images.PASSWD), ("etc/group", images.GROUP), ("etc/machine-id", b""), ("etc/os-release", "ID=test\n"),
        ("etc/nsswitch.conf", "hosts: files dns\n"),
        ("etc/systemd/system/multi-user.target.wants/compose.service", ("link", "/usr/local/lib/systemd/system/compose.service")))


class Machine:
    """A project of the name app in it, and the unit enabled."""

    def __init__(self, project, store: Path):
        self.project, installed = project, project.tmp / "installed"
        run("make", "-s", "-o", "all", "install", f"DESTDIR={installed}", f"B={Path(COMPOSE).parent}", cwd=TOP, timeout=300)
        archive = project.tmp / "root.tar"
        archive.write_bytes(root_layer())
        project("image", "import", archive, "machine")
        (project.tmp / "lib").mkdir(mode=0o711)
        run("cp", "-a", store, project.tmp / "lib/images")
        project.write("app/compose.yaml", """
            name: app
            services:
              always: &x {image: base, command: [sh, -c, "trap 'exit 0' TERM; while :; do sleep 0.1; done"], restart: always}
              after: {<<: *x, restart: unless-stopped, depends_on: [always], ports: ["8080:80"]}
              stopped: {<<: *x, restart: unless-stopped}
              never: {<<: *x, restart: "no"}
            """)
        write(project, {"host": {
            "image": "machine", "privileged": True, "tty": True, "stop_signal": "SIGRTMIN+3", "command": "/lib/systemd/systemd",
            "environment": {"container": "compose"}, "tmpfs": ["/run:exec", "/tmp", "/var/tmp"],
            "volumes": ["/usr:/usr:ro", f"{installed}/usr/local:/usr/local:ro", f"{project.tmp}/lib:/var/lib/compose", f"{project.dir}/app:/srv"]}})

    def sh(self, script: str) -> str:
        return self.project.sh("host", f"cd /srv; {script}")

    def boot(self) -> None:
        self.project("down", "-t", "60")
        self.project.up()
        wait_for(lambda: self.sh("systemctl is-system-running || true") in ("running", "degraded"), "it to be up", 60)
        assert self.sh("systemctl is-active compose.service") == "active"

    def states(self) -> dict[str, str]:
        return dict(line.split() for line in self.sh("compose ps -a --format '{{.Service}} {{.State}}'").splitlines())


def test_unit_is_valid(tmp_path):
    unit = tmp_path / "compose.service"
    unit.write_text((TOP / "systemd/compose.service.in").read_text().replace("@BINDIR@/compose", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "compose.service" not in done.stderr, done.stderr


@pytest.mark.slow
def test_boot_with_systemd(project, base_images):
    machine = Machine(project, base_images)
    machine.boot()
    machine.sh("compose up -d && compose stop stopped")
    assert machine.states() == {"always": "running", "after": "running", "stopped": "exited", "never": "running"}
    back = {"always": "running", "after": "running", "stopped": "exited", "never": "exited"}
    machine.sh("systemctl stop compose.service")
    assert set(machine.states().values()) == {"exited"}
    for verb in ("start", "restart"):
        machine.sh(f"systemctl {verb} compose.service")
        assert machine.states() == back
    machine.boot()
    assert machine.states() == back, "after a shutdown in order"
    project("kill")
    machine.boot()
    assert machine.states() == back, "after a loss of power"
    assert machine.sh("systemctl --failed --no-legend") == ""
    assert machine.sh("compose exec -T after ping -c 1 -W 2 always >/dev/null && echo reached") == "reached"
