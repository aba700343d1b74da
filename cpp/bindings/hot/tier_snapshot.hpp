// The statistics of a tier as the dict that TierMonitor.snapshot() gives.
#pragma once

#include <Python.h>

#include "millpond/base/histogram.hpp"
#include "millpond/cache/tier_monitor.hpp"

namespace millpond::bindings {

// A new dict, or null with an exception set.
[[nodiscard]] PyObject* tier_snapshot(PyObject* name, const cache::TierMonitor& monitor,
                                      Instant now);

// Count, mean, extremes and quantiles of a histogram, a new dict. Throws what pybind11 throws.
[[nodiscard]] PyObject* histogram_summary(const ExponentialHistogram& histogram);

}  // namespace millpond::bindings
