// How often this process is the child of a fork, counted since the extension was loaded. An object
// that keeps the number it was made under sees by one comparison that it is in a child now.
#pragma once

#include <cstdint>

namespace millpond::bindings {

extern std::uint32_t g_forks;

// A number that differs from run to run and from process to process, for seeds.
[[nodiscard]] std::uint64_t random_seed() noexcept;

// Begins to count. Called once, when the module is made.
void count_forks() noexcept;

}  // namespace millpond::bindings
