"""Fixtures: `project` is a project under test with an empty folder and the image `base` (busybox)."""

import fcntl
import os
import subprocess

import pytest

import harness
import images
from harness import Namespace, Project, wait_for
from registry import Registry
from terminal import Terminal


def pytest_configure(config):
    if os.geteuid() != 0:
        raise pytest.UsageError("the integration tests need root")
    if not os.path.exists(harness.COMPOSE):
        raise pytest.UsageError(f"{harness.COMPOSE} is missing: make")
    # The controller of xdist runs no tests; each worker, and a run without xdist, gets its own network.
    if hasattr(config, "workerinput") or not getattr(config.option, "numprocesses", None):
        config.machine_netns = harness.enter_own_namespaces()


def pytest_sessionfinish():
    for removal in harness.removals:
        removal.wait()


def pytest_collection_modifyitems(items):
    """Tests that touch what the whole machine shares follow each other in one worker."""
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    # The long ones first, so that no worker is left alone with one at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A folder that all workers of this run share, and the lock for making things in it."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder


@pytest.fixture(scope="session")
def base_images(shared):
    """An image store with the image `base`, made once a run."""
    store = shared / "store"
    with open(shared / "store.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not store.exists():
            maker = Project(None)
            try:
                archive = maker.tmp / "base.tar"
                archive.write_bytes(images.busybox_layer())
                maker.compose("image", "import", archive, "base")
                wait_for(lambda: not list(maker.root.glob("images/layers/*/unsynced")), "the layers to be on disk", 60)
                subprocess.run(["cp", "-a", maker.root / "images", shared / "store.new"], check=True)
                os.rename(shared / "store.new", store)
            finally:
                trouble = maker.close()
            assert not trouble, "\n".join(trouble)
    return store


@pytest.fixture
def make_project(request):
    """Makes projects; each has roots of its own. All are taken down, and nothing may be left."""
    made = []

    def make(with_base: bool = True, **options) -> Project:
        images = request.getfixturevalue("base_images") if with_base else None
        made.append(Project(images, **options))
        return made[-1]

    yield make
    trouble = [line for project in reversed(made) for line in project.close()]
    assert not trouble, "\n".join(trouble)


@pytest.fixture
def project(make_project, request):
    if request.node.get_closest_marker("host_network"):
        return make_project(machine_netns=request.config.machine_netns)
    return make_project()


@pytest.fixture
def terminal(project):
    """compose of the project on terminals of its own."""
    opened = []

    def make(*args, **options) -> Terminal:
        opened.append(Terminal(project, *args, **options))
        return opened[-1]
    yield make
    for one in opened:
        one.close()


@pytest.fixture
def outside():
    """Another machine in the network, 198.18.0.2; we are 198.18.0.1 there."""
    other = Namespace()
    yield other
    other.close()


@pytest.fixture
def registry(tmp_path):
    server = Registry(tmp_path / "registry")
    yield server
    server.close()


@pytest.fixture
def private_registry(tmp_path):
    server = Registry(tmp_path / "registry", user="ann")
    yield server
    server.close()
