#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""make_vmdk.py --list | DIR [CASE...]: VMDK disks of every kind, and the bytes
that they must read as. Case names: good-*, warn-* (good with warnings),
hurt-* (damaged in one place), bad-* and unsupported-* (refused)."""

import struct
import sys

from blockcase import Case, Sparse, write_cases
from vmdk_multi import delta_cases, flat_cases, kinds_cases, split_cases
from vmdk_recipe import (KIB, MIB, SECTOR, SIZE, SOME, Extent, descriptor,
                         marker, sectors, single, sparse, stream)

SCANNED = "no usable footer"


def stream_cases():
    """Streams as the writers of the world make them."""
    yield single("good-stream-footer",
                 stream("good-stream-footer", SIZE, SOME),
                 info={"layout": "footer", "compression": "deflate",
                       "version": 3, "grain_bytes": 65536, "unit": 65536,
                       "subformat": "streamOptimized", "cid": "fffffffe",
                       "create_type": "streamOptimized",
                       "adapter_type": "ide", "hardware_version": "4"})
    yield single("good-stream-front", stream(
        "good-stream-front", SIZE, SOME, layout="front"),
                 info={"layout": "tables in front"})
    yield single("good-stream-front-no-rgd", stream(
        "good-stream-front-no-rgd", SIZE, SOME, layout="front", rgd=False))
    yield single("good-stream-behind", stream(
        "good-stream-behind", SIZE, SOME, layout="behind"))
    # The writer did not know the size when it began.
    name = "good-stream-capacity-late"
    case = single(name, stream(name, SIZE, SOME), trust=())
    case.files[name + ".vmdk"].write(12, bytes(8))
    yield case
    yield single("good-stream-empty", stream("good-stream-empty", SIZE, []))
    yield single("good-stream-one-sector", stream(
        "good-stream-one-sector", 1, [0]))
    yield single("good-stream-short-last", stream(
        "good-stream-short-last", SIZE, SOME, full_last=False))
    yield single("good-stream-unordered", stream(
        "good-stream-unordered", SIZE, SOME[::-1], gap=3))
    for grain in 8, 16, 256, 2048:
        yield single(f"good-stream-grain-{grain}", stream(
            f"good-stream-grain-{grain}", 40 * grain + 5, [0, 3, 4, 39, 40],
            grain=grain))
    for per_table in 1, 5, 128:
        yield single(f"good-stream-per-table-{per_table}", stream(
            f"good-stream-per-table-{per_table}", 300 * 8, [0, 1, 9, 10, 299],
            grain=8, per_table=per_table))
    for version in 1, 2:
        yield single(f"good-stream-version-{version}", stream(
            f"good-stream-version-{version}", SIZE, SOME, version=version))
    yield single("good-stream-zeroed", stream(
        "good-stream-zeroed", SIZE, SOME, zeroed=[3, 4, 600]))
    yield single("good-stream-2t", stream(
        "good-stream-2t", 1 << 32, [0, 1, (1 << 25) - 1]),
                 trust=())  # qemu-img takes 11 s for the map


def text_cases():
    """Descriptors as the writers of the world spell them."""
    texts = {
        "crlf": {"eol": "\r\n"},
        "unquoted": {"quote": "", "eol": "\r\n"},
        "title": {"title": "# Disk Descriptor File"},
        "blank-lines": {"extra": ["", "", 'encoding="windows-1252"']},
        "gbk": {"extra": ['encoding="GBK"', "ddb.comment=\udcc4\udce3"]},
    }
    info = {"gbk": {"comment": "\u4f60"}, "unquoted":
            {"create_type": "streamOptimized"}}
    for name, text in texts.items():
        extent = stream(f"good-text-{name}", 3 * MIB // SECTOR, [1], text)
        yield single(f"good-text-{name}", extent, info=info.get(name, {}))
    extent = stream("good-text-no-type", 2048, [1])
    extent.text = b"# Disk DescriptorFile\nversion=1\n"
    yield single("good-text-no-type", extent, trust=())
    extent = sparse("warn-no-text", 2048, [1])
    extent.text = b""
    yield single("warn-no-text", extent, warn=["no descriptor"], trust=())
    extent = sparse("good-text-far", 2048, [1], text_sectors=200)
    yield single("good-text-far", extent)


def padded(name, extra, **expected):
    """A stream with something behind its end."""
    extent = stream(name, SIZE, SOME)
    case = single(name, extent, trust=(), **expected)
    case.files[name + ".vmdk"].write(extent.end * SECTOR, extra)
    return case


def scanned(name, spoil, **expected):
    """A stream whose footer is of no use; spoil(file, extent) made it so."""
    extent = stream(name, SIZE, SOME)
    expected = {"warn": [SCANNED], "findings": [SCANNED], "trust": (),
                "info": {"layout": "scanned"}, **expected}
    case = single(name, extent, **expected)
    spoil(case.files[name + ".vmdk"], extent)
    return case


def scan_cases():
    """Streams that are read by their markers, and padded ones."""
    yield padded("good-stream-padded", bytes(10 * KIB))
    yield padded("good-stream-padded-odd", b"trailer")
    yield padded("warn-stream-padded-much", bytes(100 * KIB), warn=[SCANNED],
                 findings=[SCANNED])

    def zero_footer(file, extent):
        file.write(extent.footer * SECTOR, bytes(2 * SECTOR))
    yield scanned("warn-scan-footer-zero", zero_footer)

    def wild_footer(file, extent):
        file.write((extent.footer + 1) * SECTOR + 56, b"\xee" * 6)
    yield scanned("warn-scan-footer-wild", wild_footer)

    def wild_marker(file, extent):
        file.write(extent.footer * SECTOR, marker(1, 77))
        file.write(extent.footer * SECTOR, bytes(SECTOR))
    yield scanned("warn-scan-footer-marker", wild_marker)

    def bad_version(file, extent):
        file.write((extent.footer + 1) * SECTOR + 4, b"\x63")
    yield scanned("warn-scan-footer-version", bad_version)

    def twice(file, extent):
        first = file.read(extent.places[1] * SECTOR, SECTOR)
        size = sectors(12 + struct.unpack_from("<I", first, 8)[0])
        grain = file.read(extent.places[1] * SECTOR, size * SECTOR)
        at = extent.places[0] * SECTOR
        tail = file.read(at, file.size - at)
        file.write(at, grain + tail)
        zero_footer(file, Moved(extent, size))
    yield scanned("warn-scan-twice", twice)

    name = "warn-scan-gd-zero"
    extent = stream(name, SIZE, SOME, layout="behind")
    case = single(name, extent, warn=[SCANNED], findings=[SCANNED], trust=())
    case.files[name + ".vmdk"].write(56, bytes(8))
    yield case
    name = "warn-scan-unordered"
    extent = stream(name, SIZE, SOME[::-1])
    case = single(name, extent, warn=[SCANNED], findings=[SCANNED], trust=())
    zero_footer(case.files[name + ".vmdk"], extent)
    yield case


class Moved:
    """An extent whose file was moved by some sectors."""

    def __init__(self, extent, by):
        self.footer = extent.footer + by


def cut_cases():
    """Streams that end early must not pass for smaller disks."""
    extent = stream("cut", SIZE, SOME)
    whole = extent.build()
    ends = {
        "grain": extent.places[100] * SECTOR + 40,
        "between": extent.places[100] * SECTOR,
        "table": extent.tables[0] * SECTOR + 100,
        "directory": extent.gd * SECTOR,
        "no-footer": extent.footer * SECTOR,
        "no-end": (extent.footer + 2) * SECTOR,
        "end-part": (extent.footer + 2) * SECTOR + 100,
        "overhead": 2049,
        "text": 700,
        "header": 300,
    }
    for name, end in ends.items():
        file = whole.copy()
        file.resize(end)
        yield Case(f"bad-cut-{name}", {"cut.vmdk": file},
                   refuse="cut off|ends within|past the end|lies past")
    file = whole.copy()
    at = extent.places[100] * SECTOR
    file.write(at, bytes(file.size - at))
    yield Case("bad-cut-zeroes", {"cut.vmdk": file}, refuse="incomplete")
    file = whole.copy()
    file.write(extent.footer * SECTOR, b"\xaa" * SECTOR)
    yield Case("bad-scan-marker", {"cut.vmdk": file}, refuse="makes no sense")
    file = whole.copy()
    file.write(extent.footer * SECTOR, marker(1, 9))
    yield Case("bad-scan-type", {"cut.vmdk": file}, refuse="unknown type 9")


def sparse_cases():
    """Uncompressed disks in one file."""
    yield single("good-sparse", sparse("good-sparse", SIZE, SOME),
                 info={"compression": "none", "layout": "tables in front",
                       "version": 1, "subformat": "monolithicSparse"})
    yield single("good-sparse-needed-tables", sparse(
        "good-sparse-needed-tables", SIZE, SOME, all_tables=False))
    yield single("good-sparse-no-rgd", sparse(
        "good-sparse-no-rgd", SIZE, SOME, rgd=False))
    yield single("good-sparse-unordered", sparse(
        "good-sparse-unordered", SIZE, SOME[::-1]))
    yield single("good-sparse-gaps", sparse(
        "good-sparse-gaps", SIZE, SOME, gap=1))
    yield single("good-sparse-empty", sparse("good-sparse-empty", 200, []))
    yield single("good-sparse-one-sector", sparse(
        "good-sparse-one-sector", 1, [0]))
    yield single("good-sparse-zeroed", sparse(
        "good-sparse-zeroed", SIZE, SOME, zeroed=[3, 600], version=2))
    for grain in 8, 2048:
        yield single(f"good-sparse-grain-{grain}", sparse(
            f"good-sparse-grain-{grain}", 40 * grain + 5, [0, 3, 4, 39, 40],
            grain=grain))
    for per_table in 1, 7:
        yield single(f"good-sparse-per-table-{per_table}", sparse(
            f"good-sparse-per-table-{per_table}", 300 * 8, [0, 9, 10, 299],
            grain=8, per_table=per_table))
    for version in 2, 3:
        yield single(f"good-sparse-version-{version}", sparse(
            f"good-sparse-version-{version}", SIZE, SOME, version=version))
    yield single("good-sparse-2t", sparse(
        "good-sparse-2t", 1 << 32, [0, 1, (1 << 25) - 1], all_tables=False),
                 trust=())  # qemu-img takes 11 s for the map
    extent = sparse("warn-newlines-unset", SIZE, SOME,
                    fields={"newlines": bytes(4)})
    yield single("warn-newlines-unset", extent, warn=["newline test"])
    # The name in the descriptor is that of another disk beside it.
    case = single("good-name-not-followed", sparse(
        "good-name-not-followed", 2048, [1]))
    other = sparse("other", 2048, [0, 2])
    case.files["good-name-not-followed-other.vmdk"] = other.build()
    yield case


def put_entry(file, extent, grain, value):
    """Spoil a grain's entry in the (last) table."""
    table, place = divmod(grain, extent.per_table)
    file.write(extent.tables[table] * SECTOR + place * 4,
               struct.pack("<I", value))


