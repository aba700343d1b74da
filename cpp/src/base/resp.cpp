#include "millpond/base/resp.hpp"

namespace millpond {
namespace {

// As many digits as the longest string has.
constexpr std::size_t kMostDigits = 9;

}  // namespace

bool read_resp_string(std::span<const std::byte> data, std::size_t& at,
                      RespString& found) noexcept {
    if (at >= data.size() || data[at] != std::byte{'$'}) {
        return false;
    }
    const std::span<const std::byte> rest = data.subspan(at + 1);
    const auto letter = [&](std::size_t i) -> std::size_t {
        return i < rest.size() ? std::to_integer<std::size_t>(rest[i]) : 0;
    };
    const auto line_ends = [&](std::size_t i) {
        return letter(i) == '\r' && letter(i + 1) == '\n';
    };
    if (letter(0) == '-') {
        if (letter(1) != '1' || !line_ends(2)) {
            return false;
        }
        found = {.bytes = {}, .null = true};
        at += 5;
        return true;
    }
    std::size_t size = 0;
    std::size_t digits = 0;
    for (; digits < kMostDigits && letter(digits) >= '0' && letter(digits) <= '9'; ++digits) {
        size = size * 10 + (letter(digits) - '0');
    }
    const std::size_t begin = digits + 2;
    if (digits == 0 || size > kMostRespString || !line_ends(digits) || begin > rest.size() ||
        size > rest.size() - begin || !line_ends(begin + size)) {
        return false;
    }
    found = {.bytes = rest.subspan(begin, size), .null = false};
    at += 1 + begin + size + 2;
    return true;
}

}  // namespace millpond
