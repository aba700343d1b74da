// What durations and sizes have in common: numbers with units, read exactly or not at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millpond::detail {

// One number and the letters after it, as written.
struct Quantity {
    std::string_view whole;     // digits, at least one
    std::string_view fraction;  // the digits after the point; empty without a point
    std::string_view unit;      // letters; may be empty
};

// Takes the next quantity off the front of `text`; nullopt when `text` does not start with one.
[[nodiscard]] std::optional<Quantity> take_quantity(std::string_view& text) noexcept;

enum class Reading { Exact, TooLarge, NotWhole };

// The quantity times `unit`, in units of one. TooLarge: over `most`. NotWhole: it has a remainder.
// REQUIRES: 0 < unit < 2^53.
[[nodiscard]] Reading read_quantity(const Quantity& quantity, std::uint64_t unit,
                                    std::uint64_t most, std::uint64_t& out) noexcept;

// The text in double quotes, at most 40 bytes of it, with what is not printable ASCII escaped, so
// that it is fit for a message whatever it holds.
[[nodiscard]] std::string quoted(std::string_view text);

}  // namespace millpond::detail
