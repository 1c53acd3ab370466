# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the tests of writing share: mounting a store, and looking at what came
to be."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import stores  # noqa: E402
import tap  # noqa: E402

VMIEFS = os.path.join(os.environ.get("top_builddir", "."), "vmiefs")
PUNCH_HOLE, ZERO_RANGE = 3, 16  # modes of fallocate(2)
LIBC = ctypes.CDLL(None, use_errno=True)


def need_fuse():
    """Skip the whole test where FUSE does not work, and begin it again with
    a server where its store is to be in one."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
        subprocess.run(["fusermount3", "-V"], check=True,
                       stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        tap.skip_all("FUSE does not work here")
    stores.start()


def need_directory(why):
    """Skip the whole test where the store is no directory."""
    if stores.kind():
        tap.skip_all(f"needs a directory as its store: {why}")


def need(*programs):
    """Skip the whole test where one of them is missing."""
    for program in programs:
        if not shutil.which(program):
            tap.skip_all(f"{program} is missing")


class Mount:
    """A store of its own, or the one given, mounted while in `with`."""

    def __init__(self, *options, store=None):
        self.owns_store = store is None
        self.store = store or stores.new()
        self.options = [word for option in [*self.store.options, *options]
                        for word in ("-o", option)]
        self.scratch = tempfile.TemporaryDirectory(prefix="vmiefs-test.")
        self.top = os.path.join(self.scratch.name, "mnt")
        self.disks = os.path.join(self.top, "disks")
        os.mkdir(self.top)
        self.daemon = None
        # What was streamed can be had again.
        self.turns_back = not self.store.is_remote or \
            "spool=always" in options

    def __enter__(self):
        # Not a pipe, which fills up when nobody reads.
        with open(os.path.join(self.scratch.name, "log"), "wb") as log:
            self.daemon = subprocess.Popen(
                [VMIEFS, "-f", self.store.source, self.top] + self.options,
                stderr=log)
        wait_until(lambda: os.path.ismount(self.top) or
                   self.daemon.poll() is not None)
        if self.daemon.poll() is not None:
            raise RuntimeError(self.said())
        return self

    def end(self):
        """End the daemon, whatever uses the mount; what it said."""
        if self.store.is_remote:
            tap.same(self.secrets(), "", "no secret can be seen")
        self.daemon.terminate()
        self.daemon.wait(timeout=60)
        tap.same(self.daemon.returncode, 0, "the daemon ends well")
        if self.store.is_remote:
            tap.same(self.store.uploads(), [], "no part upload is left")
        return self.said()

    def said(self):
        """What the daemon has logged."""
        with open(os.path.join(self.scratch.name, "log"), encoding="utf-8",
                  errors="replace") as log:
            return log.read()

    def kill(self):
        """kill -9 of the daemon, and nothing is mounted."""
        self.daemon.kill()
        self.daemon.wait()
        subprocess.run(["fusermount3", "-u", "-z", self.top], check=False)

    def secrets(self):
        """Those that can be seen of the mount."""
        found = subprocess.run(
            [sys.executable, os.path.join(stores.TESTS, "s3/find_secrets.py"),
             self.top, str(self.daemon.pid),
             os.path.join(self.scratch.name, "log")], text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return found.stdout

    def __exit__(self, *_):
        if self.daemon.returncode is None:
            self.end()
        if self.owns_store:
            self.store.drop()
        self.scratch.cleanup()

    def disk(self, name):
        """The path of a disk."""
        return os.path.join(self.disks, name)

    def stored(self):
        """All objects of the store, hidden ones too."""
        return self.store.names()

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
