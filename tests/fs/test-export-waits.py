#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""More writers than memory has room for: the next one waits in open() until
another ends, others go on meanwhile, and Ctrl-C ends its waiting."""

import os
import select
import signal
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
import stores  # noqa: E402
from export import tap  # noqa: E402

# Creates a file, says so, writes it when it is told to, and says that.
CREATOR = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
print("created", flush=True)
sys.stdin.read()
os.write(fd, b"x" * 100000)
os.close(fd)
print("closed", flush=True)
"""


class Creator:
    """A process that has a new file open, or waits for that."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CREATOR, path], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def has_begun(self, seconds):
        """Was the file created, by then?"""
        return bool(select.select([self.process.stdout], [], [], seconds)[0])

    def end(self):
        """Let it write; what it said since the last question."""
        said = self.process.communicate(timeout=60)[0]
        return self.process.returncode, said.split()


def main():
    """All of it."""
    export.need_fuse()
    # What is sent to a server needs more than a file.
    memory = "memory=64M" if stores.kind() else "memory=16M"
    with export.Mount(memory) as mount:
        os.mkdir(mount.disk("waits"))
        made = []
        for i in range(64):
            made.append(Creator(mount.disk(f"{i}.vmdk.raw")))
            if not made[-1].has_begun(2):
                break
        waiting = made.pop()
        tap.ok(not waiting.has_begun(0) and made, "one has to wait",
               f"after {len(made)} others")
        waiting.process.send_signal(signal.SIGINT)
        tap.same(waiting.end(), (-signal.SIGINT, []), "Ctrl-C ends that")

        waiting = Creator(mount.disk("waits/a.vmdk.raw"))
        tap.ok(not waiting.has_begun(1), "another one waits")
        tap.same(len(os.listdir(mount.disks)), len(made) + 1,
                 "others list meanwhile")
        tap.same(made.pop(0).end(), (0, ["created", "closed"]),
                 "and end their files")
        tap.same(waiting.end(), (0, ["created", "closed"]),
                 "then it goes on")
        for creator in made:
            tap.same(creator.end(), (0, ["created", "closed"]), "so do all")
        tap.same(mount.errors(), [], "none has failed")
        tap.same(len(mount.stored()), len(made) + 2, "all are there")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
