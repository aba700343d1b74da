#include "hot/forks.hpp"

#include <Python.h>

#include <ctime>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <unistd.h>
#endif

#include "hot/clock.hpp"
#include "millpond/base/hash.hpp"

namespace millpond::bindings {

std::uint32_t g_forks = 0;

std::uint64_t random_seed() noexcept {
    // For jitter, not for secrets. Two objects made in one nanosecond differ by their number.
    static std::uint64_t made = 0;
    const auto time =
        static_cast<std::uint64_t>(read_clock(CLOCK_REALTIME).time_since_epoch().count());
#if defined(__unix__) || defined(__APPLE__)
    const auto process = static_cast<std::uint64_t>(getpid());
#else
    const std::uint64_t process = 0;
#endif
    return mix64(time + mix64(process + (++made << 32)));
}

void count_forks() noexcept {
#if defined(__unix__) || defined(__APPLE__)
    static bool counting = false;
    if (!counting) {
        counting = pthread_atfork(nullptr, nullptr, [] { ++g_forks; }) == 0;
    }
#endif
}

}  // namespace millpond::bindings
