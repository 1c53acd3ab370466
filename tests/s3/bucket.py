# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""What the scripted server serves: directories as buckets, and objects that
only tests make up; listings of them as S3 writes them.

What is written becomes a file below the directory; where no file can have the
key's name ("a/", "a//b", or "a" and "a/b" at once), one beside all buckets.
What S3 knows of it besides is kept there, too, and so outlives the server;
once somebody else changes the file it is an object as any other."""

import base64
import bisect
import contextlib
import hashlib
import json
import os
import stat
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

import sigv4

XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"


def identity(status):
    """Of a file, from its stat."""
    return f"{status.st_ino} {status.st_mtime_ns} {status.st_size}"


class Entry:
    """One object: a file, or a text followed by zeroes."""

    def __init__(self, key, path=None, text=b"", size=None, mtime=0.0):
        self.key, self.path, self.text = key, path, text
        self.size = len(text) if size is None else size
        self.mtime = mtime
        self.token = f"{text!r} {self.size} {mtime}"
        self.written = {}

    @classmethod
    def of_file(cls, key, path):
        """The object that a file is; its identity follows the file's."""
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        entry = cls(key, path, size=status.st_size, mtime=status.st_mtime)
        entry.token = identity(status)
        return entry

    @property
    def etag(self):
        """With its quotes, as in the header."""
        if self.written:
            return f'"{self.written["etag"]}"'
        return '"' + hashlib.md5(self.token.encode()).hexdigest() + '"'

    @property
    def modified(self):
        """2026-11-20T19:24:22.000Z"""
        return time.strftime("%Y-%m-%dT%H:%M:%S.000Z",
                             time.gmtime(self.mtime))

    @property
    def headers(self):
        """Those that it was written with."""
        return self.written.get("headers", {})

    @contextlib.contextmanager
    def open(self):
        """A function (offset, length) -> bytes, of one version."""
        if self.path:
            with open(self.path, "rb") as file:
                if identity(os.fstat(file.fileno())) != self.token:
                    # Ends the connection, which a client survives.
                    raise OSError("replaced meanwhile")
                yield lambda at, size: os.pread(file.fileno(), size, at)
        else:
            yield lambda at, size: (self.text[at:at + size] +
                                    bytes(size))[:size]


def make_up(spec):
    """Entries of {"key": ..} or {"pattern": "disk-%06d", "count": n}, with
    "text" or "size" (zeroes), "mtime"."""
    text = spec.get("text", "").encode("utf-8", "surrogateescape")
    for i in range(spec.get("count", 1)):
        key = spec["key"] if "key" in spec else spec["pattern"] % i
        yield Entry(key.encode("utf-8", "surrogateescape"), text=text,
                    size=spec.get("size"), mtime=spec.get("mtime", 1.6e9))


class Bucket:
    """The files below a directory and what was made up. `hidden` is a folder
    for what is known of those that were written."""

    def __init__(self, path, hidden):
        self.path, self.hidden = os.fsencode(path), os.fsencode(hidden)
        self.made_up, self.written = {}, {}
        self.sorted = None
        self.lock = threading.RLock()
        self._recall()

    def _recall(self):
        """What an earlier server was given."""
        if not os.path.isdir(self.hidden):
            return
        for name in os.listdir(self.hidden):
            if not name.endswith(b".json"):
                continue
            with open(os.path.join(self.hidden, name),
                      encoding="utf-8") as file:
                known = json.load(file)
            key = known["key"].encode("utf-8", "surrogateescape")
            self.written[key] = known
            if known["is_hidden"]:
                self._show(key)

    def _place(self, key, ending=b""):
        name = hashlib.sha256(key).hexdigest().encode()
        return os.path.join(self.hidden, name + ending)

    def _show(self, key):
        """A file of the hidden folder is an object."""
        try:
            self.made_up[key] = Entry.of_file(key, self._place(key))
        except OSError:
            return
        self.made_up[key].written = self.written[key]
        self.sorted = sorted(self.made_up)

    def _move_in(self, key, path):
        """Give a file the key's own path; false where it cannot have it."""
        segments = key.split(b"/")
        target = os.path.join(self.path, key)
        if {b"", b".", b".."} & set(segments) or b"\0" in key:
            return False
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(path, target)
        except OSError:
            return False
        return True

    def publish(self, key, path, known, check):
        """A file becomes the object of a key, unless check(what is there)
        raises; `known` has its "etag" and "headers". The entry."""
        os.makedirs(self.hidden, exist_ok=True)
        with self.lock:
            try:
                check(self.find(key))
            except sigv4.Refusal:
                os.unlink(path)
                raise
            self._forget(key)
            is_hidden = not self._move_in(key, path)
            if is_hidden:
                os.rename(path, self._place(key))
            entry = Entry.of_file(key, self._place(key) if is_hidden
                                  else os.path.join(self.path, key))
            known = {**known, "token": entry.token, "is_hidden": is_hidden,
                     "key": key.decode("utf-8", "surrogateescape")}
            with open(self._place(key, b".json"), "w",
                      encoding="utf-8") as file:
                json.dump(known, file)
            self.written[key] = known
            if is_hidden:
                self._show(key)
            return self.find(key)

    def _forget(self, key):
        """What is not a file of the directory goes."""
        if self.made_up.pop(key, None):
            self.sorted = sorted(self.made_up)
        if self.written.pop(key, None):
            os.unlink(self._place(key, b".json"))
            with contextlib.suppress(OSError):
                os.unlink(self._place(key))

    def remove(self, key, check):
        """An object and the folders that it leaves empty go."""
        with self.lock:
            entry = self.find(key)
            check(entry)
            self._forget(key)
            if not entry:
                return
            path = os.path.join(self.path, key).rstrip(b"/")
            with contextlib.suppress(OSError):
                if os.path.isfile(path):
                    os.unlink(path)
                while path != self.path:
                    if os.path.isdir(path):
                        os.rmdir(path)
                    path = os.path.dirname(path)

    def add(self, specs):
        """Make objects up; a key that a file has is hidden by them."""
        for spec in specs:
            self.made_up.update((e.key, e) for e in make_up(spec))
        self.sorted = sorted(self.made_up)

    def find(self, key):
        """The object of a key (bytes), or None."""
        with self.lock:
            return self.made_up.get(key) or self._find_file(key)

    def _find_file(self, key):
        path = os.path.join(self.path, key)
        segments = key.rstrip(b"/").split(b"/")
        if key == b"" or {b"", b".", b".."} & set(segments) or b"\0" in key:
            return None
        try:
            if key.endswith(b"/"):
                return Entry(key) if os.listdir(path) == [] else None
            entry = Entry.of_file(key, path)
        except OSError:
            return None
        known = self.written.get(key)
        if known and known["token"] == entry.token:
            entry.written = known
        return entry

    def _files(self):
        keys = []
        for where, folders, files in os.walk(self.path):
            below = os.path.relpath(where, self.path)
            below = b"" if below == b"." else below + b"/"
            keys += [below + name for name in files]
            # An empty one is there by a marker, as consoles make it.
            if below and not folders and not files:
                keys.append(below)
        return keys

    def keys(self):
        """All keys in S3's order."""
        files = self._files()
        if not files and self.sorted:
            return self.sorted
        return sorted({*files, *self.made_up})

    def page(self, prefix, delimiter, after, limit):
        """(entries, common prefixes, is_truncated, the last one of them)."""
        keys = self.keys()
        at = max(bisect.bisect_left(keys, prefix),
                 bisect.bisect_right(keys, after))
        found, prefixes, last = [], [], after
        while at < len(keys) and keys[at].startswith(prefix):
            key = keys[at]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            common = key[:cut + len(delimiter)] if cut >= 0 else None
            if common and common == after:
                at += 1
                continue
            if len(found) + len(prefixes) == limit:
                return found, prefixes, True, last
            if common:
                prefixes.append(common)
                last = common
                at = bisect.bisect_left(keys, common[:-1] + bytes(
                    [common[-1] + 1]))
                continue
            entry = self.find(key)
            if entry:
                found.append(entry)
            last = key
            at += 1
        return found, prefixes, False, last


