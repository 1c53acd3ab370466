#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What keeps a bucket from being mounted is said within 30 seconds, in a
sentence that names the cause; regions are found out and redirects followed."""

import os
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402
from mounted import (BUILD, HERE, Mount, environment, need_mounts,  # noqa: E402
                     run)

SECONDS = 30
SECRET = "another/secret+key/0000000000000000000001"


def refused(what, words, source, top, *options, env=None, text=""):
    """A mount fails in time, with all of these words and no secret."""
    where = os.path.join(top, "nothing")
    os.makedirs(where, exist_ok=True)
    env = env or environment()
    try:
        status, said, seconds = run(
            "vmiefs", source, where, *(w for o in options for w in ("-o", o)),
            env=env, timeout=60, text=text)
    except subprocess.TimeoutExpired:
        status, said, seconds = "no answer", "", 60
    if status == 0:
        subprocess.run(["fusermount3", "-u", "-z", where], check=False)
    tap.ok(status == 1 and seconds < SECONDS and
           said.count("\n") == 1 and
           all(word.lower() in said.lower() for word in words),
           f"{what}: fails in {seconds:.1f} s",
           f"status {status}, want {words}: {said}")
    print(f"# {said.strip()}")
    hidden = [env.get("AWS_SECRET_ACCESS_KEY"), env.get("AWS_SESSION_TOKEN"),
              "X-Amz-Signature="]
    tap.ok(not any(word and word in said for word in hidden),
           "without a secret", said)


def check_refusals(server, top):
    """Bad bucket, key, secret, token, clock, permissions."""
    end = "endpoint=" + server.url()
    refused("a bucket that is not there", ["no bucket", "nowhere"],
            "s3://nowhere", top, end, "addressing=path")
    refused("a bad bucket name", ["bucket"], "s3://a", top, end)
    for what, words, env in (
            ("an unknown key", ["access key", "NOBODY", "not know"],
             {"AWS_ACCESS_KEY_ID": "NOBODY"}),
            ("a wrong secret", ["secret key", KEYS["access"]],
             {"AWS_SECRET_ACCESS_KEY": SECRET}),
            ("a token that is none", ["session token"],
             {"AWS_SESSION_TOKEN": "token/of+nobody/0123456789"}),
            ("no credentials", ["credentials"],
             {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}),
            ("half of them", ["AWS_SECRET_ACCESS_KEY"],
             {"AWS_SECRET_ACCESS_KEY": None}),
            ("a profile that is not there", ["profile", "nobody"],
             {"AWS_PROFILE": "nobody", "AWS_ACCESS_KEY_ID": None,
              "AWS_SECRET_ACCESS_KEY": None})):
        refused(what, words, "s3://disks", top, end, "addressing=path",
                env=environment(**env))
    for what, words, rule in (
            ("no permission", ["denied"],
             {"status": 403, "code": "AccessDenied"}),
            ("an expired token", ["expired"],
             {"status": 400, "code": "ExpiredToken"}),
            ("a region that is refused without a better one", ["region"],
             {"status": 400, "code": "AuthorizationHeaderMalformed"}),
            ("a redirect without an end", ["endpoint"],
             {"status": 301, "code": "PermanentRedirect",
              "fields": {"Endpoint": "disks.elsewhere.example"}}),
            ("no S3 at all", ["S3"],
             {"status": 200, "body": "<html>It works!</html>"}),
            ("a page for what is not found", ["no S3"],
             {"status": 404, "body": "<html>Not found</html>"}),
            ("a busy server", ["busy"], {"status": 503})):
        server.rules({"do": "reply", "count": None, **rule})
        refused(what, words, "s3://disks", top, end, "addressing=path")
    server.rules({"do": "stall", "at": "request", "count": None})
    refused("a silent server", ["127.0.0.1"], "s3://disks", top, end,
            "addressing=path")
    server.rules()
    server.keys()
    refused("a server that knows nobody", ["not know"], "s3://disks", top,
            end, "addressing=path")
    server.keys(KEYS)


def check_endpoints(server, top):
    """Bad endpoints and certificates."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    tls = f"127.0.0.1:{server.ports['https']}"
    ca = os.path.join(top, "tls/ca.pem")
    for what, words, *options in (
            ("nobody listens", [f"127.0.0.1:{port}", "refused"],
             f"endpoint=http://127.0.0.1:{port}"),
            ("a name that is not known", ["nowhere.invalid"],
             "endpoint=http://nowhere.invalid"),
            ("an endpoint that is no URL", ["endpoint"], "endpoint=nowhere"),
            ("another scheme", ["endpoint"], "endpoint=ftp://127.0.0.1"),
            ("a certificate by nobody", ["certificate"],
             f"endpoint=https://{tls}"),
            ("a certificate for another host", ["certificate", "localhost"],
             f"endpoint=https://localhost:{server.ports['https']}",
             f"ca-bundle={ca}"),
            ("a bundle that is not there", ["ca-bundle"],
             f"endpoint=https://{tls}", "ca-bundle=/nowhere/ca.pem"),
            ("TLS where there is none", ["127.0.0.1"],
             f"endpoint=https://127.0.0.1:{server.ports['http']}"),
            ("none where there is TLS", ["127.0.0.1"],
             f"endpoint=http://{tls}")):
        refused(what, words, "s3://disks", top, "addressing=path", *options)


