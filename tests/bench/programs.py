# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The programs that the bench compares: how each shows a disk as a file.

CPU time of every process that a row starts, daemons included, comes from
wait4(): the bench is their subreaper (prctl(2)). Peak memory is the sum of
VmHWM of all of them at the end (ru_maxrss would count our own from before
exec()).
"""
import ctypes
import os
import shutil
import signal
import subprocess
import time

PR_SET_CHILD_SUBREAPER = 36
QEMU = {"vmdk": "vmdk", "vhd": "vpc", "vhdx": "vhdx", "raw": "raw"}


def become_subreaper():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def spawn(argv, **more):
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, **more)


def children(of):
    """Pids of a process's children, with us those of daemons included."""
    with open(f"/proc/{of}/task/{of}/children") as file:
        return [int(pid) for pid in file.read().split()]


def peak_rss(of):
    """Bytes: the sum over all descendants. One that has not come to its
    exec() yet shows our own memory, and does not count."""
    total = 0
    for child in children(of):
        try:
            if os.path.samefile(f"/proc/{child}/exe", "/proc/self/exe"):
                continue
            with open(f"/proc/{child}/status") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file
                             if line.startswith("VmHWM:"))
            total += peak_rss(child)
        except OSError:
            pass  # it has ended
    return total


def reap(deadline):
    """Wait until all children have ended (killed after `deadline` seconds).
    Returns their CPU seconds."""
    cpu, end = 0.0, time.monotonic() + deadline
    while True:
        try:
            pid, _, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return cpu
        if pid:
            cpu += usage.ru_utime + usage.ru_stime
        elif time.monotonic() > end:
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)
            end += deadline
        else:
            time.sleep(0.005)


