#include "millpond/base/sha256.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/cpu.hpp"

#if defined(MILLPOND_X86_64)
#include <immintrin.h>
#endif

namespace millpond {
namespace {

// FIPS 180-4, section 4.2.2.
alignas(16) constexpr std::uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

constexpr std::uint32_t kStart[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

std::uint32_t big_endian(const std::uint8_t* bytes) noexcept {
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 |
           std::uint32_t{bytes[2]} << 8 | std::uint32_t{bytes[3]};
}

void compress_portable(std::uint32_t* state, const std::uint8_t* data, std::size_t count) {
    for (; count > 0; --count, data += 64) {
        std::uint32_t w[64];
        for (std::size_t i = 0; i < 16; ++i) w[i] = big_endian(data + 4 * i);
        for (std::size_t i = 16; i < 64; ++i) {
            const std::uint32_t s0 =
                std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
            const std::uint32_t s1 =
                std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
            w[i] = w[i - 16] + s0 + w[i - 7] + s1;
        }
        std::uint32_t s[8];
        std::copy_n(state, 8, s);
        for (std::size_t i = 0; i < 64; ++i) {
            const std::uint32_t e = s[4];
            const std::uint32_t a = s[0];
            const std::uint32_t t1 = s[7] +
                                     (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) +
                                     ((e & s[5]) ^ (~e & s[6])) + kRounds[i] + w[i];
            const std::uint32_t t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) +
                                     ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            std::copy_backward(s, s + 7, s + 8);
            s[4] += t1;
            s[0] = t1 + t2;
        }
        for (std::size_t i = 0; i < 8; ++i) state[i] += s[i];
    }
}

#if defined(MILLPOND_X86_64)

// The SHA instructions want the state as (a b e f) and (c d g h), and take two rounds each. The
// schedule is kept four words to a register: before rounds 4g .. 4g+3 with g >= 4, register g % 4
// is worked out from the four registers that hold the sixteen words before.
__attribute__((target("sha,ssse3,sse4.1"))) void compress_sha(std::uint32_t* state,
                                                              const std::uint8_t* data,
                                                              std::size_t count) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    auto* const store = reinterpret_cast<__m128i*>(state);
    const __m128i dcba = _mm_loadu_si128(store);
    const __m128i hgfe = _mm_loadu_si128(store + 1);
    const __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; count > 0; --count, data += 64) {
        const __m128i abef_before = abef;
        const __m128i cdgh_before = cdgh;
        __m128i w[4];
#pragma GCC unroll 16
        for (int g = 0; g < 16; ++g) {
            __m128i& now = w[g % 4];
            if (g < 4) {
                now = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + g),
                                       swap);
            } else {
                const __m128i newest = w[(g + 3) % 4];
                const __m128i back7 = _mm_alignr_epi8(newest, w[(g + 2) % 4], 4);
                now = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(now, w[(g + 1) % 4]), back7), newest);
            }
            const __m128i with_constants =
                _mm_add_epi32(now, _mm_load_si128(reinterpret_cast<const __m128i*>(kRounds) + g));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, with_constants);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(with_constants, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(store, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(store + 1, _mm_alignr_epi8(dchg, feba, 8));
}

#endif

}  // namespace

Sha256Lanes best_sha256_lanes() noexcept {
    static const Sha256Lanes best =
        cpu::has_x86_sha() ? Sha256Lanes::Instructions : Sha256Lanes::Portable;
    return best;
}

Sha256::Sha256(Sha256Lanes lanes) noexcept : compress_(&compress_portable) {
    std::copy_n(kStart, 8, state_);
#if defined(MILLPOND_X86_64)
    if (lanes == Sha256Lanes::Instructions) compress_ = &compress_sha;
#else
    static_cast<void>(lanes);
#endif
}

void Sha256::update(const void* data, std::size_t size) noexcept {
    if (size == 0) return;
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    const std::size_t used = size_ % 64;
    size_ += size;
    if (used != 0) {
        const std::size_t taken = std::min(size, 64 - used);
        std::memcpy(tail_ + used, bytes, taken);
        if (used + taken < 64) return;
        compress_(state_, tail_, 1);
        bytes += taken;
        size -= taken;
    }
    if (size >= 64) compress_(state_, bytes, size / 64);
    if (size % 64 != 0) std::memcpy(tail_, bytes + size / 64 * 64, size % 64);
}

Sha256Digest Sha256::finish() noexcept {
    const std::uint64_t bits = size_ * 8;
    std::uint8_t end[128] = {};
    const std::size_t used = size_ % 64;
    std::memcpy(end, tail_, used);
    end[used] = 0x80;
    const std::size_t blocks = used < 56 ? 1 : 2;
    for (std::size_t i = 0; i < 8; ++i) {
        end[blocks * 64 - 1 - i] = static_cast<std::uint8_t>(bits >> (8 * i));
    }
    compress_(state_, end, blocks);
    Sha256Digest digest;
    for (std::size_t i = 0; i < 32; ++i) {
        digest[i] = static_cast<std::uint8_t>(state_[i / 4] >> (24 - 8 * (i % 4)));
    }
    return digest;
}

Sha256Digest sha256(std::span<const std::uint8_t> data) noexcept {
    Sha256 hasher;
    hasher.update(data.data(), data.size());
    return hasher.finish();
}

}  // namespace millpond
