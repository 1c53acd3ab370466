#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""make_vhdx.py --list | DIR [CASE...]: VHDX disks of every kind, and the
bytes that they must read as. Case names: good-*, warn-* (good with warnings),
log-* (a dirty log), hurt-* (damaged in one place), bad-* and unsupported-*
(refused)."""

import struct
import sys

import vhdx_file as vx
from blockcase import Case, Sparse, write_cases
from vhdx_file import KIB, MIB, Disk, Log

GIB = 1 << 30


def painted(seed, size, block, stored):
    """Content with random bytes at both ends of the stored blocks."""
    out = Sparse(size)
    for number in stored:
        length = min(block, size - number * block)
        part = min(length, 256 * KIB)
        out.paint(seed, number * block, part)
        out.paint(seed, number * block + length - part, part)
    return out


def recipe(name, size, stored, block=MIB, **fields):
    """A disk with painted content."""
    fields.setdefault("name", name)
    return Disk(size, stored, painted(name, size, block, stored), block,
                **fields)


def simple(name, size, stored, block=MIB, **fields):
    """A disk and its case."""
    disk = recipe(name, size, stored, block, **fields)
    return disk, Case(name, {name + ".vhdx": disk.build()}, disk.raw(),
                      disk.data())


def container(case):
    """The case's own container."""
    return next(iter(case.files.values()))


def good_cases():
    """What is all right."""
    _, case = simple("good-dynamic", 13 * MIB, [4, 0, 12, 2])
    case.trust = ("qemu", "vhdi")
    yield case
    _, case = simple("good-empty", 9 * MIB, [])
    case.trust = ("qemu", "vhdi")
    yield case
    _, case = simple("good-fixed", 4 * MIB, [0, 1, 2, 3], fixed=True)
    case.trust = ("qemu", "vhdi")
    yield case
    _, case = simple("good-fixed-holes", 4 * MIB, [0, 3], fixed=True,
                     states={1: vx.ZERO, 2: vx.NOT_PRESENT})
    case.trust = ("qemu",)
    yield case
    _, case = simple("good-odd-size", 9 * MIB + 512, [9, 0], required=0)
    case.trust = ("qemu", "vhdi")
    yield case
    _, case = simple("good-one-sector", 512, [0])
    yield case
    yield simple("good-states", 9 * MIB, [0, 8], states={
        1: vx.UNDEFINED, 2: vx.ZERO, 3: vx.UNMAPPED, 4: 5,
        5: 99 * MIB | vx.ZERO, 6: 1 << 50})[1]
    for shift in range(9):
        block = MIB << shift
        _, case = simple(f"good-block-{1 << shift}m", 5 * block + 3 * 512,
                         [5, 1, 4], block)
        case.trust = ("qemu",)
        yield case
    yield simple("good-4k-sectors", 9 * MIB + 4096, [9, 3], sector=4096)[1]
    yield simple("good-4k-sectors-32m", 100 * MIB, [3, 1], 32 * MIB,
                 sector=4096)[1]
    # More than one chunk: entries of bitmaps between those of blocks.
    _, case = simple("good-chunks-1m", 4100 * MIB,
                     [4095, 4096, 4097, 0, 4099])
    case.trust = ("qemu", "vhdi")
    yield case
    yield simple("good-chunks-2", 9 * GIB, [8191, 8192, 9215, 4096])[1]
    yield simple("good-chunks-256m", 9 * GIB, [15, 16, 31, 32, 35],
                 256 * MIB)[1]
    yield simple("good-chunks-4k", 33 * GIB, [32767, 32768, 33791],
                 sector=4096)[1]
    # Files of ext4 end at 16 TiB.
    yield simple("good-15t", 15 << 40, [61439, 30720, 0], 256 * MIB)[1]
    yield simple("good-items-far", 3 * MIB, [1], items_at=600 * KIB)[1]
    other = vx.guid_of("other")
    yield simple("good-unknown-optional", 3 * MIB, [1],
                 metadata_extra=((other, b"what is this", 2),
                                 (vx.DISK_SIZE, b"a user's own item", 1)),
                 regions_extra=((other, 64 * MIB, MIB, 0),))[1]
    _, case = simple("good-junk-in-log", 3 * MIB, [1])
    log = Log().add([(2 * MIB, bytes(4096))])
    container(case).write(MIB, log.ring)
    yield case


