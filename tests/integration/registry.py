"""Registries on loopback: the real one from Debian's docker-registry, and one that misbehaves on order."""

import base64
import contextlib
import http.server
import json
import os
import ssl
import subprocess
import threading
from pathlib import Path

from harness import run, wait_for
from images import digest, oci_layout, write_oci_layout


def free_port() -> int:
    import socket
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """docker-registry with a store of its own; user: asks for that user and the password "secret"; realm: asks for
    tokens from there, signed by the key of the certificate folder/signer.cert."""

    def __init__(self, folder: Path, user: str | None = None, realm: str | None = None):
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
        if realm:
            auth = f"auth: {{token: {{realm: '{realm}', service: here, issuer: us, rootcertbundle: {folder}/signer.cert}}}}\n"
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
    """Serves images from memory and misbehaves on order.

    fault, at the request for a layer: "corrupt" (other bytes of the same length), "short" (closes
    half-way, always), "once-short" (closes half-way the first time), "500-once", "500"; "token" (asks
    for a bearer token first). For anything else a test sets `hook`, a function of the request, its kind
    ("token", "ping", "manifest", "blob") and what is asked for, that returns True when it has answered.

    manifests (by tag and digest: media type, bytes) and files ("blobs/sha256/HEX") may be added to."""

    def __init__(self, layers: list[bytes], fault: str = "", config: dict | None = None, address: str = "127.0.0.1",
                 certificate: Path | None = None, clients: Path | None = None, how: str | None = "gz"):
        self.files: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.fault, self.hook = fault, None
        self.requests: list[str] = []
        self.ranges: list[str] = []
        self.authorizations: list[str | None] = []
        self.peers: set[tuple] = set()  # connections
        self.token_auth: str | None = None
        self.seen: set[str] = set()
        self.lock = threading.Lock()
        self.manifest = self.add(layers, config, how, "latest", "image")
        self.layers = {layer["digest"] for layer in json.loads(self.manifest)["layers"]}
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                owner.peers.add(self.client_address)

            def answer(self, status: int, body: bytes = b"", headers: dict | None = None, cut: bool = False):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                if "Content-Length" not in (headers or {}):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command == "HEAD":
                    return
                self.wfile.write(body[:len(body) // 2] if cut else body)
                if cut:
                    self.close_connection = True

            def do_HEAD(self):
                self.do_GET()

            def do_POST(self):
                self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.do_GET()

            def do_PUT(self):
                self.do_POST()

            def do_GET(self):
                with owner.lock:
                    owner.requests.append(f"{self.command} {self.path}")
                    owner.authorizations.append(self.headers.get("Authorization"))
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    owner._serve(self)

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 64

            def handle_error(self, *_):
                pass

        self.server = Server((address, 0), Handler)
        if certificate:  # a file with the key as well: serves HTTPS
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            if clients:  # the authority of those that may come in
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(clients)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.host = f"{address}:{self.server.server_port}"
        self.name = f"{self.host}/image:latest"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add(self, layers: list[bytes], config: dict | None = None, how: str | None = "gz", *tags: str) -> bytes:
        """One more image; its manifest."""
        files = oci_layout("image", layers, config, how)
        self.files |= files
        manifest = files["blobs/sha256/" + json.loads(files["index.json"])["manifests"][0]["digest"][7:]]
        self.put(manifest, *tags)
        return manifest

    def put(self, manifest: bytes | dict, *tags: str, media_type: str | None = None) -> str:
        """Serves a manifest under its digest and these tags; its digest."""
        text = json.dumps(manifest).encode() if isinstance(manifest, dict) else manifest
        kind = media_type or json.loads(text).get("mediaType", "application/json")
        for name in (digest(text), *tags):
            self.manifests[name] = (kind, text)
        return digest(text)

    def asked(self, words: str) -> list[str]:
        return [request for request in self.requests if words in request]

    def _serve(self, request) -> None:
        if request.path.startswith("/token"):
            kind, what = "token", ""
        elif request.path in ("/v2/", "/v2"):
            kind, what = "ping", ""
        else:
            folder, _, what = request.path.partition("?")[0].rpartition("/")
            kind = "manifest" if folder.endswith("/manifests") else "blob"
        if self.hook and self.hook(request, kind, what):
            return None
        if kind == "token":
            basic = request.headers.get("Authorization", "")
            self.token_auth = base64.b64decode(basic[6:]).decode() if basic.startswith("Basic ") else ""
            return request.answer(200, json.dumps({"token": "let-me-in"}).encode())
        if self.fault == "token" and request.headers.get("Authorization") != "Bearer let-me-in":
            realm = f'Bearer realm="http://{self.host}/token",service="test",scope="repository:image:pull"'
            return request.answer(401, b"{}", {"WWW-Authenticate": realm})
        if kind == "ping":
            return request.answer(200, b"{}")
        if request.command == "POST":
            return request.answer(202, b"", {"Location": f"/v2/image/blobs/uploads/{len(self.requests)}?state=x"})
        if request.command == "PUT":
            return self._take(request, kind, what)
        if kind == "manifest":
            if what not in self.manifests:
                body = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
                return request.answer(404, json.dumps(body).encode())
            media_type, text = self.manifests[what]
            return request.answer(200, text, {"Content-Type": media_type, "Docker-Content-Digest": digest(text)})
        return self._serve_blob(request, what)

    def _take(self, request, kind: str, what: str) -> None:
        if kind == "manifest":
            self.put(request.body, what)
        else:
            wanted = request.path.rpartition("digest=")[2]
            if digest(request.body) != wanted:
                return request.answer(400, b'{"errors": [{"code": "DIGEST_INVALID"}]}')
            self.files["blobs/sha256/" + wanted[7:]] = request.body
        return request.answer(201)

    def _serve_blob(self, request, what: str) -> None:
        blob = self.files.get("blobs/sha256/" + what[7:])
        if blob is None:
            return request.answer(404)
        if what not in self.layers or request.command == "HEAD":
            return request.answer(200, blob)
        with self.lock:
            first = what not in self.seen
            self.seen.add(what)
        wanted = request.headers.get("Range")
        if wanted:
            self.ranges.append(wanted)
        if self.fault == "500" or (self.fault == "500-once" and first):
            return request.answer(500, b"oops")
        if self.fault == "corrupt":
            return request.answer(200, blob[:-9] + bytes(b ^ 0x55 for b in blob[-9:]))
        if self.fault == "short" or (self.fault == "once-short" and first):
            return request.answer(200, blob, cut=True)
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            return request.answer(206, blob[start:], {"Content-Range": f"bytes {start}-{len(blob) - 1}/{len(blob)}"})
        return request.answer(200, blob)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
