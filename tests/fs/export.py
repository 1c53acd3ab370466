# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the tests of writing share: mounting a directory, and looking at what
came to be."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

VMIEFS = os.path.join(os.environ.get("top_builddir", "."), "vmiefs")
PUNCH_HOLE, ZERO_RANGE = 3, 16  # modes of fallocate(2)
LIBC = ctypes.CDLL(None, use_errno=True)


def need_fuse():
    """Skip the whole test where FUSE does not work."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
        subprocess.run(["fusermount3", "-V"], check=True,
                       stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        tap.skip_all("FUSE does not work here")


def need(*programs):
    """Skip the whole test where one of them is missing."""
    for program in programs:
        if not shutil.which(program):
            tap.skip_all(f"{program} is missing")


class Mount:
    """A directory of its own, or the one given, mounted while in `with`."""

    def __init__(self, *options, store=None):
        self.options = [word for option in options for word in ("-o", option)]
        self.scratch = tempfile.TemporaryDirectory(prefix="vmiefs-test.")
        self.store = store or os.path.join(self.scratch.name, "store")
        self.top = os.path.join(self.scratch.name, "mnt")
        self.disks = os.path.join(self.top, "disks")
        os.makedirs(self.store, exist_ok=True)
        os.mkdir(self.top)
        self.daemon = None
        # What was streamed can be had again.
        self.turns_back = True

    def __enter__(self):
        # Not a pipe, which fills up when nobody reads.
        with open(os.path.join(self.scratch.name, "log"), "wb") as log:
            self.daemon = subprocess.Popen(
                [VMIEFS, "-f", self.store, self.top] + self.options,
                stderr=log)
        wait_until(lambda: os.path.ismount(self.top) or
                   self.daemon.poll() is not None)
        return self

    def end(self):
        """End the daemon, whatever uses the mount; what it said."""
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        with open(os.path.join(self.scratch.name, "log"), encoding="utf-8",
                  errors="replace") as log:
            said = log.read()
        tap.same(self.daemon.returncode, 0, "the daemon ends well")
        return said

    def __exit__(self, *_):
        if self.daemon.returncode is None:
            self.end()
        self.scratch.cleanup()

    def disk(self, name):
        """The path of a disk."""
        return os.path.join(self.disks, name)

    def stored(self):
        """All files in the store, hidden ones too."""
        return sorted(os.path.relpath(os.path.join(top, name), self.store)
                      for top, _, names in os.walk(self.store)
                      for name in names)

    def writing(self):
        """control/stats on files being written."""
        with open(os.path.join(self.top, "control/stats"),
                  encoding="utf-8") as stats:
            return json.load(stats)["writing"]

    def counters(self):
        """control/stats of the file system."""
        with open(os.path.join(self.top, "control/stats"),
                  encoding="utf-8") as stats:
            return json.load(stats)["fs"]

    def errors(self):
        """control/errors as objects."""
        with open(os.path.join(self.top, "control/errors"),
                  encoding="utf-8") as errors:
            return [json.loads(line) for line in errors]


def fallocate(fd, mode, offset, length):
    """fallocate(2) with any mode."""
    if LIBC.fallocate(fd, mode, ctypes.c_int64(offset),
                      ctypes.c_int64(length)):
        raise OSError(ctypes.get_errno(), "fallocate")


def wait_until(holds, seconds=30):
    """True as soon as it holds, False when it does not in time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def errno_of(act, *args):
    """The number of the OSError that it raises, or 0."""
    try:
        act(*args)
    except OSError as error:
        return error.errno
    return 0
