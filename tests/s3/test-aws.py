#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""AWS by its host names, without an endpoint=: two regions are played by the
scripted server, behind a proxy that takes their names for its own. Buckets are
found wherever they are, and signed requests go to S3 of AWS only."""

import os
import select
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import tap  # noqa: E402
from control import KEYS, Server  # noqa: E402
from mounted import (HERE, Mount, environment, need_mounts,  # noqa: E402
                     run)

HOME, AWAY = "us-east-1", "eu-west-1"
CERTIFICATE = """
set -e
. "$1/servers.sh"
make_certificates "$2"
cd "$2"
printf 'subjectAltName=%s\\n' "$3" >extensions
openssl x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial \\
    -days 30 -extfile extensions -out server.pem 2>/dev/null
"""


def domain(region):
    """Where the buckets of a region are hosts."""
    return f"s3.{region}.amazonaws.com"


class Proxy(socketserver.ThreadingTCPServer):
    """CONNECT to a region's host leads to its server; `seen` has all hosts
    that were asked for."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, ports):
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.ports, self.seen = ports, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self):
        """For https_proxy."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def port_of(self, host):
        """The server of a host; None without."""
        return next((port for region, port in self.ports.items()
                     if ("." + host).endswith("." + domain(region))), None)


class Tunnel(socketserver.StreamRequestHandler):
    """One connection through it."""

    def handle(self):
        host = self.rfile.readline().decode().split(" ")[1].split(":")[0]
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        self.server.seen.append(host)
        port = self.server.port_of(host)
        if not port:
            self.wfile.write(b"HTTP/1.1 502 no such host\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", port)) as there:
            self.wfile.write(b"HTTP/1.1 200 go on\r\n\r\n")
            ends = {self.request: there, there: self.request}
            try:
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        data = end.recv(65536)
                        if not data:
                            return
                        ends[end].sendall(data)
            except OSError:
                pass


class Aws:
    """Both regions, with a bucket each, and the proxy."""

    def __init__(self, top):
        self.top = top
        self.regions = {}
        for region, bucket in ((HOME, "here"), (AWAY, "disks")):
            root = os.path.join(top, region)
            os.makedirs(os.path.join(root, bucket))
            with open(os.path.join(root, bucket, "a.img"), "wb") as file:
                file.write(bucket.encode())
            self.regions[region] = Server(
                root, "--region", region, "--domain", domain(region),
                "--cert", f"{top}/tls/server.pem",
                "--key", f"{top}/tls/server.key", scratch=top)
        self.proxy = Proxy({name: server.ports["https"]
                            for name, server in self.regions.items()})
        self.env = environment(
            https_proxy=self.proxy.url(), AWS_CA_BUNDLE=f"{top}/tls/ca.pem",
            AWS_ENDPOINT_URL=None, no_proxy=None)

    def reset(self, *rules):
        """Forget what was; the home region answers for the other's bucket."""
        self.proxy.seen.clear()
        for server in self.regions.values():
            server.reset()
        self.regions[HOME].rules(*({"bucket": "disks", "count": None,
                                    "do": "reply", **r} for r in rules))

    def mounts(self, what, source, *options, path="disks/a.img",
               text=b"disks"):
        """The bucket is mounted; the hosts that were asked."""
        try:
            with Mount(self.top, source, *options, env=self.env) as mount, \
                    open(mount.path(path), "rb") as disk:
                tap.same(disk.read(), text, what)
        except (OSError, RuntimeError) as error:
            tap.ok(False, what, error)

    def stop(self):
        """All servers."""
        self.proxy.shutdown()
        for server in self.regions.values():
            server.stop()


def check_hosts(aws):
    """The bucket's own host, and path style where no certificate fits."""
    aws.reset()
    aws.mounts("a bucket of the region where the search begins", "s3://here",
               text=b"here")
    tap.same(set(aws.proxy.seen), {"here." + domain(HOME)},
             "is asked for at its own host")
    aws.reset()
    aws.mounts("region=", "s3://disks", f"region={AWAY}")
    tap.same(set(aws.proxy.seen), {"disks." + domain(AWAY)},
             "no other region is asked")
    aws.reset()
    aws.mounts("path style", "s3://disks", f"region={AWAY}",
               "addressing=path")
    tap.same(set(aws.proxy.seen), {domain(AWAY)}, "one host for all")


def check_redirects(aws):
    """What S3 says of a bucket that is in another region."""
    new = f"disks.s3-{AWAY}.amazonaws.com"
    for what, rule in (
            ("a new bucket: 307 with its host", {
                "status": 307, "code": "TemporaryRedirect",
                "fields": {"Bucket": "disks", "Endpoint": new},
                "headers": {"Location": f"https://{new}/?list-type=2"}}),
            ("301 with its region", {
                "status": 301, "code": "PermanentRedirect",
                "fields": {"Endpoint": "disks.s3.amazonaws.com"},
                "headers": {"x-amz-bucket-region": AWAY}}),
            ("301 with its host alone", {
                "status": 301, "code": "PermanentRedirect",
                "fields": {"Endpoint": new}}),
            ("400 for the signature", {
                "status": 400, "code": "AuthorizationHeaderMalformed",
                "fields": {"Region": AWAY}})):
        aws.reset(rule)
        aws.mounts(what, "s3://disks")
        tap.same(set(aws.proxy.seen), {"disks." + domain(HOME),
                                       "disks." + domain(AWAY)},
                 f"{what}: only S3 was asked")
        tap.same(len(aws.regions[HOME].log()), 1,
                 f"{what}: and the wrong region once")


def check_foreign(aws):
    """Redirects to elsewhere get no signature."""
    where = os.path.join(aws.top, "nothing")
    os.makedirs(where, exist_ok=True)
    for host in ("disks.s3.evil.example", "disks.s3.evilamazonaws.com",
                 "amazonaws.com.evil.example"):
        aws.reset({"status": 307, "code": "TemporaryRedirect", "headers": {
            "Location": f"https://{host}/", "x-amz-bucket-region": None}})
        status, text, _ = run("vmiefs", "s3://disks", where, env=aws.env)
        if status == 0:
            subprocess.run(["fusermount3", "-u", "-z", where], check=False)
        tap.ok(status == 1 and host in text and KEYS["secret"] not in text,
               f"307 to {host} is refused", f"{status}: {text}")
        tap.same(set(aws.proxy.seen), {"disks." + domain(HOME)},
                 "nobody else is asked")


def main():
    need_mounts()
    tap.need("openssl", "bash")
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        names = ",".join(f"DNS:{name}" for region in (HOME, AWAY)
                         for name in (domain(region), "*." + domain(region)))
        subprocess.run(["bash", "-c", CERTIFICATE, "-", HERE, f"{top}/tls",
                        names], check=True)
        aws = Aws(top)
        try:
            for check in (check_hosts, check_redirects, check_foreign):
                check(aws)
        finally:
            aws.stop()
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
