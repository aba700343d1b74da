// Reads the strings of a reply of Redis (RESP 2 and 3, "bulk strings"), which is what replies to
// look-ups are made of. Use it for runs of them; whatever else a reply may hold it leaves alone.
//
//     RespString found;
//     while (read_resp_string(data, at, found)) ...   // at is behind it now
#pragma once

#include <cstddef>
#include <span>

namespace millpond {

// Redis takes and sends no longer string by default (proto-max-bulk-len).
inline constexpr std::size_t kMostRespString = std::size_t{512} << 20;

struct RespString {
    std::span<const std::byte> bytes{};  // borrowed from the reply
    bool null = false;
};

// Whether a whole string, or the null one, begins at `at`, which then is moved behind it. False, and
// nothing is changed, for a string that has not wholly arrived and for all that is none, damaged
// ones included. Safe for every input and every `at`. O(1).
[[nodiscard]] bool read_resp_string(std::span<const std::byte> data, std::size_t& at,
                                    RespString& found) noexcept;

}  // namespace millpond
