# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What all parts of the bench share: settings, runs in turns, tables."""
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import programs
from images import GIB, MIB, say

BUILD = os.environ.get("top_builddir", ".")
TOOLS = f"{BUILD}/tests/bench"
VMIEFS = f"{BUILD}/vmiefs"
QUICK = os.environ.get("BENCH_QUICK") == "1"
DIRECTORY = os.environ.get("BENCH_DIR", "/var/tmp/vmiefs-bench")
RUNS = int(os.environ.get("BENCH_RUNS", "1" if QUICK else "5"))
ONLY = os.environ.get("BENCH_ONLY", "")  # formats, by commas
OPTIONS = os.environ.get("BENCH_OPTIONS", "")
# As src/fs/ mounts: past the kernel's cache, with descriptors of their own.
PASSTHROUGH = os.environ.get("BENCH_PASSTHROUGH",
                             "--direct-io --clone-fd").split()
DROP = os.environ.get("BENCH_DROP") == "1"
SIZE = GIB // 2 if QUICK else 4 * GIB


def chosen(rows):
    """Those of {format: ...} that BENCH_ONLY asks for."""
    return {name: row for name, row in rows.items()
            if not ONLY or any(name.startswith(o) for o in ONLY.split(","))}


def warm(path):
    """The container into the page cache, or everything out of it."""
    if DROP:
        subprocess.run(["sync"], check=True)
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("3\n")
        return
    with open(path, "rb", buffering=0) as file:
        while file.read(4 * MIB):
            pass


def fresh_mount(program, image, work):
    """Mount, work(file) -> (seconds, CPU seconds, more), unmount. Returns a
    dict with seconds, cpu and rss of all processes, and more."""
    warm(image.path)
    with tempfile.TemporaryDirectory(prefix="vmiefs-bench-") as directory:
        file = None
        try:
            file = program.mount(image, directory)
            seconds, cpu, more = work(file)
        except RuntimeError as error:
            say(f"  {program.name}: {error}")
            return None
        finally:
            more_cpu, rss = program.unmount(directory, file or directory)
    return {"seconds": seconds, "cpu": cpu + more_cpu, "rss": rss,
            **(more or {})}


def take_turns(name, rows):
    """rows: {label: function() -> dict or None}. RUNS rounds, in each of
    which every row runs once. Returns {label: [dict, ...]}."""
    results = {label: [] for label in rows}
    for run in range(RUNS):
        for i, (label, function) in enumerate(rows.items()):
            say(f"[{name}, run {run + 1} of {RUNS}, "
                f"{i + 1} of {len(rows)}] {label}")
            result = function()
            if result:
                results[label].append(result)
    return results


def median(results, key):
    return statistics.median(r[key] for r in results)


def table(title, columns, lines):
    print(f"\n{title}")
    widths = [max(len(str(line[i])) for line in [columns] + lines)
              for i in range(len(columns))]
    for line in [columns] + lines:
        print("  " + "  ".join(
            str(cell).ljust(width) if i == 0 else str(cell).rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))))
    sys.stdout.flush()


def first_line(*argv):
    try:
        text = subprocess.run(argv, capture_output=True, text=True,
                              check=False)
        return (text.stdout or text.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def environment():
    with open("/proc/cpuinfo") as file:
        cpu = [line.split(":")[1].strip() for line in file
               if line.startswith("model name")]
    return {
        "cpu": cpu[0] if cpu else platform.machine(),
        "cores": os.cpu_count(), "kernel": platform.release(),
        "load": os.getloadavg(), "size": SIZE, "runs": RUNS,
        "options": OPTIONS, "passthrough": PASSTHROUGH,
        "cache": "dropped" if DROP else
                 "container in the page cache, mount fresh",
        "time": time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        "versions": {
            "vmiefs": first_line(VMIEFS, "--version"),
            "qemu-img": first_line("qemu-img", "--version"),
            "vmdkmount": first_line("vmdkmount", "-V"),
            "vhdimount": first_line("vhdimount", "-V"),
            "nbdfuse": first_line("nbdfuse", "--version"),
            "nbdkit": first_line("nbdkit", "--version"),
            "xmount": first_line("xmount", "--version"),
            "fio": first_line("fio", "--version"),
            "fusermount3": first_line("fusermount3", "--version"),
        },
    }


def results_as_json(value):
    if isinstance(value, dict):
        return {" | ".join(k) if isinstance(k, tuple) else k:
                results_as_json(v) for k, v in value.items()}
    return value