def put_header(case, which, sequence, **fields):
    """Replace one of the headers."""
    container(case).write(vx.HEADER_AT[which], vx.header(
        sequence, vx.guid_of(case.name), **fields))


def copies_cases():
    """One of two copies damaged or older."""
    _, case = simple("warn-header-1", 3 * MIB, [1])
    container(case).write(vx.HEADER_AT[0] + 3000, b"x")
    case.warn = ["header 1 is damaged; header 2 is used"]
    case.findings = ["header 1 has a wrong checksum"]
    yield case
    _, case = simple("warn-header-2", 3 * MIB, [1])
    container(case).write(vx.HEADER_AT[1], bytes(4096))
    case.warn = ["header 2 is damaged; header 1 is used"]
    case.findings = ["header 2 has a wrong checksum"]
    yield case
    # The older header names a log that is none.
    for newer in (0, 1):
        _, case = simple(f"good-newer-header-{newer + 1}", 3 * MIB, [1])
        put_header(case, newer, 90)
        put_header(case, 1 - newer, 89, log_guid=vx.guid_of("old"))
        yield case
    _, case = simple("good-same-headers", 3 * MIB, [1])
    put_header(case, 0, 5)
    put_header(case, 1, 5)
    yield case
    _, case = simple("warn-region-table-1", 3 * MIB, [1])
    container(case).write(vx.REGION_AT[0] + 40, b"x")
    case.warn = ["region table 1 is damaged; its copy is used"]
    case.findings = ["region table 1 has a wrong", "region table differ"]
    yield case
    _, case = simple("good-region-table-2", 3 * MIB, [1])
    container(case).write(vx.REGION_AT[1] + 40, b"x")
    case.findings = ["region table 2 has a wrong", "region table differ"]
    yield case


def hurt(name, entry, finding, size=6 * MIB):
    """A disk whose block 2 has this table entry."""
    disk, case = simple(name, size, [0, 1, 2, 3])
    container(case).write(disk.entry_place(2), struct.pack("<Q", entry))
    case.raw.write(2 * MIB, bytes(MIB))
    case.hurt = [(2 * MIB, MIB)]
    case.findings = finding
    return case


def hurt_cases():
    """Damage in one place, which only that place feels."""
    yield hurt("hurt-behind-end", 4096 * MIB | vx.FULL,
               ["block 2 .* behind the file's end"])
    yield hurt("hurt-far", 0xffffffffff000000 | vx.FULL,
               ["block 2 .* behind the file's end"])
    yield hurt("hurt-at-zero", vx.FULL, ["overlaps"])
    yield hurt("hurt-in-log", MIB | vx.FULL, ["overlaps"])
    yield hurt("hurt-in-metadata", 2 * MIB | vx.FULL, ["overlaps"])
    yield hurt("hurt-in-bat", 3 * MIB | vx.FULL, ["overlaps"])
    yield hurt("hurt-state-4", 9 * MIB | 4, ["block 2 has state 4"])
    yield hurt("hurt-partial", 6 * MIB | vx.PARTIAL, ["block 2 has state 7"])
    disk, case = simple("good-shared", 6 * MIB, [0, 1])
    container(case).write(disk.entry_place(4), struct.pack(
        "<Q", disk.data_at | vx.FULL | 0x10))
    case.raw.write(4 * MIB, case.raw.read(0, MIB))
    case.data = None
    case.findings = ["entry 4 has reserved bits", "block 4 .* overlaps"]
    yield case
    disk, case = simple("good-leftover-entry", 6 * MIB, [0, 1])
    container(case).write(disk.entry_place(6), struct.pack("<Q", 3))
    case.findings = ["block 6 behind the disk's end has an entry"]
    yield case
    yield from cut_cases()


