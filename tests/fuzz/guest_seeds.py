# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Seeds of fuzz-guest: tables, and boot sectors that point elsewhere."""
import struct
import zlib


def mbr(*entries):
    """A DOS table of (type, start, count)."""
    sector = bytearray(512)
    for i, (kind, start, count) in enumerate(entries):
        sector[450 + 16 * i] = kind
        struct.pack_into("<II", sector, 454 + 16 * i, start, count)
    sector[510:] = b"\x55\xaa"
    return bytes(sector)


def gpt(sector):
    """A GPT with one partition."""
    entry = (bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7") + bytes(16) +
             struct.pack("<QQQ", 2048, 4095, 0) + "one".encode("utf-16-le"))
    entries = entry.ljust(128, b"\0") + bytes(127 * 128)
    header = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0,
                         1, 8191, 34, 8158, bytes(16), 2, 128, 128,
                         zlib.crc32(entries))
    crc = zlib.crc32(header)
    header = header[:16] + struct.pack("<I", crc) + header[20:]
    return (mbr((0xee, 1, 8191)).ljust(sector, b"\0") +
            header.ljust(sector, b"\0") + entries)


def boot(fields, magic):
    """A boot sector of (offset, format, value)."""
    head = bytearray(4096)
    head[510:512] = b"\x55\xaa"
    head[magic[0]:magic[0] + len(magic[1])] = magic[1]
    for offset, form, value in fields:
        struct.pack_into(form, head, offset, value)
    return bytes(head)


def disks():
    yield "dos", mbr((0x83, 1, 100), (5, 200, 4000))
    yield "ebr", (mbr((0x83, 1, 100), (5, 2048, 4000)).ljust(65536, b"\0") +
                  mbr((0x83, 1, 10), (5, 100, 50)))
    yield "ebr-loop", (mbr((5, 2048, 4000)).ljust(65536, b"\0") +
                       mbr((0x83, 1, 10), (5, 0, 50)))
    yield "gpt", gpt(512)
    yield "gpt-4096", gpt(4096)
    yield "ntfs", boot([(11, "<H", 512), (13, "B", 8), (40, "<Q", 9000),
                        (48, "<Q", 256), (56, "<Q", 2), (64, "B", 0xf6)],
                       (3, b"NTFS    "))
    yield "ntfs-wild", boot([(11, "<H", 0xffff), (13, "B", 0xe1),
                             (48, "<Q", (1 << 64) - 1)], (3, b"NTFS    "))
    yield "fat32", boot([(11, "<H", 512), (13, "B", 1), (14, "<H", 32),
                         (16, "B", 2), (36, "<I", 1000), (44, "<I", 2)],
                        (82, b"FAT32   "))
    yield "exfat", boot([(88, "<I", 4096), (96, "<I", 5), (108, "B", 9),
                         (109, "B", 3)], (3, b"EXFAT   "))
    yield "exfat-wild", boot([(88, "<I", 0xffffffff), (96, "<I", 0xffffffff),
                              (108, "B", 12), (109, "B", 25)],
                             (3, b"EXFAT   "))
    yield "hfsplus", boot([(1024 + 40, ">I", 4096), (1024 + 288, ">I", 10)],
                          (1024, b"H+"))
    yield "luks", boot([(6, ">H", 1), (168, "8s", b"12345678")],
                       (0, b"LUKS\xba\xbe"))
    yield "swap", boot([(1024, "<I", 1), (1028, "<I", 255)],
                       (4086, b"SWAPSPACE2"))


def seeds(target):
    yield "empty", b""
    for name, data in disks():
        for choice in (0, 4 * 14 + 1, 4 * 20 + 2):
            yield f"{name}-{choice}", bytes([choice]) + data
