// The slots and methods of CacheBase: get, set and the rest of a mapping of Python objects.
#pragma once

#include <Python.h>

#include "hot/cache_object.hpp"

namespace millpond::bindings {

// CacheBase(max_entries, max_bytes, policy, ttl, tti, jitter, weigher, listener, clock, seed): what
// millpond.Cache has made of its options. Counts are ints with -1 for unbounded, lives are ns with
// -1 for none, the policy is its name.
[[nodiscard]] PyObject* cache_new(PyTypeObject* type, PyObject* args, PyObject* kwargs);

[[nodiscard]] Py_ssize_t cache_length(PyObject* self);
[[nodiscard]] PyObject* cache_subscript(PyObject* self, PyObject* key);
[[nodiscard]] int cache_assign(PyObject* self, PyObject* key, PyObject* value);
[[nodiscard]] int cache_contains(PyObject* self, PyObject* key);
[[nodiscard]] PyObject* cache_iterate(PyObject* self);
// cache_set.cpp: the options are ttl, tti, tags and cost.
[[nodiscard]] PyObject* cache_set(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* kwnames);
[[nodiscard]] PyObject* cache_add(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                  PyObject* kwnames);
[[nodiscard]] PyObject* cache_get_or_set(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                         PyObject* kwnames);
[[nodiscard]] PyObject* cache_touch(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                    PyObject* kwnames);
[[nodiscard]] PyObject* cache_incr(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                   PyObject* kwnames);
[[nodiscard]] PyObject* cache_decr(PyObject* self, PyObject* const* args, Py_ssize_t count,
                                   PyObject* kwnames);
// cache_remove.cpp:
[[nodiscard]] PyObject* cache_delete(PyObject* self, PyObject* key);
[[nodiscard]] PyObject* cache_pop(PyObject* self, PyObject* const* args, Py_ssize_t count);
[[nodiscard]] PyObject* cache_clear_all(PyObject* self, PyObject* none);
[[nodiscard]] PyObject* cache_invalidate_tag(PyObject* self, PyObject* tag);
[[nodiscard]] PyObject* cache_held_under(PyObject* self, PyObject* hash);
[[nodiscard]] PyObject* cache_invalidate_hash(PyObject* self, PyObject* hash);
[[nodiscard]] PyObject* cache_invalidate_prefix(PyObject* self, PyObject* prefix);
// Whether a live value was there, or -1; the value is handed to `taken` when that is given.
[[nodiscard]] int remove_key(CacheObject* self, PyObject* key, Ref* taken);
// cache_snapshot.cpp: dump(wall clock in ns) -> bytes, restore(bytes, wall clock in ns) -> count.
[[nodiscard]] PyObject* cache_dump(PyObject* self, PyObject* wall_clock);
[[nodiscard]] PyObject* cache_restore(PyObject* self, PyObject* args);

[[nodiscard]] PyMethodDef* cache_method_table() noexcept;

// ---- What the methods share

// A key, where it is (kNoSlot: nowhere) and the time of the look-up.
struct Found {
    CacheKey key;
    Slot slot = kNoSlot;
    Instant now{};
};
// As every method starts: lets time pass, makes the key and looks it up. False with an exception set.
// Runs the `==` of a key with leaves.
[[nodiscard]] bool locate(CacheObject* self, PyObject* object, Found& found);
[[nodiscard]] inline bool resident(CacheObject* self, Slot slot) noexcept {
    return slot != kNoSlot && (*self->store)[slot].state == cache::EntryState::Resident;
}

}  // namespace millpond::bindings