def cut_cases():
    """Files that end within their last block."""
    _, case = simple("warn-cut", 6 * MIB, [0, 2], 2 * MIB)
    content = container(case)
    content.resize(content.size - MIB - 4096)
    case.raw.write(5 * MIB - 4096, bytes(MIB + 4096))
    case.warn = ["no multiple of 1 MiB"]
    case.findings = ["no multiple of 1 MiB", "block 2 .* behind"]
    case.data = [(0, 2 * MIB), (4 * MIB, MIB - 4096)]
    yield case
    _, case = simple("hurt-cut-at-mib", 6 * MIB, [0, 2], 2 * MIB)
    container(case).resize(container(case).size - MIB)
    case.raw.write(5 * MIB, bytes(MIB))
    case.hurt = [(5 * MIB, MIB)]
    case.findings = ["block 2 .* behind"]
    yield case
    # Cut off behind the disk's own end: nothing is lost.
    _, case = simple("warn-cut-behind-end", 5 * MIB + 512, [0, 2], 2 * MIB)
    content = container(case)
    content.resize(content.size - 2 * MIB + MIB + 512)
    case.warn = ["no multiple of 1 MiB"]
    case.findings = ["no multiple of 1 MiB", "block 2 .* behind"]
    yield case
    _, case = simple("warn-cut-more", 6 * MIB, [0, 2, 1], 2 * MIB)
    content = container(case)
    content.resize(content.size - 3 * MIB - 4096)
    case.raw.write(2 * MIB, bytes(2 * MIB))
    case.raw.write(5 * MIB - 4096, bytes(MIB + 4096))
    case.data = [(0, 5 * MIB - 4096)]
    case.warn = ["no multiple of 1 MiB"]
    case.hurt = [(2 * MIB, 2 * MIB)]
    case.findings = ["no multiple of 1 MiB", "block 1 .* behind",
                     "block 2 .* behind"]
    yield case


def dirty(name, log, edits=(), **fields):
    """A disk of 6 MiB with a log, blocks 0 and 3 stored. edits are bytes of
    the container that are wrong before the replay."""
    disk, case = simple(name, 6 * MIB, [0, 3], log=log, **fields)
    for at, data in edits:
        container(case).write(at, data)
    case.warn = ["its log .* is applied in memory"]
    case.findings = ["was not closed properly"]
    return disk, case


def bat_sector(disk, **states):
    """The first 4 KiB of the right table."""
    return disk.build().read(disk.bat_at, 4096)


def log_cases():
    """Dirty logs. Without replay, the table on disk is all zeroes."""
    plain, _ = simple("log", 6 * MIB, [0, 3])
    good = bat_sector(plain)
    at = plain.bat_at
    stale = [(at, bytes(4096))]
    old = bytes(range(256)) * 16
    _, case = dirty("log-single", Log().add([(at, good)]), stale)
    case.trust = ("qemu-replay",)
    yield case
    _, case = dirty("log-several", Log().add([(at, old)]).add(
        [(at, old), (at + 4096, 4096)], tail=0).add([(at, good)], tail=0),
        stale)
    case.trust = ("qemu-replay",)
    yield case
    # The ring's end lies within the first entry, and between the others.
    log = Log(start=MIB - 4096).add([(at, good)])
    log.add([(plain.data_at, bytes(4096))], tail=0)
    _, case = dirty("log-wrapped", log, stale)
    case.raw.write(0, bytes(4096))
    yield case
    log = Log(start=MIB - 5 * 4096).add([(at, old), (at + 4096, old)])
    log.add([(at, good), (at + 4096, 4096)], tail=0).add(
        [(plain.data_at + 4096, old)], tail=0)
    _, case = dirty("log-wrapped-between", log, stale)
    case.raw.write(4096, old)
    yield case
    yield from log_sequence_cases(plain, good, stale)
    yield from log_content_cases(plain, good, stale)
    yield from log_refused_cases(plain, good, stale)


