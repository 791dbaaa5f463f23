"""Pulling from registries and pushing to them: what they may serve, how they are found and spoken to, and what a pull makes of one
that misbehaves: one line that names image, registry and cause, and a store as it was before."""

import contextlib
import email.utils
import hashlib
import json
import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from harness import libc, run, wait_for
from images import ARCH, big_layer, busybox_layer, digest, image_config, layer, oci_layout
from registry import FaultyRegistry, Registry, free_port

DOCKER = "application/vnd.docker."
OCI = "application/vnd.oci.image."
HELLO = layer(("hello", "here\n"))


@pytest.fixture
def serve():
    """Makes registries, all closed at the end."""
    made = []

    def make(layers=None, fault="", **options) -> FaultyRegistry:
        made.append(FaultyRegistry(layers or [HELLO], fault, **options))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def address():
    """An address that is not on loopback, as another machine's."""
    run("ip", "addr", "add", "198.51.100.9/32", "dev", "lo")
    yield "198.51.100.9"
    run("ip", "addr", "del", "198.51.100.9/32", "dev", "lo")


def snapshot(project) -> dict[str, str]:
    """All files of the store, but for locks and the marks of layers that are on their way to the disk."""
    store = project.root / "images"
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            for path in store.rglob("*") if not path.is_symlink() and (path.is_file() and path.name not in ("lock", "unsynced") or path.is_dir())
            and "locks" not in path.parts}


def inspect(project, name: str) -> dict:
    return json.loads(project("image", "inspect", name).out)[0]


def settings(project, **content) -> None:
    path = project.tmp / "registries.json"
    path.write_text(json.dumps({key.replace("_", "-"): value for key, value in content.items()}))
    project.env["COMPOSE_REGISTRIES"] = str(path)


def fails(project, name: str, *words: str, code: int = 1, **options) -> str:
    """A pull that fails: one line with image and cause, exit code as the reference's, the store untouched."""
    before = snapshot(project)
    result = project("image", "pull", "-q", name, code=code, **options)
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len({re.sub(r"^.* Error ", "", line) for line in lines}) == 1, result
    for word in (name, *words):
        assert word.lower() in lines[-1].lower(), result
    assert snapshot(project) == before, "the store is not as it was"
    return lines[-1]


# --- what registries serve --------------------------------------------------------------------------


def other_image(server, architecture: str, variant: str = "", kind: str = OCI) -> dict:
    """An image for a platform; its entry for an index."""
    data = layer(("hello", f"{architecture} {variant}"))
    config = json.loads(image_config([data], None)) | {"architecture": architecture}
    if variant:
        config["variant"] = variant
    config = json.dumps(config).encode()
    packed = oci_layout("x", [data])
    blob = next(b for n, b in packed.items() if n.startswith("blobs/") and b[:2] == b"\x1f\x8b")
    for part in (config, blob):
        server.files["blobs/sha256/" + digest(part)[7:]] = part
    types = (f"{kind}manifest.v1+json", f"{kind}config.v1+json", f"{kind}layer.v1.tar+gzip") if kind == OCI else \
        (f"{kind}distribution.manifest.v2+json", f"{kind}container.image.v1+json", f"{kind}image.rootfs.diff.tar.gzip")
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": types[0],
        "config": {"mediaType": types[1], "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": types[2], "digest": digest(blob), "size": len(blob)}]}).encode()
    server.put(manifest)
    platform = {"os": "linux", "architecture": architecture} | ({"variant": variant} if variant else {})
    return {"mediaType": types[0], "digest": digest(manifest), "size": len(manifest), "platform": platform}


@pytest.mark.parametrize("kind, index_type", [(OCI, f"{OCI}index.v1+json"), (DOCKER, f"{DOCKER}distribution.manifest.list.v2+json")])
def test_index_by_platform(project, serve, kind, index_type):
    server = serve()
    offers = [other_image(server, a, v, kind) for a, v in
              [("s390x", ""), ("arm", "v6"), ("arm", "v7"), ("arm64", "v8"), ("amd64", ""), ("386", "")]]
    # What builders add: an attestation is nobody's platform.
    attestation = {"mediaType": f"{OCI}manifest.v1+json", "digest": digest(b"?"), "size": 9,
                   "platform": {"os": "unknown", "architecture": "unknown"}}
    server.put({"schemaVersion": 2, "mediaType": index_type, "manifests": [attestation, *offers]}, "many")
    name = f"{server.host}/image:many"
    project("image", "pull", name)
    assert inspect(project, name)["Architecture"] == ARCH
    for platform, want in [("linux/arm/v7", ("arm", "v7")), ("linux/arm/v6", ("arm", "v6")), ("linux/arm/v8", ("arm", "v7")),
                           ("linux/arm64", ("arm64", None)), ("linux/s390x", ("s390x", "")), ("linux/386", ("386", ""))]:
        project("image", "pull", "--platform", platform, name)
        got = inspect(project, name)
        assert got["Architecture"] == want[0] and (want[1] is None or got.get("Variant", "") == want[1]), platform
    project.file(f"services: {{x: {{image: '{name}', platform: linux/s390x}}}}")
    project("pull")
    assert inspect(project, name)["Architecture"] == "s390x"
    result = project("image", "pull", "--platform", "linux/riscv64", name, code=1)
    assert name in result.err and "linux/riscv64" in result.err


def test_older_processors_images_serve_younger_ones(project, serve):
    """As the reference: amd64 takes a 386 image, arm64 an arm one, when there is none of its own."""
    server = serve()
    server.put({"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json",
                "manifests": [other_image(server, "386"), other_image(server, "arm", "v7")]}, "old")
    name = f"{server.host}/image:old"
    for platform, want in [("linux/amd64", "386"), ("linux/arm64", "arm")]:
        project("image", "pull", "--platform", platform, name)
        assert inspect(project, name)["Architecture"] == want


