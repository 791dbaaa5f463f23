"""A Docker Engine of Debian's own packages, which are unpacked and not installed: no service is started, no
user's machine changes. It runs in a network namespace that a test made."""

import contextlib
import fcntl
import os
import socket
import subprocess
from pathlib import Path

from harness import TOP, Namespace, run, wait_for


def unpacked(machine_netns: int) -> Path:
    """The folder with usr/sbin/dockerd; made once, over the machine's own network."""
    folder = TOP / "build" / "docker-engine"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "root").exists():
            run("nsenter", f"--net=/proc/{os.getpid()}/fd/{machine_netns}",
                "apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", "docker.io", "containerd", cwd=folder, timeout=300)
            for package in folder.glob("*.deb"):
                run("dpkg", "-x", package, folder / "root.new")
                package.unlink()
            (folder / "root.new").rename(folder / "root")
    return folder / "root"


class DockerEngine:
    """On `machine`; its state lies in the new folder."""

    def __init__(self, root: Path, folder: Path, machine: Namespace):
        folder.mkdir()
        self.folder = folder
        env = os.environ | {"PATH": f"{root}/usr/sbin:{root}/usr/bin:{os.environ['PATH']}:/usr/sbin:/sbin"}
        with open(folder / "log", "w") as log:
            # Mounts of its own go with it.
            self.process = subprocess.Popen(
                machine.argv("unshare", "-m", f"{root}/usr/sbin/dockerd", "--data-root", folder / "data",
                             "--exec-root", folder / "exec", "--pidfile", folder / "pid", "--host", f"unix://{folder}/socket"),
                env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_for(lambda: self.process.poll() is not None or self.answers(), "dockerd", 60)
            assert self.process.poll() is None, "dockerd ended"
        except AssertionError as error:
            self.close()
            raise AssertionError(f"{error}:\n{(folder / 'log').read_text()[-3000:]}") from None

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.folder}/socket")
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"200 OK" in client.recv(4096)
        return False

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)
