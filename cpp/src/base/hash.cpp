#include "millpond/base/hash.hpp"

#include <bit>
#include <cstring>

#include "base/cpu.hpp"
#include "millpond/base/sha256.hpp"

#if defined(MILLPOND_X86_64)
#include <immintrin.h>
#elif defined(MILLPOND_AARCH64)
#include <arm_neon.h>
#endif

namespace millpond {
namespace {

// Where each key lies in BlockHasher::key_words(), in words of 64 bits.
constexpr std::size_t kMaskStart = 0;   // the mask of block 0
constexpr std::size_t kMaskStep = 2;    // added to the mask for each block after it
constexpr std::size_t kBlockKeys = 4;   // four round keys for the blocks
constexpr std::size_t kFinalKeys = 12;  // eleven round keys for the last permutation
constexpr std::size_t kSipKey = 34;
static_assert(kSipKey + 2 == BlockHasher::kKeyWords);

constexpr int kBlockRounds = 4;
constexpr int kFinalRounds = 10;

#if defined(MILLPOND_X86_64) || defined(MILLPOND_AARCH64)

#if defined(MILLPOND_X86_64)
#define MILLPOND_AES_TARGET __attribute__((target("aes,sse4.1")))
#define MILLPOND_AES_INLINE MILLPOND_AES_TARGET __attribute__((always_inline)) inline
using Lane = __m128i;

MILLPOND_AES_INLINE Lane load(const void* from) noexcept {
    return _mm_loadu_si128(static_cast<const __m128i*>(from));
}
MILLPOND_AES_INLINE void store(void* to, Lane lane) noexcept {
    _mm_storeu_si128(static_cast<__m128i*>(to), lane);
}
MILLPOND_AES_INLINE Lane exclusive_or(Lane a, Lane b) noexcept { return _mm_xor_si128(a, b); }
MILLPOND_AES_INLINE Lane add(Lane a, Lane b) noexcept { return _mm_add_epi64(a, b); }
MILLPOND_AES_INLINE Lane round(Lane lane, Lane key) noexcept { return _mm_aesenc_si128(lane, key); }
MILLPOND_AES_INLINE Lane zero() noexcept { return _mm_setzero_si128(); }

#else
#if defined(__clang__)
#define MILLPOND_AES_TARGET __attribute__((target("aes")))
#else
#define MILLPOND_AES_TARGET __attribute__((target("+crypto")))
#endif
#define MILLPOND_AES_INLINE MILLPOND_AES_TARGET inline
using Lane = uint8x16_t;

MILLPOND_AES_INLINE Lane load(const void* from) noexcept {
    return vld1q_u8(static_cast<const std::uint8_t*>(from));
}
MILLPOND_AES_INLINE void store(void* to, Lane lane) noexcept {
    vst1q_u8(static_cast<std::uint8_t*>(to), lane);
}
MILLPOND_AES_INLINE Lane exclusive_or(Lane a, Lane b) noexcept { return veorq_u8(a, b); }
MILLPOND_AES_INLINE Lane add(Lane a, Lane b) noexcept {
    return vreinterpretq_u8_u64(vaddq_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}
MILLPOND_AES_INLINE Lane zero() noexcept { return vdupq_n_u8(0); }
MILLPOND_AES_INLINE Lane round(Lane lane, Lane key) noexcept {
    return veorq_u8(vaesmcq_u8(vaeseq_u8(lane, zero())), key);
}
#endif

// The permutation that a block goes through: four full AES rounds under secret round keys.
MILLPOND_AES_INLINE Lane permute_block(const std::uint64_t* keys, Lane lane) noexcept {
#pragma GCC unroll 4
    for (int i = 0; i < kBlockRounds; ++i) {
        lane = round(lane, load(keys + kBlockKeys + 2 * static_cast<std::size_t>(i)));
    }
    return lane;
}

// The sum of permuted blocks. `mask` moves on, so that equal blocks in two places differ; nothing
// but the mask and the sum ties two blocks together, so the CPU works on several at once.
MILLPOND_AES_INLINE Lane sum_blocks(const std::uint64_t* keys, Lane sum, Lane& mask,
                                    const void* blocks, std::size_t count) noexcept {
    const auto* bytes = static_cast<const std::uint8_t*>(blocks);
    const Lane step = load(keys + kMaskStep);
    for (; count >= 4; count -= 4, bytes += 64) {
        const Lane m1 = add(mask, step);
        const Lane m2 = add(m1, step);
        const Lane m3 = add(m2, step);
        const Lane a = permute_block(keys, exclusive_or(load(bytes), mask));
        const Lane b = permute_block(keys, exclusive_or(load(bytes + 16), m1));
        const Lane c = permute_block(keys, exclusive_or(load(bytes + 32), m2));
        const Lane d = permute_block(keys, exclusive_or(load(bytes + 48), m3));
        sum = exclusive_or(sum, exclusive_or(exclusive_or(a, b), exclusive_or(c, d)));
        mask = add(m3, step);
    }
    for (; count > 0; --count, bytes += 16) {
        sum = exclusive_or(sum, permute_block(keys, exclusive_or(load(bytes), mask)));
        mask = add(mask, step);
    }
    return sum;
}

// AES-128's ten rounds under independent round keys (the last one full, which changes nothing).
MILLPOND_AES_INLINE Lane permute_sum(const std::uint64_t* keys, Lane sum) noexcept {
    sum = exclusive_or(sum, load(keys + kFinalKeys));
#pragma GCC unroll 10
    for (int i = 1; i <= kFinalRounds; ++i) {
        sum = round(sum, load(keys + kFinalKeys + 2 * static_cast<std::size_t>(i)));
    }
    return sum;
}

MILLPOND_AES_TARGET HashState start_aes(const BlockHasher& hasher) noexcept {
    HashState state{};
    std::memcpy(state.words + 2, hasher.key_words() + kMaskStart, 16);
    return state;
}

MILLPOND_AES_TARGET void absorb_aes(const BlockHasher& hasher, HashState& state, const void* blocks,
                                    std::size_t count) noexcept {
    Lane mask = load(state.words + 2);
    store(state.words, sum_blocks(hasher.key_words(), load(state.words), mask, blocks, count));
    store(state.words + 2, mask);
    state.blocks += count;
}

MILLPOND_AES_TARGET void compress_aes(const BlockHasher& hasher, const void* blocks,
                                      std::size_t count, Block& out) noexcept {
    const std::uint64_t* const keys = hasher.key_words();
    Lane mask = load(keys + kMaskStart);
    store(&out, sum_blocks(keys, zero(), mask, blocks, count));
}

MILLPOND_AES_TARGET void compress_state_aes(const BlockHasher&, const HashState& state,
                                            Block& out) noexcept {
    store(&out, load(state.words));
}

// The ten rounds wait for one another, so four messages go through them side by side.
MILLPOND_AES_TARGET void sum_aes(const BlockHasher& hasher, const Block* blocks, std::size_t count,
                                 Block& out) noexcept {
    const std::uint64_t* const keys = hasher.key_words();
    const Lane whitening = load(keys + kFinalKeys);
    Lane total = load(&out);
    for (; count >= 4; count -= 4, blocks += 4) {
        Lane a = exclusive_or(load(blocks), whitening);
        Lane b = exclusive_or(load(blocks + 1), whitening);
        Lane c = exclusive_or(load(blocks + 2), whitening);
        Lane d = exclusive_or(load(blocks + 3), whitening);
#pragma GCC unroll 10
        for (int i = 1; i <= kFinalRounds; ++i) {
            const Lane key = load(keys + kFinalKeys + 2 * static_cast<std::size_t>(i));
            a = round(a, key);
            b = round(b, key);
            c = round(c, key);
            d = round(d, key);
        }
        total = add(total, add(add(a, b), add(c, d)));
    }
    if (count >= 2) {
        const Lane a = permute_sum(keys, load(blocks));
        const Lane b = permute_sum(keys, load(blocks + 1));
        total = add(total, add(a, b));
        count -= 2;
        blocks += 2;
    }
    if (count > 0) total = add(total, permute_sum(keys, load(blocks)));
    store(&out, total);
}

constexpr BlockHasher::Functions kAes{&start_aes, &absorb_aes, &compress_aes, &compress_state_aes,
                                      &sum_aes};

#if defined(MILLPOND_X86_64)

// The same sum, two blocks to a register, for CPUs that run two AES rounds in one instruction.
#define MILLPOND_WIDE_TARGET __attribute__((target("vaes,aes,avx2")))
#define MILLPOND_WIDE_INLINE MILLPOND_WIDE_TARGET __attribute__((always_inline)) inline

MILLPOND_WIDE_INLINE __m256i twice(const std::uint64_t* words) noexcept {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
}

MILLPOND_WIDE_INLINE void sum_wide(const std::uint64_t* keys, std::uint64_t* sum_words,
                                   std::uint64_t* mask_words, const void* blocks,
                                   std::size_t count) noexcept {
    const auto* from = static_cast<const __m256i*>(blocks);
    const __m256i k0 = twice(keys + kBlockKeys), k1 = twice(keys + kBlockKeys + 2);
    const __m256i k2 = twice(keys + kBlockKeys + 4), k3 = twice(keys + kBlockKeys + 6);
    const __m256i step = twice(keys + kMaskStep);
    const __m256i stride = _mm256_add_epi64(step, step);
    __m256i mask =
        _mm256_add_epi64(twice(mask_words), _mm256_inserti128_si256(step, _mm_setzero_si128(), 0));
    __m256i sum = _mm256_setzero_si256();
    for (; count >= 8; count -= 8, from += 4) {
        __m256i x[4];
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
            x[i] = _mm256_xor_si256(_mm256_loadu_si256(from + i), mask);
            mask = _mm256_add_epi64(mask, stride);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) x[i] = _mm256_aesenc_epi128(x[i], k0);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) x[i] = _mm256_aesenc_epi128(x[i], k1);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) x[i] = _mm256_aesenc_epi128(x[i], k2);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) x[i] = _mm256_aesenc_epi128(x[i], k3);
        sum = _mm256_xor_si256(
            sum, _mm256_xor_si256(_mm256_xor_si256(x[0], x[1]), _mm256_xor_si256(x[2], x[3])));
    }
    for (; count >= 2; count -= 2, ++from) {
        __m256i x = _mm256_xor_si256(_mm256_loadu_si256(from), mask);
        mask = _mm256_add_epi64(mask, stride);
        x = _mm256_aesenc_epi128(_mm256_aesenc_epi128(x, k0), k1);
        sum = _mm256_xor_si256(sum, _mm256_aesenc_epi128(_mm256_aesenc_epi128(x, k2), k3));
    }
    __m128i total = _mm_xor_si128(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    __m128i next = _mm256_castsi256_si128(mask);
    if (count > 0) {
        __m128i x = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)), next);
        next = _mm256_extracti128_si256(mask, 1);
        x = _mm_aesenc_si128(x, _mm256_castsi256_si128(k0));
        x = _mm_aesenc_si128(x, _mm256_castsi256_si128(k1));
        x = _mm_aesenc_si128(x, _mm256_castsi256_si128(k2));
        total = _mm_xor_si128(total, _mm_aesenc_si128(x, _mm256_castsi256_si128(k3)));
    }
    auto* const out = reinterpret_cast<__m128i*>(sum_words);
    _mm_storeu_si128(out, _mm_xor_si128(_mm_loadu_si128(out), total));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(mask_words), next);
}