def test_default_platform(project, serve):
    server = serve()
    server.put({"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json",
                "manifests": [other_image(server, ARCH), other_image(server, "s390x"), other_image(server, "ppc64le")]}, "many")
    name = f"{server.host}/image:many"
    project.file(f"services: {{x: {{image: '{name}'}}}}")
    for how in ({"env": {"DOCKER_DEFAULT_PLATFORM": "linux/s390x"}}, {}):
        project("pull", **how)
        assert inspect(project, name)["Architecture"] == ("s390x" if how else ARCH)
    project.write(".env", "DOCKER_DEFAULT_PLATFORM=linux/ppc64le\n")
    project("pull")
    assert inspect(project, name)["Architecture"] == "ppc64le"
    project("image", "pull", name, env={"DOCKER_DEFAULT_PLATFORM": "linux/s390x"})
    assert inspect(project, name)["Architecture"] == "s390x"


@pytest.mark.parametrize("how", [None, "gz", "zstd"])
def test_layers_of_all_compressions(project, serve, how):
    server = serve([busybox_layer(), HELLO], how=how)
    project.file(f"services: {{x: {{image: '{server.name}', network_mode: none, command: cat /hello}}}}")
    project("pull")
    assert project("run", "--rm", "-T", "x").out == "here\n"


@pytest.mark.parametrize("media", [f"{DOCKER}image.rootfs.foreign.diff.tar.gzip", f"{OCI}layer.nondistributable.v1.tar+gzip"])
def test_foreign_layers_are_refused(project, serve, media):
    server = serve()
    manifest = json.loads(server.manifest)
    manifest["layers"][0] |= {"mediaType": media, "urls": ["http://127.0.0.1:1/layer"]}
    server.put(manifest, "foreign")
    fails(project, f"{server.host}/image:foreign", "foreign", server.host)


@pytest.mark.parametrize("manifest, words", [
    ({"schemaVersion": 1, "name": "image", "fsLayers": []}, "schema 1"),
    ({"schemaVersion": 2, "mediaType": "application/vnd.cncf.helm.chart\u001b[31m"}, "not a container image"),
])
def test_other_things_are_refused(project, serve, manifest, words):
    server = serve()
    server.put(manifest, "odd", media_type="application/json")
    line = fails(project, f"{server.host}/image:odd", words)
    assert "\x1b" not in line, "a registry has no say in the terminal's colours"


# --- who one is --------------------------------------------------------------------------------------


def docker_config(project, **content) -> None:
    folder = project.tmp / "docker-config"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(content))
    project.env["DOCKER_CONFIG"] = str(folder)


def bearer(server, service="the service", scope="repository:image:pull", token="let-me-in"):
    """Asks for a token at everything but the token server."""
    def hook(request, kind, _what):
        if kind == "token" or request.headers.get("Authorization") == f"Bearer {token}":
            return False
        realm = f'Bearer realm="http://{server.host}/token",service="{service}",scope="{scope}"'
        request.answer(401, b"{}", {"WWW-Authenticate": realm})
        return True
    server.hook = hook
    return hook


def test_token_with_scope_and_login(project, serve):
    import base64
    server = serve()
    bearer(server)
    docker_config(project, auths={server.host: {"auth": base64.b64encode(b"ann:se:cret").decode()}})
    project("image", "pull", server.name)
    asked = server.asked("/token")
    assert len(asked) == 1, "one token serves all requests"
    assert "service=the%20service" in asked[0] and "scope=repository%3Aimage%3Apull" in asked[0] and "account=ann" in asked[0]
    assert server.token_auth == "ann:se:cret"


def signed_token(key: Path, cert: Path, access: list[dict]) -> str:
    """distribution/docs/spec/auth/jwt.md"""
    import base64
    import subprocess

    def pack(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")
    der = run("openssl", "x509", "-in", cert, "-outform", "der", text=False).stdout
    now = int(time.time())
    head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
    body = {"iss": "us", "sub": "ann", "aud": "here", "exp": now + 300, "nbf": now - 10, "iat": now, "jti": os.urandom(8).hex(),
            "access": access}
    text = f"{pack(json.dumps(head).encode())}.{pack(json.dumps(body).encode())}"
    signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text.encode(), check=True, capture_output=True).stdout
    return f"{text}.{pack(signature)}"


def test_real_registry_with_tokens(project, serve, tmp_path):
    """docker-registry itself judges the tokens, and with them the scopes that were asked for."""
    import base64
    import urllib.parse
    folder = tmp_path / "registry"
    folder.mkdir()
    key, cert = folder / "signer.key", folder / "signer.cert"
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=us", "-keyout", key, "-out", cert)
    tokens = serve()

    def hook(request, kind, _what):
        login = base64.b64decode(request.headers.get("Authorization", "Basic ")[6:]).decode()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        access = []
        for scope in query.get("scope", []):
            what, _, actions = scope.rpartition(":")
            actions = actions.split(",") if login == "ann:secret" else [a for a in actions.split(",") if a == "pull"]
            access.append({"type": what.partition(":")[0], "name": what.partition(":")[2], "actions": actions})
        request.answer(200, json.dumps({"token": signed_token(key, cert, access)}).encode())
        return True
    tokens.hook = hook
    registry = Registry(folder, realm=f"http://{tokens.host}/token")
    try:
        name = f"{registry.host}/team/app:1"
        project("image", "tag", "base", name)
        push_fails(project, name, f"registry {registry.host}", "access denied")
        docker_config(project, auths={registry.host: {"auth": base64.b64encode(b"ann:secret").decode()}})
        project("image", "push", name)
        project("image", "rm", name)
        docker_config(project)
        project("image", "pull", name)
        fails(project, f"{registry.host}/team/other:1", "not found")
    finally:
        registry.close()


