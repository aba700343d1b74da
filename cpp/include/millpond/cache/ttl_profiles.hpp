// TTLs by name: ttl="@user_data" instead of a number that every call site would have to know.
#pragma once

#include <chrono>
#include <string_view>

#include "millpond/base/clock.hpp"

namespace millpond {

struct TtlProfile {
    std::string_view name;  // as written, with the @
    Nanos ttl;
};

// In the order in which messages list them.
inline constexpr TtlProfile kTtlProfiles[] = {
    {"@user_data", std::chrono::seconds{300}},
    {"@learning_metrics", std::chrono::seconds{600}},
    {"@static_patterns", std::chrono::seconds{3600}},
    {"@session_data", std::chrono::seconds{1800}},
    {"@dashboard_stats", std::chrono::seconds{300}},
};

// The TTL that `text` names: "@" and a profile's name, or a duration ("1h30m", see
// base/duration.hpp). Throws Error{InvalidArgument} that quotes the text and lists the profiles
// known, or shows the grammar of durations. O(length).
[[nodiscard]] Nanos parse_ttl(std::string_view text);

}  // namespace millpond