MILLPOND_WIDE_TARGET void absorb_wide(const BlockHasher& hasher, HashState& state,
                                      const void* blocks, std::size_t count) noexcept {
    sum_wide(hasher.key_words(), state.words, state.words + 2, blocks, count);
    state.blocks += count;
}

MILLPOND_WIDE_TARGET void compress_wide(const BlockHasher& hasher, const void* blocks,
                                        std::size_t count, Block& out) noexcept {
    alignas(16) std::uint64_t words[4] = {};
    std::memcpy(words + 2, hasher.key_words() + kMaskStart, 16);
    sum_wide(hasher.key_words(), words, words + 2, blocks, count);
    std::memcpy(&out, words, 16);
}

constexpr BlockHasher::Functions kWideAes{&start_aes, &absorb_wide, &compress_wide,
                                          &compress_state_aes, &sum_aes};

#endif

#endif

// SipHash-2-4 with 128 bits of output (Aumasson and Bernstein, 2012, and the authors' extension).

void sip_round(std::uint64_t* v) noexcept {
    v[0] += v[1];
    v[1] = std::rotl(v[1], 13) ^ v[0];
    v[0] = std::rotl(v[0], 32);
    v[2] += v[3];
    v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = std::rotl(v[1], 17) ^ v[2];
    v[2] = std::rotl(v[2], 32);
}