def hurt(name, extent, grains, findings, spoil, **expected):
    """A disk that spoil(file) damaged; grains are lost."""
    case = single(name, extent, findings=findings, trust=(), **expected)
    size = extent.capacity * SECTOR
    unit = extent.grain * SECTOR
    case.hurt = [(n * unit, min(unit, size - n * unit)) for n in grains]
    for at, length in case.hurt:
        case.raw.write(at, bytes(length))
    spoil(case.files[name + ".vmdk"])
    return case


def hurt_cases():
    """Damage in one place; everything else reads."""
    for kind, make in (("stream", stream), ("sparse", sparse)):
        name = f"hurt-{kind}-entry"
        extent = make(name, SIZE, SOME, rgd=False)
        yield hurt(name, extent, [7], ["past the end of the data"],
                   lambda f, e=extent: put_entry(f, e, 7, 0xfffffff0))
        name = f"hurt-{kind}-entry-text"
        extent = make(name, SIZE, SOME, rgd=False)
        yield hurt(name, extent, [7], ["into the descriptor"],
                   lambda f, e=extent: put_entry(f, e, 7, 1))
        name = f"hurt-{kind}-directory"
        extent = make(name, SIZE, SOME, rgd=False)
        case = hurt(name, extent, [], ["table at sector 4294967040"],
                    lambda f, e=extent: f.write(e.gd * SECTOR + 4,
                                                b"\0\xff\xff\xff"))
        first = 512 * 128 * SECTOR
        case.hurt = [(first, first)]
        case.raw.write(first, bytes(first))
        case.data = [r for r in case.data if not first <= r[0] < 2 * first]
        case.data.append((first, first))
        yield case
    yield from hurt_grains()
    name = "hurt-sparse-cut"
    extent = sparse(name, SIZE, [0, 1, 2], rgd=False)
    case = hurt(name, extent, [], [],
                lambda f: f.resize(f.size - 1000))
    case.hurt = [(3 * 65536 - 1024, 1024)]
    case.raw.write(3 * 65536 - 1024, bytes(1024))
    yield case
    name = "good-sparse-copies-differ"
    extent = sparse(name, SIZE, SOME)
    case = single(name, extent, findings=["copies of grain table 0 differ"])
    case.files[name + ".vmdk"].write(
        (extent.rgd_at() + 1) * SECTOR + 20, b"\1\2\3\4")
    yield case
    name = "good-sparse-overlap"
    extent = sparse(name, SIZE, SOME, rgd=False)
    case = single(name, extent, findings=["overlap"])
    put_entry(case.files[name + ".vmdk"], extent, 1, extent.places[0] + 1)
    both = case.files[name + ".vmdk"].read(
        (extent.places[0] + 1) * SECTOR, 65536)
    case.raw.write(65536, both)
    yield case


