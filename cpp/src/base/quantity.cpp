#include "quantity.hpp"

#include <algorithm>
#include <iterator>

#include <fmt/format.h>

namespace millpond::detail {
namespace {

constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }
constexpr bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

template <class Is>
std::string_view take_while(std::string_view& text, Is is) {
    const auto end = std::ranges::find_if_not(text, is);
    const std::string_view taken = text.substr(0, static_cast<std::size_t>(end - text.begin()));
    text.remove_prefix(taken.size());
    return taken;
}

}  // namespace

std::optional<Quantity> take_quantity(std::string_view& text) noexcept {
    std::string_view rest = text;
    Quantity out;
    out.whole = take_while(rest, is_digit);
    if (out.whole.empty()) {
        return std::nullopt;
    }
    if (rest.starts_with('.')) {
        rest.remove_prefix(1);
        out.fraction = take_while(rest, is_digit);
        if (out.fraction.empty()) {
            return std::nullopt;
        }
    }
    out.unit = take_while(rest, is_letter);
    text = rest;
    return out;
}

Reading read_quantity(const Quantity& quantity, std::uint64_t unit, std::uint64_t most,
                      std::uint64_t& out) noexcept {
    const std::uint64_t limit = most / unit;
    std::uint64_t whole = 0;
    for (const char c : quantity.whole) {
        const auto digit = static_cast<std::uint64_t>(c - '0');
        if (digit > limit || whole > (limit - digit) / 10) {
            return Reading::TooLarge;
        }
        whole = whole * 10 + digit;
    }
    // unit x 0.fraction, from the last digit to the first: what a digit leaves behind must divide
    // by ten, or the product has a fraction itself. The sum stays below `unit`, however many
    // digits.
    std::uint64_t part = 0;
    for (auto c = quantity.fraction.rbegin(); c != quantity.fraction.rend(); ++c) {
        part += static_cast<std::uint64_t>(*c - '0') * unit;
        if (part % 10 != 0) {
            return Reading::NotWhole;
        }
        part /= 10;
    }
    if (part > most - whole * unit) {
        return Reading::TooLarge;
    }
    out = whole * unit + part;
    return Reading::Exact;
}

std::string quoted(std::string_view text) {
    constexpr std::size_t kMost = 40;
    std::string out = "\"";
    for (const char c : text.substr(0, kMost)) {
        if (c == '"' || c == '\\') {
            out += {'\\', c};
        } else if (c >= ' ' && c <= '~') {
            out += c;
        } else {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return out + (text.size() > kMost ? "\"..." : "\"");
}

}  // namespace millpond::detail