def test_token_that_runs_out_on_the_way(project, serve):
    server = serve([HELLO, big_layer("x", 1), big_layer("y", 1)])
    tokens = []

    def hook(request, kind, _what):
        if kind == "token":
            tokens.append(f"token-{len(tokens)}")
            request.answer(200, json.dumps({"access_token": tokens[-1]}).encode())
            return True
        # The first is good for the manifest and nothing else.
        good = request.headers.get("Authorization") == f"Bearer {tokens[-1]}" if tokens else False
        if good and (kind == "manifest" or len(tokens) > 1):
            return False
        request.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="http://{server.host}/token",service=s'})
        return True
    server.hook = hook
    project("image", "pull", server.name)
    assert len(tokens) == 2
    assert "scope=repository%3Aimage%3Apull" in server.asked("/token")[0], "nobody said a scope: ours"


def test_identity_token(project, serve):
    server = serve()
    plain, bodies = bearer(server), []

    def hook(request, kind, what):
        if kind != "token":
            return plain(request, kind, what)
        bodies.append(f"{request.command} {getattr(request, 'body', b'').decode()}")
        request.answer(200, json.dumps({"access_token": "let-me-in"}).encode())
        return True
    server.hook = hook
    docker_config(project, auths={server.host: {"identitytoken": "refresh/me"}})
    project("image", "pull", server.name)
    assert bodies[0].startswith("POST grant_type=refresh_token") and "refresh_token=refresh%2Fme" in bodies[0]


@pytest.mark.parametrize("how", ["credsStore", "credHelpers"])
def test_credential_helper(project, serve, how):
    server = serve()
    bearer(server)
    bin_folder = project.tmp / "bin"
    bin_folder.mkdir()
    helper = bin_folder / "docker-credential-vault"
    helper.write_text("#!/bin/sh\nread server\necho \"$1 $server\" >>\"$0.asked\"\n"
                      "echo '{\"ServerURL\": \"x\", \"Username\": \"bob\", \"Secret\": \"from the helper\"}'\n")
    helper.chmod(0o755)
    project.env["PATH"] = f"{bin_folder}:{os.environ['PATH']}"
    docker_config(project, **({"credsStore": "vault"} if how == "credsStore" else {"credHelpers": {server.host: "vault"}}))
    project("image", "pull", server.name)
    assert server.token_auth == "bob:from the helper"
    assert (bin_folder / "docker-credential-vault.asked").read_text() == f"get {server.host}\n"


def test_missing_helper_is_named(project, serve):
    server = serve()
    bearer(server)
    docker_config(project, credsStore="nowhere-to-be-found")
    fails(project, server.name, "docker-credential-nowhere-to-be-found")


def test_wrong_login_is_said(project, serve):
    server = serve()
    plain = bearer(server)
    server.hook = lambda r, kind, what: (r.answer(401), True)[1] if kind == "token" else plain(r, kind, what)
    docker_config(project, auths={server.host: {"username": "ann", "password": "old"}})
    line = fails(project, server.name, "the login is refused", f"http://{server.host}/token")
    assert "old" not in line


def test_token_server_in_trouble_is_asked_again(project, serve):
    server = serve()
    plain, answers = bearer(server), []

    def hook(request, kind, what):
        if kind == "token" and not answers:
            answers.append(request.answer(503))
            return True
        return plain(request, kind, what)
    server.hook = hook
    project("image", "pull", server.name)


# --- where they are ----------------------------------------------------------------------------------


def certificate(folder: Path, name: str, *subject_and_issuer: str) -> tuple[Path, Path]:
    key, cert = folder / f"{name}.key", folder / f"{name}.cert"
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", *subject_and_issuer, "-keyout", key, "-out", cert)
    return key, cert


def test_certificates_of_registry_and_client(project, serve, address):
    """certs.d/HOST: the authority, and a certificate of our own, also for where tokens are given."""
    key, cert = certificate(project.tmp, "server", "-addext", f"subjectAltName=IP:{address}")
    own_key, own_cert = certificate(project.tmp, "client")
    both = project.tmp / "both"
    both.write_text(key.read_text() + cert.read_text())
    server = serve(address=address, certificate=both, clients=own_cert)

    def hook(request, kind, _what):
        if kind == "token" or request.headers.get("Authorization") == "Bearer let-me-in":
            return False
        request.answer(401, b"", {"WWW-Authenticate": f'Bearer realm="https://{server.host}/token",service="s"'})
        return True
    server.hook = hook
    fails(project, server.name, server.host, "certificate")
    trusted = Path("/etc/docker/certs.d") / server.host
    trusted.mkdir(parents=True)
    try:
        (trusted / "ca.crt").write_text(cert.read_text())
        fails(project, server.name, server.host)
        (trusted / "client.cert").write_text(own_cert.read_text())
        fails(project, server.name, "client.key")
        (trusted / "client.key").write_text(own_key.read_text())
        project("image", "pull", server.name)
    finally:
        run("rm", "-rf", trusted)


def test_certificates_of_the_system(project, serve, address):
    key, cert = certificate(project.tmp, "server", "-addext", f"subjectAltName=IP:{address}")
    both = project.tmp / "both"
    both.write_text(key.read_text() + cert.read_text())
    server = serve(address=address, certificate=both)
    fails(project, server.name, "TLS", "certificate")
    project("image", "pull", server.name, env={"SSL_CERT_FILE": str(cert)})
    wrong_key, wrong = certificate(project.tmp, "wrong", "-addext", "subjectAltName=DNS:elsewhere.test")
    both.write_text(wrong_key.read_text() + wrong.read_text())
    stranger = serve(address=address, certificate=both)
    fails(project, stranger.name, "TLS", env={"SSL_CERT_FILE": str(wrong)})


