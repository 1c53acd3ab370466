# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Programs that write into a bucket, through the proxy: mounts of it, and
commands that need none.

What any of them keeps on disk lies in SCRATCH, by a name or without.
"""
import json
import os
import shutil
import subprocess
import tempfile
import time

import measure
import programs
import writing
from s3server import BUCKET, proxy_url

SCRATCH = f"{measure.DIRECTORY}/s3-scratch"
# Debian's own, if there is another one as well.
AWS = "/usr/bin/aws" if os.path.exists("/usr/bin/aws") else \
    shutil.which("aws")


def set_environment():
    """For all of them: nobody's settings but ours count."""
    tempfile.tempdir = tempfile.gettempdir()  # that of mount points stays
    for name in [n for n in os.environ if n.startswith(("AWS_", "RCLONE_"))
                 and not n.startswith(("AWS_ACCESS", "AWS_SECRET"))]:
        del os.environ[name]
    os.environ.update({
        "AWS_CONFIG_FILE": "/dev/null", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true", "TMPDIR": SCRATCH,
        "AWSACCESSKEYID": os.environ["AWS_ACCESS_KEY_ID"],
        "AWSSECRETACCESSKEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        "RCLONE_CONFIG": "/dev/null", "RCLONE_CACHE_DIR": SCRATCH,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Ceph",
        "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
        "RCLONE_CONFIG_BENCH_REGION": "us-east-1",
        "RCLONE_CONFIG_BENCH_ENDPOINT": proxy_url()})


def aws(*words):
    return [AWS, "--endpoint-url", proxy_url(), "s3", *words,
            "--only-show-errors"]


def empty_scratch():
    shutil.rmtree(SCRATCH, ignore_errors=True)
    os.makedirs(f"{SCRATCH}/vmiefs", mode=0o700)


def descendants(of):
    for child in programs.children(of):
        yield child
        try:
            yield from descendants(child)
        except OSError:
            pass  # it has ended


def files_without_names():
    """Status of what our programs have open in SCRATCH, although removed."""
    for pid in descendants(os.getpid()):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                link = f"/proc/{pid}/fd/{fd}"
                name = os.readlink(link)
                if name.startswith(SCRATCH) and name.endswith(" (deleted)"):
                    yield os.stat(link)
        except OSError:
            pass  # it has ended, or closed that


def scratch_bytes():
    """Bytes on disk, of everything in SCRATCH."""
    found = {}
    for directory, _, files in os.walk(SCRATCH):
        for name in files:
            try:
                status = os.lstat(f"{directory}/{name}")
            except OSError:
                continue
            found[status.st_ino] = status.st_blocks
    for status in files_without_names():
        found[status.st_ino] = status.st_blocks
    return sum(found.values()) * 512


class Peaks(writing.Peak):
    """The peak of scratch space, too."""
    scratch = 0

    def look(self):
        super().look()
        self.scratch = max(self.scratch, scratch_bytes())


class Commands(programs.Program):
    """Nothing is mounted."""

    def __init__(self, name):
        self.name = name

    def mount(self, _, directory):
        return directory

    def stats(self, _):
        return {}

    def unmount(self, directory, file):
        return programs.reap(20), 0


class Mount(Commands):
    """`words` and the directory mount the bucket."""

    def __init__(self, name, *words):
        super().__init__(name)
        self.words = words
        self.tool = words[0]

    def mount(self, _, directory):
        self.process = programs.spawn(
            [w.replace("DIRECTORY", directory) for w in self.words],
            stdout=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while not os.path.ismount(directory):
            if time.monotonic() > end:
                raise RuntimeError(f"{self.name}: it does not mount")
            time.sleep(0.005)
        return directory

    unmount = programs.Program.unmount


class Vmiefs(Mount):
    """Ours, with our counters."""

    def __init__(self, name, *options):
        more = [o for o in (measure.OPTIONS, *options) if o]
        super().__init__(
            name, measure.VMIEFS, f"s3://{BUCKET}", "DIRECTORY", "-o",
            ",".join([f"endpoint={proxy_url()}", f"scratch={SCRATCH}/vmiefs",
                      "delete", *more]))

    def stats(self, directory):
        with open(f"{directory}/control/stats") as file:
            return {"stats": json.load(file)}


def peers():
    """Mounts of a bucket with ordinary files, those that are installed."""
    rclone = ("rclone", "mount", f"bench:{BUCKET}", "DIRECTORY")
    everything = [
        Mount("s3fs", "s3fs", BUCKET, "DIRECTORY", "-f",
              "-o", f"url={proxy_url()}", "-o", "use_path_request_style",
              "-o", f"tmpdir={SCRATCH}"),
        # It would wait five seconds before it begins to upload.
        Mount("rclone mount, cache of writes", *rclone, "--vfs-cache-mode",
              "writes", "--vfs-write-back", "0s"),
        Mount("rclone mount, no cache", *rclone, "--vfs-cache-mode", "off")]
    return [p for p in everything if p.is_installed()]