def log_sequence_cases(plain, good, stale):
    """Which entries are the active sequence?"""
    at, old = plain.bat_at, b"\xee" * 4096
    # Of an older life of the ring, and of another log.
    log = Log(start=512 * KIB, sequence=500).add([(at, good)])
    for start, sequence, guid in ((0, 300, None), (900 * KIB, 499, None),
                                  (700 * KIB, 900, vx.guid_of("else"))):
        other = Log(start=start, sequence=sequence).add([(at, old)],
                                                        guid=guid)
        place, length = other.places[0]
        log.ring[place:place + length] = other.ring[place:place + length]
    yield dirty("log-stale-entries", log, stale)[1]
    # The newest was not written completely: the one before counts.
    yield dirty("log-bad-crc", Log().add([(at, good)]).add(
        [(at, old)], tail=0, damage=5000), stale)[1]
    yield dirty("log-bad-descriptor", Log().add([(at, good)]).add(
        [(at, old)], tail=0, damage=64 + 24), stale)[1]
    # What lies before the tail has been written long ago.
    _, case = dirty("log-tail-later", Log().add(
        [(plain.data_at, old)]).add([(at, good)], tail=1).add(
        [(plain.data_at + 4096, old)], tail=1), stale)
    case.raw.write(4096, old)
    yield case
    # A hole in the newest sequence: it never was complete.
    log = Log().add([(at, good)])
    log.add([(at, old)], tail=0, step=2)
    yield dirty("log-gap", log, stale)[1]
    # A sequence of one entry that fills the whole ring.
    writes = [(plain.data_at + i * 4096, bytes([i & 255]) * 4096)
              for i in range(252)]
    _, case = dirty("log-full-ring", Log(start=64 * KIB).add(
        writes + [(at, good)]), stale)
    for i in range(252):
        case.raw.write(i * 4096, bytes([i & 255]) * 4096)
    yield case


def log_content_cases(plain, good, stale):
    """What entries can hold."""
    at = plain.bat_at
    writes = [(plain.data_at + 512 * KIB, 128 * KIB),
              (plain.data_at + 520 * KIB, b"\x01" * 4096), (at, good),
              (plain.data_at, 4096), (plain.data_at + 4096, 0)]
    _, case = dirty("log-zeroes", Log().add(writes), stale)
    case.raw.write(512 * KIB, bytes(128 * KIB))
    case.raw.write(520 * KIB, b"\x01" * 4096)
    case.raw.write(0, bytes(4096))
    yield case
    # Region tables, metadata and the block behind the file's end.
    regions = vx.region_table(plain.regions())
    entries = [(place + i, regions[i:i + 4096]) for place in vx.REGION_AT
               for i in range(0, 64 * KIB, 4096)]
    metadata = plain.metadata().ljust(68 * KIB, b"\0")
    entries += [(plain.metadata_at + i, metadata[i:i + 4096])
                for i in range(0, 68 * KIB, 4096)]
    end = plain.data_at + 2 * MIB
    more = bytearray(good)
    struct.pack_into("<Q", more, 8 * 5, end | vx.FULL)
    log = Log(flushed=end, last=end + 4096).add(entries).add(
        [(at, bytes(more)), (end + 8192, b"\x77" * 4096)], tail=0)
    junk = [(place, b"\xaa" * 64 * KIB) for place in vx.REGION_AT]
    _, case = dirty("log-everything", log, [
        *stale, *junk, (plain.metadata_at, bytes(68 * KIB))])
    case.raw.write(5 * MIB + 8192, b"\x77" * 4096)
    case.data.append((5 * MIB, MIB))
    yield case


