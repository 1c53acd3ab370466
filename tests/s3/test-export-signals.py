#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Signals while a close() waits for a slow server: those that a program
handles by the way do not make it fail, whoever is told to end is let go, also
if the other kind came first."""

import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

WRITER = """
import os, signal, sys, time
for number in signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD:
    signal.signal(number, lambda *_: None)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
os.write(fd, bytes(range(256)) * 4000)
print("closing", flush=True)
try:
    os.close(fd)
    print("closed", flush=True)
except OSError as error:
    print(error.strerror, flush=True)
"""


def close_with(mount, name, *numbers):
    """Send signals while the file is closed: what it says in the end, and the
    seconds it took from the last one."""
    with subprocess.Popen([sys.executable, "-c", WRITER,
                           mount.path(f"disks/{name}")],
                          stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.DEVNULL) as writer:
        writer.stdout.readline()
        for number in numbers:
            # Each finds the close() waiting, and longer than the grace.
            time.sleep(0.6)
            writer.send_signal(number)
        begin = time.monotonic()
        said = writer.stdout.read().strip()
    return said, time.monotonic() - begin


def main():
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        os.makedirs(os.path.join(root, "one"))
        with Server(root) as server, \
                Mount(top, "s3://one", "endpoint=" + server.url(),
                      "addressing=path") as mount:
            server.rules({"op": "put", "do": "latency", "ms": 2500})
            said, _ = close_with(mount, "a.raw", signal.SIGUSR1,
                                 signal.SIGCHLD, signal.SIGALRM)
            tap.same(said, "closed", "signals with other meanings")
            tap.same(os.path.getsize(os.path.join(root, "one/a.raw")),
                     1024000, "it is there")
            server.rules({"op": "put", "do": "stall", "at": "read",
                          "count": None})
            for number, what in ((signal.SIGINT, "Ctrl-C"),
                                 (signal.SIGTERM, "SIGTERM")):
                name = f"{number}.raw"
                said, took = close_with(mount, name, signal.SIGCHLD, number)
                tap.ok(said != "closed" and took < 10,
                       f"{what} behind another signal ends it",
                       f"{said} after {took:.1f} s")
            tap.same(os.listdir(os.path.join(root, "one")), ["a.raw"],
                     "nothing comes of those")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
