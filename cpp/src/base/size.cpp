#include "millpond/base/size.hpp"

#include <algorithm>
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
    std::uint64_t bytes;
};
constexpr Unit kBinaryUnits[] = {
    {"TiB", 1ULL << 40}, {"GiB", 1ULL << 30}, {"MiB", 1ULL << 20}, {"KiB", 1ULL << 10}, {"B", 1}};
constexpr Unit kDecimalUnits[] = {
    {"TB", 1'000'000'000'000}, {"GB", 1'000'000'000}, {"MB", 1'000'000}, {"KB", 1'000}};

[[noreturn]] void refuse(std::string_view text, const std::string& why) {
    throw Error(ErrorCode::InvalidArgument, fmt::format("{} is not a size: {}. Write {}.",
                                                        detail::quoted(text), why, kSizeGrammar));
}

// 0 when there is no such unit.
std::uint64_t unit_named(std::string_view name) {
    for (const Unit& unit : kBinaryUnits) {
        if (unit.name == name) {
            return unit.bytes;
        }
    }
    for (const Unit& unit : kDecimalUnits) {
        if (unit.name == name) {
            return unit.bytes;
        }
    }
    return 0;
}

}  // namespace

std::uint64_t parse_size(std::string_view text) {
    if (text.empty()) {
        refuse(text, "it is empty");
    }
    if (text.front() == '-') {
        refuse(text, "it is negative");
    }
    std::string_view rest = text;
    const std::optional<detail::Quantity> quantity = detail::take_quantity(rest);
    if (!quantity) {
        refuse(text, "it does not start with a number");
    }
    if (quantity->unit.empty() && rest.empty()) {
        refuse(text, "it has no unit");
    }
    const std::uint64_t unit = unit_named(quantity->unit);
    if (unit == 0 || !rest.empty()) {
        const std::string_view tail =
            text.substr(static_cast<std::size_t>(quantity->unit.data() - text.data()));
        refuse(text, fmt::format("there is no unit {}", detail::quoted(tail)));
    }
    constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
    std::uint64_t bytes = 0;
    switch (detail::read_quantity(*quantity, unit, kMost, bytes)) {
        case detail::Reading::Exact: break;
        case detail::Reading::TooLarge: refuse(text, "it is 16777216TiB or more");
        case detail::Reading::NotWhole: refuse(text, "it is not a whole number of bytes");
    }
    return bytes;
}

std::string format_size(std::uint64_t bytes) {
    const auto divides = [&](const Unit& unit) { return bytes % unit.bytes == 0; };
    const Unit& unit = bytes == 0 ? *std::prev(std::end(kBinaryUnits))
                                  : *std::ranges::find_if(kBinaryUnits, divides);
    return fmt::format("{}{}", bytes / unit.bytes, unit.name);
}

}  // namespace millpond