def hurt_grains():
    """Damage in a packed grain itself."""
    def spoilt(name, findings, spoil):
        extent = stream(name, SIZE, SOME)
        return hurt(name, extent, [2], findings,
                    lambda f: spoil(f, extent.places[2] * SECTOR))

    yield spoilt("hurt-stream-marker", ["marker at sector .* is of sector"],
                 lambda f, at: f.write(at, b"\x80"))
    yield spoilt("hurt-stream-size-zero", [],
                 lambda f, at: f.write(at + 8, bytes(4)))
    yield spoilt("hurt-stream-size-huge", ["reaches past the end"],
                 lambda f, at: f.write(at + 8, b"\xff\xff\xff\xff"))
    yield spoilt("hurt-stream-data", [],
                 lambda f, at: f.write(at + 30, b"\x55\xaa\x55\xaa"))
    yield spoilt("hurt-stream-checksum", [], spoil_checksum)
    name = "hurt-stream-short"
    extent = stream(name, SIZE, SOME)
    whole = extent.grain_bytes
    short = Extent(2 * 128 + 8, [2], extent.content, packed=True,
                   full_last=False)
    extent.grain_bytes = lambda n: (short.grain_bytes(n) if n == 2
                                    else whole(n))
    yield hurt(name, extent, [2], [], lambda f: None)


