// Sizes in bytes as people write them: "256MiB", "10MB", "512B". Use it for every option that takes
// a size as text. MB counts in thousands and MiB in 1024s, as IEC 80000-13 has it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace millpond {

// The grammar, as messages and documentation show it.
inline constexpr std::string_view kSizeGrammar =
    "a number and a unit (B; KB, MB, GB, TB in thousands; KiB, MiB, GiB, TiB in 1024s), such as "
    "\"256MiB\", \"1.5GB\" or \"512B\"";

// The number of bytes that `text` names, exactly. A fraction is allowed where it comes to whole
// bytes. At most 2^64 - 1. O(length). Throws Error{InvalidArgument} that quotes the text, says what
// is wrong and shows the grammar; a number alone has no unit and is an error too.
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

// In the largest unit of 1024s that divides it: "256MiB", "1000B", "0B". parse_size reads it back
// to the same value.
[[nodiscard]] std::string format_size(std::uint64_t bytes);

}  // namespace millpond
