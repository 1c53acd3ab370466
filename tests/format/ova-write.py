#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""OVAs that are written: other programs unpack them and find the digests
right, the descriptor leads from the machine to each disk, and every disk reads
as it was; what readers would stumble over is refused; nothing is left of what
was stopped."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(HERE, ".."))
import tap  # noqa: E402
from sparse import Sparse, first_difference  # noqa: E402

MIB = 1 << 20
TOOLS = os.path.join(os.environ.get("top_builddir", "."), "tests/tools")
CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_"
NS = {"ovf": "http://schemas.dmtf.org/ovf/envelope/1",
      "rasd": CIM + "ResourceAllocationSettingData"}
STREAM = "http://www.vmware.com/interfaces/specifications/vmdk.html" \
    "#streamOptimized"

# The package's name and its disks'.
PACKAGES = {
    "one disk": ("server", ["disk1.vmdk"]),
    "two disks": ("web server", ["a.vmdk", "b.VMDK"]),
    "three disks": ("app", ["root.vmdk", "data (1).vmdk", "swap.vmdk"]),
    "escapes": ("R&D <1> \"x\"", ["a&b.vmdk", "<b>.vmdk", "c'\"c.vmdk",
                                  "=d=.vmdk", "-e.vmdk", "f&amp;.vmdk"]),
    "not ASCII": ("größe", ["\u6f22\u5b57.vmdk", "\U0001f4be.vmdk",
                            "blank here.vmdk"]),
    "name fields' edges": ("n" * 96, ["x" * 95 + ".vmdk", "y" * 96 + ".vmdk",
                                      "z" * 250 + ".vmdk"]),
    "the longest name": ("l" * 251, ["l.vmdk"]),
    "two buses": ("many", [f"disk{n:02}.vmdk" for n in range(17)]),
}


def run(*command, **more):
    """A finished process, its output as text."""
    return subprocess.run(command, capture_output=True, encoding="utf-8",
                          errors="replace", check=False, **more)


def tool(name, *arguments):
    """Run a tool of the tests."""
    return run(os.path.join(TOOLS, name), *arguments)


def make_disks(folder, names):
    """Write a VMDK of each name; the raw disks' paths."""
    raws = []
    for number, name in enumerate(names):
        raw = os.path.join(folder, f"raw{number}")
        disk = Sparse(3 * MIB + 512 * number)
        disk.paint(name, 70000 * number, 200000)
        disk.save(raw)
        done = tool("disksink", "--", "vmdk", raw, folder, name)
        if done.returncode:
            sys.exit(f"Bail out! disksink: {done.stderr}")
        raws.append(raw)
    return raws


def assemble(folder, base, names):
    """Write BASE.ova; its path, or None and a failed check."""
    done = tool("ovasink", "--", folder, base + ".ova", *names)
    if done.returncode:
        tap.ok(False, f"{base[:20]}: assembled", done.stderr)
        return None
    return os.path.join(folder, base + ".ova")


def attribute(node, name):
    """An attribute of OVF's namespace."""
    return node.get(f"{{{NS['ovf']}}}{name}")


def disk_chain(root):
    """(controller's address, unit, href, size, capacity) of each drive, found
    as virt-v2v does: from Item to Disk to File."""
    rasd = f"{{{NS['rasd']}}}"
    items = root.findall("ovf:VirtualSystem/ovf:VirtualHardwareSection/"
                         "ovf:Item", NS)
    by_id = {item.findtext(rasd + "InstanceID"): item for item in items}
    assert len(by_id) == len(items), "an InstanceID occurs twice"
    found = []
    for item in items:
        names = [child.tag for child in item]
        assert names == sorted(names), "elements of an Item out of order"
        if item.findtext(rasd + "ResourceType") != "17":
            continue
        match = re.fullmatch("ovf:/disk/(.+)",
                             item.findtext(rasd + "HostResource"))
        disk = root.find("ovf:DiskSection/ovf:Disk[@ovf:diskId="
                         f"'{match.group(1)}']", NS)
        file = root.find("ovf:References/ovf:File[@ovf:id="
                         f"'{attribute(disk, 'fileRef')}']", NS)
        parent = by_id[item.findtext(rasd + "Parent")]
        assert parent.findtext(rasd + "ResourceType") == "6"
        assert attribute(disk, "capacityAllocationUnits") == "byte"
        assert attribute(disk, "format") == STREAM
        found.append((int(parent.findtext(rasd + "Address")),
                      int(item.findtext(rasd + "AddressOnParent")),
                      attribute(file, "href"), int(attribute(file, "size")),
                      int(attribute(disk, "capacity"))))
    return found


