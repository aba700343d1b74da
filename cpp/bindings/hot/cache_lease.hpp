// What tells a cache that entries which came from a tier may not be served any longer: an alarm, a
// moment after which nobody has heard of the tier, and a watched word, a number in shared memory
// that another process changes when it invalidates something. Either calls a function of Python's,
// which drops those entries.
//
// Both are looked at where the clock ticks: a look-up that finds the coarse time changed lets time
// pass (tick) before it makes its key, looks, and answers. So the short way to a hit knows nothing of
// them, and a cache without them pays for one comparison with null a tick. They are looked at by
// look-ups alone; what nobody looks up is dropped later.
//
// How late: an alarm never, since it goes off up to one tick (10 ms at most) early where the coarse
// clock is in use; a word is seen by look-ups of the next tick.
//
// While the function runs, other threads may look up too. They must not get what it is about to drop,
// so until it has returned each of them calls it as well: it has to bear that. Its own look-ups
// are answered as if nothing was due. If it raises, everything in the cache is dropped.
#pragma once

#include <Python.h>

#include <cstdint>
#include <vector>

#include "millpond/base/clock.hpp"

namespace millpond::bindings {

struct CacheObject;

struct CacheLease {
    Instant until = kNever;
    PyObject* alarm = nullptr;  // owned; called when `until` has come, once
    Py_buffer view{};           // holds the memory of the word
    const std::uint64_t* word = nullptr;
    std::uint64_t seen = 0;       // its value when last looked at
    PyObject* changed = nullptr;  // owned; called when the word is another
    // How often each was set, to see whether a function that is called has set it anew.
    std::uint64_t renewals = 0;
    std::uint64_t watches = 0;
    std::vector<unsigned long> inside;  // the threads that run one of the functions
    std::uint32_t forks = 0;            // g_forks at that time: a child has not got them
};

// Calls what is due and returns the time thereafter. May run any code.
[[nodiscard]] Instant run_lease(CacheObject* self, Instant now);

// For the collector.
[[nodiscard]] int traverse_lease(const CacheLease& lease, visitproc visit, void* arg);
// Lets go of all that it refers to; it is as if new.
void clear_lease(CacheLease& lease);

// _set_alarm(seconds or None, function or None) and _watch_word(buffer or None, offset, function).
[[nodiscard]] PyObject* cache_set_alarm(PyObject* self, PyObject* const* args, Py_ssize_t count);
[[nodiscard]] PyObject* cache_watch_word(PyObject* self, PyObject* const* args, Py_ssize_t count);

}  // namespace millpond::bindings
