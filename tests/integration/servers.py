"""The servers that tests start: one import for all of them.

Each is a context manager with `start`, `stop`, `kill`, `freeze`, `thaw` and `restart`, listens on
a free port of 127.0.0.1, and keeps its files in a folder of its own that goes with it. A test whose
server is not installed is skipped with the reason; with CI_REQUIRE_SERVERS=1 it fails instead.
"""

from tests.integration.postgres_server import PgBouncer, PostgresServer
from tests.integration.process import Server, find, free_port
from tests.integration.redis_cluster import RedisCluster, slot_of
from tests.integration.redis_sentinel import RedisSentinel
from tests.integration.redis_server import Certificates, RedisServer, certificates
from tests.waiting import wait_until

__all__ = [
    "Certificates",
    "PgBouncer",
    "PostgresServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "Server",
    "certificates",
    "find",
    "free_port",
    "slot_of",
    "wait_until",
]
