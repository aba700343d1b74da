// The slots and methods of CacheBase: get, set and the rest of a mapping of Python objects.
#pragma once

#include <Python.h>

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
// cache_snapshot.cpp: dump(wall clock in ns) -> bytes, restore(bytes, wall clock in ns) -> count.
[[nodiscard]] PyObject* cache_dump(PyObject* self, PyObject* wall_clock);
[[nodiscard]] PyObject* cache_restore(PyObject* self, PyObject* args);

[[nodiscard]] PyMethodDef* cache_method_table() noexcept;

}  // namespace millpond::bindings