def log_refused_cases(plain, good, stale):
    """Logs that cannot be applied."""
    at = plain.bat_at
    size = plain.data_at + 2 * MIB
    for name, text, log in (
            ("none", "no complete sequence",
             Log().add([(at, good)], damage=100)),
            ("cut-off", f"the file has {size} bytes, but had {size + MIB}",
             Log(flushed=size + MIB).add([(at, good)])),
            ("far", "is too far out",
             Log().add([((1 << 64) - 4096, good)])),
            ("far-zero", "is too far out",
             Log().add([(4096, (1 << 63) - 4096)])),
            ("huge-file", "file size .* is too large",
             Log(last=(1 << 64) - 1).add([(at, good)]))):
        _, case = dirty("bad-log-" + name, log, stale)
        yield Case(case.name, case.files, refuse=text)
    guid = vx.guid_of("log")
    for name, text, fields in (
            ("place", "a log of 1048576 bytes at 4096 cannot be",
             {"log_at": 4096}),
            ("length", "a log of 4096 bytes .* cannot be",
             {"log_length": 4096}),
            ("behind-end", "log: ends at byte", {"log_at": 64 * MIB}),
            ("too-large", "above the limit", {"log_length": 128 * MIB})):
        _, case = dirty("bad-log-" + name, Log().add([(at, good)]), stale)
        put_header(case, 0, 99, log_guid=guid, **fields)
        yield Case(case.name, case.files, refuse=text)
    _, case = dirty("unsupported-log-version", Log().add([(at, good)]))
    put_header(case, 0, 99, log_guid=guid, log_version=1)
    yield Case(case.name, case.files, refuse="log version 1")


def ragged(sector):
    """Bits of all patterns, runs of all lengths."""
    return bool((sector * 2654435761 >> 13) & 1) if sector % 2048 < 512 \
        else sector % 2048 < 1024 or sector % 1000 == 1


def linkage(parent, **pairs):
    """A locator's pairs for a parent's recipe."""
    return {"parent_linkage": "{" + str(parent.guid()) + "}", **pairs}


def child_of(parent, name, stored, own=ragged, size=None, pairs=None,
             **fields):
    """A differencing disk over a parent's recipe."""
    return recipe(name, size or parent.size, stored, parent.block, own=own,
                  sector=parent.sector,
                  parent=linkage(parent, **(pairs or {})), **fields)


def differencing_cases():
    """Children of several generations, found in several ways."""
    base = recipe("base", 9 * MIB + 512, [3, 0, 1, 9])
    child = child_of(base, "child", [0, 2, 9, 4, 5], full=(4, 5), pairs={
        "relative_path": "..\\vm\\base.vhdx",
        "absolute_win32_path": "C:\\vm\\base.vhdx"})
    grand = child_of(child, "grand", [2, 3], lambda s: s % 16 < 3, pairs={
        "absolute_win32_path": "C:\\vm\\child.avhdx"})
    raw = base.raw()
    child_raw = child.raw(raw)
    files = {"grand.avhdx": grand.build(), "child.avhdx": child.build(),
             "base.vhdx": base.build()}
    two = dict(list(files.items())[1:])
    yield Case("good-diff", two, child_raw, trust=("vhdi",))
    yield Case("good-diff-chain", files, grand.raw(child_raw),
               trust=("vhdi",))
    yield Case("good-diff-by-id", {
        "child.avhdx": two["child.avhdx"], "junk.vhdx": Sparse(400 * KIB),
        "a.vhdx": recipe("another", MIB, []).build(),
        "Renamed.VHDX": two["base.vhdx"]}, child_raw)
    yield Case("bad-orphan", {"child.avhdx": two["child.avhdx"]},
               refuse="its parent .base.vhdx, id {.*}. is not beside it")
    yield Case("bad-changed-parent", {
        "child.avhdx": two["child.avhdx"], "base.vhdx":
        recipe("newer", 9 * MIB + 512, []).build()},
               refuse="base.vhdx .* was changed since")
    yield from more_differencing(base, raw)


