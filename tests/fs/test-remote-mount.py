#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Mounting s3:// and https:// sources: what is shown of them, and that each
wrong part fails the mount soon, with one sentence that names it."""

import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import remote  # noqa: E402
import sigv4  # noqa: E402
import tap  # noqa: E402
from remote import KEYS, mounted, vmiefs  # noqa: E402


def make_bucket(top):
    """bucket/ with one raw object in a prefix."""
    os.makedirs(os.path.join(top, "store/bucket/vms"))
    with open(os.path.join(top, "store/bucket/vms/a.img"), "wb") as file:
        file.write(b"bytes of a\n" * 1000)


def tree(where):
    """All names below disks/ and objects/."""
    return sorted(os.path.relpath(os.path.join(folder, name), where)
                  for top in ("disks", "objects") for folder, _, files in
                  os.walk(os.path.join(where, top)) for name in files)


def source_of(where):
    """What mount(8) shows."""
    with open("/proc/mounts", encoding="utf-8") as mounts:
        return [line.split()[0] for line in mounts
                if line.split()[1] == where]


def check_sources(server, top):
    """A bucket, a prefix, a service."""
    for source, prefix, shown in (("s3://bucket", "vms/", None),
                                  ("s3://bucket/vms", "", None),
                                  ("s3://bucket/vms/", "", "s3://bucket/vms"),
                                  ("s3://", "bucket/vms/", None)):
        with mounted(server, top, source) as where:
            tap.same(tree(where), [f"disks/{prefix}a.img",
                                   f"objects/{prefix}a.img"], "its tree")
            tap.same(source_of(where), [shown or source], "its source")
            with open(f"{where}/disks/{prefix}a.img", "rb") as file:
                tap.same(file.read(), b"bytes of a\n" * 1000, "its bytes")


def refused(server, top, what, source, pattern, options="", env=None,
            modes=((), ("-f",))):
    """Status 1 and one sentence, in the background and the foreground."""
    where = os.path.join(top, "mnt")
    if "endpoint=" not in options:
        options = ",".join(filter(None, (options,
                                         f"endpoint={server.url()}")))
    for words in modes:
        status, said, took = vmiefs(*words, source, where, "-o", options,
                                    env=env)
        tap.ok(status == 1 and pattern in said and said.count("\n") == 1 and
               took < 30 and said.startswith("vmiefs: ") and
               not remote.is_mounted(where) and
               KEYS["secret"] not in said,
               f"{what} {' '.join(words)}", f"{status} in {took} s: {said}")


def check_refusals(server, top):
    """Everything that may be wrong."""
    none = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    bucket = "s3://bucket"
    for what, source, pattern, options, env in (
            ("a bucket that is not there", "s3://nobucket",
             "there is no bucket 'nobucket'", "", None),
            ("a key that is not known", bucket,
             "does not know access key WRONG (environment)", "",
             {"AWS_ACCESS_KEY_ID": "WRONG"}),
            ("a wrong secret", bucket, "the secret key does not fit access "
             f"key {KEYS['access']}", "",
             {"AWS_SECRET_ACCESS_KEY": "WRONG-SECRET"}),
            ("an endpoint where nobody listens", bucket,
             "127.0.0.1:9: cannot connect: Connection refused",
             "endpoint=http://127.0.0.1:9", None),
            ("an endpoint whose name does not exist", bucket,
             "nowhere.invalid: the name cannot be resolved",
             "endpoint=http://nowhere.invalid", None),
            ("an endpoint that is none", bucket,
             "it has to begin with https:// or http://", "endpoint=ftp://x",
             None),
            ("a wrong region", bucket, "is in region us-east-1, not eu-west-9",
             "region=eu-west-9", None),
            ("a region that is none", bucket, "is no name of a region",
             "region=Some Where", None),
            ("a profile that is not there", bucket, "profile 'nobody' is in "
             "neither", "profile=nobody", none),
            ("no credentials", bucket, "no credentials", "", none),
            ("no signature", bucket, "access is denied to requests without "
             "a key", "anonymous", None)):
        refused(server, top, what, source, pattern, options, env)


def check_silence(server, top):
    """A server that accepts and says nothing."""
    server.rules({"do": "stall", "at": "request", "count": None})
    refused(server, top, "a server that says nothing", "s3://bucket",
            f"{server.url()[7:]}: no complete answer", modes=((),))
    refused(server, top, "a server that says nothing, with less time",
            "s3://bucket", "gave up after", "store-timeout=2", modes=(("-f",),))
    check_giving_up(server, top)
    server.rules()


def check_giving_up(server, top):
    """Who waits for the mount ends: then nothing is mounted later."""
    where = os.path.join(top, "mnt")
    for words in ((), ("-f",)):
        with subprocess.Popen(
                [remote.VMIEFS, *words, "s3://bucket", where, "-o",
                 f"endpoint={server.url()}"], env=remote.ENV) as waits:
            server.reset()
            server.rules({"do": "stall", "at": "request", "count": None})
            tap.ok(remote.wait_until(10, lambda: server.log(op="list")),
                   f"the server is asked {' '.join(words)}")
            waits.send_signal(signal.SIGINT)
            begin = time.monotonic()
            tap.same(waits.wait(10), -signal.SIGINT, "Ctrl-C ends it")
            tap.ok(time.monotonic() - begin < 1, "at once")
        tap.ok(remote.wait_until(5, lambda: not remote.daemon_of(where)),
               "and what it started")


def check_url(server, top):
    """One file by TLS, whose URL has a secret in its query."""
    where = os.path.join(top, "mnt")
    url = server.url("https", "localhost")
    host = url.split("/")[2]
    query = sigv4.presign(KEYS, host, "/bucket/vms/a.img", 600)
    options = f"ca-bundle={top}/ca.pem"
    status, said, _ = vmiefs(f"{url}/bucket/vms/a.img?{query}", where, "-o",
                             options)
    try:
        tap.ok(status == 0 and not said, "mount a presigned URL", said)
        tap.same(tree(where), ["disks/a.img", "objects/a.img"], "one object")
        with open(f"{where}/disks/a.img", "rb") as file:
            tap.same(file.read(), b"bytes of a\n" * 1000, "its bytes")
        tap.same(source_of(where), [f"{url}/bucket/vms/a.img"],
                 "mount(8) shows no query")
        pid = remote.daemon_of(where)
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read()
        tap.ok(b"a.img" in words and b"X-Amz" not in words,
               "nor does ps(1)", words)
    finally:
        remote.unmount(where)
    refused(server, top, "an expired URL", f"{url}/bucket/vms/a.img?"
            + sigv4.presign(KEYS, host, "/bucket/vms/a.img", 1,
                            when=time.time() - 100),
            "has the URL expired?", f"{options},endpoint={server.url()}")
    refused(server, top, "a certificate that nobody knows",
            f"{url}/bucket/vms/a.img?{query}", "certificate",
            f"endpoint={server.url()}")
    refused(server, top, "a certificate for another name", "s3://bucket",
            "certificate", f"{options},"
            f"endpoint={server.url('https')}")


def make_certificate(top):
    """ca.pem and key.pem: for localhost, and not 127.0.0.1."""
    run = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes",
           "-keyout", f"{top}/key.pem", "-out", f"{top}/ca.pem", "-days",
           "2", "-subj", "/CN=localhost", "-addext",
           "subjectAltName=DNS:localhost"]
    subprocess.run(run, check=True, capture_output=True)


def main():
    remote.need_fuse()
    tap.need("openssl")
    with remote.scratch() as (top, server):
        make_bucket(top)
        check_sources(server, top)
        check_refusals(server, top)
        check_silence(server, top)
        make_certificate(top)
        with remote.Server(server.root, "--cert", f"{top}/ca.pem", "--key",
                           f"{top}/key.pem", scratch=top) as tls:
            check_url(tls, top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
