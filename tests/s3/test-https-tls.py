#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""https://HOST/PATH of a web server with a certificate: mounted and looked at,
OVAs and their members too; certificates that are not right are refused with a
sentence."""

import os
import shutil
import subprocess
import sys
import tempfile

for place in ("..", "../cmd"):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), place))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from containers import convert, make_ova, make_raw  # noqa: E402
from control import Server  # noqa: E402
from mounted import (HERE, Mount, environment, need_mounts,  # noqa: E402
                     run)

SIZE = 4 << 20
NOBODY = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
SECRET = "not/to+be-seen"
QUERY = "?token=" + SECRET
# Besides the good certificate one that has ended and one that signs itself.
CERTIFICATES = """
set -e
. "$1/servers.sh"
make_certificates "$2"
cd "$2"
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial \\
    -days -1 -extfile extensions -out expired.pem
openssl x509 -req -in request -signkey server.key -days 30 \\
    -extfile extensions -out self-signed.pem
"""


def contents(path):
    """The bytes of a file, or the error."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        return str(error)


def same(got, want, what):
    """The same bytes, none of which are shown."""
    tap.ok(got == want, what, got if isinstance(got, str) else len(got))


def check_mounts(url, top, raw):
    """A disk, by both ways to name the certificates, and an OVA."""
    ca = f"{top}/tls/ca.pem"
    ova = contents(f"{top}/root/web/app.ova")
    for what, options, env, host in (
            ("ca-bundle=", [f"ca-bundle={ca}"], {}, "127.0.0.1"),
            ("AWS_CA_BUNDLE", [], {"AWS_CA_BUNDLE": ca}, "s3.localhost")):
        env = environment(**NOBODY, **env, VMIEFS_TEST_SECRETS=SECRET)
        try:
            with Mount(top, url(host) + "/web/disk.vmdk" + QUERY, *options,
                       env=env) as mount:
                same(contents(mount.path("disks/disk.vmdk.raw")), raw,
                     f"{what}: a disk")
            with Mount(top, url(host) + "/web/app.ova", *options,
                       env=env) as mount:
                tap.same(sorted(os.listdir(mount.path("disks/app.ova"))),
                         ["stream.vmdk.raw", "test.mf", "test.ovf"],
                         f"{what}: an OVA")
                same(contents(mount.path("disks/app.ova/stream.vmdk.raw")),
                     raw, f"{what}: its disk")
                same(contents(mount.path("objects/app.ova")), ova,
                     f"{what}: itself")
        except (RuntimeError, OSError) as error:
            tap.ok(False, what, error)


def check_commands(url, top):
    """info, map and check say of it what they say of the file."""
    ca = f"{top}/tls/ca.pem"
    web = url("127.0.0.1") + "/web/"
    for name in ("disk.vmdk", "app.ova", "app.ova/stream.vmdk",
                 "app.ova/stream.vmdk.raw"):
        local = run("vmiefs", "map", f"{top}/root/web/{name}")
        there = run("vmiefs", "map", web + name, f"--ca-bundle={ca}",
                    env=environment(**NOBODY))
        tap.ok(local[0] == 0 and there[:2] == local[:2], f"map {name}",
               f"{local}\n{there}")
    env = environment(**NOBODY, AWS_CA_BUNDLE=ca)
    for command, name, want in (
            ("info", "app.ova", "stream.vmdk"),
            ("info", "app.ova/stream.vmdk", "streamOptimized"),
            ("check", "disk.vmdk", "clean")):
        status, text, _ = run("vmiefs", command, web + name + QUERY, env=env)
        tap.ok(status == 0 and want in text and SECRET not in text,
               f"{command} {name}", text)
    for name, want in (("app.ova/none.vmdk", "has no disk 'none.vmdk'"),
                       ("none.vmdk", "HTTP 404")):
        status, text, _ = run("vmiefs", "info", web + name, env=env)
        tap.ok(status == 1 and want in text, f"info {name}", text)


def refused(what, want, source, top, *options):
    """A mount and info fail at once, with this sentence."""
    where = os.path.join(top, "nothing")
    os.makedirs(where, exist_ok=True)
    for words in (["mount", source, where, *(w for o in options
                                             for w in ("-o", o))],
                  ["info", source, *("--" + o for o in options)]):
        status, text, seconds = run("vmiefs", *words,
                                    env=environment(**NOBODY))
        if status == 0 and words[0] == "mount":
            subprocess.run(["fusermount3", "-u", "-z", where], check=False)
        tap.ok(status == 1 and want in text and text.count("\n") == 1 and
               seconds < 30 and SECRET not in text,
               f"{what}: {words[0]} in {seconds:.1f} s",
               f"status {status}: {text}")
    print(f"# {text.strip()}")


def check_refusals(good, others, top):
    """What is wrong with a certificate, or with who is to vouch for it."""
    ca = f"ca-bundle={top}/tls/ca.pem"
    name = "/web/disk.vmdk" + QUERY
    refused("nobody vouches for it", "signed by an unknown authority",
            good("127.0.0.1") + name, top)
    refused("it is for another host", "for another host name",
            good("localhost") + name, top, ca)
    refused("it has expired", "has expired", others["expired"]("127.0.0.1") +
            name, top, ca)
    refused("it has signed itself", "signed by", others["self-signed"](
        "127.0.0.1") + name, top, ca)
    with open(f"{top}/empty.pem", "w", encoding="ascii"):
        pass
    refused("a bundle without certificates", f"{top}/empty.pem",
            good("127.0.0.1") + name, top, f"ca-bundle={top}/empty.pem")
    refused("a bundle that is not there", "No such file",
            good("127.0.0.1") + name, top, f"ca-bundle={top}/none.pem")


def serve(top, certificate):
    """A server with this certificate."""
    return Server(f"{top}/root", "--anonymous", "--cert",
                  f"{top}/tls/{certificate}.pem", "--key",
                  f"{top}/tls/server.key", scratch=top)


def make_store(top):
    """The files to serve; the bytes of the disk in them."""
    os.makedirs(f"{top}/root/web")
    make_raw(f"{top}/disk.img", SIZE)
    disk = convert(f"{top}/disk.img", top, "stream.vmdk")
    make_ova(f"{top}/root/web/app.ova", [disk], SIZE)
    shutil.copy(disk, f"{top}/root/web/disk.vmdk")
    return contents(f"{top}/disk.img")


def main():
    need_mounts()
    tap.need("openssl", "bash", "qemu-img")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        subprocess.run(["bash", "-c", CERTIFICATES, "-", HERE, f"{top}/tls"],
                       check=True, stderr=subprocess.DEVNULL)
        raw = make_store(top)
        with serve(top, "server") as good, serve(top, "expired") as expired, \
                serve(top, "self-signed") as own:
            def url(host, server=good):
                return server.url("https", host)
            check_mounts(url, top, raw)
            check_commands(url, top)
            check_refusals(url, {
                "expired": lambda host: url(host, expired),
                "self-signed": lambda host: url(host, own)}, top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