def check_descriptor(folder, base, names, raws, what):
    """The unpacked descriptor describes what is there."""
    root = ElementTree.parse(os.path.join(folder, base + ".ovf")).getroot()
    tap.same([child.tag.split("}")[1] for child in root],
             ["References", "DiskSection", "NetworkSection", "VirtualSystem"],
             f"{what}: sections in the schema's order")
    tap.same((attribute(root.find("ovf:VirtualSystem", NS), "id"),
              root.findtext("ovf:VirtualSystem/ovf:Name", "", NS)),
             (base, base), f"{what}: the machine's name")
    units = [n for n in range(16) if n != 7]
    tap.same(disk_chain(root),
             [(n // 15, units[n % 15], name,
               os.path.getsize(os.path.join(folder, name)),
               os.path.getsize(raw))
              for n, (name, raw) in enumerate(zip(names, raws))],
             f"{what}: from each drive to its file")


def check_unpacked(folder, base, names, raws, what):
    """The manifest, the descriptor and the disks of an unpacked OVA."""
    done = run("sha256sum", "--strict", "-c", base + ".mf", cwd=folder)
    tap.ok(done.returncode == 0 and
           done.stdout.count(": OK") == len(names) + 1,
           f"{what}: sha256sum -c", done.stdout + done.stderr)
    check_descriptor(folder, base, names, raws, what)
    if not shutil.which("qemu-img"):
        tap.skip(f"{what}: qemu-img", "qemu-img is missing")
        return
    bad = []
    for name, raw in zip(names, raws):
        done = run("qemu-img", "compare", "-f", "vmdk", "-F", "raw",
                   "./" + name, raw, cwd=folder)
        if done.returncode:
            bad.append(name + done.stdout + done.stderr)
    tap.same(bad, [], f"{what}: qemu-img reads the unpacked disks")


def check_programs(path, members, what):
    """Every program that is here lists the members and unpacks them."""
    with tarfile.open(path, "r:") as tar:
        tap.same([m.name for m in tar], members, f"{what}: Python's tarfile")
        tap.same({(m.mode, m.uid, m.gid, m.mtime, m.isreg())
                  for m in tar}, {(0o644, 0, 0, 315532800, True)},
                 f"{what}: nothing of who wrote it, or when")
    for command in (["7z", "t"], ["bsdtar", "-tf"]):
        if shutil.which(command[0]):
            done = run(*command, path)
            tap.ok(done.returncode == 0, f"{what}: {' '.join(command)}",
                   done.stdout + done.stderr)
        else:
            tap.skip(f"{what}: {command[0]}", f"{command[0]} is missing")


def check_virt_v2v(path, base, count, what):
    """virt-v2v finds a machine of that name with all disks."""
    if not shutil.which("virt-v2v"):
        tap.skip(f"{what}: virt-v2v", "virt-v2v is missing")
        return
    done = run("virt-v2v", "-i", "ova", path, "--print-source")
    tap.same((done.returncode, re.findall("source name: (.*)", done.stdout),
              re.findall(r"^\t(\d+) \[scsi\]", done.stdout, re.M)),
             (0, [base], [str(n) for n in range(count)]),
             f"{what}: virt-v2v {done.stderr}")


def check_own_reader(path, base, names, raws, what):
    """Our reader finds the disks, their bytes, and nothing odd."""
    done = tool("ovacat", "list", path)
    stored = {name: os.path.getsize(os.path.join(os.path.dirname(path), name))
              for name in names}
    want = [f"disk {name} id=vmdisk{n + 1} capacity={os.path.getsize(raw)} "
            f"stored={stored[name]}"
            for n, (name, raw) in enumerate(zip(names, raws))]
    tap.same((done.stdout.splitlines()[:len(names)], done.stderr),
             (want, ""), f"{what}: our reader lists the disks")
    done = tool("ovacat", "check", path)
    tap.ok(done.returncode == 0 and
           re.fullmatch(r"verified \d+\n", done.stdout),
           f"{what}: our reader finds nothing wrong",
           done.stdout + done.stderr)
    for name, raw in zip(names, raws):
        out = raw + ".out"
        done = tool("diskcat", "raw", path + "/" + name, out)
        if done.returncode:
            tap.ok(False, f"{what}: {name[:20]} reads back", done.stderr)
            continue
        difference = first_difference(out, raw)
        os.remove(out)
        if difference:
            tap.ok(False, f"{what}: {name[:20]} reads back", difference)
    tap.ok(True, f"{what}: all disks were read back")


