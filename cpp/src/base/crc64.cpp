#include "millpond/base/crc64.hpp"

#include <array>

namespace millpond {
namespace {

constexpr std::uint64_t kPolynomial = 0xC96C'5795'D787'0F42;
using Table = std::array<std::uint64_t, 256>;

// kTables[n][b]: what byte b, with n zero bytes behind it, adds to the remainder. With eight of
// them eight bytes are taken in one step (M. Kounavis and F. Berry, "A systematic approach to
// building high performance software-based CRC generators", ISCC 2005).
constexpr std::array<Table, 8> kTables = [] {
    std::array<Table, 8> tables{};
    for (std::size_t byte = 0; byte < 256; ++byte) {
        std::uint64_t rest = byte;
        for (int bit = 0; bit < 8; ++bit) {
            rest = (rest >> 1) ^ ((rest & 1) != 0 ? kPolynomial : 0);
        }
        tables[0][byte] = rest;
    }
    for (std::size_t n = 1; n < 8; ++n) {
        for (std::size_t byte = 0; byte < 256; ++byte) {
            const std::uint64_t before = tables[n - 1][byte];
            tables[n][byte] = (before >> 8) ^ tables[0][before & 0xFF];
        }
    }
    return tables;
}();

constexpr std::uint64_t octet(std::byte byte) { return std::to_integer<std::uint64_t>(byte); }

}  // namespace

void Crc64::update(std::span<const std::byte> bytes) noexcept {
    std::uint64_t state = state_;
    for (; bytes.size() >= 8; bytes = bytes.subspan(8)) {
        std::uint64_t next = 0;
        for (std::size_t i = 0; i < 8; ++i) {
            const std::uint64_t index = (state >> (8 * i) & 0xFF) ^ octet(bytes[i]);
            next ^= kTables[7 - i][index];
        }
        state = next;
    }
    for (const std::byte byte : bytes) {
        state = (state >> 8) ^ kTables[0][(state & 0xFF) ^ octet(byte)];
    }
    state_ = state;
}

}  // namespace millpond