std::uint64_t little_endian(const std::uint8_t* bytes) noexcept {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word |= std::uint64_t{bytes[i]} << (8 * i);
    return word;
}

void sip_word(std::uint64_t* v, std::uint64_t word) noexcept {
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

HashState start_sip(const BlockHasher& hasher) noexcept {
    const std::uint64_t k0 = hasher.key_words()[kSipKey];
    const std::uint64_t k1 = hasher.key_words()[kSipKey + 1];
    return HashState{{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL ^ 0xee,
                      k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL},
                     0};
}

void absorb_sip(const BlockHasher&, HashState& state, const void* blocks,
                std::size_t count) noexcept {
    const auto* bytes = static_cast<const std::uint8_t*>(blocks);
    state.blocks += count;
    for (; count > 0; --count, bytes += 16) {
        sip_word(state.words, little_endian(bytes));
        sip_word(state.words, little_endian(bytes + 8));
    }
}

// SipHash mixes to the end by itself: here compressing is all, and summing only adds.
void compress_state_sip(const BlockHasher&, const HashState& state, Block& out) noexcept {
    std::uint64_t v[4] = {state.words[0], state.words[1], state.words[2], state.words[3]};
    sip_word(v, (state.blocks * 16) << 56);
    v[2] ^= 0xee;
    for (int i = 0; i < 4; ++i) sip_round(v);
    const std::uint64_t lo = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    for (int i = 0; i < 4; ++i) sip_round(v);
    out = Block{lo, v[0] ^ v[1] ^ v[2] ^ v[3]};
}

void compress_sip(const BlockHasher& hasher, const void* blocks, std::size_t count,
                  Block& out) noexcept {
    HashState state = start_sip(hasher);
    absorb_sip(hasher, state, blocks, count);
    compress_state_sip(hasher, state, out);
}

void sum_sip(const BlockHasher&, const Block* blocks, std::size_t count, Block& out) noexcept {
    for (; count > 0; --count, ++blocks) {
        out.first += blocks->first;
        out.second += blocks->second;
    }
}

constexpr BlockHasher::Functions kSip{&start_sip, &absorb_sip, &compress_sip, &compress_state_sip,
                                      &sum_sip};

const BlockHasher::Functions* functions_of(HashLanes lanes) noexcept {
#if defined(MILLPOND_X86_64)
    if (lanes == HashLanes::WideAes) return &kWideAes;
#endif
#if defined(MILLPOND_X86_64) || defined(MILLPOND_AARCH64)
    if (lanes == HashLanes::Aes) return &kAes;
#endif
    static_cast<void>(lanes);
    return &kSip;
}

}  // namespace

HashLanes best_hash_lanes() noexcept {
    if (cpu::has_wide_aes()) return HashLanes::WideAes;
    return cpu::has_aes() ? HashLanes::Aes : HashLanes::Portable;
}

BlockHasher::BlockHasher(std::span<const std::uint8_t, kSeedBytes> seed, HashLanes lanes) noexcept
    : functions_(functions_of(lanes)), lanes_(lanes) {
    // SHA-256 in counter mode: the words come out independent for anyone without the seed.
    std::uint8_t counter = 0;
    for (std::size_t word = 0; word < kKeyWords; word += 4, ++counter) {
        Sha256 expand;
        expand.update(seed.data(), seed.size());
        expand.update(&counter, 1);
        const Sha256Digest digest = expand.finish();
        for (std::size_t i = 0; i < 4; ++i) keys_[word + i] = little_endian(digest.data() + 8 * i);
    }
}

}  // namespace millpond
