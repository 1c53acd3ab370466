#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""library.py DIR: make DIR/store, a small library of containers, and
DIR/want.raw, the bytes that every sound disk in it has."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../cmd"))
# pylint: disable=wrong-import-position
from containers import convert, make_ova, make_raw  # noqa: E402
from images import MIB  # noqa: E402

SIZE = 12 * MIB


def main():
    top = sys.argv[1]
    store = os.path.join(top, "store")
    vms = os.path.join(store, "vms")
    os.makedirs(vms)
    want = os.path.join(top, "want.raw")
    make_raw(want, SIZE)
    for kind in ("stream.vmdk", "sparse.vmdk", "dynamic.vhd", "dynamic.vhdx"):
        convert(want, vms, kind)
    make_raw(os.path.join(vms, "disk.img"), SIZE)
    disk = convert(want, top, "stream.vmdk")
    make_ova(os.path.join(top, "app.ova"), [disk], SIZE)
    os.rename(os.path.join(top, "app.ova"), os.path.join(store, "app.ova"))
    with open(os.path.join(store, "bad.vmdk"), "wb") as file:
        file.write(b"no container at all\n" * 100)
    # ESXi's COWD: known by name and not read.
    with open(os.path.join(store, "cowd.vmdk"), "wb") as file:
        file.write(b"COWD" + bytes(4092))
    # A descriptor whose extent is missing.
    with open(os.path.join(store, "parts.vmdk"), "w") as file:
        file.write('# Disk DescriptorFile\nversion=1\n'
                   'createType="twoGbMaxExtentFlat"\n'
                   'RW 2048 FLAT "parts-f001.vmdk" 0\n')
    with open(os.path.join(store, "notes.txt"), "wb") as file:
        file.write(b"not a disk\n")


main()
