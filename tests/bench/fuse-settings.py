#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Compare settings of a FUSE mount with tests/bench/passthrough.

usage: fuse-settings.py PASSTHROUGH FILE [RUNS]

FILE (1 GiB or more, made if absent) is read through one mount per setting.
Settings take turns, so that a busy machine disturbs all alike; medians are
printed, and CPU seconds of daemon and reader per GiB of dd, which a busy
machine changes less than the rates. Needs root (read-ahead, page cache).
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

GIB = 1 << 30
SETTINGS = [
    ("plain", []),
    ("max_read 128K", ["--max-read=131072"]),
    ("max_read 512K", ["--max-read=524288"]),
    ("read-ahead 512K", ["--readahead-kib=512"]),
    ("read-ahead 1M", ["--readahead-kib=1024"]),
    ("read-ahead 4M", ["--readahead-kib=4096"]),
    ("clone_fd", ["--clone-fd"]),
    ("clone_fd, read-ahead 1M", ["--clone-fd", "--readahead-kib=1024"]),
    ("async_read", ["--async-read"]),
    ("async_read, read-ahead 1M", ["--async-read", "--readahead-kib=1024"]),
    ("read-ahead 1M, 1 thread", ["--readahead-kib=1024", "--threads=1"]),
    ("async_read, read-ahead 4M, clone_fd",
     ["--async-read", "--readahead-kib=4096", "--clone-fd"]),
    ("1 thread", ["--threads=1"]),
    ("2 threads", ["--threads=2"]),
    ("4 threads", ["--threads=4"]),
    ("reply_iov", ["--reply=iov"]),
    ("reply_data from memory", ["--reply=data"]),
    ("splice", ["--reply=splice"]),
    ("mmap (no copy)", ["--reply=mmap"]),
    ("queued to 2 threads", ["--threads=2", "--pool=2"]),
    ("queued to 4 threads", ["--threads=2", "--pool=4"]),
    ("read-ahead 1M, mmap", ["--readahead-kib=1024", "--reply=mmap"]),
    ("direct_io", ["--direct-io"]),
    ("direct_io, mmap", ["--direct-io", "--reply=mmap"]),
    ("direct_io, queued to 2", ["--direct-io", "--pool=2"]),
]


def cpu_seconds(pid):
    """User and system seconds of a process, by /proc."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(path):
    for _ in range(500):
        if os.path.exists(path):
            time.sleep(0.1)  # lets the read-ahead setting happen
            return
        time.sleep(0.01)
    sys.exit(f"{path} does not appear")


def fadvise(path):
    """Forget the FUSE side's page cache of one file."""
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def timed(command, size, daemon, path):
    fadvise(path)
    cpu0 = cpu_seconds(daemon) + sum(
        resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    begin = time.monotonic()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    wall = time.monotonic() - begin
    cpu = cpu_seconds(daemon) + sum(
        resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - cpu0
    return size / wall / 1e6, cpu / (size / GIB)


def fio(path, depth, block):
    fadvise(path)
    out = subprocess.run(
        ["fio", "--name=r", f"--filename={path}", "--readonly",
         "--rw=randread", f"--bs={block}", "--ioengine=psync",
         f"--numjobs={depth}", "--thread", "--group_reporting",
         "--time_based", "--runtime=1", "--output-format=json"],
        check=True, capture_output=True).stdout
    return json.loads(out)["jobs"][0]["read"]["iops"]


def measure(program, path, options, directory):
    daemon = subprocess.Popen([program, *options, path, directory])
    file = os.path.join(directory, "file")
    try:
        wait_for(file)
        size = os.path.getsize(path)
        copy = "/dev/shm/fuse-settings-copy"
        rate, cpu = timed(["dd", f"if={file}", "of=/dev/null", "bs=1M"],
                          size, daemon.pid, file)
        row = {"dd 1M": rate, "cpu s/GiB": cpu}
        for block in "4M", "128K", "10K":
            row["dd " + block] = timed(
                ["dd", f"if={file}", "of=/dev/null", f"bs={block}"],
                size, daemon.pid, file)[0]
        row["cp tmpfs"] = timed(["cp", file, copy], size, daemon.pid, file)[0]
        os.unlink(copy)
        row["4K qd1"] = fio(file, 1, "4k")
        row["4K qd16"] = fio(file, 16, "4k")
        return row
    finally:
        subprocess.run(["umount", directory], check=False)
        daemon.wait()


def main():
    program, path = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    if not os.path.exists(path):
        with open(path, "wb") as file:
            for _ in range(1024):
                file.write(os.urandom(1 << 20))
    rows = {name: [] for name, _ in SETTINGS}
    with tempfile.TemporaryDirectory() as directory:
        for run in range(runs):
            for name, options in SETTINGS:
                print(f"run {run + 1} of {runs}: {name}", file=sys.stderr)
                rows[name].append(measure(program, path, options, directory))
    columns = list(rows["plain"][0])
    print(f"{'setting':38}" + "".join(f"{c:>11}" for c in columns))
    for name, values in rows.items():
        cells = [statistics.median(v[c] for v in values) for c in columns]
        print(f"{name:38}" + "".join(
            f"{c:11.2f}" if c < 10 else f"{c:11.0f}" for c in cells))


if __name__ == "__main__":
    main()
