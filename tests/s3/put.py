#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""put.py ENDPOINT sync DIR BUCKET STATE: make a bucket hold what a directory
holds, sending what has changed since the STATE that the last call wrote. A
file gets the time that its object has; an empty directory becomes a marker;
symbolic links are left out, as S3 has none.
put.py ENDPOINT fetch DIR BUCKET STATE: the other way round.
put.py ENDPOINT drop BUCKET: delete a bucket with all that is in it.
put.py ENDPOINT uploads BUCKET: the keys of part uploads that are open.

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

import bodies
import sigv4

THREADS = 8
PIECE = 1 << 20
# Seconds; servers close what is idle for a minute.
KEEP = 20


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
        link = self.link()
        link.request(method, path + ("?" + query if query else ""), body,
                     signed)
        answer = link.getresponse()
        text = answer.read()
        self.local.used = time.monotonic()
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {text[:300]}")
        return answer.headers, text

    def link(self):
        """This thread's connection; a new one where that was idle."""
        if time.monotonic() - getattr(self.local, "used", -KEEP) >= KEEP:
            self.local.link = http.client.HTTPConnection(
                self.host, timeout=300, blocksize=PIECE)
        return self.local.link

    def pages(self, bucket, query, marker):
        """The answers of a listing; marker(answer) is the query of the next
        page, "" behind the last one."""
        more = ""
        while True:
            text = self.ask("GET", f"/{bucket}", query + more)[1].decode()
            yield text
            more = marker(text)
            if not more:
                return

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

    def objects_of(self, bucket):
        """{key: ETag} of a bucket."""
        found = {}
        for text in self.pages(bucket, "list-type=2&encoding-type=url",
                               next_objects):
            for row in text.split("<Contents>")[1:]:
                found[urllib.parse.unquote_plus(field(row, "Key"))] = \
                    field(row, "ETag").strip('"')
        return found

    def keys_of(self, bucket):
        """All keys of a bucket."""
        return list(self.objects_of(bucket))

    def get(self, bucket, key):
        """All bytes of an object."""
        return self.ask("GET", f"/{bucket}/{key}")[1]

    def uploads_of(self, bucket):
        """[(key, id)] of the part uploads that are open."""
        found = []
        for text in self.pages(bucket, "uploads=", next_uploads):
            found += [(field(row, "Key"), field(row, "UploadId"))
                      for row in text.split("<Upload>")[1:]]
        return found

    def abort(self, bucket, key, upload):
        """Drop a part upload, which may be gone already."""
        try:
            self.ask("DELETE", f"/{bucket}/{key}",
                     f"uploadId={sigv4.quote(upload)}")
        except OSError:
            pass

    def fetch(self, bucket, key, path):
        """Store an object in a file, zeroes as holes."""
        data = self.get(bucket, key)
        with open(path + ".new", "wb") as file:
            for at in range(0, len(data), PIECE):
                bodies.put(file, data[at:at + PIECE])
            file.truncate(len(data))
        os.rename(path + ".new", path)
        self.take_time(bucket, key, path)


def field(text, name):
    """The text of the first element of a name, "" without."""
    found = re.search(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def next_objects(text):
    """As Client.pages() wants it."""
    token = field(text, "NextContinuationToken")
    return f"&continuation-token={sigv4.quote(token)}" if token else ""


def next_uploads(text):
    """The same of ListMultipartUploads."""
    if field(text, "IsTruncated") != "true":
        return ""
    return (f"&key-marker={sigv4.quote(field(text, 'NextKeyMarker'))}"
            "&upload-id-marker=" +
            sigv4.quote(field(text, "NextUploadIdMarker")))


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


def load(path):
    """(files, objects): what the last call has left."""
    if not os.path.exists(path):
        return {}, {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def save(path, top, objects):
    """For the next call."""
    with open(path, "w", encoding="utf-8") as file:
        json.dump([{k: v for k, (_, v) in files_of(top).items()}, objects],
                  file)


def sync(client, top, bucket, state_path):
    """Bring a bucket up to date."""
    client.make_bucket(bucket)
    state, objects = load(state_path)
    found = files_of(top)
    first, puts, copies = {}, [], []
    for key, (path, identity) in sorted(found.items()):
        if state.get(key) == identity:
            continue
        objects.pop(key, None)
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
    save(state_path, top, objects)


def fetch(client, top, bucket, state_path):
    """Bring a directory up to date."""
    state, objects = load(state_path)
    here, there, news = files_of(top), client.objects_of(bucket), []
    for key, etag in there.items():
        path = os.path.join(top, key)
        if key.endswith("/"):
            os.makedirs(path, exist_ok=True)
        elif key not in here or objects.get(key) != etag or \
                state.get(key) != here[key][1]:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            news.append((bucket, key, path))
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        all_of(pool, client.fetch, news)
    for key, (path, _) in here.items():
        if path and key not in there:
            os.unlink(path)
    save(state_path, top, there)


def uploads(client, bucket):
    """Print those that are open."""
    for key, _ in client.uploads_of(bucket):
        print(key)


def drop(client, bucket):
    """Delete all and the bucket. Swift, when it is busy, takes a while until
    it knows what it has."""
    for key, upload in client.uploads_of(bucket):
        client.abort(bucket, key, upload)
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
    {"sync": sync, "fetch": fetch, "drop": drop,
     "uploads": uploads}[sys.argv[2]](client, *sys.argv[3:])


if __name__ == "__main__":
    main()
