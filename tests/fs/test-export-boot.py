#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A machine boots from what was written: its boot sector has the BIOS load
another sector from far behind, whose text it sends to the serial port."""

import os
import random
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, os.path.dirname(__file__))
import export  # noqa: E402
from export import tap  # noqa: E402

QEMU = "qemu-system-x86_64"
SECTOR = 512
SIZE = 43 << 20
TEXT_AT = 37 << 20
TEXT = "this disk boots"
ENDED = 1  # isa-debug-exit makes this of the 0 that the code sends

DRIVERS = {"a.vmdk": "vmdk", "a.vhd": "vpc", "a.vhdx": "vhdx", "a.raw": "raw"}

CODE = bytes.fromhex(
    "31c0"    # xor ax, ax
    "8ed8"    # mov ds, ax
    "be407c"  # mov si, 0x7c40: what to read, see boot_sector()
    "b442"    # mov ah, 0x42
    "cd13"    # int 0x13: extended read of the drive in dl
    "720e"    # jc failed
    "be0080"  # mov si, 0x8000
    "ac"      # next: lodsb
    "84c0"    # test al, al
    "7408"    # jz ended
    "baf803"  # mov dx, 0x3f8
    "ee"      # out dx, al: to the serial port
    "ebf5"    # jmp next
    "b001"    # failed: mov al, 1
    "ba0105"  # ended: mov dx, 0x501
    "ee"      # out dx, al: ends the machine
    "f4")     # hlt


def boot_sector():
    """The code; at 0x40 the BIOS's request: one sector to 0:0x8000."""
    request = struct.pack("<BBHHHQ", 16, 0, 1, 0x8000, 0, TEXT_AT // SECTOR)
    return CODE.ljust(0x40, b"\0") + request.ljust(SECTOR - 0x42, b"\0") + \
        b"\x55\xaa"


def make_disk():
    """Something to boot among other bytes and holes."""
    disk = bytearray(SIZE)
    disk[3 << 20:20 << 20] = random.Random(3).randbytes(17 << 20)
    disk[:SECTOR] = boot_sector()
    disk[TEXT_AT:TEXT_AT + len(TEXT)] = TEXT.encode()
    return bytes(disk)


def boot(path, driver):
    """Run a machine with that disk: its exit status, and what it sends."""
    done = subprocess.run(
        [QEMU, "-accel", "tcg", "-m", "32", "-nographic", "-nodefaults",
         "-serial", "stdio", "-no-reboot", "-device", "isa-debug-exit",
         "-drive", f"file={path},format={driver},snapshot=on"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", timeout=300,
        check=False)
    return done.returncode, done.stdout


def main():
    """Each format."""
    export.need_fuse()
    if not shutil.which(QEMU):
        tap.skip_all(f"{QEMU} is missing")
    disk = make_disk()
    with export.Mount() as mount:
        for name, driver in DRIVERS.items():
            target = mount.disk(name.removesuffix(".raw") + ".raw")
            with open(target, "wb", buffering=0) as file:
                for at in range(0, SIZE, 1 << 18):
                    file.write(disk[at:at + (1 << 18)])
            status, said = boot(mount.store.path(name), driver)
            tap.ok(status == ENDED and TEXT in said, f"{name} boots",
                   f"status {status}: {said}")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