def run_client(argv, output=None):
    """Run to the end; returns seconds, CPU seconds and standard output."""
    begin = time.monotonic()
    process = spawn(argv, stdout=subprocess.PIPE if output else
                    subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    text = process.stdout.read() if output else None
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = status
    if process.stdout:
        process.stdout.close()
    if status:
        raise RuntimeError(f"{' '.join(argv)}: exit status {status >> 8}")
    return seconds, usage.ru_utime + usage.ru_stime, text


class Image:
    """A container: its path, its format, and where in the path the disk
    lies if it is a member of an OVA."""

    def __init__(self, path, fmt, member=None, offset=0, size=0):
        self.path, self.fmt, self.member = path, fmt, member
        self.offset, self.size = offset, size


class Program:
    """name; can(image); command(image, directory) -> (argv, file shown)."""
    tool = name = ""
    formats = ()
    in_foreground = True

    def can(self, image):
        return image.fmt in self.formats and not image.member

    def is_installed(self):
        return shutil.which(self.tool) is not None

    def command(self, image, directory):
        raise NotImplementedError

    def prepare(self, directory):
        """Before the command runs."""

    def mount(self, image, directory):
        """Returns the file that shows the disk."""
        self.prepare(directory)
        argv, file = self.command(image, directory)
        self.process = spawn(argv, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                if os.stat(file).st_size > 0:
                    return file
            except OSError:
                pass
            if time.monotonic() > end:
                raise RuntimeError(f"{' '.join(argv)}: {file} does not appear")
            time.sleep(0.005)

    def unmount(self, directory, file):
        """Returns CPU seconds and peak RSS of all that was started."""
        rss = peak_rss(os.getpid())
        target = directory if os.path.ismount(directory) else file
        for _ in range(100):
            if not subprocess.run(["umount", target],
                                  stderr=subprocess.DEVNULL).returncode:
                break
            time.sleep(0.05)
        return reap(20), rss


class Vmiefs(Program):
    name = "vmiefs"
    formats = tuple(QEMU)

    def __init__(self, program, options):
        self.tool, self.options = program, options

    def can(self, image):
        return True

    def command(self, image, directory):
        key = os.path.basename(image.path)
        if image.member:
            key += "/" + image.member
        if not key.endswith(".raw"):
            key += ".raw"
        options = ["-o", self.options] if self.options else []
        return ([self.tool, os.path.dirname(image.path), directory, *options],
                f"{directory}/disks/{key}")


class Passthrough(Program):
    """The limit for stored formats: FUSE and nothing else."""
    name = "passthrough"
    formats = ("raw",)

    def __init__(self, program, options):
        self.tool, self.options = program, options

    def command(self, image, directory):
        return ([self.tool, *self.options, image.path, directory],
                f"{directory}/file")


class Vmdkmount(Program):
    name = tool = "vmdkmount"
    formats = ("vmdk",)

    def command(self, image, directory):
        return [self.tool, image.path, directory], f"{directory}/vmdk1"


class Vhdimount(Program):
    name = tool = "vhdimount"
    formats = ("vhd", "vhdx")

    def command(self, image, directory):
        return [self.tool, image.path, directory], f"{directory}/vhdi1"


class Xmount(Program):
    name = tool = "xmount"
    formats = ("raw",)

    def command(self, image, directory):
        base = os.path.splitext(os.path.basename(image.path))[0]
        return ([self.tool, "--in", "raw", image.path, "--out", "raw",
                 directory], f"{directory}/{base}.dd")


class QemuStorageDaemon(Program):
    name = "qemu-storage-daemon (FUSE)"
    tool = "qemu-storage-daemon"
    formats = tuple(QEMU)

    def can(self, image):
        return image.fmt in self.formats

    def prepare(self, directory):
        with open(f"{directory}/disk", "wb"):
            pass

    def command(self, image, directory):
        argv = [self.tool, "--blockdev", "driver=file,node-name=file,"
                f"read-only=on,filename={image.path}"]
        node = "file"
        if image.member:
            argv += ["--blockdev", "driver=raw,node-name=member,file=file,"
                     f"offset={image.offset},size={image.size}"]
            node = "member"
        argv += ["--blockdev", f"driver={QEMU[image.fmt]},node-name=disk,"
                 f"read-only=on,file={node}",
                 "--export", "type=fuse,id=e,node-name=disk,writable=off,"
                 f"mountpoint={directory}/disk"]
        return argv, f"{directory}/disk"

    def unmount(self, directory, file):
        rss = peak_rss(os.getpid())
        self.process.send_signal(signal.SIGTERM)
        cpu = reap(20)
        os.unlink(f"{directory}/disk")
        return cpu, rss


class Nbdfuse(Program):
    """nbdfuse with a server behind it."""
    tool = "nbdfuse"

    def __init__(self, server, formats, command):
        self.name, self.formats = f"nbdfuse ({server})", formats
        self.server, self.server_command = server, command

    def is_installed(self):
        return bool(shutil.which(self.tool) and shutil.which(self.server))

    def command(self, image, directory):
        return ([self.tool, "-r", directory, *self.server_command(image)],
                f"{directory}/nbd")


def qemu_nbd(image):
    return ["[", "qemu-nbd", "-r", "-f", QEMU[image.fmt], image.path, "]"]


def nbdkit(image):
    return ["[", "nbdkit", "-r", "file", image.path, "]"]


class QemuImgConvert(Program):
    """Not a mount: the time of a conversion that throws its result away."""
    name = "qemu-img convert (null-co)"
    tool = "qemu-img"
    formats = tuple(QEMU)

    def convert(self, image, size):
        return [self.tool, "convert", "-n", "-f", QEMU[image.fmt],
                "--target-image-opts", image.path,
                f"driver=null-co,size={size}"]


def peers():
    """Mounting programs to compare with, those that are installed."""
    everything = [Vmdkmount(), Vhdimount(), QemuStorageDaemon(),
                  Nbdfuse("qemu-nbd", ("vmdk", "vhd", "vhdx", "raw"),
                          qemu_nbd),
                  Nbdfuse("nbdkit", ("raw",), nbdkit), Xmount()]
    return [p for p in everything if p.is_installed()]
