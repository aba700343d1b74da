// millpond.CacheInfo: the statistics of a function or a cache. A struct sequence whose tuple is that
// of functools, (hits, misses, maxsize, currsize), and whose other figures are named attributes.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>

#include "millpond/cache/stats.hpp"

namespace millpond::bindings {

// New reference, or null with an exception set. `bound` is the most entries, kUnbounded for None.
[[nodiscard]] PyObject* make_info(const cache::Counters& counters, std::uint64_t bound,
                                  std::size_t size, std::uint64_t bytes);

// The word for a reason, as the statistics and observers spell it.
[[nodiscard]] const char* reason_name(cache::MissReason reason) noexcept;

// The number by which counters know a tier of that name, the same for as long as the process lives.
// Throws Error(LimitExceeded) beyond cache::kSources - 1 names.
[[nodiscard]] std::uint8_t source_id(const std::string& name);
// That name. REQUIRES: source_id() gave the number.
[[nodiscard]] const char* source_name(std::uint8_t source) noexcept;

[[nodiscard]] int init_info(PyObject* module);

}  // namespace millpond::bindings
