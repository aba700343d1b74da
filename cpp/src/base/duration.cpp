#include "millpond/base/duration.hpp"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <limits>
#include <optional>

#include <fmt/format.h>

#include "millpond/base/error.hpp"
#include "quantity.hpp"

namespace millpond {
namespace {

struct Unit {
    std::string_view name;
    std::uint64_t nanos;
};
// From the largest to the smallest, the order in which they are written.
constexpr Unit kUnits[] = {
    {"w", 604'800'000'000'000},
    {"d", 86'400'000'000'000},
    {"h", 3'600'000'000'000},
    {"m", 60'000'000'000},
    {"s", 1'000'000'000},
    {"ms", 1'000'000},
    {"us", 1'000},
    {"ns", 1},
};

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
    throw Error(ErrorCode::InvalidArgument,
                fmt::format("{} is not a duration: {}. Write {}.", detail::quoted(text), why,
                            kDurationGrammar));
}

// Adds one number with its unit to `total`. `unit` is the first that may still come.
const Unit* add(std::string_view text, const detail::Quantity& quantity, const Unit* unit,
                std::uint64_t& total) {
    if (quantity.unit.empty()) {
        refuse(text, fmt::format("{} has no unit", detail::quoted(quantity.whole)));
    }
    const auto named = [&](const Unit& u) { return u.name == quantity.unit; };
    const Unit* const found = std::ranges::find_if(kUnits, named);
    if (found == std::end(kUnits)) {
        refuse(text, fmt::format("there is no unit {}", detail::quoted(quantity.unit)));
    }
    if (found < unit) {
        refuse(text,
               fmt::format("the unit \"{}\" stands behind the same or a smaller one", found->name));
    }
    constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
    std::uint64_t nanos = 0;
    switch (detail::read_quantity(quantity, found->nanos, kMost - total, nanos)) {
        case detail::Reading::Exact: break;
        case detail::Reading::TooLarge: refuse(text, "it is longer than 292 years");
        case detail::Reading::NotWhole: refuse(text, "it is finer than a nanosecond");
    }
    total += nanos;
    return found + 1;
}

}  // namespace

Nanos parse_duration(std::string_view text) {
    if (text.empty()) {
        refuse(text, "it is empty");
    }
    if (text.front() == '-') {
        refuse(text, "it is negative");
    }
    std::string_view rest = text;
    std::uint64_t total = 0;
    const Unit* unit = std::begin(kUnits);
    while (!rest.empty()) {
        const std::string_view here = rest;
        const std::optional<detail::Quantity> quantity = detail::take_quantity(rest);
        if (!quantity) {
            refuse(text, fmt::format("a number should stand at {}", detail::quoted(here)));
        }
        unit = add(text, *quantity, unit, total);
        if (!quantity->fraction.empty() && !rest.empty()) {
            refuse(text, "only the last number may have a fraction");
        }
    }
    return Nanos{static_cast<std::int64_t>(total)};
}

std::string format_duration(Nanos duration) {
    const std::int64_t count = duration.count();
    // The most negative count has no positive counterpart in its own type.
    std::uint64_t left =
        count < 0 ? 0 - static_cast<std::uint64_t>(count) : static_cast<std::uint64_t>(count);
    std::string out = count < 0 ? "-" : "";
    // Weeks are read but not written: "7d" is what most people would have said.
    for (const Unit* unit = std::begin(kUnits) + 1; unit != std::end(kUnits); ++unit) {
        if (const std::uint64_t whole = left / unit->nanos; whole != 0) {
            fmt::format_to(std::back_inserter(out), "{}{}", whole, unit->name);
            left %= unit->nanos;
        }
    }
    return count == 0 ? "0s" : out;
}

}  // namespace millpond
