#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Everything at once against one mount, for TORTURE_SECONDS: readers who check
every byte, a replacer (new containers, damaged ones, none), listers, and a
killer who ends the daemon by SIGKILL and mounts again, every other time with
a slow and failing store (tests/vmiefs-faulty).

The rules that must hold: a handle reads one version of a disk and nothing
else; it fails only if its object was replaced, damaged or removed, or if
faults are on, or if the daemon was killed meanwhile; a key that stays there
is listed; the daemon's memory stays below its bound; nothing hangs.
"""
import errno
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
import tap  # noqa: E402

BUILD = os.environ.get("top_builddir", ".")


def rss_mib():
    """What the daemon may use at its peak; sanitizers keep freed memory."""
    return 512 if tap.is_sanitized() else 128


SECONDS = float(os.environ.get("TORTURE_SECONDS", "20"))
SEED = int(os.environ.get("TORTURE_SEED", str(int(time.time()))))
READERS = int(os.environ.get("TORTURE_READERS", "8"))
MIB = 1 << 20
SIZE = 6 * MIB
KEYS = 12
MEMORY = 64 * MIB       # -o memory=
MEMORY_BOUND = int(os.environ.get("TORTURE_RSS", str(rss_mib()))) * MIB
LIFE = 6.0              # seconds of one daemon
TTL = 1.0               # -o ttl=
STUCK = 60.0            # a call that takes longer hangs
KINDS = (("vmdk", "vmdk", "subformat=streamOptimized"),
         ("vmdk", "vmdk", "subformat=monolithicSparse"),
         ("vhd", "vpc", "subformat=dynamic,force_size=on"),
         ("vhdx", "vhdx", "subformat=dynamic,block_size=1M"))
FAULTS = "on=read,delay=3,fail-every=40"


class Version:
    """What an object held from `begin` on: a file to be read, or nothing."""

    def __init__(self, data, damaged=False):
        self.data, self.damaged, self.begin = data, damaged, 0.0


class World:
    """What all threads share. The lock guards history and findings."""

    def __init__(self, directory):
        self.directory = directory
        self.library = f"{directory}/library"
        self.mount = f"{directory}/mnt"
        self.lock = threading.Lock()
        self.history = {}    # key -> [Version or None, ...]
        self.findings = []
        self.counts = {}
        self.epoch = 1       # odd while no daemon runs
        self.has_faults = False
        self.ending = threading.Event()
        self.busy = {}       # thread -> when its call began
        self.daemon = None
        self.rss = 0

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def find(self, text):
        with self.lock:
            self.findings.append(f"{time.monotonic():.3f} {text}")
        self.ending.set()

    def versions(self, key):
        with self.lock:
            return list(self.history.get(key, ()))


def make_raw(number):
    """Bytes in which every sector names its disk and its place."""
    rng = random.Random(number)
    data = bytearray(SIZE)
    for start in range(0, SIZE, 65536):
        if rng.random() < 0.4:
            continue
        for at in range(start, start + 65536, 512):
            head = b"disk %3d sector %8d " % (number, at // 512)
            data[at:at + 512] = (head * 21)[:512 - 8] + rng.randbytes(8)
    return bytes(data)


def make_stock(directory):
    """Finished containers of all kinds for several disks: [(ending, bytes of
    the file, raw bytes)]."""
    stock = []
    for number in range(3):
        data = make_raw(number)
        raw = f"{directory}/stock.bin"
        with open(raw, "wb") as file:
            file.write(data)
        for i, (ending, fmt, options) in enumerate(KINDS):
            path = f"{directory}/stock-{number}-{i}.{ending}"
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", fmt,
                            "-o", options, raw, path], check=True,
                           stdout=subprocess.DEVNULL)
            with open(path, "rb") as file:
                stock.append((ending, file.read(), data))
            os.unlink(path)
        stock.append(("img", data, data))
        os.unlink(raw)
    return stock


def put(world, key, content, version):
    """Replace an object in one step, as a writer should, and tell history
    before anybody can see it."""
    path = f"{world.library}/{key}"
    with open(path + ".part", "wb") as file:
        file.write(content)
    with world.lock:
        version.begin = time.monotonic()
        world.history.setdefault(key, []).append(version)
    os.replace(path + ".part", path)


def remove(world, key):
    with world.lock:
        world.history[key].append(None)
    os.unlink(f"{world.library}/{key}")


def damage(content, rng):
    """Cut off, or where packed data have checksums a run of bytes flipped."""
    is_stream = content[:4] == b"KDMV" and content[77] == 1
    if not is_stream or rng.random() < 0.5:
        return content[:rng.randrange(len(content) // 2, len(content))]
    at = rng.randrange(len(content) // 2, len(content) - 600)
    return (content[:at] + bytes(b ^ 0xff for b in content[at:at + 512]) +
            content[at + 512:])


def replacer(world, stock, rng):
    keys = sorted(world.history)
    while not world.ending.wait(rng.random() * 0.3):
        key = rng.choice(keys)
        ending = key.rsplit(".", 1)[1]
        choice = [s for s in stock if s[0] == ending]
        _, content, data = rng.choice(choice)
        dice = rng.random()
        if dice < 0.1 and world.versions(key)[-1]:
            remove(world, key)
            world.count("removed")
        elif dice < 0.25 and ending in ("vmdk", "vhd"):
            # Not VHDX: what is cut off its last block reads as zeroes, since
            # some writers leave it off.
            put(world, key, damage(content, rng), Version(data, damaged=True))
            world.count("damaged")
        else:
            put(world, key, content, Version(data))
            world.count("replaced")


def may_fail(world, key, error, epoch, versions_before):
    """Is this error within the rules?"""
    if world.has_faults or world.epoch != epoch or epoch % 2:
        return True
    versions = world.versions(key)
    if len(versions) > versions_before:
        return True
    now = versions[-1]
    if now is None or now.damaged:
        return True
    # The kernel may still know the name of what was there before.
    return (error.errno in (errno.ENOENT, errno.ESTALE, errno.EIO) and
            time.monotonic() - now.begin < 2 * TTL + 1)


def equal_bytes(a, b):
    """How many bytes at the front are equal."""
    return len(os.path.commonprefix([a, b]))


def check_read(world, key, candidates, offset, data):
    """The versions, of those that the handle may show, that look so."""
    left = [v for v in candidates
            if v.data[offset:offset + len(data)] == data]
    if not left:
        best, version = max((equal_bytes(v.data[offset:], data), i)
                            for i, v in enumerate(candidates))
        world.find(f"{key}: {len(data)} bytes at {offset} are of no one "
                   f"version of {len(candidates)}: most like "
                   f"{'damaged ' if candidates[version].damaged else ''}"
                   f"{version}, up to {offset + best}, where "
                   f"{data[best:best + 40]!r} is instead of "
                   f"{candidates[version].data[offset + best:][:40]!r}")
    return left


def read_handle(world, key, fd, rng, started):
    """Read here and there through one handle. Versions that came after it
    was opened cannot be in it, which open() may have taken a while for."""
    candidates = [v for v in world.versions(key) if v]
    for _ in range(rng.randrange(1, 25)):
        offset = rng.randrange(SIZE)
        length = min(rng.choice((1, 512, 4096, 65536, 300000, MIB)),
                     SIZE - offset)
        started()
        data = os.pread(fd, length, offset)
        world.count("reads")
        if len(data) < length:
            # The bytes up to a damaged place or up to where the object was
            # found replaced; what follows tells why.
            started()
            if os.pread(fd, 1, offset + len(data)) and not world.has_faults:
                world.find(f"{key}: {len(data)} of {length} bytes at {offset}"
                           " and no error behind them")
        candidates = check_read(world, key, candidates, offset, data)
        if not candidates:
            return


def reader(world, rng, started):
    key = rng.choice(sorted(world.history))
    name = key if key.endswith(".img") else key + ".raw"
    epoch, before, fd = world.epoch, len(world.versions(key)), -1
    try:
        started()
        fd = os.open(f"{world.mount}/disks/{name}", os.O_RDONLY)
        read_handle(world, key, fd, rng, started)
    except OSError as error:
        world.count(errno.errorcode.get(error.errno, "?"))
        if not may_fail(world, key, error, epoch, before):
            world.find(f"{key}: {error}; versions {before}, "
                       f"{len(world.versions(key))} now")
    finally:
        if fd >= 0:
            os.close(fd)


def lister(world, rng, started):
    """A key that was there all the time is listed."""
    epoch = world.epoch
    old = time.monotonic() - 2 * TTL - 1
    with world.lock:
        expected = {k if k.endswith(".img") else k + ".raw"
                    for k, v in world.history.items()
                    if v[-1] and v[-1].begin < old and len(v) >= 1 and
                    (len(v) == 1 or v[-2])}
        lengths = {k: len(v) for k, v in world.history.items()}
    try:
        started()
        names = set(os.listdir(f"{world.mount}/disks"))
        for name in sorted(names):
            started()
            try:
                os.stat(f"{world.mount}/disks/{name}")
            except OSError:
                world.count("stat fails")
    except OSError as error:
        if world.epoch == epoch and not epoch % 2:
            world.find(f"listing: {error}")
        return
    world.count("listings")
    with world.lock:
        changed = {k if k.endswith(".img") else k + ".raw"
                   for k, v in world.history.items()
                   if len(v) != lengths[k]}
    missing = expected - names - changed
    if missing and world.epoch == epoch:
        world.find(f"not listed: {sorted(missing)}")
    time.sleep(rng.random() * 0.1)


def repeat(world, work, seed):
    """A thread: work until the end, and say when each call began."""
    rng = random.Random(seed)
    me = threading.current_thread()

    def started():
        world.busy[me] = time.monotonic()
    while not world.ending.is_set():
        try:
            if world.epoch % 2:
                time.sleep(0.02)
            else:
                work(world, rng, started)
        except Exception as error:  # pylint: disable=broad-except
            world.find(f"{work.__name__}: {error!r}")
        world.busy.pop(me, None)


def start_daemon(world, has_faults):
    program = f"{BUILD}/tests/vmiefs-faulty" if has_faults else \
        f"{BUILD}/vmiefs"
    environment = dict(os.environ)
    if has_faults:
        environment["VMIEFS_TEST_FAULTS"] = FAULTS
    world.has_faults = has_faults
    with open(f"{world.directory}/log", "ab") as log:
        world.daemon = subprocess.Popen(
            [program, "-f", world.library, world.mount,
             "-o", f"memory={MEMORY},ttl={int(TTL)}"],
            env=environment, stdout=log, stderr=log)
    end = time.monotonic() + 30
    while not os.path.ismount(world.mount):
        if time.monotonic() > end or world.daemon.poll() is not None:
            world.find("the daemon does not mount")
            return
        time.sleep(0.02)
    world.epoch += 1


def note_memory(world):
    try:
        with open(f"/proc/{world.daemon.pid}/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    world.rss = max(world.rss, int(line.split()[1]) * 1024)
    except OSError:
        pass
    if world.rss > MEMORY_BOUND:
        world.find(f"peak RSS {world.rss // MIB} MiB is above "
                   f"{MEMORY_BOUND // MIB}")


def watch(world, seconds):
    """Let the others work; look after memory and stuck calls."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not world.ending.is_set():
        note_memory(world)
        now = time.monotonic()
        for thread, begin in list(world.busy.items()):
            if now - begin > STUCK:
                world.find(f"{thread.name} waits for {now - begin:.0f} s")
        if world.daemon.poll() is not None:
            world.find(f"the daemon ended: {world.daemon.returncode}")
        time.sleep(0.1)


