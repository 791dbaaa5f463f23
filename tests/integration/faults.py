"""System calls of compose that fail when a test says so (faults.c)."""

import errno
import mmap
import os
import signal
import struct
import subprocess
from pathlib import Path

CALLS = ["write", "rename", "fsync", "mkdir", "open", "mount", "umount", "spawn", "socket", "accept", "pipe", "setns", "send", "unlink",
         "mktemp"]
# What each of them may plausibly say.
ERRORS = {"write": ["ENOSPC", "EIO"], "rename": ["ENOSPC", "EIO"], "fsync": ["EIO", "ENOSPC"], "mkdir": ["ENOSPC", "EIO"],
          "open": ["EMFILE", "ENFILE", "EIO"], "mount": ["ENOMEM"], "umount": ["ENOMEM"], "spawn": ["EAGAIN", "ENOMEM"],
          "socket": ["EMFILE", "ENOBUFS"], "accept": ["EMFILE"], "pipe": ["EMFILE"], "setns": ["ENOMEM"], "send": ["ENOBUFS", "ENOMEM"],
          "unlink": ["EIO"], "mktemp": ["ENOSPC", "EMFILE"]}
LAYOUT = "6iq"  # six numbers, then the clock, aligned


class Faults:
    """A box that every compose of one project shares."""

    def __init__(self, project, folder: Path):
        library = folder / "faults.so"
        if not library.exists():
            source = Path(__file__).with_name("faults.c")
            fresh = folder / f"faults.{os.getpid()}"
            subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", fresh, source, "-ldl"], check=True)
            os.rename(fresh, library)
        path = project.tmp / "faults"
        path.write_bytes(bytes(mmap.PAGESIZE))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        project.env |= {"LD_PRELOAD": str(library), "COMPOSE_TEST_FAULTS": str(path)}
        self.clock_offset = 0

    def _put(self, calls=0, role=0, after=0, times=0, error=0):
        self.map[:struct.calcsize(LAYOUT)] = struct.pack(LAYOUT, 0, role, after, times, error, 0, self.clock_offset)
        self.map[:4] = struct.pack("i", calls)

    def arm(self, call: str, error: str, after: int = 0, times: int = 1, role: int = 0) -> None:
        """The next calls but so many fail so often. role: 1 in supervisors, 2 in all others. A signal instead of an
        error: the process gets it there."""
        calls = sum(1 << CALLS.index(c) for c in call.split(","))
        self._put(calls, role, after, times, -getattr(signal, error) if error.startswith("SIG") else getattr(errno, error))

    def hits(self) -> int:
        """How many have failed."""
        return struct.unpack_from("i", self.map, 20)[0]

    def disarm(self) -> int:
        hits = self.hits()
        self._put()
        return hits

    def clock(self, seconds: float) -> None:
        """Moves the wall clock by so much from the true time."""
        self.clock_offset = int(seconds * 1e9)
        self._put()
