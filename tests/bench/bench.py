#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Compare the speed of vmiefs with other programs, side by side.

Run by `make bench`; README.md says what is measured and how to steer it.
"""
import json
import os
import shutil
import subprocess
import sys
import tarfile

import images
import measure
import programs
import s3server
import writing
from images import GIB, KIB, MIB, say
from measure import (DIRECTORY, OPTIONS, PASSTHROUGH, QUICK, SIZE, TOOLS,
                     fresh_mount, median, table, take_turns, warm)

PARTS = os.environ.get("BENCH_PARTS",
                       "sequential,random,sparse,list,writing,s3-writing")
RANDOM = os.environ.get("BENCH_RANDOM", "4:1,4:16,64:1,64:16")
SECONDS = 2 if QUICK else 4  # of a random run, at most


def member(path, name, fmt):
    with tarfile.open(path) as tar:
        info = tar.getmember(name)
        return programs.Image(path, fmt, name, info.offset_data, info.size)


def all_images(library):
    image = programs.Image
    ova = f"{library}/system.ova"
    return measure.chosen({
        "stream-optimised (footer)":
            image(f"{library}/stream-footer.vmdk", "vmdk"),
        "stream-optimised (qemu-img)":
            image(f"{library}/stream-qemu.vmdk", "vmdk"),
        "monolithicSparse": image(f"{library}/sparse.vmdk", "vmdk"),
        "VHD dynamic": image(f"{library}/dynamic.vhd", "vhd"),
        "VHDX dynamic": image(f"{library}/dynamic.vhdx", "vhdx"),
        "raw": image(f"{library}/system.raw", "raw"),
        "OVA member (stored)": member(ova, "sparse.vmdk", "vmdk"),
        "OVA member (stream)": member(ova, "stream-footer.vmdk", "vmdk"),
    })


def dd(file):
    seconds, cpu, _ = programs.run_client(
        ["dd", f"if={file}", "of=/dev/null", "bs=1M"])
    return seconds, cpu, None


def convert(program, image):
    warm(image.path)
    seconds, cpu, _ = programs.run_client(program.convert(image, SIZE))
    return {"seconds": seconds, "cpu": cpu, "rss": 0}  # not a daemon


def fio(kib, depth):
    """Each place is read once (fio keeps a map, and each thread has a slice
    of the disk of its own): what is cold stays cold to the end."""
    slice_bytes = SIZE // depth
    reads = min(40000, SIZE // 4 // (kib * KIB))

    def work(file):
        seconds, cpu, text = programs.run_client(
            ["fio", "--name=r", f"--filename={file}", "--readonly",
             "--rw=randread", f"--bs={kib}k", "--ioengine=psync",
             f"--numjobs={depth}", "--thread", "--group_reporting",
             "--randseed=1", "--invalidate=0", f"--size={slice_bytes}",
             f"--offset_increment={slice_bytes}",
             f"--io_size={reads * kib * KIB // depth}",
             f"--runtime={SECONDS}", "--output-format=json"], output=True)
        read = json.loads(text)["jobs"][0]["read"]
        p99 = read["clat_ns"]["percentile"]["99.000000"] / 1000
        return seconds, cpu, {"iops": read["iops"], "p99_us": p99,
                              "reads": read["total_ios"]}
    return work


def verify(program, image, raw):
    """Bytes first: a fast program that is wrong would be no news."""
    def compare(file):
        seconds, cpu, _ = programs.run_client(["cmp", file, raw])
        return seconds, cpu, None
    if not fresh_mount(program, image, compare):
        sys.exit(f"{image.path}: vmiefs gives wrong bytes or none")


def unpack_cost(image):
    text = subprocess.run([f"{TOOLS}/unpack-limit", image.path], check=True,
                          capture_output=True).stdout
    cost = json.loads(text)
    return cost["cpu_seconds"] / cost["virtual_bytes"], cost


def limits(library, dd_results):
    """MB/s: dd from a FUSE file, and that together with unpacking on all
    cores, from CPU seconds per byte."""
    rate = SIZE / median(dd_results, "seconds") / 1e6
    dd_cost = median(dd_results, "cpu") / SIZE
    packed = programs.Image(f"{library}/stream-footer.vmdk", "vmdk")
    cost, detail = unpack_cost(packed)
    cores = os.cpu_count()
    limit = cores / (cost + dd_cost) / 1e6
    print(f"\nLimits: dd from a FUSE file {rate:.0f} MB/s "
          f"({dd_cost * GIB:.2f} CPU s/GiB); unpacking from memory with "
          f"{detail['unpacker']} {cost * GIB:.2f} CPU s per GiB of disk "
          f"({detail['unpacked_bytes'] / detail['cpu_seconds'] / 1e6:.0f} "
          f"MB/s of grains on one core); both on {cores} cores "
          f"{limit:.0f} MB/s")
    return {"stored": rate, "packed": limit, "dd_cpu": dd_cost,
            "unpack": detail}


def sequential(ours, library, everything, report):
    raw = programs.Image(f"{library}/system.raw", "raw")
    limit_program = programs.Passthrough(f"{TOOLS}/passthrough", PASSTHROUGH)
    rows = {("limit", limit_program.name):
            lambda: fresh_mount(limit_program, raw, dd)}
    for fmt, image in everything.items():
        say(f"comparing {fmt} with the raw disk")
        verify(ours, image, raw.path)
        for program in [ours] + programs.peers():
            if program.can(image):
                rows[fmt, program.name] = (
                    lambda p=program, i=image: fresh_mount(p, i, dd))
        qemu_img = programs.QemuImgConvert()
        if qemu_img.can(image) and qemu_img.is_installed():
            rows[fmt, qemu_img.name] = (
                lambda p=qemu_img, i=image: convert(p, i))
    results = take_turns("sequential", rows)
    limit = limits(library, results["limit", limit_program.name])
    report["limits"] = limit
    for fmt, image in everything.items():
        show_sequential(fmt, results, limit, report)


def show_sequential(fmt, results, limit, report):
    mine = {p: r for (f, p), r in results.items() if f == fmt and r}
    rates = {p: SIZE / median(r, "seconds") / 1e6 for p, r in mine.items()}
    lines = [[p, f"{rates[p]:.0f}",
              f"{SIZE / max(x['seconds'] for x in r) / 1e6:.0f}"
              f"-{SIZE / min(x['seconds'] for x in r) / 1e6:.0f}",
              f"{median(r, 'cpu'):.2f}",
              f"{median(r, 'rss') / MIB:.0f}" if median(r, "rss") else "-"]
             for p, r in mine.items()]
    table(f"{fmt}: whole disk, dd bs=1M",
          ["program", "MB/s", "min-max", "CPU s", "peak RSS MiB"], lines)
    ours = rates.pop("vmiefs", None)
    if not ours:
        return
    kind = "packed" if "stream" in fmt else "stored"
    share = ours / limit[kind] * 100
    ratios = {p: ours / rate for p, rate in rates.items()}
    mounted = {p: r for p, r in ratios.items()
               if p != programs.QemuImgConvert.name}
    print("  vmiefs: " + "; ".join(
        [f"{r[best]:.2f} times {best}" for r in (mounted, ratios) if r
         for best in [min(r, key=r.get)] if r is mounted or
         best not in mounted] + [f"{share:.0f} % of the limit"]))
    report.setdefault("sequential", {})[fmt] = {
        "results": mine, "percent_of_limit": share, "ratios": ratios,
        "best_mounted": min(mounted.values(), default=None),
        "best": min(ratios.values(), default=None)}


def random_reads(ours, everything, report):
    for setting in RANDOM.split(","):
        kib, depth = map(int, setting.split(":"))
        rows = {}
        for fmt, image in everything.items():
            for program in [ours] + programs.peers():
                if program.can(image):
                    rows[fmt, program.name] = (
                        lambda p=program, i=image:
                        fresh_mount(p, i, fio(kib, depth)))
        results = take_turns(f"random {kib} KiB depth {depth}", rows)
        for fmt in everything:
            show_random(fmt, f"{kib} KiB, depth {depth}", results, report)


def show_random(fmt, what, results, report):
    mine = {p: r for (f, p), r in results.items() if f == fmt and r}
    table(f"{fmt}: random {what}",
          ["program", "IOPS", "p99 us", "CPU s", "reads/CPU s",
           "peak RSS MiB"],
          [[p, f"{median(r, 'iops'):.0f}", f"{median(r, 'p99_us'):.0f}",
            f"{median(r, 'cpu'):.2f}",
            f"{median(r, 'reads') / median(r, 'cpu'):.0f}",
            f"{median(r, 'rss') / MIB:.0f}"]
           for p, r in mine.items()])
    peers = {p: r for p, r in mine.items() if p != "vmiefs"}
    if not peers or "vmiefs" not in mine:
        return
    iops = median(mine["vmiefs"], "iops") / max(
        median(r, "iops") for r in peers.values())
    p99 = median(mine["vmiefs"], "p99_us") / min(
        median(r, "p99_us") for r in peers.values())
    print(f"  vmiefs: {iops:.2f} times the best IOPS, "
          f"{p99:.2f} times the best p99")
    report.setdefault("random", {})[f"{fmt} {what}"] = {
        "results": mine, "iops_ratio": iops, "p99_ratio": p99}


def copy_target(need):
    """Memory if it has room, so that no disk is measured."""
    if shutil.disk_usage("/dev/shm").free > need * 5 // 4:
        return "/dev/shm/vmiefs-bench-copy"
    return f"{DIRECTORY}/copy"


def copy_sparse(file):
    target = copy_target(SIZE)
    try:
        seconds, cpu, _ = programs.run_client(
            ["cp", "--sparse=always", file, target])
        stored = os.stat(target).st_blocks * 512
    finally:
        if os.path.exists(target):
            os.unlink(target)
    return seconds, cpu, {"stored": stored}


def sparse(ours, report):
    directory = f"{DIRECTORY}/sparse-{SIZE // MIB}"
    images.make_sparse(directory, SIZE)
    rows = {name: lambda n=name: fresh_mount(
        ours, programs.Image(f"{directory}/{n}.vhdx", "vhdx"), copy_sparse)
        for name in ("small", "huge")}
    results = take_turns("cp --sparse=always", rows)
    table(f"cp --sparse=always of VHDX disks that hold {SIZE // MIB} MiB",
          ["disk", "seconds", "CPU s", "MiB stored"],
          [["full" if n == "small" else "of 1 TiB",
            f"{median(r, 'seconds'):.2f}", f"{median(r, 'cpu'):.2f}",
            f"{median(r, 'stored') / MIB:.0f}"] for n, r in results.items()])
    ratio = (median(results["huge"], "seconds") /
             median(results["small"], "seconds"))
    print(f"  the huge one takes {ratio:.2f} times as long")
    report["sparse"] = {"results": results, "ratio": ratio}


def list_many(ours, report):
    directory = f"{DIRECTORY}/many"
    images.make_many(directory, 1000)

    def ls(file):
        seconds, cpu, text = programs.run_client(
            ["ls", "-l", os.path.dirname(file)], output=True)
        return seconds, cpu, {"names": len(text.splitlines()) - 1}
    name = sorted(n for n in os.listdir(directory) if n.endswith("vhdx"))[0]
    image = programs.Image(f"{directory}/{name}", "vhdx")
    results = take_turns("ls -l", {
        "vmiefs": lambda: fresh_mount(ours, image, ls)})["vmiefs"]
    table("ls -l of 1,000 cold containers",
          ["program", "seconds", "CPU s", "names", "peak RSS MiB"],
          [["vmiefs", f"{median(results, 'seconds'):.3f}",
            f"{median(results, 'cpu'):.2f}",
            f"{median(results, 'names'):.0f}",
            f"{median(results, 'rss') / MIB:.0f}"]])
    report["list"] = results


def s3_writing(library, report):
    """In a process of its own, so that the servers are not what it starts."""
    if not shutil.which("radosgw"):
        say("s3-writing: radosgw is not installed")
        return
    path = f"{DIRECTORY}/s3-writing.json"
    here = os.path.dirname(os.path.abspath(__file__))
    if s3server.run_beside(DIRECTORY, f"{here}/s3writing.py", library, path):
        sys.exit("s3-writing: failed")
    with open(path) as file:
        report["s3-writing"] = json.load(file)
    os.unlink(path)


def main():
    programs.become_subreaper()
    library = f"{DIRECTORY}/library-{SIZE // MIB}"
    images.make_library(library, SIZE, TOOLS)
    ours = programs.Vmiefs(measure.VMIEFS, OPTIONS)
    report = {"environment": measure.environment()}
    for key, value in report["environment"].items():
        print(f"{key}: {value}")
    everything = all_images(library)
    parts = PARTS.split(",")
    if "sequential" in parts:
        sequential(ours, library, everything, report)
    if "random" in parts:
        random_reads(ours, everything, report)
    if "sparse" in parts:
        sparse(ours, report)
    if "list" in parts:
        list_many(ours, report)
    if "writing" in parts:
        writing.writing(library, report)
    if "s3-writing" in parts:
        s3_writing(library, report)
    path = f"{DIRECTORY}/results.json"
    with open(path, "w") as file:
        json.dump(measure.results_as_json(report), file, indent=1)
    print(f"\nAll figures: {path}")


if __name__ == "__main__":
    main()
