"""bench/run pull: cold and warm pulls from a registry on this machine, beside docker, skopeo + umoci, and the floor:
what it takes to fetch the layers, inflate them and hash both sides, with nothing kept."""

import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import tarfile
import time
from pathlib import Path

from images import oci_layout, write_oci_layout

IMAGES = {"pull 170 MB": (1, 170), "pull 12 layers": (12, 25)}  # layers, MB each before gzip


def machine_files():
    """Real files make real layers: many small ones, some large, compressible as such are."""
    for top in ("/usr/lib", "/usr/bin", "/usr/share"):
        for folder, folders, names in os.walk(top):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 8 << 20:
                    yield path


def make_layers(count: int, megabytes: int) -> list[bytes]:
    files, layers = machine_files(), []
    for number in range(count):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            while out.tell() < megabytes << 20:
                path = next(files, None)
                if path:
                    tar.add(path, recursive=False)
                else:  # a small machine: words will do
                    info = tarfile.TarInfo(f"filler{number}/{out.tell()}")
                    data = " ".join(f"{out.tell() * 7919 % 65521:x}" for _ in range(200_000)).encode()
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        layers.append(out.getvalue())
    return layers


def network_of(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


class Pulls:
    """A registry in this network, and one over the same files in the daemon's if that is another."""

    def __init__(self, run, times, folder: Path):
        self.run, self.times, self.folder = run, times, folder
        self.servers: dict[str, subprocess.Popen] = {}
        self.layers: dict[str, list[str]] = {}
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.host = f"127.0.0.1:{s.getsockname()[1]}"
        folder.mkdir()
        (folder / "config.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{self.host}'}}\n")
        try:
            self.serve("self")
            for name, (count, megabytes) in IMAGES.items():
                self.push(name, count, megabytes)
        except BaseException:
            self.close([])
            raise

    def serve(self, pid: int | str) -> None:
        network = network_of(pid)
        if network in self.servers:
            return
        enter = [] if pid == "self" else ["nsenter", f"--net=/proc/{pid}/ns/net"]
        self.servers[network] = subprocess.Popen([*enter, "docker-registry", "serve", str(self.folder / "config.yml")],
                                                 stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.run([*enter, "curl", "-s", "--retry", "50", "--retry-delay", "1", "--retry-connrefused", f"http://{self.host}/v2/"])

    def image(self, name: str) -> str:
        return f"{self.host}/{name.replace(' ', '-').lower()}:1"

    def push(self, name: str, count: int, megabytes: int) -> None:
        layout = self.folder / "layout"
        files = oci_layout("image", make_layers(count, megabytes))
        write_oci_layout(layout, files)
        manifest = files["blobs/sha256/" + json.loads(files["index.json"])["manifests"][0]["digest"][7:]]
        self.layers[name] = [layer["digest"] for layer in json.loads(manifest)["layers"]]
        self.run(["skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{layout}:image", f"docker://{self.image(name)}"])
        packed = sum(layer["size"] for layer in json.loads(manifest)["layers"])
        print(f"   image for {name}: {count} layers, {count * megabytes} MB, {packed / 1e6:.0f} MB as gzip")
        shutil.rmtree(layout)

    def clock(self, argv, **options) -> float:
        os.sync()  # what one leaves to be written is not the next one's
        started = time.monotonic()
        self.run(argv, **options)
        return time.monotonic() - started

    def others(self) -> None:
        """What does not keep an image, and what keeps one in the way of the OCI tools."""
        inflate = "igzip" if shutil.which("igzip") else "gzip"
        for name, layers in self.layers.items():
            url = f"http://{self.host}/v2/{self.image(name).split('/')[1].split(':')[0]}/blobs/"
            each = f"curl -s {url}$0 | tee >(sha256sum >/dev/null) | {inflate} -dc | sha256sum"
            floor = min(self.clock(["xargs", "-P", str(os.cpu_count()), "-n", "1", "bash", "-c", each],
                                   stdin=None, input="\n".join(layers)) for _ in self.times(3))
            print(f"   {'floor':15} {name:24} {floor:.2f} s   (curl | {inflate} -d, SHA-256 of both, {os.cpu_count()} at a time)")
            took = []
            for _ in self.times(2):
                out = self.folder / "umoci"
                out.mkdir()
                script = f"skopeo copy -q --src-tls-verify=false docker://{self.image(name)} oci:{out}/i:x && umoci unpack --image {out}/i:x {out}/b"
                took.append(self.clock(["sh", "-c", script]))
                shutil.rmtree(out)
            print(f"   {'skopeo, umoci':15} {name:24} {min(took):.2f} s", flush=True)

    def __call__(self, tool, note) -> None:
        daemon = tool.daemon()
        if daemon:
            self.serve(daemon)
        else:
            self.others()
        peak = []
        for name in IMAGES:
            base = tool.project({"x": {"image": self.image(name)}})
            cold = []
            for _ in self.times(3):
                tool.forget(self.image(name))
                cold.append(self.clock([*base, "pull"]))
            if not daemon:
                tool.forget(self.image(name))
                peak.append(self.peak([*base, "pull"]))
            note(name, statistics.median(cold))
        note("pull, warm", 1000 * statistics.median(self.clock([*base, "pull"]) for _ in self.times(9)))
        if peak:
            note("pull memory", max(peak))

    def peak(self, argv) -> float:
        """MB that the program held at its most."""
        said = self.folder / "peak"
        self.run(["/usr/bin/time", "-f", "%M", "-o", said, *argv])
        return int(said.read_text()) / 1024

    def close(self, tools) -> None:
        for tool in tools:
            for name in IMAGES:
                tool.forget(self.image(name))
        for server in self.servers.values():
            server.kill()
            server.wait()