def more_differencing(base, raw):
    """Bitmaps far in, other sectors and sizes; what cannot be."""
    files = {"base.vhdx": base.build()}
    child = child_of(base, "full", list(range(10)), full=range(10))
    yield Case("good-diff-full", {"c.vhdx": child.build(), **files},
               child.raw(raw), child.data(), trust=("vhdi",))
    child = child_of(base, "larger", [0, 14], size=15 * MIB)
    yield Case("good-diff-larger", {"c.vhdx": child.build(), **files},
               child.raw(raw))
    pairs = {"parent_linkage": "{" + str(vx.guid_of("gone")) + "}",
             "parent_linkage2": "{" + str(base.guid()).upper() + "}"}
    child = recipe("second", base.size, [1], own=ragged, parent=pairs)
    yield Case("good-diff-linkage2", {"c.vhdx": child.build(), **files},
               child.raw(raw))
    child = child_of(base, "states", [1], states={
        0: vx.ZERO, 3: vx.UNMAPPED, 9: vx.UNDEFINED})
    expected = child.raw(raw)
    for number in (0, 3, 9):
        expected.write(number * MIB, bytes(512 if number == 9 else MIB))
    yield Case("good-diff-states", {"c.vhdx": child.build(), **files},
               expected)
    wide = recipe("wide", 9 * GIB, [4095, 4096, 8193])
    child = child_of(wide, "wide-child", [4096, 8192, 8193, 4000])
    yield Case("good-diff-chunks", {"c.vhdx": child.build(),
                                    "wide.vhdx": wide.build()},
               child.raw(wide.raw()), trust=())
    base4k = recipe("base4k", 6 * MIB, [0, 1, 5], sector=4096)
    child = child_of(base4k, "child4k", [1, 2])
    yield Case("good-diff-4k", {"c.vhdx": child.build(),
                                "b.vhdx": base4k.build()},
               child.raw(base4k.raw()))
    child = child_of(base, "no-bitmap", [1, 2], full=(2,))
    content = child.build()
    content.write(child.bat_at + child.ratio * 8, bytes(8))
    expected = child.raw(raw)
    expected.write(MIB, bytes(MIB))
    yield Case("hurt-diff-bitmap", {"c.vhdx": content, **files}, expected,
               hurt=[(MIB, MIB)])
    yield from bad_differencing(base, files)


def bad_differencing(base, files):
    """Differencing disks that are refused."""
    one, two = recipe("one", MIB, []), recipe("two", MIB, [])
    pairs = child_of(two, "one", []), child_of(one, "two", [])
    yield Case("bad-diff-loop", {"one.vhdx": pairs[0].build(),
                                 "two.vhdx": pairs[1].build()},
               refuse="more than 32 parents")
    child = recipe("bare", base.size, [1], own=ragged, parent={})
    yield Case("bad-diff-no-linkage", {"c.vhdx": child.build(), **files},
               refuse="lacks parent_linkage")
    child = child_of(base, "odd", [1])
    content = child.build()
    place = content.read(child.metadata_at, 128 * KIB).index(
        vx.LOCATOR_TYPE.bytes_le)
    content.write(child.metadata_at + place, bytes(16))
    yield Case("unsupported-locator", {"c.vhdx": content, **files},
               refuse="parent locator of unknown type")
    content = child.build()
    content.write(child.metadata_at + place + 18, b"\xff\0")
    yield Case("bad-locator", {"c.vhdx": content, **files},
               refuse="255 keys do not fit")


def refused(name, text, change=None, **fields):
    """A disk that is refused; change(content, disk) edits the container."""
    disk, case = simple(name, fields.pop("size", 3 * MIB), [1], **fields)
    if change:
        change(container(case), disk)
    return Case(name, case.files, refuse=text)


def put_regions(regions, count=None):
    """A change: other region tables (regions: from the right ones)."""
    def change(content, disk):
        table = vx.region_table(regions(disk.regions()), count)
        for at in vx.REGION_AT:
            content.write(at, table)
    return change


def put_items(edit):
    """A change: another metadata table (edit: from the right entries)."""
    def change(content, disk):
        at, table = disk.items_at, []
        for guid, value, flags in disk.items():
            table.append((guid, at, len(value), flags))
            at += len(value)
        content.write(disk.metadata_at, vx.metadata_table(edit(table)))
    return change


def put_item(number, value):
    """A change: another value of a metadata item."""
    def change(content, disk):
        at = disk.items_at + sum(len(v) for _, v, _ in
                                 disk.items()[:number])
        content.write(disk.metadata_at + at, value)
    return change


