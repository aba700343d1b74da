#include "millpond/cache/ttl_profiles.hpp"

#include <iterator>
#include <string>

#include <fmt/format.h>

#include "base/quantity.hpp"
#include "millpond/base/duration.hpp"
#include "millpond/base/error.hpp"

namespace millpond {

Nanos parse_ttl(std::string_view text) {
    if (!text.starts_with('@')) {
        return parse_duration(text);
    }
    std::string known;
    for (const TtlProfile& profile : kTtlProfiles) {
        if (profile.name == text) {
            return profile.ttl;
        }
        fmt::format_to(std::back_inserter(known), "{}{} ({})", known.empty() ? "" : ", ",
                       profile.name, format_duration(profile.ttl));
    }
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("{} is not a TTL profile: there are {}.", detail::quoted(text), known));
}

}  // namespace millpond
