// Time, as the engine sees it: nanoseconds of a monotonic clock, always passed in as an argument.
// The engine never reads a clock; the bindings do, and tests count by hand.
#pragma once

#include <chrono>
#include <cstdint>
#include <limits>

namespace millpond {

using Nanos = std::chrono::nanoseconds;

// The monotonic time line. It has no now(): whoever calls the engine supplies the time.
struct EngineClock {
    using duration = Nanos;
    using rep = duration::rep;
    using period = duration::period;
    using time_point = std::chrono::time_point<EngineClock, duration>;
    static constexpr bool is_steady = true;
};

using Instant = EngineClock::time_point;

// A deadline that is never reached.
inline constexpr Instant kNever{Nanos{std::numeric_limits<std::int64_t>::max()}};

// `start + span`, saturating at kNever so that a huge TTL means "for ever" and not a wrap.
// REQUIRES: span >= 0.
[[nodiscard]] constexpr Instant after(Instant start, Nanos span) noexcept {
    return span >= kNever - start ? kNever : start + span;
}

}  // namespace millpond
