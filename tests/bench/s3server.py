# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The server of the bench of S3, as with-radosgw.sh starts it: what is in its
bucket, what it uses, and how fast it takes bytes if nobody has to make them.
"""
import concurrent.futures
import hashlib
import http.client
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(f"{HERE}/../s3")
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402
from images import MIB  # noqa: E402

BUCKET = "bench"
PART = 8 * MIB
STREAMS = 4
IDLE_SECONDS = 20  # of a connection that is used again
GC_SECONDS = 120  # until what is removed is to have left the disk
SLACK = 64 * MIB  # that it keeps


def cpu_of(pid):
    """CPU seconds of a process up to now."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def proxy(delay_ms=None):
    """The counters since the last call; from now on each request waits."""
    link = http.client.HTTPConnection(
        "127.0.0.1", int(os.environ["BENCH_S3_PROXY"]), timeout=30)
    link.request("GET", "/.proxy" + (
        "" if delay_ms is None else f"?delay={delay_ms}"))
    counters = json.loads(link.getresponse().read())
    link.close()
    return counters


def proxy_url():
    return f"http://127.0.0.1:{os.environ['BENCH_S3_PROXY']}"


class Link:
    """Signed requests over one connection that is kept."""

    def __init__(self, port):
        self.host, self.used = f"127.0.0.1:{port}", 0.0
        self.http = http.client.HTTPConnection(self.host, timeout=600)
        self.keys = {"access": os.environ["AWS_ACCESS_KEY_ID"],
                     "secret": os.environ["AWS_SECRET_ACCESS_KEY"]}

    def ask(self, method, key="", query="", body=b""):
        """The answer, not read yet."""
        path = f"/{BUCKET}/{sigv4.quote(key, '/-._~')}" if key else \
            f"/{BUCKET}"
        payload = hashlib.sha256(body).hexdigest()
        headers = sigv4.sign(self.keys, method, path, query,
                             {"host": self.host}, payload)
        if time.monotonic() > self.used + IDLE_SECONDS:
            self.http.close()  # and it connects again
        self.http.request(method, path + ("?" + query if query else ""),
                          body or None, headers)
        self.used = time.monotonic()
        return self.http.getresponse()

    def get(self, *request):
        """Status, headers and body, of a request that is served."""
        answer = self.ask(*request)
        body = answer.read()
        if answer.status not in (200, 204):
            raise RuntimeError(f"{request[:3]}: status {answer.status}")
        return answer.headers, body


def field(body, name):
    return re.findall(f"<{name}>(.*?)</{name}>", body.decode(), re.DOTALL)


class Server:
    """The server itself, past the proxy."""

    def __init__(self):
        self.port = int(os.environ["BENCH_S3_SERVER"])
        self.pids = os.environ["BENCH_S3_PIDS"].split()
        self.files = os.environ["BENCH_S3_FILES"]
        self.link = Link(self.port)
        self.link.get("PUT")
        self.empty = self.stored()

    def cpu(self):
        """CPU seconds of all its processes and of the proxy."""
        return sum(map(cpu_of, self.pids))

    def stored(self):
        """Bytes that its files take."""
        total = 0
        for directory, _, files in os.walk(self.files):
            for name in files:
                try:
                    status = os.lstat(f"{directory}/{name}")
                except FileNotFoundError:
                    continue  # removed meanwhile
                total += status.st_blocks * 512
        return total

    def objects(self):
        """{key: bytes}, of a bucket that is small enough for one page."""
        _, body = self.link.get("GET", "", "list-type=2")
        return dict(zip(field(body, "Key"), map(int, field(body, "Size"))))

    def uploads(self):
        """Part uploads that somebody has left behind."""
        return len(field(self.link.get("GET", "", "uploads=")[1], "UploadId"))

    def size(self, key):
        """Of an object, or None."""
        answer = self.link.ask("HEAD", key)
        answer.read()
        return int(answer.headers["content-length"]) \
            if answer.status == 200 else None

    def settle(self, keep=()):
        """Remove all objects but those, and wait until their bytes are gone
        and all others are written."""
        for key in set(self.objects()) - set(keep):
            self.link.get("DELETE", key)
        allowed = self.empty + sum(self.objects().values()) + SLACK
        end = time.monotonic() + GC_SECONDS
        while self.stored() > allowed:
            if time.monotonic() > end:
                raise SystemExit(f"the server keeps {self.stored()} bytes "
                                 f"of {allowed}")
            time.sleep(0.2)
        os.sync()

    def download(self, key, path):
        """To a file; the SHA-256 of its bytes."""
        digest = hashlib.sha256()
        answer = self.link.ask("GET", key)
        if answer.status != 200:
            raise RuntimeError(f"GET {key}: status {answer.status}")
        with open(path, "wb") as file:
            while data := answer.read(4 * MIB):
                digest.update(data)
                file.write(data)
        return digest.hexdigest()

    def upload(self, path, key, port):
        """The file in parts of 8 MiB, 4 at once, as little work as can be:
        seconds."""
        begin = time.monotonic()
        _, body = self.link.get("POST", key, "uploads=")
        upload = sigv4.quote(field(body, "UploadId")[0])
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            def send(stream):
                link, done = Link(port), []
                for part in range(stream, -(-size // PART), STREAMS):
                    headers, _ = link.get(
                        "PUT", key, f"partNumber={part + 1}&uploadId={upload}",
                        os.pread(file.fileno(), PART, part * PART))
                    done.append((part + 1, headers["etag"]))
                return done
            with concurrent.futures.ThreadPoolExecutor(STREAMS) as threads:
                parts = sorted(sum(threads.map(send, range(STREAMS)), []))
        rows = "".join(f"<Part><PartNumber>{number}</PartNumber>"
                       f"<ETag>{etag}</ETag></Part>" for number, etag in parts)
        self.link.get("POST", key, f"uploadId={upload}",
                      f"<CompleteMultipartUpload>{rows}"
                      "</CompleteMultipartUpload>".encode())
        return time.monotonic() - begin


def run_beside(directory, program, *arguments):
    """Run a Python program with a server, whose files lie below the directory
    and whose processes are not the program's; the exit status."""
    return subprocess.run(
        ["bash", f"{HERE}/with-radosgw.sh", directory, sys.executable,
         program, *arguments],
        env={**os.environ, "PYTHON": sys.executable}).returncode
