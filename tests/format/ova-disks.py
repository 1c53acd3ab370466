#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Disks of every format inside an OVA read through container and engine as
they do outside: plain, in chunks, packed by gzip, with extents and parents
that are other members; a disk beside a broken one; an empty disk."""

import gzip
import os
import shutil
import subprocess
import sys
import tempfile

import blockcase  # noqa: F401 (finds tap)
import make_vhd
import make_vhdx
import make_vmdk
import tap
from make_ova import Tar
from ovftext import Disk, vmware
from sparse import Sparse, first_difference

CHUNK = 100000


def case_of(module, name):
    """One case of a generator."""
    return next(case for case in module.cases() if case.name == name)


def content(sparse):
    """All bytes."""
    return sparse.read(0, sparse.size)


class Ova:
    """An OVA under construction, and what its disks must read as."""

    def __init__(self):
        self.members = {}
        self.disks = []
        self.expected = {}

    def add(self, name, case, how="plain"):
        """A case's files as members; the first is the disk `name`."""
        first, *others = case.files.items()
        data = content(first[1])
        extra = ""
        if how == "gzip":
            data = gzip.compress(data, 1, mtime=0)
            extra = ' ovf:compression="gzip"'
        if how == "chunks":
            extra = f' ovf:chunkSize="{CHUNK}"'
            for number, at in enumerate(range(0, len(data), CHUNK)):
                self.members[f"{name}.{number:09d}"] = data[at:at + CHUNK]
        else:
            self.members[name] = data
        self.members.update((other, content(sparse))
                            for other, sparse in others)
        self.disks.append(Disk(f"id-{name}", name, size=len(data),
                               extra=extra))
        self.expected[name] = case.raw

    def save(self, path):
        """Write the file, the descriptor in the middle."""
        tar = Tar("gnu")
        names = sorted(self.members)
        for name in names[:2]:
            tar.add(name, self.members[name])
        tar.add("vm.ovf", vmware(self.disks).encode())
        for name in names[2:]:
            tar.add(name, self.members[name])
        tar.end().image.save(path)


def build():
    """One OVA of everything."""
    ova = Ova()
    stream = case_of(make_vmdk, "good-stream-footer")
    fixed = case_of(make_vhd, "good-fixed")
    dynamic = case_of(make_vhd, "good-dynamic")
    vhdx = next(case for case in make_vhdx.cases()
                if case.raw and not case.hurt and len(case.files) == 1)
    for how in ("plain", "gzip", "chunks"):
        ova.add(f"stream-{how}.vmdk", stream, how)
        ova.add(f"fixed-{how}.vhd", fixed, how)
        ova.add(f"dynamic-{how}.vhd", dynamic, how)
        ova.add(f"disk-{how}.vhdx", vhdx, how)
    for kind in (make_vmdk.flat_cases, make_vmdk.delta_cases):
        case = next(c for c in kind() if c.raw and not c.hurt
                    and not c.options and len(c.files) > 1)
        ova.add(next(iter(case.files)), case)
    ova.members["broken.vmdk"] = b"KDMV" + bytes(600)
    ova.disks.append(Disk("broken", "broken.vmdk"))
    ova.disks.append(Disk("scratch", capacity="3"))
    ova.expected["scratch"] = Sparse(3 << 20)
    return ova


def diskcat(command, path, name, *rest):
    """Run diskcat on one disk."""
    tool = os.path.join(os.environ.get("top_builddir", "."),
                        "tests/tools/diskcat")
    return subprocess.run([tool, command, f"{path}/{name}", *rest],
                          capture_output=True, text=True, check=False)


def main():
    """Read every disk whole and at random places."""
    folder = tempfile.mkdtemp(prefix="vmiefs-test.")
    try:
        ova = build()
        path = os.path.join(folder, "all.ova")
        ova.save(path)
        for name, raw in ova.expected.items():
            want, got = (os.path.join(folder, f) for f in ("want", "got"))
            raw.save(want)
            done = diskcat("raw", path, name, got)
            tap.ok(done.returncode == 0 and not first_difference(want, got),
                   f"{name}: bytes", done.stderr)
            done = diskcat("random", path, name, want, "500", "1", "4")
            tap.same((done.returncode, done.stderr), (0, ""),
                     f"{name}: random reads")
        done = diskcat("raw", path, "broken.vmdk", os.devnull)
        tap.ok(done.returncode == 1 and "broken.vmdk" in done.stderr,
               "the broken disk is refused by name", done.stderr)
    finally:
        shutil.rmtree(folder)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