def mounts(what, top, source, *options, name="disks/a.img", **more):
    """A mount works: its one file reads."""
    try:
        with Mount(top, source, *options, **more) as mount, \
                open(mount.path(name), "rb") as disk:
            tap.same(disk.read(), b"disk", what)
    except (OSError, RuntimeError) as error:
        tap.ok(False, what, error)


def check_regions(server, top):
    """The region is found out, also from what refuses the signature."""
    end = "endpoint=" + server.url()
    mounts("the region is found out", top, "s3://disks", end,
           "addressing=path")
    mounts("and one that is right is taken", top, "s3://disks", end,
           "addressing=path", "region=eu-west-1")
    mounts("by name as by address", top, "s3://disks",
           f"endpoint=http://s3.localhost:{server.ports['http']}",
           "addressing=virtual")
    refused("a region that is wrong", ["region", "eu-west-1"], "s3://disks",
            top, end, "addressing=path", "region=mars-north-1")


def check_redirect(top):
    """A bucket that is in another region than it was."""
    with Server(os.path.join(top, "root"), "--region=") as server, \
            Mount(top, "s3://disks", "endpoint=" + server.url(),
                  "addressing=path") as mount:
        server.rules({"op": "get", "do": "reply", "status": 301,
                      "code": "PermanentRedirect",
                      "headers": {"x-amz-bucket-region": "eu-central-1"}})
        try:
            with open(mount.path("disks/b.img"), "rb") as disk:
                got = disk.read()
        except OSError as error:
            got = str(error)
        tap.same(got, b"disk b", "a redirect to another region is followed")


def check_clock(server, top):
    """A clock that is wrong is made up for by the server's."""
    for minutes in (-120, 47):
        server.clock(minutes * 60)
        server.reset()
        server.clock(minutes * 60)
        mounts(f"a server {minutes} minutes ahead", top, "s3://disks",
               "endpoint=" + server.url(), "addressing=path")
        skewed = server.log(signed="RequestTimeTooSkewed")
        tap.ok(1 <= len(skewed) <= 2, "is refused once", skewed)
    server.clock(0)


