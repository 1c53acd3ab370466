#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A mount whose keys come from somewhere else: they are renewed before they
end, in the middle of a read, too; and a source that hangs holds up neither the
mount command, nor a reader beyond its deadline or Ctrl-C, nor unmounting."""

import concurrent.futures
import errno
import os
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../store")]
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402
from mounted import (BUILD, Mount, environment, need_mounts,  # noqa: E402
                     run)
from standins import Container, Imds, Keys, Sts  # noqa: E402

LIFE = 12  # seconds; renewed when three quarters are over
READ_SECONDS = 30
PIECE = 256 << 10
PIECES = 60
SLOW_BYTES = 3 << 20  # one request of READ_SECONDS
DEADLINE = 8  # seconds of store-timeout
REFUSED = 30  # seconds that a mount may take to fail
PROCESS = ("[profile p]\ncredential_process = sh {}\n"
           "[profile k]\naws_access_key_id = AKIAK\n"
           "aws_secret_access_key = SECRETk\n"
           "[profile r]\nrole_arn = arn:aws:iam::123456789012:role/x\n"
           "source_profile = k\n")
# Keys that end soon, once; then it hangs.
SCRIPT = """test -e {0} && sleep 1000
touch {0}
end=$(date -u -d "+{1} sec" +%Y-%m-%dT%TZ)
echo '{{"Version": 1, "AccessKeyId": "{2}", "SecretAccessKey": "{3}",'
echo '"Expiration": "'"$end"'"}}'
"""


def write(path, text):
    """A file with a text; its path."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def profiles(top, name, script):
    """Environment with profiles, of which p runs the script."""
    script = write(os.path.join(top, f"{name}.sh"), script)
    config = write(os.path.join(top, f"{name}.conf"), PROCESS.format(script))
    return environment(AWS_CONFIG_FILE=config, AWS_ACCESS_KEY_ID=None,
                       AWS_SECRET_ACCESS_KEY=None), script


def processes(script):
    """Who runs it."""
    return subprocess.run(["pgrep", "-f", script], check=False,
                          stdout=subprocess.PIPE, text=True).stdout


def try_mount(top, name, options, env):
    """(status, text, seconds) of mounting, which should fail."""
    where = os.path.join(top, f"none-{name}")
    os.mkdir(where)
    status, text, seconds = run(
        "vmiefs", "s3://disks", where, *(w for o in options
                                         for w in ("-o", o)),
        env=env, timeout=100)
    if status == 0:
        subprocess.run(["fusermount3", "-u", "-z", where], check=False)
    return status, text, seconds


def hanging_sources(server, top):
    """Rows of name, options, environment and what the error has to name."""
    end = ["endpoint=" + server.url(), "addressing=path"]
    env, script = profiles(top, "process", "sleep 1000 & sleep 1001\n")
    yield ("credential_process", [*end, "profile=p"], env,
           "credential_process of profile 'p'")
    sts, imds, container = Sts(), Imds(), Container()
    for standin in (sts, imds, container):
        standin.overrides = ["hang"] * 1000
    sts.known = {"AKIAK": ("SECRETk", None)}
    yield ("STS", [*end, "profile=r"],
           {**env, "AWS_ENDPOINT_URL_STS": sts.url},
           "STS, asked for the role of profile 'r', did not give keys")
    bare = {**env, "AWS_CONFIG_FILE": "/dev/null"}
    yield ("IMDS", end,
           {**bare, "AWS_EC2_METADATA_DISABLED": "",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url}, imds.url)
    yield ("container endpoint", end,
           {**bare, "AWS_CONTAINER_CREDENTIALS_FULL_URI":
            container.url + Container.path}, "container endpoint")


def judge_refusals(jobs):
    """What became of mounts without keys."""
    for (name, _, _, want), job in jobs:
        status, text, seconds = job.result()
        tap.ok(status == 1 and want in text and text.count("\n") == 1 and
               seconds < REFUSED and "SECRET" not in text,
               f"{name} hangs: the mount fails in {seconds:.1f} s",
               f"status {status}: {text}")
        print(f"# {text.strip()}")


def read_for_long(mount, data):
    """Read pieces from all over the disk: how many were right."""
    right, begin = 0, time.monotonic()
    with open(mount.path("disks/a.img"), "rb", 0) as disk:
        for step in range(PIECES):
            at = step * 37 % PIECES * PIECE
            right += os.pread(disk.fileno(), PIECE, at) == \
                data[at:at + PIECE]
            time.sleep(max(0, begin + (step + 1) * READ_SECONDS / PIECES -
                           time.monotonic()))
    return right


def read_at_once(mount):
    """One read that goes on all the time."""
    with open(mount.path("disks/slow.img"), "rb") as disk:
        return disk.read()