def one_package(folder, what, base, names):
    """Write a package, unpack and read it."""
    raws = make_disks(folder, names)
    path = assemble(folder, base, names)
    if not path:
        return
    unpacked = os.path.join(folder, "unpacked")
    os.mkdir(unpacked)
    done = run("tar", "-xf", path, "-C", unpacked)
    tap.same((done.returncode, done.stderr), (0, ""), f"{what}: tar -x")
    check_unpacked(unpacked, base, names, raws, what)
    check_programs(path, [base + ".ovf", *names, base + ".mf"], what)
    if len(names) in (2, 17):  # it takes two seconds
        check_virt_v2v(path, base, len(names), what)
    check_own_reader(path, base, names, raws, what)
    with open(path, "rb") as file:
        first = file.read()
    tool("ovasink", "-r", "--", folder, base + ".ova", *names)
    with open(path, "rb") as file:
        tap.ok(file.read() == first, f"{what}: the same bytes again")


def refused(folder):
    """What cannot become an OVA, and that nothing appears then."""
    make_disks(folder, ["good.vmdk"])
    good = os.path.join(folder, "good.vmdk")
    os.mkdir(os.path.join(folder, "sub"))
    for name in ("sub/good.vmdk", "a:b.vmdk", "a%20b.vmdk", "a?.vmdk",
                 "a#b.vmdk", "back\\slash.vmdk", "new\nline.vmdk",
                 " blank.vmdk", "._mac.vmdk", "disk.vmdk.raw",
                 b"bytes\xff.vmdk", "\uffff.vmdk"):
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        shutil.copy(good, path)
    with open(os.path.join(folder, "cut.vmdk"), "wb") as file:
        with open(good, "rb") as whole:
            file.write(whole.read()[:-512])
    with open(os.path.join(folder, "text.vmdk"), "wb") as file:
        file.write(b"no disk at all" * 100)
    cases = [
        ("x.ova", [], "at least one disk"),
        ("x.ova", ["good.vmdk", "sub/good.vmdk"], "two disks are called"),
        ("x.ova", ["good.vmdk"] * 61, "at most 60"),
        ("x.ova", ["text.vmdk"], "text.vmdk: .*VMDK"),
        ("x.ova", ["cut.vmdk"], "cut.vmdk: "),
        ("x.ova", ["missing.vmdk"], "missing.vmdk: "),
        ("x.ova", ["disk.vmdk.raw"], r"does not end in \.vmdk"),
        ("x.ova", [" blank.vmdk"], "begins with a blank"),
        ("x.ova", ["._mac.vmdk"], "begins with a blank"),
        ("x.ova", [b"bytes\xff.vmdk"], "no UTF-8"),
        ("x.tar", ["good.vmdk"], r"does not end in \.ova"),
        (".ova", ["good.vmdk"], r"does not end in \.ova"),
        ("a:b.ova", ["good.vmdk"], "cannot be a name in an OVA"),
    ] + [("x.ova", [name], "cannot be a name in an OVA")
         for name in ("a:b.vmdk", "a%20b.vmdk", "a?.vmdk", "a#b.vmdk",
                      "back\\slash.vmdk", "new\nline.vmdk", "\uffff.vmdk")]
    for key, parts, why in cases:
        done = tool("ovasink", "--", folder, key, *parts)
        tap.ok(done.returncode == 1 and re.search(why, done.stderr) and
               not os.path.exists(os.path.join(folder, key)),
               f"refused: {why} ({parts[:1]!r})", done.stderr)


