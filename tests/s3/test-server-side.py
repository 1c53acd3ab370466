#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What a bucket copies itself: whole disks and objects, and the disks of an
OVA. By the server's log, no payload goes over the network but what is glued to
smaller pieces; whatever breaks off leaves nothing."""

import gzip
import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import Server  # noqa: E402
from mounted import Mount, need_mounts  # noqa: E402

MIB = 1 << 20
SIZE = 40 * MIB
GLUE = 5 * MIB  # the least that a part of an upload has, but for the last
DATA = random.Random(3).randbytes(SIZE - 6 * MIB)


class Work:
    """A bucket that is mounted with the right to do all."""

    def __init__(self, top):
        self.root = os.path.join(top, "root")
        os.makedirs(os.path.join(self.root, "bucket"))
        self.top = top
        self.server = Server(self.root)
        self.mount = None

    def open(self):
        """Mount it."""
        self.mount = Mount(self.top, "s3://bucket", "overwrite", "delete",
                           "endpoint=" + self.server.url(),
                           "addressing=path")
        return self.mount

    def disk(self, name):
        """A path below disks/."""
        return self.mount.path("disks/" + name)

    def keys(self):
        """What is in the bucket."""
        top = os.path.join(self.root, "bucket")
        return sorted(os.path.relpath(os.path.join(d, n), top)
                      for d, _, names in os.walk(top) for n in names)

    def moved(self):
        """Bytes of bodies that went over the network since the last time, but
        for listings and other answers in XML."""
        counts = self.server.counts()
        self.server.reset()
        return sum(row["received"] for row in counts.values()) + \
            counts.get("get", {"sent": 0})["sent"]

    def stat(self, part, name):
        """A counter."""
        return json.loads(self.mount.text("control/stats"))[part][name]

    def quiet(self, what):
        """No upload is open."""
        for _ in range(300):
            if not self.server.uploads():
                break
            time.sleep(0.1)
        tap.same(self.server.uploads(), [], f"{what}: no upload is left")


def sha256(path):
    """Of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def write(path, seed):
    """A disk with something of its own in front."""
    with open(path, "wb") as file:
        file.truncate(SIZE)  # so that its digest is made on the way
        file.write(seed * MIB + DATA)


def same(path, seed):
    """Is it that disk?"""
    with open(path, "rb") as file:
        return file.read() == (seed * MIB + DATA).ljust(SIZE, b"\0")


def cp(*words):
    """Run cp; its status."""
    return subprocess.run(["cp", *words], check=False).returncode


def test_copies(work):
    """Disks and objects."""
    write(work.disk("a.vmdk.raw"), b"a")
    stored = os.path.getsize(os.path.join(work.root, "bucket/a.vmdk"))
    work.moved()
    tap.same(cp("--sparse=never", work.disk("a.vmdk.raw"),
                work.disk("b.vmdk.raw")), 0, "a disk is copied")
    moved = work.moved()
    tap.ok(moved < MIB, "by the store: only its tables are moved",
           f"{moved} of {stored}")
    tap.same(work.stat("writing", "copied"), 1, "which counts it")
    tap.ok(same(work.disk("b.vmdk.raw"), b"a"), "it is the same disk")
    work.moved()
    tap.same(cp(work.mount.path("objects/a.vmdk"),
                work.mount.path("objects/c.vmdk")), 0, "an object is copied")
    moved = work.moved()
    tap.ok(moved < stored // 100, "by the store: less than 1 % is moved",
           f"{moved} of {stored}")
    tap.ok(same(work.disk("c.vmdk.raw"), b"a"), "it is the same disk")
    work.quiet("copies")
    for name in "abc":
        os.unlink(work.disk(name + ".vmdk.raw"))


def check_ova(work, name, seeds):
    """Its manifest holds, and its disks are right."""
    path = os.path.join(work.root, "bucket", name)
    with tempfile.TemporaryDirectory() as out, tarfile.open(path) as tar:
        tar.extractall(out)
        manifest, = (n for n in os.listdir(out) if n.endswith(".mf"))
        with open(os.path.join(out, manifest), encoding="utf-8") as file:
            want = dict(line[len("SHA256("):].strip().split(")= ")
                        for line in file)
        tap.same({n: sha256(os.path.join(out, n)) for n in want}, want,
                 f"{name}: the manifest")
    for number, seed in enumerate(seeds):
        tap.ok(same(work.disk(f"{name}/d{number}.vmdk.raw"), seed),
               f"{name}: disk {number}")


def make_part(work, name, seeds):
    """A directory with disks."""
    os.mkdir(work.disk(name))
    for number, seed in enumerate(seeds):
        write(work.disk(f"{name}/d{number}.vmdk.raw"), seed)


def test_ova(work):
    """An OVA of two disks."""
    make_part(work, "x.ova.part", [b"1", b"2"])
    tap.same([k for k in work.keys() if not k.startswith(".vmiefs/parts/")],
             [], "disks of an OVA are no objects")
    stored = sum(os.path.getsize(os.path.join(work.root, "bucket", k))
                 for k in work.keys())
    work.moved()
    before = work.stat("fs", "ova_read_bytes")
    os.rename(work.disk("x.ova.part"), work.disk("x.ova"))
    moved = work.moved()
    # Each piece of ours takes what it lacks from its neighbour.
    tap.ok(moved < 2 * (2 * GLUE + MIB), "its disks are not moved",
           f"{moved} of {stored}")
    print(f"# moved {moved} of {stored}")
    tap.same(work.stat("fs", "ova_read_bytes") - before, 0,
             "no disk is read again")
    tap.same(work.keys(), ["x.ova"], "the OVA is all there is")
    check_ova(work, "x.ova", [b"1", b"2"])
    work.quiet("an OVA")