def text_of(data, encoded):
    """A key for XML: as S3 encodes it on request (a blank is '+'), or with
    references for what XML does not allow."""
    if encoded:
        return urllib.parse.quote_plus(data, safe="/")
    text = data.decode("utf-8", "replace")
    return "".join(f"&#x{ord(c):x};" if c < " " or c > "\ufffd" else escape(c)
                   for c in text)


def document(root, body):
    """An XML answer."""
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} '
            f'xmlns="{XMLNS}">{body}</{root}>').encode()


def list_buckets(names):
    """The answer of ListBuckets."""
    rows = "".join(f"<Bucket><Name>{escape(name)}</Name><CreationDate>"
                   "2020-01-01T00:00:00.000Z</CreationDate></Bucket>"
                   for name in sorted(names))
    return document("ListAllMyBucketsResult",
                    "<Owner><ID>0</ID></Owner>"
                    f"<Buckets>{rows}</Buckets>")


def location(region):
    """The answer of GetBucketLocation."""
    return document("LocationConstraint",
                    "" if region == "us-east-1" else escape(region))


def list_objects(bucket, name, query):
    """The answer of ListObjectsV2; raises sigv4.Refusal."""
    args = {n.decode("latin-1"): v for n, v in query}
    prefix = args.get("prefix", b"")
    delimiter = args.get("delimiter", b"")
    try:
        limit = min(int(args.get("max-keys", b"1000")), 1000)
        token = args.get("continuation-token", b"")
        after = (base64.b64decode(token[3:], validate=True) if token
                 else args.get("start-after", b""))
    except ValueError as error:
        raise sigv4.Refusal(400, "InvalidArgument", str(error)) from error
    if args.get("encoding-type", b"url") != b"url" or \
            token and not token.startswith(b"+/="):
        raise sigv4.Refusal(400, "InvalidArgument", "invalid argument")
    encoded = "encoding-type" in args
    found, prefixes, more, last = bucket.page(prefix, delimiter, after, limit)
    rows = [f"<Name>{escape(name)}</Name>"
            f"<Prefix>{text_of(prefix, encoded)}</Prefix>"
            f"<KeyCount>{len(found) + len(prefixes)}</KeyCount>"
            f"<MaxKeys>{limit}</MaxKeys>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>"]
    if encoded:
        rows.append("<EncodingType>url</EncodingType>")
    if more:
        # Characters that a client has to escape.
        token = "+/=" + base64.b64encode(last).decode()
        rows.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
    rows += [f"<Contents><Key>{text_of(e.key, encoded)}</Key>"
             f"<LastModified>{e.modified}</LastModified>"
             f"<ETag>{escape(e.etag, {chr(34): '&quot;'})}</ETag>"
             f"<Size>{e.size}</Size><StorageClass>STANDARD</StorageClass>"
             "</Contents>" for e in found]
    rows += [f"<CommonPrefixes><Prefix>{text_of(p, encoded)}</Prefix>"
             "</CommonPrefixes>" for p in prefixes]
    return document("ListBucketResult", "".join(rows))
