# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Part uploads of the scripted server. They are files, and so outlive it:
a folder an upload, with upload.json and a file NUMBER-MD5 for each part."""

import json
import os
import secrets
import shutil
import threading
import time

import bodies


def stamp(when):
    """2026-11-20T19:24:22.000Z"""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(when))


class Part:
    """One part that is there."""

    def __init__(self, number, md5, path):
        status = os.stat(path)
        self.number, self.md5, self.path = number, md5, path
        self.size, self.time = status.st_size, status.st_mtime


class Upload:
    """One upload that was begun."""

    def __init__(self, folder, about):
        self.folder, self.about = folder, about
        self.bucket, self.id = about["bucket"], about["id"]
        self.key = about["key"].encode("utf-8", "surrogateescape")
        self.initiated, self.headers = about["initiated"], about["headers"]
        self.lock = threading.RLock()  # of what it holds
        self.parts = {}
        for name in os.listdir(folder):
            number, _, md5 = name.partition("-")
            if number.isdigit():
                self._know(int(number), md5)

    def _know(self, number, md5):
        path = os.path.join(self.folder, f"{number:05d}-{md5}")
        self.parts[number] = Part(number, md5, path)

    def add(self, number, path, md5):
        """A file becomes a part; the one that had its number goes."""
        old = self.parts.get(number)
        os.rename(path, os.path.join(self.folder, f"{number:05d}-{md5}"))
        self._know(number, md5)
        if old and old.md5 != md5:
            os.unlink(old.path)

    def describe(self):
        """For the control port."""
        with self.lock:
            return {**self.about, "parts": [
                {"number": p.number, "size": p.size, "etag": p.md5}
                for _, p in sorted(self.parts.items())]}


class Uploads:
    """All of them; safe for threads. Whoever looks into one of them, or
    changes it, holds its lock; behind that comes the one of the table."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.RLock()
        self.all = {}
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            where = os.path.join(folder, name)
            try:
                with open(os.path.join(where, "upload.json"),
                          encoding="utf-8") as file:
                    upload = Upload(where, json.load(file))
            except OSError:
                continue
            self.all[upload.id] = upload

    def begin(self, bucket, key, headers, now):
        """A new one. Its id has what a client has to encode."""
        name = f"{time.time_ns():016x}{secrets.token_hex(8)}"
        about = {"bucket": bucket, "id": f"2~{name}/+=", "initiated": now,
                 "key": key.decode("utf-8", "surrogateescape"),
                 "headers": headers}
        where = os.path.join(self.folder, name)
        os.mkdir(where)
        with open(os.path.join(where, "upload.json"), "w",
                  encoding="utf-8") as file:
            json.dump(about, file)
        with self.lock:
            upload = self.all[about["id"]] = Upload(where, about)
        return upload

    def find(self, bucket, key, upload_id):
        """An upload of this key, or None."""
        with self.lock:
            upload = self.all.get(upload_id)
        if upload and (upload.bucket, upload.key) == (bucket, key):
            return upload
        return None

    def end(self, upload):
        """Forget it, with all its parts."""
        with self.lock:
            self.all.pop(upload.id)
        # Whole or not at all, for a server that is killed meanwhile.
        gone = bodies.temporary(os.path.dirname(self.folder))
        os.rename(upload.folder, gone)
        shutil.rmtree(gone)

    def page(self, bucket, prefix, after, limit):
        """(uploads, is_truncated) behind the pair (key, id) `after`, whose id
        is None where all of that key are to be left out."""
        key, upload_id = after
        with self.lock:
            rows = sorted((u.key, u.id) for u in self.all.values()
                          if u.bucket == bucket and u.key.startswith(prefix))
            rows = [row for row in rows if row[0] > key or
                    upload_id is not None and row > (key, upload_id)]
            return ([self.all[row[1]] for row in rows[:limit]],
                    len(rows) > limit)

    def describe(self):
        """For the control port."""
        with self.lock:
            found = sorted(self.all.items())
        return [upload.describe() for _, upload in found]
