"""Connections that the application's pools may open, compared with what database servers accept."""

from __future__ import annotations

import gc
import sys
from collections import Counter

# What each server accepts from applications by default: max_connections, for PostgreSQL without
# superuser_reserved_connections.
# https://www.postgresql.org/docs/17/runtime-config-connection.html
# https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html
ACCEPTED = {"postgresql": 97, "mysql": 151, "mariadb": 151}
NAMES = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}


def notes(workers: int) -> list[str]:
    """Lines for the log if this container may open more connections than a server's default.

    workers: how many may run. Only SQLAlchemy's pools are known, and those that exist when the
    application has loaded; this imports nothing.
    """
    return [
        f"up to {workers * pool} connections to {NAMES[server]} ({workers} workers, each with a "
        f"pool of {pool}), whose default is to accept {ACCEPTED[server]}; multiply by the number "
        "of containers, and set SQLAlchemy's pool_size, WEB_CONCURRENCY or max_connections "
        "(docs/scaling.md)"
        for server, pool in _pools().items()
        if workers * pool > ACCEPTED[server]
    ]


def _pools() -> Counter[str]:
    """Connections that this process may open, by server."""
    found: Counter[str] = Counter()
    engine = getattr(sys.modules.get("sqlalchemy.engine.base"), "Engine", None)
    queue_pool = getattr(sys.modules.get("sqlalchemy.pool.impl"), "QueuePool", None)
    if not (engine and queue_pool):
        return found
    # Not isinstance(), which calls code of the objects.
    for one in (thing for thing in gc.get_objects() if issubclass(type(thing), engine)):
        pool, server = one.pool, one.dialect.name
        # A pool without a maximum has the overflow -1.
        if server in ACCEPTED and issubclass(type(pool), queue_pool) and pool._max_overflow >= 0:
            found[server] += pool.size() + pool._max_overflow
    return found
