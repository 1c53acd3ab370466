# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What tests of mounts over the scripted server (tests/s3) share: a folder,
a server, mounts that go away in the end."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for place in ("..", "../s3", "../cmd"):
    sys.path.insert(0, os.path.join(HERE, place))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402

VMIEFS = os.path.join(os.environ.get("top_builddir", "."), "vmiefs")
ENV = {**{k: v for k, v in os.environ.items() if not k.startswith("AWS_")},
       "AWS_ACCESS_KEY_ID": KEYS["access"],
       "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
       "AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nonexistent"}


def need_fuse():
    """Skip where nothing can be mounted."""
    tap.need("fusermount3")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError:
        tap.skip_all("/dev/fuse does not open")


def vmiefs(*words, env=None, timeout=60):
    """(status, what it said, seconds it took)."""
    begin = time.monotonic()
    done = subprocess.run([VMIEFS, *words], env={**ENV, **(env or {})},
                          capture_output=True, text=True, timeout=timeout,
                          check=False)
    return (done.returncode, done.stdout + done.stderr,
            time.monotonic() - begin)


def is_mounted(mountpoint):
    """Does the kernel know it?"""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == mountpoint for line in mounts)


def unmount(mountpoint):
    """Legal when nothing is mounted."""
    if is_mounted(mountpoint):
        subprocess.run(["fusermount3", "-u", "-z", mountpoint], check=False)


def daemon_of(mountpoint):
    """The process id of a mount's daemon."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{name}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            if words[0].endswith(b"vmiefs") and mountpoint.encode() in words:
                return int(name)
    return None


@contextlib.contextmanager
def scratch(*options):
    """A folder, and the scripted server of buckets below its store/."""
    top = tempfile.mkdtemp(prefix="vmiefs-test.")
    try:
        os.mkdir(os.path.join(top, "store"))
        with Server(os.path.join(top, "store"), *options,
                    scratch=top) as server:
            yield top, server
    finally:
        shutil.rmtree(top)


@contextlib.contextmanager
def mounted(server, top, source, options="", env=None):
    """A mount of source in the background."""
    where = os.path.join(top, "mnt")
    os.makedirs(where, exist_ok=True)
    options = f"endpoint={server.url()}" + (options and "," + options)
    status, said, _ = vmiefs(source, where, "-o", options, env=env)
    try:
        tap.ok(status == 0 and not said, f"mount {source}", said)
        yield where
    finally:
        unmount(where)


def wait_until(seconds, condition):
    """False when it has not come true by then."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
