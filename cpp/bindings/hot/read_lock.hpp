// millpond._engine.ReadLock: a lock that is taken for each read of a database, and so costs next to
// nothing where nobody else wants it. Otherwise it is what threading.Lock is.
#pragma once

#include <Python.h>

namespace millpond::bindings {

[[nodiscard]] bool is_read_lock(PyObject* object) noexcept;
// Waits without the GIL, if it has to. REQUIRES: is_read_lock.
void take_read_lock(PyObject* lock) noexcept;
// REQUIRES: is_read_lock, and it is taken.
void give_read_lock(PyObject* lock) noexcept;

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_read_lock(PyObject* module);

}  // namespace millpond::bindings
