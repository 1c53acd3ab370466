#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""A proxy for one S3 server that holds each request back and counts bytes.

    delay-proxy.py PORT SERVER-PORT

Of what clients say only the heads of requests are looked at, to know where
each begins; all else goes through as it is, both ways at once, mostly without
coming into this process (splice(2)). A request of /.proxy is answered here:
the counters since the last such request, as JSON, and ?delay=MS is how long
each request waits from then on.
"""
import contextlib
import fcntl
import json
import os
import re
import socket
import sys
import threading
import time

CHUNK = 1 << 20
HEAD_MAX = 1 << 16


class Counters:
    """What went through, of all connections, and the delay."""

    def __init__(self):
        self.lock, self.delay = threading.Lock(), 0.0
        self.now = {"requests": 0, "up": 0, "down": 0}

    def add(self, name, count):
        with self.lock:
            self.now[name] += count

    def take(self):
        with self.lock:
            taken, self.now = self.now, dict.fromkeys(self.now, 0)
        return taken


def new_pipe():
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, CHUNK)
    return ends


def move(source, target, pipe, limit):
    """Some bytes, at most `limit`; 0 at the end."""
    got = left = os.splice(source.fileno(), pipe[1], min(limit, CHUNK))
    while left:
        left -= os.splice(pipe[0], target.fileno(), left)
    return got


def answers(server, client, counters):
    """All that the server says."""
    pipe = new_pipe()
    try:
        while count := move(server, client, pipe, CHUNK):
            counters.add("down", count)
    except OSError:
        pass  # one of them has gone; the other one hears of it
    finally:
        for end in pipe:
            os.close(end)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)


def read_head(client, begun):
    """The next request: its head and what came behind it, or None."""
    text = begun
    while b"\r\n\r\n" not in text:
        more = client.recv(HEAD_MAX)
        if not more or len(text) > HEAD_MAX:
            return None, b""
        text += more
    head, rest = text.split(b"\r\n\r\n", 1)
    return head + b"\r\n\r\n", rest


def field(head, name):
    found = re.search(rb"\r\n" + name + rb":[ \t]*([^\r]*)", head,
                      re.IGNORECASE)
    return found[1].strip() if found else b""


def own_answer(client, head, counters):
    delay = re.search(rb"[?&]delay=([0-9.]+)", head.split(b"\r\n")[0])
    if delay:
        counters.delay = float(delay[1]) / 1000
    text = json.dumps(counters.take()).encode()
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" %
                   len(text) + text)


def requests(client, server, counters):
    """All that the client says: each head is late, no body is."""
    rest, pipe = b"", new_pipe()
    try:
        while True:
            head, rest = read_head(client, rest)
            if head is None:
                return
            if head.split(b" ")[1].startswith(b"/.proxy"):
                own_answer(client, head, counters)
                continue
            if field(head, b"transfer-encoding"):
                print("bodies without Content-Length are not known",
                      head, flush=True)
                return
            left = int(field(head, b"content-length") or 0)
            counters.add("requests", 1)
            time.sleep(counters.delay)
            begun, rest = rest[:left], rest[left:]
            server.sendall(head + begun)
            counters.add("up", len(head) + len(begun))
            left -= len(begun)
            while left:
                count = move(client, server, pipe, left)
                if not count:
                    return
                counters.add("up", count)
                left -= count
    finally:
        for end in pipe:
            os.close(end)


def serve(client, port, counters):
    with client, contextlib.suppress(OSError), \
            socket.create_connection(("127.0.0.1", port)) as server:
        for link in client, server:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=answers,
                                args=(server, client, counters), daemon=True)
        back.start()
        try:
            requests(client, server, counters)
        finally:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_WR)
            back.join()


def main():
    port, server_port = map(int, sys.argv[1:])
    counters = Counters()
    with socket.create_server(("127.0.0.1", port), backlog=512) as listener:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve, daemon=True,
                             args=(client, server_port, counters)).start()


if __name__ == "__main__":
    main()
