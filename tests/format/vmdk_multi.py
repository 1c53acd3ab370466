# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""VMDK disks of several files: flat and split ones, deltas and their parents,
and descriptors of disks whose data is not in files."""

from blockcase import Case, Sparse
from vmdk_recipe import (MIB, SECTOR, SIZE, SOME, Extent, descriptor, painted,
                         sparse, stream)


def text_disk(name, lines, create_type, files, raw, **expected):
    """A disk whose file is a descriptor."""
    text = expected.pop("text", {})
    first = {name + ".vmdk": Sparse(0, descriptor(lines, create_type,
                                                  **text))}
    return Case(name, {**first, **files}, raw, **expected)


def flat_cases():
    """Flat disks of all makers."""
    size = 3 * MIB + 512
    content = Sparse(size).paint("flat", 0, size)
    for name, create_type, line, trust in (
            ("good-flat", "monolithicFlat", 'FLAT "x-flat.vmdk" 0', ("qemu",)),
            ("good-vmfs", "vmfs", 'VMFS "x-flat.vmdk"', ("qemu",)),
            ("good-vmfs-thin", "vmfsThin", 'VMFS "x-flat.vmdk"', ()),
            ("good-flat-custom", "custom", 'FLAT "x-flat.vmdk"', ()),
            ("good-flat-path", "vmfs",
             'VMFS "/vmfs/volumes/5f0/vm/x-flat.vmdk"', ()),
            ("good-flat-crlf", "monolithicFlat", 'FLAT "x-flat.vmdk" 0',
             ("qemu",))):
        eol = "\r\n" if name.endswith("crlf") else "\n"
        yield text_disk(name, [f"RW {size // SECTOR} {line}"], create_type,
                        {"x-flat.vmdk": content.copy()}, content,
                        data=[(0, size)], text={"eol": eol}, trust=trust)
    yield text_disk(
        "good-flat-gbk", [f'RW {size // SECTOR} FLAT "\udcc4\udce3.vmdk" 0'],
        "monolithicFlat", {"\u4f60.vmdk": content.copy()}, content,
        data=[(0, size)], text={"extra": ['encoding="GBK"']})
    yield from flat_pieces(content)
    yield text_disk("bad-flat-missing", ['RW 9 FLAT "gone-flat.vmdk" 0'],
                    "monolithicFlat", {}, None,
                    refuse="not-found: .*'gone-flat.vmdk' is missing")
    yield text_disk("bad-flat-dots", ['RW 9 FLAT "../.." 0'],
                    "monolithicFlat", {}, None, refuse="no plain name")
    yield text_disk("bad-no-extents", [], "monolithicFlat", {}, None,
                    refuse="no extents")
    yield text_disk("bad-too-large", ["RW 137438953472 ZERO"] * 2,
                    "custom", {}, None, refuse="more than")
    yield Case("bad-text-large",
               {"a.vmdk": Sparse(2 * MIB, b"# Disk DescriptorFile\n")},
               refuse="above the limit")


def flat_pieces(content):
    """Flat disks of several extents."""
    raw = Sparse(6000 * SECTOR)
    raw.write(0, content.read(63 * SECTOR, 1000 * SECTOR))
    raw.write(3000 * SECTOR, content.read(0, 3000 * SECTOR))
    yield text_disk(
        "good-flat-pieces", ['RW 1000 FLAT "b.bin" 63', "RW 2000 ZERO", "",
                             'RDONLY 3000 FLAT "a.bin" 0'], "custom",
        {"a.bin": content.copy(), "b.bin": content.copy()}, raw,
        data=[(0, 1000 * SECTOR), (3000 * SECTOR, 3000 * SECTOR)],
        info={"subformat": "custom", "extents": [
            {"start": 0, "length": 1000 * SECTOR, "type": "flat",
             "at": 63 * SECTOR, "file": "b.bin"},
            {"start": 1000 * SECTOR, "length": 2000 * SECTOR, "type": "zero"},
            {"start": 3000 * SECTOR, "length": 3000 * SECTOR, "type": "flat",
             "at": 0, "file": "a.bin"}]})
    parts = {}
    lines = []
    for i in range(3):
        part = f"x-f{i + 1:03}.vmdk"
        parts[part] = Sparse(0, content.read(i * MIB, MIB))
        lines.append(f'RW {MIB // SECTOR} FLAT "{part}" 0')
    yield text_disk("good-split-flat", lines, "twoGbMaxExtentFlat", parts,
                    Sparse(0, content.read(0, 3 * MIB)), data=[(0, 3 * MIB)],
                    trust=("qemu",))
    raw = Sparse(2 * MIB, content.read(0, MIB))
    yield text_disk(
        "hurt-flat-short", [f'RW {2 * MIB // SECTOR} FLAT "x.bin" 0'],
        "monolithicFlat", {"x.bin": Sparse(0, content.read(0, MIB))}, raw,
        data=[(0, 2 * MIB)], hurt=[(MIB, MIB)], warn=["ends at byte"])
    yield text_disk(
        "hurt-no-access", ['RW 2048 FLAT "x.bin" 0',
                           'NOACCESS 2048 FLAT "y.bin" 0'], "custom",
        {"x.bin": Sparse(0, content.read(0, MIB))}, raw,
        data=[(0, 2 * MIB)], hurt=[(MIB, MIB)])


def split_of(name, recipes, **recipe):
    """Sparse extents beside each other: (lines, files, raw, data)."""
    lines, files, data = [], {}, []
    raw = Sparse()
    for i, (capacity, stored) in enumerate(recipes):
        start = raw.size
        part = f"{name}-s{i + 1:03}.vmdk"
        extent = Extent(capacity, stored,
                        painted(part, capacity, stored,
                                recipe.get("grain", 128)), **recipe)
        files[part] = extent.build()
        lines.append(f'RW {capacity} SPARSE "{part}"')
        data += [(start + at, n) for at, n in extent.ranges()]
        for at, length in extent.ranges():
            raw.write(start + at, extent.content.read(at, length))
        raw.resize(start + capacity * SECTOR)
    return lines, files, raw, data


def split_cases():
    """Disks split over several sparse files."""
    name = "good-split-sparse"
    lines, files, raw, data = split_of(name, [
        (4192256 // 16, [0, 5, 600]), (1024, [0, 7]), (70000, [1, 2, 546])])
    yield text_disk(name, lines, "twoGbMaxExtentSparse", files, raw,
                    data=data, trust=("qemu", "qemu-map"))
    # qemu 7.2 reads a grain on over the end of its extent into the next one.
    odd = [(4192256 // 16, [0, 5, 600]), (1001, [0, 7]), (77, [0]),
           (70000, [1, 2, 546])]
    name = "good-split-odd"
    lines, files, raw, data = split_of(name, odd)
    yield text_disk(name, lines, "twoGbMaxExtentSparse", files, raw,
                    data=data)
    name = "good-split-stream"
    lines, files, raw, data = split_of(name, odd, packed=True, version=3,
                                       layout="footer")
    yield text_disk(name, lines, "custom", files, raw, data=data)
    name = "good-split-zero"
    lines, files, raw, data = split_of(name, odd[1:3], grain=8)
    lines.insert(1, "RW 0 ZERO")
    lines.append("RW 500 ZERO")
    raw.resize(raw.size + 500 * SECTOR)
    yield text_disk(name, lines, "custom", files, raw, data=data)
    name = "warn-split-larger"
    lines, files, raw, data = split_of(name, [(2048, [1])])
    raw.resize(200 * SECTOR)
    yield text_disk(name, ['RW 200 SPARSE "warn-split-larger-s001.vmdk"'],
                    "twoGbMaxExtentSparse", files, raw,
                    data=[(65536, 72 * SECTOR)], warn=["uses"])
    yield text_disk("bad-split-smaller",
                    ['RW 2049 SPARSE "warn-split-larger-s001.vmdk"'],
                    "twoGbMaxExtentSparse", files, None,
                    refuse="s001.vmdk.*descriptor says")
    yield text_disk("bad-split-text", ['RW 9 SPARSE "bad-split-text.vmdk"'],
                    "twoGbMaxExtentSparse", {}, None, refuse="sparse header|"
                    "ends at byte")
    yield text_disk("bad-split-missing", [lines[0], 'RW 9 SPARSE "gone.vmdk"'],
                    "twoGbMaxExtentSparse", files, None,
                    refuse="'gone.vmdk' is missing|s001")


def kinds_cases():
    """Descriptors of disks whose data is elsewhere."""
    for kind, line, refuse in (
            ("seSparse", 'SESPARSE "x-sesparse.vmdk"', "SEsparse"),
            ("vmfsSparse", 'VMFSSPARSE "x-delta.vmdk"', "COWD"),
            ("vmfsRawDeviceMap", 'VMFSRDM "x-rdm.vmdk"', "RDM"),
            ("vmfsPassthroughRawDeviceMap", 'VMFSRDM "x-rdmp.vmdk"', "RDM"),
            ("vmfsRDM", 'VMFSRDM "x-rdm.vmdk"', "RDM"),
            ("vmfsRDMP", 'VMFSRDM "x-rdm.vmdk"', "RDM"),
            ("vmfsRaw", 'VMFSRAW "x"', "raw device"),
            ("fullDevice", 'FLAT "/dev/sda" 0', "physical"),
            ("fullDevice", 'FLAT "x.bin" 0', "physical"),
            ("partitionedDevice", 'FLAT "\\\\.\\PhysicalDrive0" 63',
             "physical"),
            ("monolithicFlat", 'FLAT "/dev/sda" 0', "is a device"),
            ("custom", 'VMFSRDM "x-rdm.vmdk"', "RDM")):
        word = line.split()[0].lower()
        x = Sparse(4096, b"x")
        yield text_disk(f"unsupported-{kind}-{word}-{len(line)}",
                        [f"RW 8 {line}"], kind, {"x.bin": x}, None,
                        refuse=f"unsupported: .*{refuse}")


def delta(name, capacity, stored, parent, cid, hint, **recipe):
    """A delta disk's extent."""
    return sparse(name, capacity, stored,
                  text={"cid": cid, "parent": parent, "hint": hint}, **recipe)


