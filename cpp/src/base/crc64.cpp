#include "millpond/base/crc64.hpp"

#include <array>

#include "base/cpu.hpp"

#if defined(MILLPOND_X86_64)
#include <immintrin.h>
#endif

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

std::uint64_t by_table(std::uint64_t state, std::span<const std::byte> bytes) noexcept {
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
    return state;
}

#if defined(MILLPOND_X86_64)

// x^power modulo the polynomial, its highest power in the lowest bit as everywhere here.
constexpr std::uint64_t power_of_x(int power) {
    std::uint64_t value = std::uint64_t{1} << 63;
    for (int i = 0; i < power; ++i) {
        value = (value >> 1) ^ ((value & 1) != 0 ? kPolynomial : 0);
    }
    return value;
}

#define MILLPOND_CLMUL_TARGET __attribute__((target("pclmul,sse2")))
#define MILLPOND_CLMUL_INLINE MILLPOND_CLMUL_TARGET __attribute__((always_inline)) inline

MILLPOND_CLMUL_INLINE __m128i block_at(const std::byte* bytes) noexcept {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// What multiplies the halves of 16 bytes that are moved on by so many bits. The product of two
// numbers in this order of bits comes out moved by one, so each is one power less.
template <int bits>
MILLPOND_CLMUL_INLINE __m128i mover() noexcept {
    constexpr std::uint64_t kFirst = power_of_x(bits + 63);
    constexpr std::uint64_t kSecond = power_of_x(bits - 1);
    return _mm_set_epi64x(static_cast<long long>(kSecond), static_cast<long long>(kFirst));
}

MILLPOND_CLMUL_INLINE __m128i moved(__m128i sum, __m128i by, __m128i onto) noexcept {
    const __m128i first = _mm_clmulepi64_si128(sum, by, 0x00);
    const __m128i second = _mm_clmulepi64_si128(sum, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), onto);
}

// Folds 64 bytes at a time onto the next 64, which leaves the remainder as it is, then those onto
// 16 (V. Gopal et al., "Fast CRC computation for generic polynomials using PCLMULQDQ instruction",
// Intel, 2009). The tables do the rest. REQUIRES: 64 bytes or more.
MILLPOND_CLMUL_TARGET std::uint64_t by_folding(std::uint64_t state,
                                               std::span<const std::byte> bytes) noexcept {
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size() - 64;
    __m128i lanes[4] = {block_at(at), block_at(at + 16), block_at(at + 32), block_at(at + 48)};
    lanes[0] = _mm_xor_si128(lanes[0], _mm_set_epi64x(0, static_cast<long long>(state)));
    const __m128i by_64 = mover<512>();
    for (at += 64; left >= 64; at += 64, left -= 64) {
        for (std::size_t i = 0; i < 4; ++i) {
            lanes[i] = moved(lanes[i], by_64, block_at(at + 16 * i));
        }
    }
    const __m128i by_16 = mover<128>();
    __m128i sum = lanes[0];
    for (int i = 1; i < 4; ++i) sum = moved(sum, by_16, lanes[i]);
    for (; left >= 16; at += 16, left -= 16) sum = moved(sum, by_16, block_at(at));
    std::array<std::byte, 16> last;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(last.data()), sum);
    return by_table(by_table(0, last), {at, left});
}

#endif

}  // namespace

void Crc64::update(std::span<const std::byte> bytes) noexcept {
#if defined(MILLPOND_X86_64)
    static const bool can_fold = cpu::has_x86_clmul();
    if (can_fold && bytes.size() >= 64) {
        state_ = by_folding(state_, bytes);
        return;
    }
#endif
    state_ = by_table(state_, bytes);
}

}  // namespace millpond