def headers(first, second):
    """A change: other headers (None: junk)."""
    def change(content, _):
        for at, data in zip(vx.HEADER_AT, (first, second)):
            content.write(at, data or b"junk" * 1024)
    return change


def refused_cases():
    """Contradictions and what is not supported."""
    guid = vx.guid_of("x")
    yield refused("bad-headers", "neither of the two headers",
                  headers(None, None))
    yield refused("bad-same-sequence", "same sequence number 3",
                  headers(vx.header(3, guid), vx.header(3, vx.NO_GUID)))
    yield refused("unsupported-version", "VHDX version 2",
                  headers(vx.header(3, guid, version=2), None))
    yield refused("bad-short", "has at least 327680 bytes",
                  lambda content, _: content.resize(300 * KIB))
    yield refused("bad-cut-in-table", "the file ends at .* block table",
                  lambda content, disk: content.resize(disk.bat_at))
    yield refused("bad-cut-in-metadata", "metadata: only 4096 bytes",
                  lambda content, disk: content.resize(
                      disk.metadata_at + 4096))
    yield refused("bad-cut-before-metadata", "metadata: ends at byte",
                  lambda content, disk: content.resize(MIB))
    yield from refused_regions()
    yield from refused_items()


def refused_regions():
    """Region tables."""
    other = vx.guid_of("other")
    for name, text, regions, count in (
            ("unsupported-region", "requires an unknown region",
             lambda r: r + [(other, 64 * MIB, MIB, 1)], None),
            ("bad-region-twice", "is listed twice",
             lambda r: r + [(vx.BAT, 64 * MIB, MIB, 1)], None),
            ("bad-region-empty", "is empty",
             lambda r: [(vx.BAT, 64 * MIB, 0, 1), r[1]], None),
            ("bad-region-missing", "lacks the metadata region",
             lambda r: r[:1], None),
            ("bad-region-no-bat", "lacks the block allocation table's",
             lambda r: r[1:], None),
            ("bad-region-overlap", "overlaps another region",
             lambda r: r + [(other, r[1][1], MIB, 0)], None),
            ("bad-region-in-log", "overlaps the log",
             lambda r: [(vx.BAT, MIB, MIB, 1), r[1]], None),
            ("bad-region-in-headers", "cannot lie at 65536",
             lambda r: [(vx.BAT, 64 * KIB, MIB, 1), r[1]], None),
            ("bad-region-wraps", "cannot lie at",
             lambda r: [(vx.BAT, (1 << 64) - MIB, 2 * MIB, 1), r[1]], None),
            ("bad-region-count", "has 2048 entries", lambda r: r, 2048),
            ("bad-region-behind-end", "block table at",
             lambda r: [(vx.BAT, 1 << 40, MIB, 1), r[1]], None)):
        yield refused(name, text, put_regions(regions, count))
    yield refused("bad-regions", "neither of the two region tables",
                  lambda content, _: [content.write(at + 9, b"x")
                                      for at in vx.REGION_AT])
    yield refused("bad-table-small", "needs 1048576 bytes of block table|"
                  "needs .* bytes of block table, it has 1048576",
                  put_regions(lambda r: [(vx.BAT, r[0][1], MIB, 1), r[1]]),
                  size=200 * GIB)