def spoil_checksum(file, at):
    """The last byte of the packed data is the Adler-32's."""
    size = struct.unpack("<I", file.read(at + 8, 4))[0]
    last = file.read(at + 12 + size - 1, 1)[0]
    file.write(at + 12 + size - 1, bytes([last ^ 1]))


def refused_cases():
    """Headers that no reader should believe."""
    rows = [
        ("version-0", {"version": 0}, "version 0"),
        ("version-4", {"version": 4}, "version 4"),
        ("capacity-0", {"capacity": 0}, "no sectors"),
        ("capacity-huge", {"capacity": 1 << 60}, "above the limit"),
        ("capacity-over", {"capacity": (1 << 64) - 1}, "above the limit"),
        ("grain-0", {"grain": 0}, "grain size of 0"),
        ("grain-4", {"grain": 4}, "grain size of 4"),
        ("grain-129", {"grain": 129}, "grain size of 129"),
        ("grain-4096", {"grain": 4096}, "grain size of 4096"),
        ("grain-huge", {"grain": 1 << 63}, "grain size"),
        ("per-table-0", {"per_table": 0}, "0 entries"),
        ("per-table-513", {"per_table": 513}, "513 entries"),
        ("gd-past-end", {"gd": 1 << 40}, "grain directory"),
        ("gd-over", {"gd": (1 << 64) - 2}, "grain directory"),
        ("gd-at-end", {"gd": (1 << 64) - 1}, "grain directory"),
        ("text-past-end", {"text": 1 << 40}, "descriptor .* past the end"),
        ("text-huge", {"text_sectors": 1 << 60}, "past the end"),
        ("text-mode", {"newlines": b"\n \n\0"}, "text mode"),
        ("algorithm-2", {"algorithm": 2}, "algorithm 2"),
        ("algorithm-0", {"flags": 0x30003}, "by no algorithm"),
        ("no-markers", {"flags": 0x10003, "algorithm": 1}, "without markers"),
        ("markers-only", {"flags": 0x20003}, "with markers"),
        ("magic", {"magic": b"KDMW"}, "no known container format"),
    ]
    for name, fields, refuse in rows:
        extent = sparse(name, 2048, [1], fields=fields)
        yield Case(f"bad-{name}", {"bad.vmdk": extent.build()}, refuse=refuse)
    yield Case("unsupported-cowd", {"a.vmdk": Sparse(0, b"COWD" + bytes(2044))},
               refuse="COWD")
    data = struct.pack("<QQ", 0xcafebabe, 0x200000001) + bytes(4096)
    yield Case("unsupported-sesparse", {"a.vmdk": Sparse(0, data)},
               refuse="SEsparse")
    extent = sparse("two", 2048, [1])
    extent.text = descriptor(['RW 2048 SPARSE "a.vmdk"',
                              'RW 2048 SPARSE "b.vmdk"'],
                             "twoGbMaxExtentSparse")
    yield Case("unsupported-embedded-two", {"a.vmdk": extent.build()},
               refuse="lists 2 extents")


def cases():
    """All cases."""
    for group in (stream_cases, text_cases, scan_cases, cut_cases,
                  sparse_cases, hurt_cases, refused_cases, flat_cases,
                  split_cases, kinds_cases, delta_cases):
        yield from group()


def seeds(target):
    """(name, bytes) for the fuzz targets."""
    if target == "fuzz-vmdk-descriptor":
        for case in cases():
            data = next(iter(case.files.values()))
            if data.size < 4096 and data.read(0, 2) == b"# ":
                yield case.name, data.read(0, data.size)
        return
    for case in cases():
        data = next(iter(case.files.values()))
        if 512 <= data.size <= 256 * KIB:
            yield case.name, data.read(0, data.size)
    for name, stored in (("tiny-stream", [0, 2]), ("tiny-empty", [])):
        for layout in ("footer", "front", "behind"):
            extent = stream(name, 40, stored, grain=8, layout=layout)
            data = extent.build()
            yield f"{name}-{layout}", data.read(0, data.size)


if __name__ == "__main__":
    sys.exit(write_cases(cases, sys.argv[1:]))
