#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""kill -9 of the daemon at any moment of a write: the object is there and
whole, or nothing is, not even a temporary file; and the next mount works.

EXPORT_KILL_ROUNDS rounds (default 10), for all formats in turn."""

import os
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

DATA = random.Random(7).randbytes(24 << 20)
NAMES = ["a.vmdk.raw", "a.vhd.raw", "a.vhdx.raw", "a.raw"]

# In order, or in another: then all waits for the end. Tells when close() has
# said that it is there.
WRITER = """
import os, sys
data = open(sys.argv[2], "rb").read()
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
for at in sorted(range(0, len(data), 1 << 20), reverse=sys.argv[3] == "back"):
    os.pwrite(fd, data[at:at + (1 << 20)], at)
os.close(fd)
print("closed", flush=True)
"""


def read(path):
    """All bytes of a file."""
    with open(path, "rb") as file:
        return file.read()


def kill_one(store, source, name, order, delay):
    """One write that the daemon does not outlive: has close() succeeded?"""
    with export.Mount(store=store) as mount:
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, mount.disk(name), source, order],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        time.sleep(delay)
        mount.kill()
        said = writer.communicate(timeout=60)[0]
    return said == b"closed\n"


def measure(store, source, name):
    """Seconds that a whole write takes."""
    with export.Mount("delete", store=store) as mount:
        begin = time.monotonic()
        subprocess.run([sys.executable, "-c", WRITER, mount.disk(name),
                        source, "forth"], stdout=subprocess.DEVNULL,
                       check=True)
        seconds = time.monotonic() - begin
        os.unlink(mount.disk(name))
    return seconds


def check_one(store, name, was_closed):
    """What is wrong with what is left, or ""."""
    with export.Mount("delete", store=store) as mount:
        # Whatever was begun is dropped by the next mount.
        if not export.wait_until(lambda: not store.uploads()):
            return f"part uploads are left: {store.uploads()}"
        names = mount.stored()
        if names not in ([], [name.removesuffix(".raw")
                              if name != "a.raw" else name]):
            return f"left over: {names}"
        if was_closed and not names:
            return "close() had succeeded, and nothing is there"
        if names and read(mount.disk(name)) != DATA:
            return "what is there is not whole"
        if names:
            os.unlink(mount.disk(name))
        with open(mount.disk(name), "wb") as file:
            file.write(DATA[:5000])
        if not read(mount.disk(name)).startswith(DATA[:5000]):
            return "the next write is not good"
        os.unlink(mount.disk(name))
        return "" if not mount.stored() else "something stays"


def main():
    """All rounds."""
    export.need_fuse()
    rounds = int(os.environ.get("EXPORT_KILL_ROUNDS", "10"))
    chance = random.Random(int(os.environ.get("EXPORT_KILL_SEED", "1")))
    whole = 0
    store = stores.new()
    with tempfile.NamedTemporaryFile() as source:
        source.write(DATA)
        source.flush()
        longest = 1.2 * measure(store, source.name, NAMES[0])
        for i in range(rounds):
            name = NAMES[i % len(NAMES)]
            order = "back" if i // len(NAMES) % 2 else "forth"
            was_closed = kill_one(store, source.name, name, order,
                                  chance.random() * longest)
            why = check_one(store, name, was_closed)
            whole += was_closed
            tap.ok(not why, f"round {i + 1}: {name}, {order}", why)
    store.drop()
    print(f"# {whole} of {rounds} were complete")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