def refused_items():
    """Metadata."""
    other = vx.guid_of("other")
    for name, text, edit in (
            ("unsupported-item", "requires unknown metadata",
             lambda t: t + [(other, 65536, 4, 4)]),
            ("bad-item-twice", "two items are the virtual disk size",
             lambda t: t + [t[1]]),
            ("bad-item-missing", "the virtual disk size is missing",
             lambda t: t[:1] + t[2:]),
            ("bad-item-short", "file parameters .4 bytes",
             lambda t: [(t[0][0], t[0][1], 4, 4)] + t[1:]),
            ("bad-item-in-table", "file parameters .* cannot be",
             lambda t: [(t[0][0], 4096, 8, 4)] + t[1:]),
            ("bad-item-outside", "file parameters .* cannot be",
             lambda t: [(t[0][0], MIB - 4, 8, 4)] + t[1:]),
            ("bad-item-wraps", "file parameters .* cannot be",
             lambda t: [(t[0][0], 0xfffffffc, 8, 4)] + t[1:])):
        yield refused(name, text, put_items(edit))
    yield refused("bad-item-count", "2048 items", lambda content, disk:
                  content.write(disk.metadata_at + 10, b"\0\x08"))
    yield refused("bad-metadata", "no metadata table at", lambda content, disk:
                  content.write(disk.metadata_at, b"M"))
    for block in (0, 512 * KIB, 3 * MIB, 512 * MIB):
        yield refused(f"bad-block-{block}", "no power of two",
                      put_item(0, struct.pack("<I", block)))
    yield refused("bad-no-locator", "without a parent locator",
                  put_item(0, struct.pack("<II", MIB, 2)))
    for sector in (0, 1024, 8192):
        yield refused(f"bad-sector-{sector}", "neither 512 nor 4096",
                      put_item(3, struct.pack("<I", sector)))
    yield refused("bad-size-odd", "no multiple of its sectors",
                  put_item(1, struct.pack("<Q", MIB + 1)))
    yield refused("bad-size-huge", "above 64 TiB",
                  put_item(1, struct.pack("<Q", (64 << 40) + 512)))


def cases():
    """All cases, in order."""
    yield from good_cases()
    yield from copies_cases()
    yield from hurt_cases()
    yield from log_cases()
    yield from differencing_cases()
    yield from refused_cases()


# The parts of a file that fuzz-vhdx takes its input for.
FUZZ_PARTS = ((0, 64), (64 * KIB, 128), (128 * KIB, 128), (192 * KIB, 128),
              (256 * KIB, 128), (2 * MIB, 320), (2 * MIB + 64 * KIB, 384),
              (3 * MIB, 256), (3 * MIB + 32768, 128), (4 * MIB, 128),
              (2 * MIB - 8192, 8192), (MIB, 48 * KIB))


def squeeze(disk, log=True):
    """The parts, with checksums of 0 where they are not sums of the parts
    alone."""
    content = disk.build()
    for at in vx.HEADER_AT + vx.REGION_AT:
        content.write(at + 4, bytes(4))
    data = b"".join(content.read(at, length) for at, length in
                    FUZZ_PARTS[:len(FUZZ_PARTS) if log else -2])
    return data.ljust(-(-len(data) // 256) * 256, b"\0")


def seeds(_target):
    """Inputs of fuzz-vhdx: a child's length in 256 bytes, its bytes, the
    parent's."""
    base = recipe("base", 2 * MIB, [1])
    yield "dynamic", b"\xff" + squeeze(base, False)
    yield "fixed-4k", b"\xff" + squeeze(recipe(
        "4k", 3 * MIB, [0], sector=4096, fixed=True), False)
    yield "block-256m", b"\xff" + squeeze(recipe(
        "wide", GIB, [2], 256 * MIB), False)
    good = bat_sector(recipe("log", 2 * MIB, [0, 1]))
    writes = [(base.bat_at, good), (base.data_at, 8192)]
    for name, log in (
            ("log", Log().add(writes)),
            ("log-several", Log(start=16384).add(writes).add(
                writes[:1], tail=0).add(writes[1:], tail=1)),
            ("log-wrapped", Log(start=MIB - 8192).add(writes).add(
                writes, tail=0))):
        disk = recipe("log", 2 * MIB, [], log=log)
        yield name, b"\xff" + squeeze(disk)
    child = child_of(base, "child", [0, 1], full=(1,), pairs={
        "relative_path": ".\\base.vhdx"})
    data = squeeze(child, False)
    length = bytes([len(data) // 256])
    yield "child", length + data + squeeze(base, False)
    yield "loop", length + data + data


if __name__ == "__main__":
    sys.exit(write_cases(cases, sys.argv[1:]))
