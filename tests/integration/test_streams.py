"""What stands behind compose's own standard streams: nothing, a full disk, a pipe that nobody reads."""

import tarfile

import pytest

from test_network import sleeper, write


def redirected(project, how: str, *args, code: int = 0) -> str:
    """compose with the redirections of a shell; what it says, as far as that comes here."""
    child = project.popen(*args, within=["sh", "-c", f'exec "$@" {how}', "sh"])
    said = child.communicate(timeout=60)[0]
    assert child.returncode == code, f"compose {args} {how}: exit {child.returncode}\n{said}"
    return said


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams(project, closed):
    write(project, {"x": sleeper()})
    redirected(project, closed, "up", "-d")
    assert project.state("x") == "running"
    shown = redirected(project, closed, "exec", "-T", "x", "sh", "-c", "echo out; echo err >&2; cat")
    assert shown.splitlines() == [word for word, stream in (("out", ">"), ("err", "2>")) if f" {stream}&-" not in f" {closed}"]
    redirected(project, closed, "run", "--rm", "-T", "x", "true")
    redirected(project, closed, "export", "x", "-o", "x.tar")
    redirected(project, closed, "image", "save", "-o", "image.tar", "base")
    for archive, member in (("x.tar", "bin/busybox"), ("image.tar", "oci-layout")):
        with tarfile.open(project.dir / archive) as tar:
            assert member in [name.removeprefix("./") for name in tar.getnames()]
    redirected(project, closed, "stop", "-t", "0")
    assert project.state("x") == "exited"