@pytest.mark.parametrize("entry", ["198.51.100.9", "198.51.100.0/24", "host:port"])
def test_plain_http_where_configured(project, serve, address, entry):
    server = serve(address=address)
    settings(project, insecure_registries=[entry.replace("host:port", server.host)])
    project("image", "pull", server.name)


@pytest.mark.parametrize("text, words", [
    ('{"mirors": {}}', '"mirors"'), ('{"mirrors": {"ghcr.io": "x"}}', "ghcr.io"), ('{"insecure-registries": ', "registries.json:1"),
])
def test_wrong_settings_are_not_passed_over(project, serve, text, words):
    server = serve()
    path = project.tmp / "registries.json"
    path.write_text(text)
    project.env["COMPOSE_REGISTRIES"] = str(path)
    fails(project, server.name, str(path), words)
    assert server.requests == []


def test_mirror_of_the_hub(project, serve):
    import base64
    mirror = serve()
    mirror.put(mirror.manifest, "3")
    docker_config(project, auths={"https://index.docker.io/v1/": {"auth": base64.b64encode(b"me:mine").decode()}})
    bearer(mirror)
    project("image", "pull", "alpine:3", env={"COMPOSE_REGISTRY_MIRRORS": f"http://{mirror.host}"})
    assert mirror.asked("/v2/library/alpine/manifests/3")
    assert mirror.token_auth == "", "the Hub's login is the Hub's"
    assert inspect(project, "alpine:3")["RepoTags"] == ["alpine:3"]


def test_mirror_of_any_registry_with_a_folder(project, serve):
    mirror = serve()
    settings(project, mirrors={"registry.invalid": [f"http://{mirror.host}/cache/of/"]})
    project("image", "pull", "registry.invalid/team/image:latest")
    assert mirror.asked("/v2/cache/of/team/image/manifests/latest")
    assert mirror.asked("/v2/cache/of/team/image/blobs/")


@pytest.mark.parametrize("trouble", ["refused", "not found", "layer not found", "corrupt layer"])
def test_mirror_that_fails_is_left(project, serve, trouble):
    """At the first word or in the midst of a layer: the registry itself serves."""
    origin = serve([HELLO, big_layer("x", 1)])
    mirror = serve([HELLO], "corrupt" if trouble == "corrupt layer" else "")
    if trouble != "not found":
        mirror.put(origin.manifest, "latest")
    else:
        mirror.manifests.clear()
    mirror.files = dict(origin.files)
    mirror.layers = origin.layers
    if trouble == "layer not found":
        for one in list(origin.layers)[:1]:
            del mirror.files["blobs/sha256/" + one[7:]]
    host = f"127.0.0.1:{free_port()}" if trouble == "refused" else mirror.host
    settings(project, mirrors={origin.host: [f"http://{host}"]})
    result = project("--progress", "plain", "image", "pull", origin.name)
    assert "Retrying" in result.err and host in result.err, "it is said"
    assert origin.asked("/manifests/")
    project("image", "fsck", "--deep", code=None)


def test_proxy_of_the_environment(project, serve):
    """The proxy is asked for names that only it can resolve; NO_PROXY and loopback go without."""
    proxy, near = serve(), serve()
    settings(project, insecure_registries=["registry.test"])
    way = {"HTTP_PROXY": f"http://{proxy.host}", "HTTPS_PROXY": "http://127.0.0.1:1"}
    project("image", "pull", "registry.test/image:latest", env=way)
    assert proxy.asked("GET http://registry.test/v2/image/manifests/latest")
    fails(project, "registry.test/image:image", "cannot be resolved", env=way | {"NO_PROXY": ".example,registry.test"})
    asked = len(proxy.requests)
    for name in (near.name, near.name.replace("127.0.0.1", "localhost"), near.name.replace("127.0.0.1", "127.0.0.2")):
        if "127.0.0.2" in name:  # nobody is there, and no proxy is asked for it
            fails(project, name, "refused", env=way)
        else:
            project("image", "pull", name, env=way)
    fails(project, "registry.test/image:image", "cannot be resolved", env=way | {"NO_PROXY": "*"})
    assert len(proxy.requests) == asked
    fails(project, "secure.test/image:latest", "refused", env=way)
    fails(project, "secure.test/image:latest", "proxy", env={"HTTPS_PROXY": "http://proxy.invalid:3128"})


# --- on the way --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_do_not_leak_the_token(project, serve, status):
    server, store = serve([big_layer("x", 1)]), serve([HELLO])
    store.files |= server.files
    plain = bearer(server)

    def hook(request, kind, what):
        if plain(request, kind, what):
            return True
        if kind == "blob":
            request.answer(status, b"elsewhere", {"Location": f"http://localhost:{store.server.server_port}/data/{what}?sig=1"})
            return True
        return False
    server.hook = hook
    project("image", "pull", server.name)
    assert len(store.requests) == 2 and set(store.authorizations) == {None}
    assert "Bearer let-me-in" in server.authorizations


