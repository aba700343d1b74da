// The time that the bindings hand to the engine. Deadlines are set with the precise clock and checked
// with the coarse one, which is never ahead of it: a value is never dead early, and at most one tick
// (4 ms on Linux) late. Caches with lives under kPreciseBelow are checked with the precise one.
#pragma once

#include <Python.h>

#include <time.h>

#include "millpond/base/clock.hpp"

namespace millpond::bindings {

// A life shorter than this needs the precise clock.
inline constexpr Nanos kPreciseBelow = std::chrono::milliseconds{40};

// The kernel's own clock_gettime where the process can reach it, a third faster for the coarse clock
// than the C library's way to it; else the C library's. Set by init_manual_clock.
extern int (*g_clock_gettime)(clockid_t, timespec*);

[[nodiscard]] inline Instant read_clock(clockid_t id) noexcept {
    timespec now;
    g_clock_gettime(id, &now);
    return Instant{std::chrono::seconds{now.tv_sec} + Nanos{now.tv_nsec}};
}

[[nodiscard]] inline Instant coarse_now() noexcept {
#ifdef CLOCK_MONOTONIC_COARSE
    return read_clock(CLOCK_MONOTONIC_COARSE);
#else
    return read_clock(CLOCK_MONOTONIC);
#endif
}

// CLOCK_MONOTONIC, or on processors whose counter is made for it, its time to some microseconds at
// half the price.
[[nodiscard]] Instant precise_now() noexcept;

// millpond._engine.ManualClock: a clock that stands still until it is told otherwise, for tests.
struct ManualClockObject {
    PyObject_HEAD Instant now;
};

[[nodiscard]] PyTypeObject* manual_clock_type() noexcept;

// Adds the type to the module. 0, or -1 with an exception set.
[[nodiscard]] int init_manual_clock(PyObject* module);

}  // namespace millpond::bindings