def other_vmdk(folder):
    """VMDKs that are no streams are refused by what they are."""
    if not shutil.which("qemu-img"):
        tap.skip("a sparse VMDK", "qemu-img is missing")
        return
    run("qemu-img", "create", "-f", "vmdk", folder + "/s.vmdk", "10M")
    done = tool("ovasink", "--", folder, "x.ova", "s.vmdk")
    tap.ok("s.vmdk: is a monolithicSparse VMDK" in done.stderr,
           "a sparse VMDK is refused", done.stderr)


def from_prefix(folder):
    """All disks of NAME.ova.part/, in the order of their names."""
    part = os.path.join(folder, "x.ova.part")
    os.mkdir(part)
    names = ["b.vmdk", "B.vmdk", "a10.vmdk", "a2.vmdk", "\u00e4.vmdk"]
    make_disks(part, names)
    for name in os.listdir(part):
        if name.startswith("raw"):
            os.remove(os.path.join(part, name))

    def attempt():
        return tool("ovasink", "-r", "--", folder, "x.ova", "x.ova.part/")

    tap.same(attempt().returncode, 0, "a whole prefix")
    with tarfile.open(os.path.join(folder, "x.ova"), "r:") as tar:
        tap.same(tar.getnames(), ["x.ovf", *sorted(names), "x.mf"],
                 "in the order of names, byte by byte")
    tap.same(sorted(os.listdir(part)), sorted(names), "the disks stay")
    with open(os.path.join(folder, "x.ova"), "rb") as file:
        before = file.read()
    for name, why in (("notes.txt", r"notes\.txt.*does not end in"),
                      ("sub/d.vmdk", '"sub/" is a directory')):
        path = os.path.join(part, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.copy(os.path.join(part, "b.vmdk"), path)
        done = attempt()
        tap.ok(done.returncode == 1 and re.search(why, done.stderr),
               f"refused: {name} among the disks", done.stderr)
        os.remove(path)
        if os.path.dirname(path) != part:
            os.rmdir(os.path.dirname(path))
    for number in range(56):
        shutil.copy(os.path.join(part, "b.vmdk"),
                    os.path.join(part, f"n{number}.vmdk"))
    done = attempt()
    tap.ok("more than 60 disks" in done.stderr, "refused: 61 disks",
           done.stderr)
    with open(os.path.join(folder, "x.ova"), "rb") as file:
        tap.ok(file.read() == before, "what was there stays")
    os.remove(os.path.join(part, "n0.vmdk"))
    tap.same(attempt().returncode, 0, "60 disks are not too many")
    shutil.rmtree(part)
    os.mkdir(part)
    done = attempt()
    tap.ok("no disks are in" in done.stderr, "refused: an empty prefix",
           done.stderr)


def stopped(folder):
    """Stopped anywhere, while disks are hashed or put together, and where the
    name is taken: nothing appears."""
    names = ["a.vmdk", "b.vmdk"]
    make_disks(folder, names)
    before = sorted(os.listdir(folder))
    hashed = sum(os.path.getsize(os.path.join(folder, n)) for n in names)
    path = assemble(folder, "x", names)
    total = hashed + os.path.getsize(path)
    os.remove(path)
    for at in (0, 1, hashed // 2, hashed, hashed + 1, total - 1):
        done = tool("ovasink", "-c", str(at), folder, "x.ova", *names)
        tap.same((done.returncode, "was cancelled" in done.stderr,
                  sorted(os.listdir(folder))), (1, True, before),
                 f"stopped after {at} bytes: nothing appears")
    done = tool("ovasink", "-c", str(total), folder, "x.ova", *names)
    tap.same(done.returncode, 0, "that many bytes and no more are reported")
    done = tool("ovasink", "--", folder, "x.ova", "a.vmdk")
    tap.ok("exists" in done.stderr and done.returncode == 1,
           "an OVA is not replaced unasked", done.stderr)
    done = tool("ovasink", "-m", "1000", "-r", folder, "x.ova", "a.vmdk")
    tap.ok("-o memory=" in done.stderr and done.returncode == 1,
           "the buffer counts towards the budget", done.stderr)


def main():
    """All packages and the rest."""
    tap.need("tar", "sha256sum")
    jobs = [(one_package, what, base, names)
            for what, (base, names) in PACKAGES.items()]
    for function, *arguments in jobs + [(refused,), (other_vmdk,),
                                        (from_prefix,), (stopped,)]:
        with tempfile.TemporaryDirectory() as folder:
            function(folder, *arguments)
    return tap.done()


sys.exit(main())
