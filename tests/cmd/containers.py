# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Containers for the tests of the command line, made by qemu-img."""
import hashlib
import json
import os
import random
import subprocess
import tarfile

from images import MIB, run

BUILD = os.environ.get("top_builddir", ".")
VMIEFS = os.path.join(BUILD, "vmiefs")

# Ending of the file: arguments of qemu-img convert.
KINDS = {
    "stream.vmdk": ["-O", "vmdk", "-o", "subformat=streamOptimized"],
    "sparse.vmdk": ["-O", "vmdk", "-o", "subformat=monolithicSparse"],
    "flat.vmdk": ["-O", "vmdk", "-o", "subformat=monolithicFlat"],
    "split.vmdk": ["-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"],
    "dynamic.vhd": ["-O", "vpc", "-o", "subformat=dynamic,force_size=on"],
    "fixed.vhd": ["-O", "vpc", "-o", "subformat=fixed,force_size=on"],
    "dynamic.vhdx": ["-O", "vhdx", "-o", "subformat=dynamic"],
    "fixed.vhdx": ["-O", "vhdx", "-o", "subformat=fixed"],
}


def make_raw(path, size=24 * MIB, seed=1):
    """Runs of data that packs, data that does not, and holes."""
    rng = random.Random(seed)
    with open(path, "wb") as file:
        file.truncate(size)
        at = 0
        while at < size:
            length = min(rng.randrange(1, 40) * 32768, size - at)
            kind = rng.randrange(3)
            file.seek(at)
            if kind == 0:
                file.write(rng.randbytes(length))
            elif kind == 1:
                file.write((b"line %d\n" % at) * (length // 16))
            at += length


def convert(raw, top, kind):
    """The raw file as this kind of container; its path."""
    path = os.path.join(top, kind)
    run("qemu-img", "convert", "-f", "raw", *KINDS[kind], raw, path)
    return path


def vmiefs(*words, program=VMIEFS, **more):
    """Run a sub-command: (status, stdout, stderr)."""
    done = subprocess.run([program, *words], capture_output=True, text=True,
                          check=False, timeout=120, **more)
    return done.returncode, done.stdout, done.stderr


def vmiefs_json(*words):
    """(status, what --json printed)."""
    status, out, err = vmiefs(*words, "--json")
    try:
        return status, json.loads(out)
    except ValueError:
        raise SystemExit(f"no JSON from {words}: {out}{err}") from None


OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
<References>%s</References>
<DiskSection><Info>disks</Info>%s</DiskSection>
<VirtualSystem ovf:id="test"><Info>one machine</Info><Name>test</Name>
</VirtualSystem></Envelope>
"""


def make_ova(path, disks, size):
    """An OVA of these files, each a disk of `size` bytes, with manifest."""
    references = "".join(
        f'<File ovf:id="f{i}" ovf:href="{os.path.basename(d)}"'
        f' ovf:size="{os.path.getsize(d)}"/>' for i, d in enumerate(disks))
    entries = "".join(
        f'<Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" ovf:capacity="{size}"'
        ' ovf:format="http://www.vmware.com/interfaces/specifications/'
        'vmdk.html#streamOptimized"/>' for i in range(len(disks)))
    top = os.path.dirname(path)
    ovf = os.path.join(top, "test.ovf")
    with open(ovf, "w", encoding="ascii") as file:
        file.write(OVF % (references, entries))
    mf = os.path.join(top, "test.mf")
    with open(mf, "w", encoding="ascii") as file:
        for name in [ovf, *disks]:
            with open(name, "rb") as data:
                digest = hashlib.sha256(data.read()).hexdigest()
            file.write(f"SHA256({os.path.basename(name)})= {digest}\n")
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in [ovf, mf, *disks]:
            tar.add(name, os.path.basename(name))


def flip(path, offset, count=4):
    """Damage some bytes of a file."""
    with open(path, "r+b") as file:
        file.seek(offset)
        data = file.read(count)
        file.seek(offset)
        file.write(bytes(b ^ 0xff for b in data))