def test_members(work):
    """A disk in an OVA is a range of it, unless it is packed once more."""
    bucket = os.path.join(work.root, "bucket")
    with tarfile.open(os.path.join(bucket, "x.ova")) as tar:
        members = {m.name: tar.extractfile(m).read() for m in tar}
    work.moved()
    tap.same(cp("--sparse=never", work.disk("x.ova/d1.vmdk.raw"),
                work.disk("m.vmdk.raw")), 0, "a disk of an OVA is copied")
    moved = work.moved()
    tap.ok(moved < MIB, "by the store: only its tables are moved",
           f"{moved} of {len(members['d1.vmdk'])}")
    with open(os.path.join(bucket, "m.vmdk"), "rb") as file:
        tap.ok(file.read() == members["d1.vmdk"], "as it is")
    tap.ok(same(work.disk("m.vmdk.raw"), b"2"), "it is the same disk")
    with tarfile.open(os.path.join(bucket, "z.ova"), "w") as tar:
        for name, data in members.items():
            if name.endswith(".mf"):
                continue
            if name == "d0.vmdk":
                data = gzip.compress(data)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    tap.same(cp("--sparse=never", work.disk("z.ova/d0.vmdk.raw"),
                work.disk("n.vmdk.raw")), 0, "one in gzip is converted")
    tap.ok(same(work.disk("n.vmdk.raw"), b"1"), "it is the same disk")
    for name in ("disks/m.vmdk.raw", "disks/n.vmdk.raw", "objects/z.ova"):
        os.unlink(work.mount.path(name))


def test_replace(work):
    """In the place of another one."""
    make_part(work, "y.ova.part", [b"3"])
    os.rename(work.disk("y.ova.part"), work.disk("x.ova"))
    check_ova(work, "x.ova", [b"3"])
    tap.same(work.keys(), ["x.ova"], "the new one is all there is")
    os.unlink(work.mount.path("objects/x.ova"))


def test_interrupted(work):
    """Ctrl-C while the store copies."""
    make_part(work, "z.ova.part", [b"4", b"5"])
    keys = work.keys()
    work.server.rules({"do": "stall", "op": "upload-part-copy", "at": "read",
                       "count": None})
    rename = "import os, sys; os.rename(sys.argv[1], sys.argv[2])"
    mover = subprocess.Popen([sys.executable, "-c", rename,
                              work.disk("z.ova.part"), work.disk("z.ova")],
                             stderr=subprocess.PIPE)
    while not work.server.log(op="create-upload"):
        pass
    mover.send_signal(signal.SIGINT)
    mover.wait(timeout=60)
    mover.stderr.close()
    tap.ok(mover.returncode != 0, "an interrupted rename fails")
    work.server.rules()
    work.quiet("interrupted")
    tap.same(work.keys(), keys, "nothing has changed")
    work.server.reset()
    work.server.rules({"do": "reply", "op": "upload-part-copy", "status": 403,
                       "code": "AccessDenied", "count": None})
    try:
        os.rename(work.disk("z.ova.part"), work.disk("z.ova"))
        tap.ok(False, "a rename that is refused")
    except PermissionError:
        tap.ok(True, "a rename that is refused")
    work.server.rules()
    work.quiet("refused")
    tap.same(work.keys(), keys, "nothing has changed")


def test_abandoned(work):
    """The next mount finds what is left, and goes on."""
    tap.same(sorted(os.listdir(work.disk(""))), ["z.ova.part"],
             "it is there for the next mount")
    tap.same(sorted(os.listdir(work.disk("z.ova.part"))),
             ["d0.vmdk.raw", "d1.vmdk.raw"], "with its disks")
    before = work.stat("fs", "ova_read_bytes")
    os.rename(work.disk("z.ova.part"), work.disk("z.ova"))
    tap.same(work.stat("fs", "ova_read_bytes") - before, 0,
             "whose digests are known")
    check_ova(work, "z.ova", [b"4", b"5"])
    make_part(work, "w.ova.part", [b"6"])
    subprocess.run(["rm", "-r", work.disk("w.ova.part")], check=True)
    tap.same(work.keys(), ["z.ova"], "rm -r removes one")
    tap.same(os.listdir(work.disk("")), ["z.ova"], "which is not seen then")
    os.mkdir(work.disk("v.ova.part"))
    tap.same(sorted(os.listdir(work.disk(""))), ["v.ova.part", "z.ova"],
             "an empty one is seen")
    os.rmdir(work.disk("v.ova.part"))
    tap.same(os.listdir(work.disk("")), ["z.ova"], "and removed")


def main():
    """All of it in one bucket."""
    need_mounts()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        work = Work(top)
        with work.server:
            with work.open():
                test_copies(work)
                test_ova(work)
                test_members(work)
                test_replace(work)
                test_interrupted(work)
            with work.open():
                test_abandoned(work)
    return tap.done()


sys.exit(main())
