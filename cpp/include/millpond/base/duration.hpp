// Durations as people write them: "1h30m", "250ms", "1.5s", "7d". Use it for every option that
// takes a time as text, so that all of them share one grammar and one message.
#pragma once

#include <string>
#include <string_view>

#include "millpond/base/clock.hpp"

namespace millpond {

// The grammar, as messages and documentation show it.
inline constexpr std::string_view kDurationGrammar =
    "a number and a unit (w, d, h, m, s, ms, us, ns), or several from the largest unit to the "
    "smallest, such as \"10m\", \"1h30m\", \"1.5s\" or \"250ms\"";

// The duration that `text` names, exactly. Only the last number may have a fraction, and none may
// name parts of a nanosecond. Not negative; at most 292 years (the range of Nanos). O(length).
// Throws Error{InvalidArgument} that quotes the text, says what is wrong and shows the grammar;
// a number alone has no unit and is an error too.
[[nodiscard]] Nanos parse_duration(std::string_view text);

// The shortest text of whole numbers: "1h30m", "1s500ms", "0s". parse_duration reads it back to the
// same value; a negative duration, which it refuses, is shown with a minus sign.
[[nodiscard]] std::string format_duration(Nanos duration);

}  // namespace millpond
