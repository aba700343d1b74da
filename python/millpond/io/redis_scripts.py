"""The scripts that run in the server, each in one step: nothing comes between reading and writing.

Each takes one entry, number or generation, so that in a Cluster all of its keys lie in one slot. A
script is named by its SHA-1 (EVALSHA); a server that does not know it, after a restart or a SCRIPT
FLUSH, is given it once and asked again.

A stamp is `max(microseconds of the server's clock, old + 1)`, so it never repeats, also when the
clock is set back. Lua's numbers are exact up to 2^53, which these reach in the year 2255.
"""

from __future__ import annotations

import hashlib
from typing import Final, final

from millpond.io.redis_wire import pack

# Guards outlive every load that they are there to refuse, and no longer.
GUARD_LIFE: Final = 3_600_000


@final
class Script:
    """A script, and its name in the server."""

    __slots__ = ("load", "sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        # The name that Redis gives it; nothing rests on its strength.
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()
        self.load = pack(b"SCRIPT", b"LOAD", self.text)

    def call(self, keys: tuple[bytes, ...], *arguments: bytes | int) -> bytes:
        """The command that runs it."""
        return pack(b"EVALSHA", self.sha, len(keys), *keys, *arguments)


_STAMP = """
local function stamp(old)
  local time = redis.call('TIME')
  local now = time[1] * 1000000 + time[2]
  old = tonumber(old)
  if old and old >= now then now = old + 1 end
  return string.format('%.0f', now)
end
"""

# What was invalidated, for feeds that come back. Not in a Cluster, where it has no key.
_NOTE = """
local function note(log, key)
  if log then redis.call('XADD', log, 'MAXLEN', '~', 4096, '*', 's', key) end
end
"""

# KEYS: entry, guard. ARGV: data, milliseconds, the guard that the load began under.
STORE: Final = Script("""
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
""")

# KEYS: entry, guard, log or none. ARGV: data, milliseconds, life of the guard.
WRITE: Final = Script(
    _STAMP
    + _NOTE
    + """
local new = stamp(redis.call('GET', KEYS[2]))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], new, 'PX', ARGV[3])
note(KEYS[3], KEYS[2])
return new
"""
)

# A lease is "fence worker worker ...": its holder's number, and the workers that wait for it. Its
# end is published to each of these on its own channel; without the right to, they have to ask.
_END = """
local function finish(lease, text)
  redis.call('UNLINK', lease.key)
  for worker in string.gmatch(lease.value, ' (%x+)') do
    redis.pcall('PUBLISH', ARGV[1] .. worker, text)
  end
end
local function held(key, fence)
  local value = redis.call('GET', key)
  if value and string.match(value, '^%d+') == fence then return {key = key, value = value} end
end
"""

# KEYS: entry, lease. ARGV: fence, milliseconds, worker, how the entry begins that is of no use.
ACQUIRE: Final = Script("""
local seen = ARGV[4]
if seen == '' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return 'landed' end
else
  local head = redis.call('GETRANGE', KEYS[1], 0, #seen - 1)
  if head ~= '' and head ~= seen then return 'landed' end
end
local lease = redis.call('GET', KEYS[2])
local fence = lease and string.match(lease, '^%d+')
if not fence then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  return 'held'
end
if fence == ARGV[1] then return 'held' end
if not string.find(lease, ' ' .. ARGV[3], 1, true) then
  redis.call('APPEND', KEYS[2], ' ' .. ARGV[3])
end
return fence .. ' ' .. redis.call('PTTL', KEYS[2])
""")

# KEYS: lease. ARGV: fence, milliseconds.
RENEW: Final = Script("""
local value = redis.call('GET', KEYS[1])
if not value or string.match(value, '^%d+') ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
""")

# KEYS: lease. ARGV: what channels begin with, fence, what is told.
RELEASE: Final = Script(
    _END
    + """
local lease = held(KEYS[1], ARGV[2])
if not lease then return 0 end
finish(lease, ARGV[3])
return 1
"""
)

# KEYS: entry, guard, lease. ARGV: what channels begin with, fence, what is told when it is stored
# and when it is not, data, milliseconds, the guard that the load began under.
LAND: Final = Script(
    _END
    + """
local lease = held(KEYS[3], ARGV[2])
if not lease then return 0 end
if (redis.call('GET', KEYS[2]) or '0') ~= ARGV[7] then
  finish(lease, ARGV[4])
  return 0
end
redis.call('SET', KEYS[1], ARGV[5], 'PX', ARGV[6])
finish(lease, ARGV[3])
return 1
"""
)

# A server whose memory is full refuses a script whose first write needs more of it. What
# invalidates must not fail for that, so DELETE and BUMP begin by taking something away.

# KEYS: entry, guard, log or none. ARGV: life of the guard.
DELETE: Final = Script(
    _STAMP
    + _NOTE
    + """
local had = redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], stamp(redis.call('GET', KEYS[2])), 'PX', ARGV[1])
note(KEYS[3], KEYS[2])
return had
"""
)

# KEYS: generation. A stamp that was not there before comes back with a plus before it.
MAKE: Final = Script(
    _STAMP
    + """
local old = redis.call('GET', KEYS[1])
if old then return old end
local new = stamp(false)
redis.call('SET', KEYS[1], new)
return '+' .. new
"""
)

# KEYS: generation, log or none.
BUMP: Final = Script(
    _STAMP
    + _NOTE
    + """
local new = stamp(redis.call('GET', KEYS[1]))
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[1], new)
note(KEYS[2], KEYS[1])
return new
"""
)

# WAIT counts replicas that have the last write of its connection. A stamp that is what it should be
# is not written, which would be told to all: a mark beside it is.

# KEYS: generation, mark, log or none. ARGV: stamp, life of the mark.
CONFIRM: Final = Script(
    _NOTE
    + """
redis.call('UNLINK', KEYS[2])
if tonumber(redis.call('GET', KEYS[1]) or '0') >= tonumber(ARGV[1]) then
  redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
note(KEYS[3], KEYS[1])
return 1
"""
)

# KEYS: number. ARGV: amount, milliseconds or 0. The sum comes back as text: Lua would round it.
INCR: Final = Script("""
local fresh = redis.call('EXISTS', KEYS[1]) == 0
redis.call('INCRBY', KEYS[1], ARGV[1])
if fresh and ARGV[2] ~= '0' then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])
""")

SCRIPTS: Final = (STORE, WRITE, DELETE, MAKE, BUMP, INCR, ACQUIRE, RENEW, RELEASE, LAND, CONFIRM)
