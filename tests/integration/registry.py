"""Registries on loopback: the real one from Debian's docker-registry, and one that misbehaves on order."""

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
from pathlib import Path

from harness import run, wait_for
from images import oci_layout, write_oci_layout


def free_port() -> int:
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """docker-registry with a store of its own; user: asks for that user and the password "secret"."""

    def __init__(self, folder: Path, user: str | None = None):
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.host = f"127.0.0.1:{self.port}"
        auth = ""
        self.user = user
        if user:
            bcrypt = subprocess.run(["/usr/bin/python3", "-c", "import crypt; print(crypt.crypt('secret', crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=1<<5)))"],
                                    check=True, capture_output=True, text=True).stdout.strip()
            (folder / "htpasswd").write_text(f"{user}:{bcrypt}\n")
            auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
        (folder / "config.yml").write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
            f"http: {{addr: '{self.host}'}}\n{auth}")
        self.process = subprocess.Popen(["docker-registry", "serve", folder / "config.yml"],
                                        stdout=open(folder / "log", "wb"), stderr=subprocess.STDOUT)
        wait_for(self._answers, "the registry to answer")

    def _answers(self) -> bool:
        import urllib.error
        import urllib.request
        try:
            urllib.request.urlopen(f"http://{self.host}/v2/", timeout=1)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def push(self, name: str, layers: list[bytes], config: dict | None = None, how: str = "gz") -> str:
        """Pushes an image with skopeo; returns its full name."""
        folder = self.folder / "push"
        write_oci_layout(folder, oci_layout("image", layers, config, how))
        creds = ["--dest-creds", f"{self.user}:secret"] if self.user else []
        run("skopeo", "copy", "-q", "--dest-tls-verify=false", *creds, f"oci:{folder}:image",
            f"docker://{self.host}/{name}")
        return f"{self.host}/{name}"

    def blob(self, digest: str) -> Path:
        return self.folder / "data/docker/registry/v2/blobs/sha256" / digest[7:9] / digest[7:] / "data"

    def blobs(self) -> list[Path]:
        return sorted(self.folder.glob("data/docker/registry/v2/blobs/sha256/*/*/data"), key=os.path.getsize)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


class FaultyRegistry:
    """Serves one image from memory and does what `fault` says at the request for a layer:
    "corrupt" (other bytes of the same length), "short" (closes half-way, always), "once-short"
    (closes half-way the first time), "500-once", "500", "token" (asks for a bearer token first)."""

    def __init__(self, layers: list[bytes], fault: str = "", config: dict | None = None, address: str = "127.0.0.1",
                 certificate: Path | None = None):
        self.files = oci_layout("image", layers, config, "gz")
        self.fault, self.requests, self.ranges = fault, [], []
        index = json.loads(self.files["index.json"])
        self.manifest = self.files["blobs/sha256/" + index["manifests"][0]["digest"][7:]]
        self.layers = {l["digest"] for l in json.loads(self.manifest)["layers"]}
        self.seen: set[str] = set()
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status: int, body: bytes = b"", headers: dict | None = None, cut: bool = False):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(body[:len(body) // 2] if cut else body)
                if cut:
                    self.close_connection = True

            def do_HEAD(self):
                self.do_GET()

            def do_GET(self):
                owner.requests.append(f"{self.command} {self.path}")
                if self.path.startswith("/token"):
                    basic = self.headers.get("Authorization", "")
                    owner.token_auth = base64.b64decode(basic[6:]).decode() if basic.startswith("Basic ") else ""
                    return self.answer(200, json.dumps({"token": "let-me-in"}).encode())
                if owner.fault == "token" and self.headers.get("Authorization") != "Bearer let-me-in":
                    realm = f'Bearer realm="http://{owner.host}/token",service="test",scope="repository:image:pull"'
                    return self.answer(401, b"{}", {"WWW-Authenticate": realm})
                if self.path in ("/v2/", "/v2"):
                    return self.answer(200, b"{}")
                kind, _, what = self.path.rpartition("/")
                if kind.endswith("/manifests"):
                    if what not in ("latest", "image") and not what.startswith("sha256:"):
                        body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                        return self.answer(404, json.dumps(body).encode())
                    import hashlib
                    return self.answer(200, owner.manifest, {
                        "Content-Type": "application/vnd.oci.image.manifest.v1+json",
                        "Docker-Content-Digest": "sha256:" + hashlib.sha256(owner.manifest).hexdigest()})
                blob = owner.files.get("blobs/sha256/" + what[7:])
                if blob is None:
                    return self.answer(404)
                if what not in owner.layers or self.command == "HEAD":
                    return self.answer(200, blob)
                first = what not in owner.seen
                owner.seen.add(what)
                wanted = self.headers.get("Range")
                if wanted:
                    owner.ranges.append(wanted)
                if owner.fault == "500" or (owner.fault == "500-once" and first):
                    return self.answer(500, b"oops")
                if owner.fault == "corrupt":
                    return self.answer(200, blob[:-9] + bytes(b ^ 0x55 for b in blob[-9:]))
                if owner.fault == "short" or (owner.fault == "once-short" and first):
                    return self.answer(200, blob, cut=True)
                if wanted:
                    start = int(wanted.removeprefix("bytes=").split("-")[0])
                    return self.answer(206, blob[start:], {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"})
                return self.answer(200, blob)

        self.server = http.server.ThreadingHTTPServer((address, 0), Handler)
        if certificate:  # a file with the key as well: serves HTTPS
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"{address}:{self.server.server_port}"
        self.name = f"{self.host}/image:latest"
        self.token_auth = None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
