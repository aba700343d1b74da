// What the sources of the store share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "millpond/base/slab.hpp"

namespace millpond::cache {

// How many slots one operation looks at while entries of a retired space are still around.
inline constexpr std::size_t kSweepSlots = 64;
// How many may leave at once before there has to be memory for telling so.
inline constexpr std::size_t kAtOnce = 16;
inline constexpr Slot kSlotLimit = 0x7FFFFFFEU;

// A departed key's reason as the two bits that its ghost has room for; zero: none is known.
inline constexpr std::uint8_t kExpired = 1;
inline constexpr std::uint8_t kInvalidated = 2;
inline constexpr std::uint8_t kNotStored = 3;

}  // namespace millpond::cache
