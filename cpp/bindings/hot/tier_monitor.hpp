// millpond._engine.TierMonitor: the breaker and the statistics of one tier (cache/tier_monitor.hpp),
// raw since every operation on a tier passes it twice.
#pragma once

#include <Python.h>

#include "millpond/cache/tier_monitor.hpp"

namespace millpond::bindings {

[[nodiscard]] bool is_tier_monitor(PyObject* object) noexcept;
// What is in it; in the child of a fork it begins anew first. REQUIRES: is_tier_monitor.
[[nodiscard]] cache::TierMonitor& tier_monitor(PyObject* object) noexcept;
// The time by its clock. REQUIRES: is_tier_monitor.
[[nodiscard]] Instant tier_now(PyObject* object) noexcept;
// Seconds that memory may keep what the tier is asked about, for now; infinite: no limit.
// REQUIRES: is_tier_monitor.
[[nodiscard]] double tier_cap(PyObject* object) noexcept;
// What is said in the log of a notice: a new reference to its name, or None.
[[nodiscard]] PyObject* notice_name(cache::TierNotice notice) noexcept;

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_tier_monitor(PyObject* module);

}  // namespace millpond::bindings