def check_tls(server, top):
    """TLS by address and by name, and one object by a presigned URL."""
    ca = os.path.join(top, "tls/ca.pem")
    port = server.ports["https"]
    mounts("TLS", top, "s3://disks", f"endpoint=https://127.0.0.1:{port}",
           f"ca-bundle={ca}", "addressing=path")
    mounts("TLS, buckets as hosts", top, "s3://disks", "addressing=virtual",
           f"endpoint=https://s3.localhost:{port}", f"ca-bundle={ca}")
    mounts("TLS by AWS_CA_BUNDLE", top, "s3://disks", "addressing=path",
           f"endpoint=https://127.0.0.1:{port}",
           env=environment(AWS_CA_BUNDLE=ca))
    mounts("the service", top, "s3://", "addressing=path",
           f"endpoint=https://127.0.0.1:{port}", f"ca-bundle={ca}",
           name="disks/disks/a.img")
    host = f"127.0.0.1:{port}"
    query = sigv4.presign(KEYS, host, "/disks/a.img", 600, region="eu-west-1")
    env = environment(AWS_ACCESS_KEY_ID=None, AWS_SECRET_ACCESS_KEY=None,
                      VMIEFS_TEST_SECRETS=query)
    url = f"https://{host}/disks/a.img?{query}"
    mounts("a presigned URL", top, url, f"ca-bundle={ca}", env=env)
    mounts("a presigned URL that no command line has", top, "-",
           f"ca-bundle={ca}", env=env, text=url + "\nmore\n")
    status, said, _ = run("vmiefs", "info", "-", f"--ca-bundle={ca}", env=env,
                          text=url)
    tap.ok(status == 0 and "a.img" in said and query not in said,
           "info of it", said)
    for what, text in (("nothing", ""), ("an empty line", "\nx\n"),
                       ("no URL", "ftp://host/x?secret\n")):
        refused(f"standard input has {what}",
                ["ftp://" if "ftp" in text else "standard input"], "-", top,
                text=text)
    wrong = query[:-4] + "0000"
    refused("a presigned URL that is wrong", ["denies"],
            f"https://{host}/disks/a.img?{wrong}", top, f"ca-bundle={ca}")
    mounts("a session token", top, "s3://token", "addressing=path",
           "endpoint=" + server.url(), env=environment(
               AWS_ACCESS_KEY_ID="WITHTOKEN", AWS_SECRET_ACCESS_KEY=SECRET,
               AWS_SESSION_TOKEN="a/token+that=is/secret"))


def check_command_line(server, top):
    """While a command waits for the server, its command line has no query."""
    host = f"127.0.0.1:{server.ports['https']}"
    query = sigv4.presign(KEYS, host, "/disks/a.img", 600, region="eu-west-1")
    server.rules({"do": "stall", "at": "request", "count": None})
    for words in (["-f", f"https://{host}/disks/a.img?{query}", "-o",
                   f"ca-bundle={top}/tls/ca.pem", f"{top}/nothing"],
                  ["info", f"https://{host}/disks/a.img?{query}",
                   f"--ca-bundle={top}/tls/ca.pem"]):
        with subprocess.Popen([os.path.join(BUILD, "vmiefs"), *words],
                              env=environment(), stdin=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            line, end = query.encode(), time.monotonic() + 20
            while query.encode() in line and time.monotonic() < end:
                time.sleep(0.01)
                with open(f"/proc/{process.pid}/cmdline", "rb") as file:
                    line = file.read()
            tap.ok(host.encode() in line and query.encode() not in line and
                   process.poll() is None,
                   f"{words[0]}: the query is wiped from the command line",
                   line)
            process.kill()
    server.rules()


def main():
    need_mounts()
    tap.need("openssl", "bash")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        for bucket in ("disks", "token"):
            os.makedirs(os.path.join(top, "root", bucket))
            for name, text in (("a.img", b"disk"), ("b.img", b"disk b")):
                with open(os.path.join(top, "root", bucket, name),
                          "wb") as file:
                    file.write(text)
        subprocess.run(
            ["bash", "-c", '. "$1/servers.sh"; make_certificates "$2"', "-",
             HERE, os.path.join(top, "tls")], check=True)
        with Server(os.path.join(top, "root"), "--region=eu-west-1",
                    "--cert", os.path.join(top, "tls/server.pem"),
                    "--key", os.path.join(top, "tls/server.key")) as server:
            server.keys(KEYS)
            check_refusals(server, top)
            check_endpoints(server, top)
            check_regions(server, top)
            check_clock(server, top)
            check_redirect(top)
            server.keys(KEYS, {"access": "WITHTOKEN", "secret": SECRET,
                               "token": "a/token+that=is/secret"})
            check_tls(server, top)
            check_command_line(server, top)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
