"""Images made by hand: a busybox root file system, and archives with whatever layers a test wants."""

import gzip
import hashlib
import io
import json
import os
import platform
import subprocess
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"
GROUP = "root:x:0:\napp:x:1000:\nextra:x:2000:app\nnogroup:x:65534:\n"


def _entry(tar: tarfile.TarFile, name: str, kind=tarfile.REGTYPE, data: bytes = b"", **fields) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(data) if kind == tarfile.REGTYPE else None)


def layer(*entries) -> bytes:
    """A layer's tar. An entry is (name, data) or (name, data, {TarInfo fields}); a name that ends
    with / is a folder; data may be ("link", target) or ("hardlink", target)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data, *rest in entries:
            fields = rest[0] if rest else {}
            if name.endswith("/"):
                _entry(tar, name.rstrip("/"), tarfile.DIRTYPE, **fields)
            elif isinstance(data, tuple):
                kind = tarfile.SYMTYPE if data[0] == "link" else tarfile.LNKTYPE
                _entry(tar, name, kind, linkname=data[1], **fields)
            else:
                data = data.encode() if isinstance(data, str) else data
                _entry(tar, name, data=data, **fields)
    return out.getvalue()


def busybox_layer() -> bytes:
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    folders = ["bin/", "dev/", "etc/", "home/", "proc/", "root/", "run/", "sys/", "var/", "var/log/", "srv/"]
    entries = [(name, b"") for name in folders]
    entries += [("tmp/", b"", {"mode": 0o1777}), ("home/app/", b"", {"uid": 1000, "gid": 1000})]
    entries += [("bin/busybox", Path(BUSYBOX).read_bytes(), {"mode": 0o755})]
    entries += [(f"bin/{name}", ("link", "busybox")) for name in applets if name != "busybox"]
    entries += [("etc/passwd", PASSWD), ("etc/group", GROUP), ("usr/", b""), ("usr/bin/", b"")]
    entries += [("usr/bin/env", ("link", "/bin/busybox"))]
    return layer(*entries)


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def image_config(layers: list[bytes], config: dict | None) -> bytes:
    return json.dumps({
        "architecture": ARCH, "os": "linux", "created": "2026-01-01T00:00:00Z", "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in layers]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(len(layers))],
    }).encode()


def compress(data: bytes, how: str | None) -> bytes:
    if how == "gz":
        return gzip.compress(data, 6, mtime=0)
    if how and how.startswith("zstd"):  # with options of the program
        return subprocess.run([*how.split(), "-q", "-c"], input=data, check=True, capture_output=True).stdout
    return data


def docker_archive(path: Path, name: str, layers: list[bytes], config: dict | None = None,
                   whole: str | None = None) -> Path:
    """As `docker save` writes it; whole: compression of the whole archive."""
    config_json = image_config(layers, config)
    config_name = digest(config_json)[7:] + ".json"
    manifest = [{"Config": config_name, "RepoTags": [name],
                 "Layers": [f"{digest(data)[7:]}/layer.tar" for data in layers]}]
    entries = [(config_name, config_json)]
    for data in layers:
        entries += [(f"{digest(data)[7:]}/", b""), (f"{digest(data)[7:]}/layer.tar", data)]
    entries.append(("manifest.json", json.dumps(manifest)))
    path.write_bytes(compress(layer(*entries), whole))
    return path


def oci_layout(name: str, layers: list[bytes], config: dict | None = None, how: str | None = "gz") -> dict[str, bytes]:
    """The files of an OCI image layout."""
    media = "application/vnd.oci.image."
    suffix = {"gz": "+gzip", "zstd": "+zstd", "": ""}[(how or "").partition(" ")[0]]
    blobs = [compress(data, how) for data in layers]
    config_json = image_config(layers, config)
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": f"{media}manifest.v1+json",
        "config": {"mediaType": f"{media}config.v1+json", "digest": digest(config_json), "size": len(config_json)},
        "layers": [{"mediaType": f"{media}layer.v1.tar{suffix}", "digest": digest(b), "size": len(b)} for b in blobs],
    }).encode()
    index = json.dumps({
        "schemaVersion": 2, "manifests": [{
            "mediaType": f"{media}manifest.v1+json", "digest": digest(manifest), "size": len(manifest),
            "annotations": {"org.opencontainers.image.ref.name": name}}]}).encode()
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": index}
    for blob in [config_json, manifest, *blobs]:
        files["blobs/sha256/" + digest(blob)[7:]] = blob
    return files


def oci_archive(path: Path, name: str, layers: list[bytes], config: dict | None = None,
                how: str | None = "gz", whole: str | None = None) -> Path:
    files = oci_layout(name, layers, config, how)
    entries = [("blobs/", b""), ("blobs/sha256/", b""), *files.items()]
    path.write_bytes(compress(layer(*entries), whole))
    return path


def write_oci_layout(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def big_layer(name: str, megabytes: int) -> bytes:
    """A layer that does not compress."""
    return layer((name, os.urandom(megabytes << 20)))