def kill_daemon(world):
    world.epoch += 1
    world.daemon.send_signal(signal.SIGKILL)
    world.daemon.wait()
    subprocess.run(["umount", "-l", world.mount], check=False)
    world.count("kills")


def end_daemon(world):
    """Ask nicely; whatever is still open must not keep it."""
    world.daemon.send_signal(signal.SIGTERM)
    try:
        status = world.daemon.wait(30)
    except subprocess.TimeoutExpired:
        world.find("the daemon does not end on SIGTERM")
        world.daemon.kill()
        world.daemon.wait()
        status = None
    if os.path.ismount(world.mount):
        world.find("still mounted after SIGTERM")
        subprocess.run(["umount", "-l", world.mount], check=False)
    return status


def run(world):
    rng = random.Random(SEED)
    stock = make_stock(world.directory)
    for i in range(KEYS):
        ending, content, data = stock[i % len(stock)]
        put(world, f"d{i:02}.{ending}", content, Version(data))
    start_daemon(world, False)
    threads = [threading.Thread(target=repeat, name=f"{work.__name__} {i}",
                                args=(world, work, SEED + i), daemon=True)
               for i, work in enumerate([reader] * READERS + [lister] * 2)]
    threads.append(threading.Thread(target=replacer, name="replacer",
                                    args=(world, stock, rng), daemon=True))
    for thread in threads:
        thread.start()
    end, life = time.monotonic() + SECONDS, 0
    while not world.ending.is_set():
        watch(world, min(LIFE, max(end - time.monotonic(), 1)))
        life += 1
        if time.monotonic() >= end or world.ending.is_set():
            break
        kill_daemon(world)
        start_daemon(world, life % 2 == 1)
    world.ending.set()
    for thread in threads:
        thread.join(STUCK)
        if thread.is_alive():
            world.find(f"{thread.name} does not end")
    return end_daemon(world)


def main():
    if os.geteuid() or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        tap.skip_all("needs root and /dev/fuse")
    tap.need("qemu-img", "umount")
    with tempfile.TemporaryDirectory(prefix="vmiefs-torture-") as directory:
        world = World(directory)
        os.makedirs(world.library)
        os.makedirs(world.mount)
        print(f"# seed {SEED}, {SECONDS:.0f} seconds")
        status = run(world)
        for what, number in sorted(world.counts.items()):
            print(f"# {what}: {number}")
        print(f"# peak RSS: {world.rss // MIB} MiB")
        tap.same(world.findings[:20], [], "the rules hold")
        tap.same(status, 0, "the last daemon ends well on SIGTERM")
        tap.ok(world.counts.get("reads", 0) > 100, "much was read")
        with open(f"{directory}/log", errors="replace") as log:
            bad = [line for line in log if "Sanitizer" in line or
                   "runtime error" in line or "Assertion" in line]
        tap.same(bad, [], "no complaint of sanitizers or assertions")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
