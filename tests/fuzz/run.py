#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Build the fuzz targets with clang and libFuzzer and run them, one a core.

Each target gets a number of CPU seconds (not wall seconds, so that a busy
machine tests as much as an idle one), starting from the seeds of seeds.py and
what earlier runs found. Exit status 1 if any target found something; the
input is kept in BUILD/findings/."""
import argparse
import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SLICE = 60  # wall seconds in one run of a target
LIMITS = ["-rss_limit_mb=512", "-timeout=10", "-max_len=262144"]
# AddressSanitizer keeps 256 MiB of freed memory by default, which is not the
# target's and would count against the limit above.
ENVIRONMENT = {**os.environ, "ASAN_OPTIONS": ":".join(
    filter(None, [os.environ.get("ASAN_OPTIONS"), "quarantine_size_mb=32"]))}


def build(source, folder, targets):
    """Configure (once) and make the targets with clang, ASan and UBSan."""
    if os.path.exists(os.path.join(source, "config.status")):
        sys.exit("the source tree is configured, so it cannot be built "
                 "elsewhere: make distclean, then build in a folder of its own")
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(os.path.join(folder, "Makefile")):
        subprocess.run([os.path.join(source, "configure"), "--enable-asan",
                        "--enable-fuzzing", "CC=clang",
                        "CFLAGS=-O1 -g", "--quiet"], cwd=folder, check=True)
    made = subprocess.run(["make", f"-j{os.cpu_count()}", "-s"]
                          + [f"tests/fuzz/{target}" for target in targets],
                          cwd=folder, check=False)
    if made.returncode:
        sys.exit(f"building {' '.join(targets)} in {folder} failed")


def run_once(command):
    """Run a command: (its exit status, its output, CPU seconds it used)."""
    with tempfile.TemporaryFile() as output:
        # Not run(): a child's own CPU time comes with waiting for it.
        child = os.posix_spawnp(command[0], command, ENVIRONMENT, file_actions=[
            (os.POSIX_SPAWN_DUP2, output.fileno(), 1),
            (os.POSIX_SPAWN_DUP2, output.fileno(), 2)])
        _, status, used = os.wait4(child, 0)
        output.seek(0)
        return status, output.read(), used.ru_utime + used.ru_stime


def fuzz(folder, target, seconds):
    """Run one target for so many CPU seconds; True when it found nothing."""
    corpus = os.path.join(folder, "corpus", target)
    seeds = os.path.join(folder, "seeds", target)
    findings = os.path.join(folder, "findings", "")
    for path in (corpus, findings):
        os.makedirs(path, exist_ok=True)
    subprocess.run([sys.executable, os.path.join(HERE, "seeds.py"), target,
                    seeds], check=True)
    spent = 0
    while (left := seconds - spent) > 0:
        wall = max(1, min(SLICE, round(left)))
        status, output, used = run_once([
            os.path.join(folder, "tests", "fuzz", target), *LIMITS,
            f"-max_total_time={wall}", "-print_final_stats=1",
            f"-artifact_prefix={findings}{target}-", corpus, seeds])
        spent += used
        if status:
            sys.stdout.write(f"{target}: wait status {status}\n"
                             + output.decode(errors="replace")[-8000:])
            return False
        print(f"{target}: {spent:.0f} of {seconds} CPU seconds, "
              f"{len(os.listdir(corpus))} inputs", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--build", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("targets", nargs="+")
    args = parser.parse_args()
    build(args.source, args.build, args.targets)
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        good = pool.map(lambda target: fuzz(args.build, target, args.seconds),
                        args.targets)
        bad = [target for target, fine in zip(args.targets, good) if not fine]
    print(f"{len(args.targets)} targets, {time.monotonic() - began:.0f} s, "
          + (f"findings: {' '.join(bad)}" if bad else "no findings"))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