def test_where_a_redirect_led_is_named(project, serve):
    server = serve()
    port = free_port()
    server.hook = lambda r, kind, what: kind == "blob" and (r.answer(307, b"", {"Location": f"http://localhost:{port}/x"}), True)[1]
    fails(project, server.name, server.host, f"localhost:{port}", "refused")


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_connection_is_resumed(project, serve, ranges):
    """Also at a server that does not know ranges and begins anew."""
    server = serve([big_layer("x", 4)])
    seen = []

    def hook(request, kind, what):
        if kind != "blob" or what not in server.layers:
            return False
        blob = server.files["blobs/sha256/" + what[7:]]
        wanted = request.headers.get("Range")
        seen.append(wanted)
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted and ranges else 0
        end = min(len(blob), start + (3 << 19) if ranges else (len(seen) << 20))
        headers = {"Content-Length": str(len(blob) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(blob) - 1}/{len(blob)}"
        request.answer(206 if start else 200, blob[start:end], headers)
        request.close_connection = True
        return True
    server.hook = hook
    project("image", "pull", server.name)
    assert seen[0] is None and len(seen) >= 3 and all(s.startswith("bytes=") for s in seen[1:])
    assert project("image", "fsck", "--deep") is not None


class BadLine:
    """A TCP relay that breaks its first connections off after so many bytes of the answer."""

    def __init__(self, port: int, cuts: int, after: int):
        import socket
        self.target, self.cuts, self.after, self.broken = port, cuts, after, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        import socket
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
                threading.Thread(target=self._relay, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._relay, args=(far, near, True), daemon=True).start()

    def _relay(self, source, to, answers: bool):
        import socket
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
                passed += len(data)
                if answers and passed > self.after and self.broken < self.cuts:
                    self.broken += 1
                    break
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def close(self):
        self.listener.close()


def test_real_registry_over_a_bad_line(project, registry):
    name = registry.push("big:1", [big_layer("x", 8), busybox_layer()])
    line = BadLine(registry.port, 4, 1 << 20)
    try:
        result = project("--progress", "plain", "image", "pull", name.replace(registry.host, line.host))
        assert line.broken == 4 and "Retrying" in result.err
        project("image", "fsck", "--deep")
    finally:
        line.close()


def test_rate_limit_is_waited_for_and_said(project, serve):
    server = serve()
    when = []

    def hook(request, kind, _what):
        if kind != "manifest" or len(when) == 2:
            return False
        when.append(time.monotonic())
        later = email.utils.formatdate(time.time() + 2, usegmt=True) if len(when) == 2 else "1"
        request.answer(429, json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}).encode(),
                       {"Retry-After": later})
        return True
    server.hook = hook
    result = project("--progress", "plain", "image", "pull", server.name)
    assert "rate limit" in result.err and "slow down" in result.err and "Retrying in" in result.err
    assert when[1] - when[0] >= 0.9


def test_long_rate_limit_is_said_at_once(project, serve):
    server = serve()
    server.hook = lambda r, kind, what: kind == "manifest" and (r.answer(429, b"", {"Retry-After": "21600"}), True)[1]
    fails(project, server.name, server.host, "rate limit", "21600 s", "429")
    assert len(server.requests) == 1


def test_connections_are_reused_and_bounded(project, serve):
    """Two images of 12 layers at once: few connections, and few layers at one time."""
    rng = [layer((f"f{i}", os.urandom(1 << 16))) for i in range(24)]
    server = serve(rng[:12])
    server.add(rng[12:], None, "gz", "second")
    server.layers = {n.replace("blobs/sha256/", "sha256:") for n in server.files if n.startswith("blobs/")}
    now, most = [0], [0]
    lock = threading.Lock()

    def hook(request, kind, what):
        if kind != "blob":
            return False
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return False
    server.hook = hook
    project.file(f"services: {{a: {{image: '{server.name}'}}, b: {{image: '{server.host}/image:second'}}}}")
    project("pull")
    assert len(server.asked("/blobs/")) == 26
    assert 2 <= most[0] <= 8
    assert len(server.peers) <= 14, server.peers


def test_layer_of_two_images_is_fetched_once(project, serve):
    common = big_layer("common", 2)
    server = serve([common, layer(("a", "1"))])
    server.add([common, layer(("a", "2"))], None, "gz", "second")
    shared = json.loads(server.manifest)["layers"][0]["digest"]
    project.file(f"services: {{a: {{image: '{server.name}'}}, b: {{image: '{server.host}/image:second'}}}}")
    project("pull")
    assert len(server.asked(f"/blobs/{shared}")) == 1


def test_two_processes_fetch_a_layer_once(project, serve):
    server = serve([big_layer("x", 2), big_layer("y", 2)])
    go = threading.Event()
    server.hook = lambda r, kind, what: kind == "blob" and what in server.layers and not go.wait(20)
    both = [project.popen("image", "pull", server.name) for _ in range(2)]
    wait_for(lambda: len(server.asked("/manifests/")) >= 2 and server.asked("/blobs/"), "both to be at it")
    go.set()
    for child in both:
        assert child.wait(60) == 0, child.stdout.read()
    for one in server.layers:
        assert len(server.asked(f"/blobs/{one}")) == 1


def test_unpacks_while_it_downloads_and_shows_nothing_before_the_end(project, serve):
    data = layer(*[(f"file{i}", os.urandom(1 << 18)) for i in range(16)])
    server = serve([data])
    go = threading.Event()

    def hook(request, kind, what):
        if kind != "blob" or what not in server.layers:
            return False
        blob = server.files["blobs/sha256/" + what[7:]]
        half = len(blob) * 3 // 4
        request.send_response(200)
        request.send_header("Content-Length", str(len(blob)))
        request.end_headers()
        request.wfile.write(blob[:half])
        go.wait(20)
        request.wfile.write(blob[half:])
        return True
    server.hook = hook
    before = snapshot(project)
    child = project.popen("image", "pull", server.name)
    images = project.root / "images"
    wait_for(lambda: list(images.glob("tmp/*/layer-*/fs/file0")), "the first file, before the last byte came")
    visible = {n: h for n, h in snapshot(project).items() if not n.startswith(("tmp", "blobs"))}
    assert visible == {n: h for n, h in before.items() if not n.startswith(("tmp", "blobs"))}
    assert server.host not in project("image", "ls").out
    go.set()
    assert child.wait(60) == 0
    assert server.host in project("image", "ls").out


