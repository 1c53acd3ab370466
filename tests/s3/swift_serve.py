#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""swift_serve.py rings DIR ACCOUNT-PORT CONTAINER-PORT OBJECT-PORT
swift_serve.py proxy|account|container|object DIR

One process of OpenStack Swift, straight from python3-swift: without /etc/swift
and without memcached."""
# pylint: disable=import-outside-toplevel,import-error

import json
import os
import sys
import time


class Cache:
    """Stands in for memcached; for one proxy process."""

    def __init__(self):
        self.values = {}

    def get(self, key, **_):
        """The value, or None."""
        value, ends = self.values.get(key, ("null", 0))
        return None if ends and ends < time.time() else json.loads(value)

    def set(self, key, value, time=0, **_):
        # pylint: disable=redefined-outer-name
        """`time`: seconds that it lives; 0 = for ever."""
        ends = _now() + time if time else 0
        self.values[key] = (json.dumps(value), ends)

    def incr(self, key, delta=1, time=0, **_):
        # pylint: disable=redefined-outer-name
        """Count up."""
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def delete(self, key, **_):
        """Forget."""
        self.values.pop(key, None)


def _now():
    return time.time()


def cache_factory(*_, **__):
    """The filter that has Swift's cache."""
    cache = Cache()

    def wrap(app):
        def call(env, start_response):
            env["swift.cache"] = cache
            return app(env, start_response)
        return call
    return wrap


def auth_factory(global_conf, **conf):
    """tempauth whose access key need not be "account:user"."""
    from swift.common.middleware.tempauth import TempAuth

    def wrap(app):
        auth = TempAuth(app, {**global_conf, **conf})
        auth.users[conf["access_key"]] = {
            "key": conf["secret_key"], "url": "$HOST/v1/AUTH_test",
            "groups": [".admin"]}
        return auth
    return wrap


def make_rings(where, ports):
    """One device for each kind of server."""
    from swift.common.ring import RingBuilder
    for name, port in zip(("account", "container", "object"), ports):
        builder = RingBuilder(1, 1, 0)
        builder.add_dev({"region": 1, "zone": 1, "weight": 1.0, "meta": "",
                         "ip": "127.0.0.1", "port": int(port),
                         "replication_ip": "127.0.0.1",
                         "replication_port": int(port), "device": "d1"})
        builder.rebalance()
        builder.get_ring().save(os.path.join(where, name + ".ring.gz"))


def main():
    what, where = sys.argv[1:3]
    # Before anything else of Swift is imported.
    from swift.common import utils
    utils.SWIFT_CONF_FILE = os.path.join(where, "swift.conf")
    if what == "rings":
        make_rings(where, sys.argv[3:])
        return 0
    from swift.common.wsgi import run_wsgi
    more = {}
    if what == "object":
        from swift.obj import server
        more["global_conf_callback"] = server.global_conf_callback
    return run_wsgi(os.path.join(where, what + ".conf"), what + "-server",
                    **more)


if __name__ == "__main__":
    sys.exit(main())