def check_renewal(top, data):
    """Keys of a role end all the time, and nobody sees it."""
    sts = Sts()
    sts.known, sts.life = {"AKIAK": ("SECRETk", None)}, LIFE
    issued = [Keys(Sts.kind, i) for i in range(1, 20)]
    env = {**profiles(top, "role", "")[0], "AWS_ENDPOINT_URL_STS": sts.url,
           "VMIEFS_TEST_SECRETS": "\n".join(
               s for k in issued for s in (k.secret, k.token))}
    with Server(os.path.join(top, "root")) as server:
        server.keys(*({"access": k.access, "secret": k.secret,
                       "token": k.token, "life": LIFE} for k in issued))
        server.rules({"op": "get", "key": "slow.img", "do": "rate",
                      "bps": SLOW_BYTES // READ_SECONDS, "count": None})
        with Mount(top, "s3://disks", "endpoint=" + server.url(),
                   "addressing=path", "profile=r", env=env) as mount, \
                concurrent.futures.ThreadPoolExecutor(1) as pool:
            whole = pool.submit(read_at_once, mount)
            right = read_for_long(mount, data)
            tap.ok(whole.result() == data[:SLOW_BYTES],
                   "keys that end in the middle of a request")
        gets = server.log(op="get")
        refused = server.log(signed="ExpiredToken")
    tap.same(right, PIECES, "keys that end during a read: the right bytes")
    used = {entry["signed"] for entry in gets}
    tap.ok(len(used) > 2, "with three sets of keys", used)
    tap.same(refused, [], "each renewed before its end")


def interrupt(path):
    """Ctrl-C to a reader that hangs: (did it, seconds)."""
    with start_reader(path) as reader:
        hung = reader.poll() is None
        begin = time.monotonic()
        reader.send_signal(signal.SIGINT)
        reader.wait(60)
    return hung, time.monotonic() - begin


def start_reader(path):
    """One that will hang; it is given time to. The caller ends it."""
    reader = subprocess.Popen(["cat", path], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    time.sleep(1)
    return reader


def is_alive(pid):
    """Does the process run? Who should have waited for it may not yet."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def check_end(mount, what):
    """SIGTERM ends the daemon at once, with a reader that hangs."""
    mount.check_secrets()
    with start_reader(mount.path("disks/a.img")) as reader:
        hung = reader.poll() is None
        begin = time.monotonic()
        os.kill(int(mount.pid), signal.SIGTERM)
        while is_alive(mount.pid) and time.monotonic() < begin + 60:
            time.sleep(0.02)
        seconds = time.monotonic() - begin
        reader.wait(30)
    with open(mount.log, encoding="utf-8", errors="replace") as log:
        text = log.read()
    tap.ok(hung and seconds < 3 and "does not answer" not in text,
           f"SIGTERM while {what}: ends in {seconds:.2f} s",
           f"hung: {hung}; {text[-2000:]}")


def check_waiting(mount, script):
    """Keys have ended, and the process with others hangs."""
    path = mount.path("disks/a.img")
    hung, took = interrupt(path)
    tap.ok(hung and took < 1, f"Ctrl-C of who waits for keys: {took:.2f} s",
           f"hung: {hung}")
    begin = time.monotonic()
    try:
        os.stat(path)
        why = "none"
    except OSError as error:
        why = errno.errorcode[error.errno]
    took = time.monotonic() - begin
    tap.ok(why == "ETIMEDOUT" and took < DEADLINE + 5,
           f"who waits for keys gets {why} in {took:.1f} s")
    said = mount.text("control/errors")
    tap.ok("credential_process of profile 'p' did not give keys" in said,
           "and control/errors says why", said)
    check_end(mount, "a process with keys hangs")
    tap.same(processes(script), "", "and the process is ended")


def check_silence(server, top):
    """A server that says nothing."""
    mount = Mount(top, "s3://disks", "endpoint=" + server.url(),
                  "addressing=path")
    os.listdir(mount.path("disks"))
    server.rules({"op": "get", "do": "stall", "at": "request", "count": None})
    check_end(mount, "a server is silent")
    server.rules()


def check_giving_up(server, top):
    """Ctrl-C to a mount command that waits for keys."""
    env, script = profiles(top, "never", "sleep 1000 & wait\n")
    where = os.path.join(top, "never")
    os.mkdir(where)
    for name, words in (("in the foreground", ["-f"]),
                        ("in the background", [])):
        with subprocess.Popen(
                [os.path.join(BUILD, "vmiefs"), *words, "s3://disks", where,
                 "-o", f"endpoint={server.url()},addressing=path,profile=p"],
                env=env, stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE) as command:
            end = time.monotonic() + 20
            while not processes(script) and time.monotonic() < end:
                time.sleep(0.05)
            waits = processes(script) != ""
            begin = time.monotonic()
            command.send_signal(signal.SIGINT)
            command.wait(60)
            while processes(script) and time.monotonic() < begin + 60:
                time.sleep(0.05)
            took = time.monotonic() - begin
        tap.ok(waits and took < 3 and command.returncode == -signal.SIGINT,
               f"Ctrl-C of a mount {name} that waits for keys: ends, with"
               f" the process, in {took:.2f} s",
               f"waits: {waits}, status {command.returncode}")


def check_all(server, top, data):
    """What has to wait, at once."""
    env, script = profiles(top, "later", SCRIPT.format(
        os.path.join(top, "once"), LIFE, KEYS["access"], KEYS["secret"]))
    env["VMIEFS_TEST_SECRETS"] = KEYS["secret"]
    mount = Mount(top, "s3://disks", "endpoint=" + server.url(),
                  "addressing=path", "profile=p", "ttl=0",
                  f"store-timeout={DEADLINE}", env=env)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [(row, pool.submit(try_mount, top, *row[:3]))
                for row in hanging_sources(server, top)]
        check_renewal(top, data)
        judge_refusals(jobs)
    check_waiting(mount, script)
    check_giving_up(server, top)
    check_silence(server, top)


def main():
    need_mounts()
    data = os.urandom(PIECE * PIECES)
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        os.makedirs(os.path.join(top, "root/disks"))
        for name, size in (("a.img", len(data)), ("slow.img", SLOW_BYTES)):
            with open(os.path.join(top, "root/disks", name), "wb") as file:
                file.write(data[:size])
        with Server(os.path.join(top, "root")) as server:
            server.keys(KEYS)
            check_all(server, top, data)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