def chain(name, extents, **expected):
    """Disks by their names, the child first; each stands on the next."""
    raw = None
    covered = []
    for extent in reversed(extents.values()):
        raw = extent.raw(raw)
    for extent in extents.values():
        unit = extent.grain * SECTOR
        size = extent.capacity * SECTOR
        covered += [(n * unit, min((n + 1) * unit, size), n in extent.stored)
                    for n in [*extent.stored, *extent.zeroed]]
    files = {file: extent.build() for file, extent in extents.items()}
    first = next(iter(extents.values()))
    data = visible(covered, first.capacity * SECTOR)
    return Case(name, files, raw, data, **expected)


def visible(covered, size):
    """Where data is: of (start, end, is data) the first that covers counts."""
    edges = sorted({0, size, *(e for s, t, _ in covered for e in (s, t))})
    out = []
    for start, end in zip(edges, edges[1:]):
        hit = [d for s, t, d in covered if s <= start and end <= t]
        if hit and hit[0] and end <= size:
            out.append((start, end - start))
    return out


def delta_cases():
    """Snapshots and linked clones."""
    base = sparse("base", SIZE, SOME, text={"cid": "0000000a"})
    yield chain("good-delta", {
        "child.vmdk": delta("c1", SIZE, [1, 3, 1029], "0000000a", "0000000b",
                            "base.vmdk", zeroed=[7], version=2),
        "base.vmdk": base}, trust=("qemu", "qemu-map"),
                info={"cid": "0000000b", "parent_cid": "0000000a",
                      "parent_file": "base.vmdk", "zeroed_grains": True})
    yield chain("good-delta-chain", {
        "c2.vmdk": delta("c2", SIZE, [2, 50], "0000000b", "0000000c",
                         "c1.vmdk"),
        "c1.vmdk": delta("c1", SIZE, [1, 2, 3], "0000000a", "0000000b",
                         "C:\\\\VMs\\\\base.vmdk"),
        "base.vmdk": base})
    small = delta("small", 2000, [1, 3, 4, 20, 249], "0000000a", "0000000b",
                  "../golden/base.vmdk", grain=8, zeroed=[22], version=2)
    yield chain("good-delta-over-stream", {
        "child.vmdk": small,
        "base.vmdk": stream("base", 2000, [0, 1, 2, 15],
                            text={"cid": "0000000a"})})
    yield chain("good-delta-larger", {
        "child.vmdk": delta("c1", SIZE + 5000, [1], "0000000a", "0000000b",
                            "base.vmdk"),
        "base.vmdk": base})
    yield chain("good-delta-smaller", {
        "child.vmdk": delta("c1", 1000, [1], "0000000a", "0000000b",
                            "base.vmdk"),
        "base.vmdk": base})
    yield from delta_text_cases(base)
    yield from delta_refused_cases(base)


