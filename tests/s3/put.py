#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""put.py ENDPOINT sync DIR BUCKET STATE: make a bucket hold what a directory
holds, sending what has changed since the STATE that the last call wrote. A
file gets the time that its object has; an empty directory becomes a marker;
symbolic links are left out, as S3 has none.
put.py ENDPOINT drop BUCKET: delete a bucket with all that is in it.

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

import concurrent.futures
import email.utils
import html
import http.client
import json
import os
import re
import sys
import threading
import time
import urllib.parse

import sigv4

THREADS = 8
PIECE = 1 << 20


class Client:
    """Signed requests, each thread over a connection of its own."""

    def __init__(self, endpoint):
        url = urllib.parse.urlsplit(endpoint)
        self.host = url.netloc
        self.keys = {"access": os.environ["AWS_ACCESS_KEY_ID"],
                     "secret": os.environ["AWS_SECRET_ACCESS_KEY"]}
        self.local = threading.local()

    def ask(self, method, path, query="", body=b"", headers=None):
        """Send a request, `body` bytes or a file; (headers, body) of a good
        answer. Raises OSError."""
        path = sigv4.quote(path, "/-._~")
        size = len(body) if isinstance(body, bytes) else \
            os.fstat(body.fileno()).st_size
        signed = sigv4.sign(self.keys, method, path, query,
                            {"host": self.host, **(headers or {})},
                            sigv4.UNSIGNED)
        signed["content-length"] = str(size)
        if not hasattr(self.local, "link"):
            self.local.link = http.client.HTTPConnection(
                self.host, timeout=300, blocksize=PIECE)
        link = self.local.link
        link.request(method, path + ("?" + query if query else ""), body,
                     signed)
        answer = link.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {text[:300]}")
        return answer.headers, text

    def make_bucket(self, bucket):
        """Make it, unless it is there."""
        try:
            self.ask("HEAD", f"/{bucket}")
        except OSError:
            self.ask("PUT", f"/{bucket}")

    def put(self, bucket, key, path):
        """Send a file (a marker without), which gets the object's time."""
        if path is None:
            self.ask("PUT", f"/{bucket}/{key}")
            return
        with open(path, "rb") as file:
            self.ask("PUT", f"/{bucket}/{key}", body=file)
        self.take_time(bucket, key, path)

    def copy(self, bucket, key, source, path):
        """A hard link: the server copies."""
        self.ask("PUT", f"/{bucket}/{key}", headers={
            "x-amz-copy-source": sigv4.quote(f"/{bucket}/{source}",
                                             "/-._~")})
        self.take_time(bucket, key, path)

    def take_time(self, bucket, key, path):
        """Give a file the time that its object has."""
        headers, _ = self.ask("HEAD", f"/{bucket}/{key}")
        when = email.utils.parsedate_to_datetime(headers["last-modified"])
        os.utime(path, (when.timestamp(), when.timestamp()))

    def keys_of(self, bucket):
        """All keys of a bucket, decoded."""
        token, keys = "", []
        while True:
            query = "list-type=2&encoding-type=url" + (
                f"&continuation-token={sigv4.quote(token)}" if token else "")
            text = self.ask("GET", f"/{bucket}", query)[1].decode()
            keys += [urllib.parse.unquote(html.unescape(key))
                     for key in re.findall("<Key>(.*?)</Key>", text)]
            found = re.search("<NextContinuationToken>(.*?)<", text)
            if not found:
                return keys
            token = found[1]


def files_of(top):
    """{key: (path or None, identity)} of a directory."""
    found = {}
    for where, folders, files in os.walk(top):
        below = os.path.relpath(where, top)
        below = "" if below == "." else below + "/"
        for name in files:
            path = os.path.join(where, name)
            if not os.path.islink(path):
                status = os.stat(path)
                found[below + name] = (path, [
                    status.st_ino, status.st_size, status.st_mtime_ns])
        if below and not folders and not files:
            found[below] = (None, [])
    return found


def all_of(pool, function, rows):
    """Call function(*row) for all rows at once; raises what one raised."""
    for job in [pool.submit(function, *row) for row in rows]:
        job.result()


def sync(client, top, bucket, state_path):
    """Bring a bucket up to date."""
    client.make_bucket(bucket)
    state = {}
    if os.path.exists(state_path):
        with open(state_path, encoding="utf-8") as file:
            state = json.load(file)
    found = files_of(top)
    first, puts, copies = {}, [], []
    for key, (path, identity) in sorted(found.items()):
        if state.get(key) == identity:
            continue
        if path and identity[0] in first:
            copies.append((bucket, key, first[identity[0]], path))
        else:
            puts.append((bucket, key, path))
            if path:
                first[identity[0]] = key
    gone = [("DELETE", f"/{bucket}/{key}") for key in state.keys() - found]
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        all_of(pool, client.put, puts)
        all_of(pool, client.copy, copies)
        all_of(pool, client.ask, gone)
    with open(state_path, "w", encoding="utf-8") as file:
        json.dump({k: v for k, (_, v) in files_of(top).items()}, file)


def drop(client, bucket):
    """Delete all and the bucket. Swift, when it is busy, takes a while until
    it knows what it has."""
    for last in (False,) * 20 + (True,):
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            all_of(pool, client.ask, [("DELETE", f"/{bucket}/{key}")
                                      for key in client.keys_of(bucket)])
        try:
            client.ask("DELETE", f"/{bucket}")
            return
        except OSError:
            if last:
                raise
        time.sleep(0.5)


def main():
    client = Client(sys.argv[1])
    {"sync": sync, "drop": drop}[sys.argv[2]](client, *sys.argv[3:])


if __name__ == "__main__":
    main()
