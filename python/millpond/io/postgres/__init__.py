"""PostgreSQL through psycopg's libpq: connections, their pool, the schema, the statements.

psycopg's connections would do, but for the deadline: their timeouts do not bound what they do in
all, an asyncio connection belongs to its loop, and a cursor costs as much as the reply. So this is
written against `psycopg.pq`, the libpq underneath, whose calls never block.
"""