def delta_text_cases(base):
    """Children and parents that are descriptors."""
    recipes = [(1000, [0, 5]), (3000, [2])]
    child = Extent(1000, [0, 5], painted("x", 1000, [0, 5]))
    second = Extent(3000, [2], painted("y", 3000, [2]))
    raw = base.raw()
    raw.resize(4000 * SECTOR)
    data = []
    for start, extent in ((0, child), (1000 * SECTOR, second)):
        for at, length in extent.ranges():
            raw.write(start + at, extent.content.read(at, length))
            data.append((start + at, length))
    data += [r for r in base.ranges() if r[0] + r[1] <= 4000 * SECTOR]
    lines = [f'RW {recipes[i][0]} SPARSE "s{i}.vmdk"' for i in (0, 1)]
    yield text_disk("good-delta-split", lines, "twoGbMaxExtentSparse",
                    {"s0.vmdk": child.build(), "s1.vmdk": second.build(),
                     "base.vmdk": base.build()}, raw, data=data,
                    text={"parent": "0000000a", "hint": "base.vmdk"})
    flat = Sparse(2 * MIB).paint("flat", 0, 2 * MIB)
    extent = delta("c", 4096, [3], "0000000a", "0000000b", "base.vmdk")
    text = descriptor(['RW 4096 FLAT "base-flat.vmdk" 0'], "monolithicFlat",
                      cid="0000000A")
    yield Case("good-delta-over-flat",
               {"child.vmdk": extent.build(), "base.vmdk": Sparse(0, text),
                "base-flat.vmdk": flat}, extent.raw(flat), [(0, 2 * MIB)],
               trust=("qemu",))