def in_halves(server, go: threading.Event):
    """Layers come half, and whole when they may."""
    def hook(request, kind, what):
        if kind != "blob" or what not in server.layers:
            return False
        blob = server.files["blobs/sha256/" + what[7:]]
        request.send_response(200)
        request.send_header("Content-Length", str(len(blob)))
        request.end_headers()
        request.wfile.write(blob[:len(blob) // 2])
        go.wait(20)
        request.wfile.write(blob[len(blob) // 2:])
        return True
    server.hook = hook


def test_progress_in_lines(project, serve):
    server = serve([big_layer("x", 1)])
    short = next(iter(server.layers))[7:19]
    project.file(f"services: {{web: {{image: '{server.name}'}}}}")
    lines = [line.rstrip() for line in project("--progress", "plain", "pull").err.splitlines()]
    assert lines[0] == " web Pulling" and lines[-1] == " web Pulled"
    assert f" {short} Pulling fs layer" in lines and f" {short} Pull complete" in lines
    assert f" {short} Extracting [{'=' * 50}>]   1.05MB/1.05MB" in lines
    assert all(re.fullmatch(rf" (web Pull(ing|ed)|{short} (Pulling fs layer|Pull complete|(Downloading|Extracting)( \[=*> *\] +\S+B/1\.05MB)?))", line)
               for line in lines), lines
    lines = [line.rstrip() for line in project("--progress", "plain", "pull").err.splitlines()]
    assert lines == [" web Pulling", " web Pulled"], "nothing moved"
    assert project("pull", "--quiet").err == ""


def test_progress_as_json(project, serve):
    server = serve([big_layer("x", 4)])
    go = threading.Event()
    in_halves(server, go)
    short = next(iter(server.layers))[7:19]
    project.file(f"services: {{web: {{image: '{server.name}'}}}}")
    child = project.popen("--progress", "json", "pull")
    events = []
    for line in child.stdout:
        events.append(json.loads(line))
        if events[-1].get("percent", 0) > 40:
            go.set()
    assert child.wait(20) == 0
    assert events[0] == {"id": "web", "text": "Pulling"} and events[-1] == {"id": "web", "text": "Pulled"}
    moving = next(e for e in events if e.get("percent", 0) > 40)
    assert moving["id"] == short and moving["parent_id"] == "web" and moving["text"] == "Downloading"
    assert 0 < moving["current"] < moving["total"] and moving["percent"] == 100 * moving["current"] // moving["total"]
    assert re.fullmatch(r"\[=*> *\] +\S+MB/4\.2MB", moving["status"])
    assert {"id": short, "parent_id": "web", "text": "Pull complete", "percent": 100} in events


@pytest.mark.parametrize("columns", [80, 200])
def test_progress_on_a_terminal(project, serve, columns):
    """As Docker's, layer by layer, with how far it is; and how fast."""
    import fcntl
    import pty
    import struct
    import termios
    server = serve([big_layer("x", 4)])
    go = threading.Event()
    in_halves(server, go)
    short = next(iter(server.layers))[7:19]
    project.file(f"services: {{web: {{image: '{server.name}'}}}}")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = project.popen("pull", stdout=slave, stderr=slave, stdin=slave)
    os.close(slave)
    text = ""
    with contextlib.suppress(OSError):
        while part := os.read(master, 65536):
            text += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part.decode())
            if re.search(r"[12]\.?\d*MB/4\.2MB  \S+[kM]B/s", text):
                go.set()
    os.close(master)
    assert child.wait(20) == 0
    lines = text.replace("\r", "").split("\n")
    assert max(map(len, lines)) <= columns
    assert any(re.match(rf"   . {short} Downloading +(\[=*> *\] +)?[12]\S*MB/4\.2MB  \S+[kM]B/s +\d\.\ds", line) for line in lines), text
    assert any(re.match(r" . web \[.\] \d\S*MB / 4\.2MB Pulling", line) for line in lines), text
    assert any(re.match(rf"   ✔ {short} Pull complete +\d\.\ds", line) for line in lines), text
    assert any(re.match(r"\[\+\] Pulling 2/2", line) for line in lines) and any(re.match(r" ✔ web Pulled", line) for line in lines)


@pytest.mark.slow  # and so not with sanitizers, whose memory is their own
def test_memory_is_bounded(project, serve):
    """Also for layers that want a large window each, and for one that is mostly holes."""
    layers = [layer((f"f{i}", os.urandom(1 << 20) * 40)) for i in range(4)] + [layer(("zeros", bytes(200 << 20)))]
    server = serve(layers, how="zstd -3 --long=25")
    # Not our own child: what it was before it became compose, a large Python, would count.
    said = run("/usr/bin/time", "-f", "%M", *project.argv("image", "pull", "-q", server.name), env=project.environment(),
               cwd=project.dir, stdin=subprocess.DEVNULL, capture_output=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert int(said.stderr) <= 64 << 10, "kB at its most"


# --- what may go wrong -------------------------------------------------------------------------------


def test_nobody_there(project):
    name = f"127.0.0.1:{free_port()}/image:1"
    fails(project, name, f"registry {name.split('/')[0]}", "Connection refused")
    fails(project, "registry.invalid/image:1", "registry registry.invalid", "cannot be resolved")


@pytest.mark.parametrize("status, words", [
    (401, "login"), (403, "access denied"), (404, "not found"), (418, "418"), (400, "400"),
])
@pytest.mark.parametrize("at", ["manifest", "blob"])
def test_refusals(project, serve, status, words, at):
    server = serve([HELLO, big_layer("x", 1)])
    body = json.dumps({"errors": [{"code": "X", "message": "because\nof \u001b[31mthat"}]}).encode()
    server.hook = lambda r, kind, what: kind == at and (r.answer(status, body), True)[1]
    line = fails(project, server.name, f"registry {server.host}", words)
    assert "\x1b" not in line
    if status != 401:
        assert "because of" in line


@pytest.mark.slow
@pytest.mark.parametrize("status", [429, 500, 503])
def test_trouble_that_does_not_pass(project, serve, status):
    server = serve()
    server.hook = lambda r, kind, what: kind == "manifest" and (r.answer(status), True)[1]
    fails(project, server.name, f"registry {server.host}", str(status))
    assert 3 <= len(server.requests) <= 10


def changed(server, change) -> str:
    """The image with its manifest changed, under the tag "changed"."""
    manifest = json.loads(server.manifest)
    change(manifest)
    server.put(manifest, "changed")
    return f"{server.host}/image:changed"


def test_wrong_digests_and_sizes(project, serve):
    server = serve([HELLO, big_layer("x", 1)])
    other = json.loads(oci_layout("x", [layer(("a", "b"))])["index.json"])["manifests"][0]

    def set_layer(**fields):
        return lambda m: m["layers"][1].update(fields)
    size = json.loads(server.manifest)["layers"][1]["size"]
    cases = [
        (set_layer(size=size - 1), "larger"), (set_layer(size=size + 1), str(size + 1)), (set_layer(size=-5), ""),
        (set_layer(size=1 << 62), ""), (set_layer(digest="sha256:nonsense"), ""), (set_layer(digest="sha256:" + "0" * 64), "not found"),
        (set_layer(digest="sha256:../../../../etc/passwd"), ""),
        (lambda m: m["config"].update(size=m["config"]["size"] + 1), "config"),
        (lambda m: m["config"].update(digest=other["digest"]), "not found"),
        (lambda m: m.update(layers=m["layers"][:1]), ""), (lambda m: m.update(layers=m["layers"] * 400), ""),
        (lambda m: m.update(layers="x"), ""), (lambda m: m.pop("config"), "config"),
    ]
    for number, (change, words) in enumerate(cases):
        fails(project, changed(server, change), words or server.host)
        assert number >= 0
    # Layers in another order: each is what its digest says, and none is what the config says.
    fails(project, changed(server, lambda m: m["layers"].reverse()), "diff ID mismatch")


def test_wrong_content(project, serve):
    server = serve([HELLO, big_layer("x", 1)])
    config = json.loads(server.manifest)["config"]["digest"]

    def spoil(which, how):
        server.hook = lambda r, kind, what: kind == which[0] and what in which[1] and (r.answer(200, how(what), {"Content-Type": f"{OCI}manifest.v1+json"}), True)[1]
    blob = lambda what: server.files["blobs/sha256/" + what[7:]]  # noqa: E731
    spoil(("blob", [config]), lambda what: blob(what).replace(b"2026", b"2025"))
    fails(project, server.name, "digest mismatch", "config")
    spoil(("blob", server.layers), lambda what: blob(what)[:-9] + b"123456789")
    fails(project, server.name, "digest mismatch", f"registry {server.host}")
    spoil(("blob", server.layers), lambda what: blob(what)[:-9])
    fails(project, server.name, "in the place of")
    spoil(("blob", server.layers), lambda what: blob(what) + b"more")
    fails(project, server.name, "larger")
    by_digest = f"{server.host}/image@{digest(server.manifest)}"
    spoil(("manifest", [digest(server.manifest)]), lambda _: server.manifest + b" ")
    fails(project, by_digest, "digest mismatch")
    spoil(("manifest", ["latest"]), lambda _: b"<html>welcome</html>")
    fails(project, server.name, server.host)


def test_size_of_the_index_is_verified(project, serve):
    server = serve()
    entry = other_image(server, ARCH) | {"size": 17}
    server.put({"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": [entry]}, "odd")
    fails(project, f"{server.host}/image:odd", "17")


def test_indexes_that_never_end(project, serve):
    server = serve()
    inner = server.put(server.manifest)
    for _ in range(8):
        index = {"schemaVersion": 2, "mediaType": f"{OCI}index.v1+json", "manifests": [
            {"mediaType": f"{OCI}index.v1+json", "digest": inner, "platform": {"os": "linux", "architecture": ARCH}}]}
        inner = server.put(index, "deep")
    fails(project, f"{server.host}/image:deep", server.host)


@pytest.mark.parametrize("bomb", ["large", "deep", "endless"])
def test_manifest_bombs(project, serve, bomb):
    server = serve()

    def hook(request, kind, _what):
        if kind != "manifest":
            return False
        if bomb == "endless":
            request.send_response(200)
            request.send_header("Content-Type", f"{OCI}manifest.v1+json")
            request.end_headers()
            request.close_connection = True
            while request.command == "GET":
                request.wfile.write(b" " * (1 << 16))
            return True
        body = b'{"a":"' + b"x" * (5 << 20) + b'"}' if bomb == "large" else b"[" * 1_000_000
        request.answer(200, body, {"Content-Type": f"{OCI}manifest.v1+json"})
        return True
    server.hook = hook
    fails(project, server.name, server.host)


def test_layer_that_is_no_tar_or_cut(project, serve):
    server = serve([HELLO])
    config = json.loads(server.files["blobs/sha256/" + json.loads(server.manifest)["config"]["digest"][7:]])
    for data in (os.urandom(1 << 16), HELLO[:700]):
        text = json.dumps(config | {"rootfs": {"type": "layers", "diff_ids": [digest(data)]}}).encode()
        for part in (data, text):
            server.files["blobs/sha256/" + digest(part)[7:]] = part
        fails(project, changed(server, lambda m, data=data, text=text: m.update(
            config=m["config"] | {"digest": digest(text), "size": len(text)},
            layers=[{"mediaType": f"{OCI}layer.v1.tar", "digest": digest(data), "size": len(data)}])), server.host)


def test_disk_full_and_read_only(make_project, serve):
    project = make_project(with_base=False)
    run("mount", "-t", "tmpfs", "-o", "size=6m,mode=711", "tmpfs", project.root)
    server = serve([HELLO, big_layer("x", 8)])
    small = serve([HELLO])
    project("image", "pull", small.name)
    wait_for(lambda: not list(project.root.glob("images/layers/*/unsynced")), "the layers to be on disk")
    fails(project, server.name, "No space left on device")
    run("mount", "-o", "remount,ro", project.root)
    fails(project, server.name, "Read-only file system")
    assert small.host in project("image", "ls").out, "what is there is there"
    run("mount", "-o", "remount,rw", project.root)
    project("image", "fsck", "--deep")
    wait_for(lambda: libc.umount2(str(project.root).encode(), 0) == 0, "the disk to be free", 5)


def test_exit_codes_as_the_reference(project, serve):
    """A failed pull ends pull, up and run with 1, and up starts nothing."""
    server = serve()
    server.manifests.clear()
    project.file(f"services: {{x: {{image: '{server.name}'}}, y: {{image: base, command: sleep 60}}}}")
    for args in (["pull"], ["up", "-d"], ["run", "--rm", "-T", "x"], ["create"]):
        result = project(*args, code=1)
        assert server.name in result.err and "not found" in result.err
    assert project.ps() == []
    assert project("pull", "--ignore-pull-failures", "x").code == 0


def test_ctrl_c_leaves_nothing(project, serve):
    import signal
    server = serve([big_layer("x", 4)])
    server.hook = lambda r, kind, what: kind == "blob" and what in server.layers and (time.sleep(3), False)[1]
    before = snapshot(project)
    child = project.popen("image", "pull", server.name)
    wait_for(lambda: server.asked("/blobs/"), "the layer to be asked for")
    child.send_signal(signal.SIGINT)
    assert child.wait(2) == 130
    with contextlib.suppress(AssertionError):
        wait_for(lambda: snapshot(project) == before, "a clean store", 2)
    assert snapshot(project) == before


# --- the other way -----------------------------------------------------------------------------------


def push_fails(project, name: str, *words: str) -> None:
    result = project("image", "push", "-q", name, code=1)
    lines = [line for line in result.err.splitlines() if line.strip()]
    assert len({re.sub(r"^.* Error ", "", line) for line in lines}) == 1, result
    for word in (f"image {name}: ", *words):
        assert word.lower() in lines[-1].lower(), result


def test_push_with_login_and_again(project, private_registry):
    import base64
    name = f"{private_registry.host}/team/app:1"
    project("image", "tag", "base", name)
    push_fails(project, name, f"registry {private_registry.host}", "login")
    docker_config(project, auths={private_registry.host: {"auth": base64.b64encode(b"ann:secret").decode()}})
    project.file(f"services: {{x: {{image: '{name}', build: .}}, y: {{image: base}}}}")
    project("push")
    again = project("--progress", "plain", "push")
    assert "Already exists" in again.err and "Pushed" in again.err
    project("image", "rm", name)
    project("image", "pull", name)
    assert inspect(project, name)["Id"] == inspect(project, "base")["Id"]


def test_push_asks_for_the_right_to_push(project, serve):
    server = serve()
    bearer(server, scope="repository:team/app:pull")
    project("image", "tag", "base", f"{server.host}/team/app:1")
    project("image", "push", f"{server.host}/team/app:1")
    assert "scope=repository%3Ateam%2Fapp%3Apull%2Cpush" in server.asked("/token")[0]
    project("image", "rm", f"{server.host}/team/app:1")
    project("image", "pull", f"{server.host}/team/app:1")


def test_uploads_elsewhere_go_without_the_token(project, serve):
    server, store = serve(), serve()
    plain = bearer(server)

    def hook(request, kind, what):
        if plain(request, kind, what):
            return True
        if request.command == "POST":
            request.answer(202, b"", {"Location": f"http://localhost:{store.server.server_port}/upload/1?sig=2"})
            return True
        return False
    server.hook = hook
    project("image", "tag", "base", f"{server.host}/app:1")
    project("image", "push", f"{server.host}/app:1")
    assert len(store.requests) == 2 and set(store.authorizations) == {None}
    server.files |= store.files
    project("image", "rm", f"{server.host}/app:1")
    server.hook = plain
    project("image", "pull", f"{server.host}/app:1")


@pytest.mark.parametrize("status, words", [(401, "login"), (403, "access denied"), (413, "413")])
def test_push_that_is_refused(project, serve, status, words):
    server = serve()
    server.hook = lambda r, kind, what: r.command == "POST" and (r.answer(status, b'{"errors": [{"message": "no\\nway"}]}'), True)[1]
    name = f"{server.host}/app:1"
    project("image", "tag", "base", name)
    push_fails(project, name, f"registry {server.host}", words)
    push_fails(project, f"127.0.0.1:{free_port()}/app:1", "No such image")


def test_push_goes_on_after_trouble(project, serve):
    server = serve()
    troubled = set()

    def hook(request, kind, what):
        once = (request.command, kind)
        if request.command == "HEAD" or once in troubled:
            return False
        troubled.add(once)
        request.answer(503)
        return True
    server.hook = hook
    name = f"{server.host}/app:1"
    project("image", "tag", "base", name)
    result = project("--progress", "plain", "image", "push", name)
    assert len(troubled) == 3 and "Retrying in" in result.err and "HTTP 503" in result.err
    project("image", "rm", name)
    project("image", "pull", name)
