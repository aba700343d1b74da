#include "millpond/base/crc64.hpp"

#include <algorithm>
#include <random>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace millpond {
namespace {

std::uint64_t crc_of(std::span<const std::byte> bytes) {
    Crc64 crc;
    crc.update(bytes);
    return crc.value();
}
std::span<const std::byte> bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

// One bit at a time, straight from the definition.
std::uint64_t slow_crc_of(std::span<const std::byte> bytes) {
    std::uint64_t state = ~std::uint64_t{0};
    for (const std::byte byte : bytes) {
        state ^= std::to_integer<std::uint64_t>(byte);
        for (int bit = 0; bit < 8; ++bit) {
            state = (state & 1) != 0 ? (state >> 1) ^ 0xC96C'5795'D787'0F42 : state >> 1;
        }
    }
    return ~state;
}

TEST(Crc64, HasTheCheckValueOfItsCatalogueEntry) {
    EXPECT_EQ(crc_of(bytes_of("123456789")), 0x995D'C9BB'DF19'39FAU);
    EXPECT_EQ(crc_of({}), 0U);
}

TEST(Crc64, AgreesWithTheDefinitionAtEveryLengthAndInAnyPieces) {
    std::mt19937_64 random{3};
    std::vector<std::byte> bytes;
    for (int length = 0; length < 700; ++length) {
        Crc64 pieces;
        const std::span<const std::byte> all{bytes};
        for (std::size_t at = 0; at < all.size();) {
            const std::size_t size = std::min<std::size_t>(1 + random() % 150, all.size() - at);
            pieces.update(all.subspan(at, size));
            at += size;
        }
        ASSERT_EQ(crc_of(all), slow_crc_of(all));
        ASSERT_EQ(pieces.value(), slow_crc_of(all));
        bytes.push_back(static_cast<std::byte>(random()));
    }
}

}  // namespace
}  // namespace millpond
