# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Disks with partitions and file systems, made by the usual tools on plain
files, without root."""
import os
import shutil
import struct
import subprocess
import uuid
import zlib

MIB = 1 << 20
UUID = "0f5c2d3e-1b2a-4c5d-8e6f-001122334455"

# mkfs by file system: (program, arguments before the file, MiB). Labels are
# of the length that all of them take.
MAKERS = {
    "ext4": ("mke2fs", ["-q", "-t", "ext4", "-F", "-L", "data", "-U", UUID],
             16),
    "xfs": ("mkfs.xfs", ["-q", "-L", "data", "-m", f"uuid={UUID}"], 320),
    "btrfs": ("mkfs.btrfs", ["-q", "-L", "data", "-U", UUID], 128),
    "vfat": ("mkfs.vfat", ["-F", "32", "-s", "1", "-n", "DATA", "-i",
                           "12345678"], 64),
    "fat12": ("mkfs.vfat", ["-F", "12", "-n", "DATA", "-i", "12345678"], 4),
    "ntfs": ("mkntfs", ["-q", "-Q", "-F", "-L", "data"], 16),
    "exfat": ("mkfs.exfat", ["-n", "data"], 16),
    "swap": ("mkswap", ["-L", "data", "-U", UUID], 8),
}


def find(tool):
    return shutil.which(tool, path=os.environ["PATH"] + ":/sbin:/usr/sbin")


def run(*words, **more):
    """Run a program; its output. Its failure ends the test."""
    words = [find(words[0]) or words[0], *words[1:]]
    return subprocess.run(words, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, **more).stdout


def has(kind):
    """Can this file system be made here?"""
    return find(MAKERS[kind][0]) is not None


def sparse(path, size):
    with open(path, "wb") as file:
        file.truncate(size)


def make_fs(path, kind):
    """A file with this file system; its size."""
    tool, words, mib = MAKERS[kind]
    sparse(path, mib * MIB)
    run(tool, *words, path)
    return mib * MIB


def lvm_crc(data):
    """LVM's CRC-32: the usual polynomial, another start, not inverted."""
    crc = 0xf597a6cf
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xedb88320 if crc & 1 else 0)
    return crc


def lvm_header(uuid="abcdefABCDEF0123456789abcdefABCD"):
    """The label of an LVM2 physical volume, as pvcreate writes it."""
    body = (32).to_bytes(4, "little") + b"LVM2 001" + uuid.encode()
    body = body.ljust(512 - 20, b"\0")
    sector = (b"LABELONE" + (1).to_bytes(8, "little") +
              lvm_crc(body).to_bytes(4, "little") + body)
    return bytes(512) + sector


def luks_header():
    """The start of a LUKS1 volume."""
    header = bytearray(1024)
    header[0:8] = b"LUKS\xba\xbe\0\x01"
    header[8:11] = b"aes"
    header[40:51] = b"xts-plain64"
    header[72:78] = b"sha256"
    header[168:168 + 36] = UUID.encode()
    return bytes(header)


def put(path, offset, source):
    """Copy a file's data, or bytes, into an image, leaving holes alone."""
    with open(path, "r+b") as image:
        if isinstance(source, bytes):
            image.seek(offset)
            image.write(source)
            return
        with open(source, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            at = 0
            while at < size:
                try:
                    at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                    end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
                except OSError:
                    return
                image.seek(offset + at)
                image.write(os.pread(file.fileno(), end - at, at))
                at = end


def partition(path, script, size):
    """An image with a partition table by an sfdisk script."""
    sparse(path, size)
    run("sfdisk", "-q", path, input=script)


LINUX_DATA = "0fc63daf-8483-4772-8e79-3d69d8477de4"


def gpt_header(sector, here, other, last, entries_at, entries):
    used = len(entries) // sector + 1

    def pack(crc):
        return struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92,
                           crc, 0, here, other, used + 1, last - used,
                           uuid.UUID(UUID).bytes_le, entries_at,
                           len(entries) // 128, 128, zlib.crc32(entries))
    return pack(zlib.crc32(pack(0))).ljust(sector, b"\0")


def gpt(path, size, sector, parts):
    """An image with a GPT of any sector size; parts are (start, size, name)
    in sectors. (sfdisk can do that for files since 2.40 only.)"""
    last = size // sector - 1
    entries = b""
    for number, (start, count, name) in enumerate(parts, 1):
        entries += uuid.UUID(LINUX_DATA).bytes_le
        entries += uuid.UUID(int=number).bytes_le
        entries += struct.pack("<QQQ", start, start + count - 1, 0)
        entries += name.encode("utf-16-le").ljust(72, b"\0")
    entries += bytes(-len(entries) % 16384)
    mbr = bytearray(sector)
    mbr[446:462] = struct.pack("<4s4sII", b"\0\0\x02\0", b"\xee\xff\xff\xff",
                               1, min(last, 0xffffffff))
    mbr[510:512] = b"\x55\xaa"
    sparse(path, size)
    back = last - len(entries) // sector
    put(path, 0, bytes(mbr) + gpt_header(sector, 1, last, last, 2, entries) +
        entries)
    put(path, back * sector, entries +
        gpt_header(sector, last, 1, last, back, entries))
