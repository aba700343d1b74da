// millpond._engine.TierMonitor: the breaker and the statistics of one tier (cache/tier_monitor.hpp),
// raw since every operation on a tier passes it twice.
#pragma once

#include <Python.h>

namespace millpond::bindings {

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_tier_monitor(PyObject* module);

}  // namespace millpond::bindings
