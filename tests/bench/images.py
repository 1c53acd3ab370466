# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Test input of the bench: made once, kept in a directory.

A system disk (MBR, one ext4 partition about 60 % full of this machine's own
files) in every container format; a huge disk that is nearly empty; many small
containers.
"""
import os
import shutil
import subprocess
import sys
import tarfile

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
PARTITION = MIB  # where the file system starts
OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
 <References>
{references} </References>
 <DiskSection><Info>Disks</Info>
{disks} </DiskSection>
</Envelope>
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make(path, maker):
    """maker(temporary path), unless path is there from an earlier run."""
    if os.path.exists(path):
        return
    say(f"making {path}")
    temporary = os.path.join(os.path.dirname(path),
                             "new-" + os.path.basename(path))
    maker(temporary)
    os.rename(temporary, path)


def files_of_this_machine():
    """Ordinary files of a system, in a fixed order."""
    for top in "/usr", "/var/lib", "/etc", "/opt":
        for directory, names, files in os.walk(top):
            names.sort()
            for name in sorted(files):
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    yield path


def fill(staging, want):
    """Copy files below staging until they hold `want` bytes, the same ones
    again under another name where this machine has too few."""
    left, again = want, 0
    while left > 0:
        before = left
        for path in files_of_this_machine():
            size = os.path.getsize(path)
            if size > left or size > want // 20:
                continue
            target = f"{staging}/{again}{path}"
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                shutil.copyfile(path, target)
            except OSError:
                continue  # it vanished, or may not be read
            left -= size + 2048  # half a block and an inode
        again += 1
        if left == before:
            return


def make_system(path, size):
    staging = path + ".files"
    shutil.rmtree(staging, ignore_errors=True)
    os.makedirs(staging)
    try:
        fill(staging, size * 58 // 100)
        with open(path, "wb") as disk:
            disk.truncate(size)
        subprocess.run(["sfdisk", "-q", path], input=b"2048,,L,*\n",
                       check=True)
        run("mkfs.ext4", "-q", "-F", "-d", staging, "-E",
            f"offset={PARTITION},lazy_itable_init=0", path,
            f"{(size - PARTITION) // 1024}k")
    finally:
        shutil.rmtree(staging)


def make_ova(path, size, disks):
    references = disk_lines = ""
    for i, disk in enumerate(disks):
        name = os.path.basename(disk)
        references += (f'  <File ovf:id="f{i}" ovf:href="{name}" '
                       f'ovf:size="{os.path.getsize(disk)}"/>\n')
        disk_lines += (f'  <Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" '
                       f'ovf:capacity="{size}" '
                       'ovf:format="http://www.vmware.com/interfaces/'
                       'specifications/vmdk.html#streamOptimized"/>\n')
    ovf = path + ".ovf"
    with open(ovf, "w") as file:
        file.write(OVF.format(references=references, disks=disk_lines))
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(ovf, "system.ovf")
        for disk in disks:
            tar.add(disk, os.path.basename(disk))
    os.unlink(ovf)


def convert(raw, target, fmt, options):
    """qemu-img writes the file's name into a VMDK, and libvmdk insists on it:
    so the file has its final name, in a directory of its own, from the start.
    """
    directory = target + ".d"
    final = os.path.join(directory,
                         os.path.basename(target).replace("new-", "", 1))
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    run("qemu-img", "convert", "-f", "raw", "-O", fmt, *options, raw, final)
    os.rename(final, target)
    os.rmdir(directory)


def stream(tool, raw, target):
    directory = target + ".d"
    final = os.path.join(directory,
                         os.path.basename(target).replace("new-", "", 1))
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    run(tool, raw, final)
    os.rename(final, target)
    os.rmdir(directory)


def make_library(directory, size, tools):
    """directory/{system.raw,stream-qemu.vmdk,...}: the same disk in each."""
    os.makedirs(directory, exist_ok=True)
    raw = f"{directory}/system.raw"
    make(raw, lambda path: make_system(path, size))
    for name, fmt, options in (
            ("stream-qemu.vmdk", "vmdk", ["-o", "subformat=streamOptimized"]),
            ("sparse.vmdk", "vmdk", ["-o", "subformat=monolithicSparse"]),
            ("dynamic.vhd", "vpc", ["-o", "subformat=dynamic,force_size=on"]),
            ("dynamic.vhdx", "vhdx", ["-o", "subformat=dynamic"])):
        make(f"{directory}/{name}",
             lambda path, f=fmt, o=options: convert(raw, path, f, o))
    make(f"{directory}/stream-footer.vmdk",
         lambda path: stream(f"{tools}/stream-vmdk", raw, path))
    make(f"{directory}/system.ova", lambda path: make_ova(
        path, size, [f"{directory}/stream-footer.vmdk",
                     f"{directory}/sparse.vmdk"]))


def make_holding(path, size, data):
    """A raw disk with `data` bytes in 16 places all over it."""
    with open(path, "wb") as disk:
        disk.truncate(size)
        for i in range(16):
            disk.seek(size // 16 * i)
            for _ in range(data // 16 // MIB):
                disk.write(os.urandom(MIB))


def make_sparse(directory, data):
    """small.vhdx is full of data; huge.vhdx of 1 TiB holds as much."""
    os.makedirs(directory, exist_ok=True)
    for name, size in ("small", data), ("huge", 1 << 40):
        def maker(path, size=size):
            make_holding(path + ".raw", size, data)
            convert(path + ".raw", path, "vhdx",
                    ["-o", "subformat=dynamic,block_size=16M"])
            os.unlink(path + ".raw")
        make(f"{directory}/{name}.vhdx", maker)


def make_many(directory, count):
    """`count` small containers of four kinds."""
    if os.path.isdir(directory):
        return
    temporary = directory + ".new"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    raw = f"{temporary}/raw.bin"
    make_holding(raw, 16 * MIB, 16 * MIB // 16)
    kinds = (("s.vmdk", "vmdk", "streamOptimized"),
             ("m.vmdk", "vmdk", "monolithicSparse"),
             ("d.vhd", "vpc", "dynamic"), ("d.vhdx", "vhdx", "dynamic"))
    for name, fmt, subformat in kinds:
        convert(raw, f"{temporary}/{name}", fmt,
                ["-o", f"subformat={subformat}"])
        end = name.rsplit(".", 1)[1]
        for i in range(count // len(kinds)):
            run("cp", "--sparse=always", f"{temporary}/{name}",
                f"{temporary}/{name[0]}{i:04}-{subformat}.{end}")
        os.unlink(f"{temporary}/{name}")
    os.unlink(raw)
    os.rename(temporary, directory)