def delta_refused_cases(base):
    """Chains that are broken."""
    def broken(name, refuse, **files):
        built = {f"{key}.vmdk": extent.build()
                 for key, extent in files.items()}
        return Case(name, built, refuse=refuse)

    def child(parent, hint, cid="0000000b"):
        return delta("c", SIZE, [1], parent, cid, hint)

    yield broken("bad-delta-cid", "has CID 0000000a, but its child",
                 child=child("0000000e", "base.vmdk"), base=base)
    yield broken("bad-delta-missing", "not-found: .*'gone.vmdk'",
                 child=child("0000000a", "/x/gone.vmdk"))
    yield broken("bad-delta-no-hint", "does not name its parent",
                 child=child("0000000a", None))
    yield broken("bad-delta-self", "circle",
                 child=child("0000000b", "child.vmdk"))
    yield broken("bad-delta-circle", "circle",
                 child=child("0000000c", "second.vmdk"),
                 second=child("0000000b", "child.vmdk", "0000000c"))
    yield Case("bad-delta-raw-parent",
               {"child.vmdk": child("0000000a", "base.raw").build(),
                "base.raw": Sparse(MIB, b"x")}, refuse="parent 'base.raw'")
    for depth, name in ((32, "good-delta-deep"), (33, "bad-delta-too-deep")):
        extents = {}
        for i in range(depth):
            extents[f"d{i}.vmdk"] = delta(
                f"d{i}", 4096, [i % 32], f"{i + 1:08x}", f"{i:08x}",
                f"d{i + 1}.vmdk")
        extents[f"d{depth}.vmdk"] = sparse(
            "root", 4096, [3, 31], text={"cid": f"{depth:08x}"})
        case = chain(name, extents)
        if depth > 32:
            case.raw = None
            case.refuse = "more than 32 parents"
        yield case
