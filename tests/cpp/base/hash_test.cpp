#include "millpond/base/hash.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <set>
#include <utility>
#include <vector>

namespace millpond {
namespace {

using Seed = std::array<std::uint8_t, BlockHasher::kSeedBytes>;

Seed seed_of(std::uint8_t first) {
    Seed seed{};
    seed[0] = first;
    return seed;
}

std::vector<BlockHasher> hashers_to_test() {
    std::vector<BlockHasher> hashers{BlockHasher(seed_of(1), HashLanes::Portable)};
    // A CPU with the wide instructions has the narrow ones too.
    if (best_hash_lanes() != HashLanes::Portable) hashers.emplace_back(seed_of(1), HashLanes::Aes);
    if (best_hash_lanes() == HashLanes::WideAes) hashers.emplace_back(seed_of(1));
    return hashers;
}

std::vector<Block> blocks_of(std::size_t count, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::vector<Block> blocks(count);
    for (Block& block : blocks) block = Block{random(), random()};
    return blocks;
}

using Pair = std::pair<std::uint64_t, std::uint64_t>;

Pair pair_of(const Fingerprint& print) { return {print.hi, print.lo}; }

TEST(Mix64, IsABijectionThatChangesHalfTheBits) {
    std::mt19937_64 random(7);
    std::set<Hash> seen;
    for (std::uint64_t value = 0; value < 10'000; ++value) seen.insert(mix64(value));
    EXPECT_EQ(seen.size(), 10'000U);
    int changed = 0;
    constexpr int kTrials = 64 * 200;
    for (int trial = 0; trial < kTrials; ++trial) {
        const std::uint64_t value = random();
        changed += std::popcount(mix64(value) ^ mix64(value ^ (1ULL << (trial % 64))));
    }
    EXPECT_NEAR(static_cast<double>(changed) / kTrials, 32.0, 0.5);
}

TEST(BlockHasher, DoesNotDependOnHowTheMessageIsCut) {
    for (const BlockHasher& hasher : hashers_to_test()) {
        for (std::size_t count = 0; count < 40; ++count) {
            const std::vector<Block> blocks = blocks_of(count, count);
            const Fingerprint whole = hasher.hash(blocks.data(), count);
            for (std::size_t cut = 0; cut <= count; ++cut) {
                HashState state = hasher.start();
                hasher.absorb(state, blocks.data(), cut);
                hasher.absorb(state, blocks.data() + cut, count - cut);
                EXPECT_EQ(state.blocks, count);
                ASSERT_EQ(hasher.finish(state), whole) << cut << " of " << count;
            }
        }
    }
}

TEST(BlockHasher, SumsTheFingerprintsOfMessagesInAnyOrder) {
    for (const BlockHasher& hasher : hashers_to_test()) {
        std::vector<Block> compressed;
        Block expected{5, 6};
        for (std::size_t count = 0; count < 12; ++count) {
            Block total{5, 6};
            hasher.sum(compressed.data(), count, total);
            EXPECT_EQ(total.first, expected.first);
            EXPECT_EQ(total.second, expected.second);
            const std::vector<Block> blocks = blocks_of(count, 70 + count);
            compressed.insert(compressed.begin(), Block{});
            hasher.compress(blocks.data(), count, compressed.front());
            const Fingerprint added = hasher.hash(blocks.data(), count);
            expected.first += added.lo;
            expected.second += added.hi;
        }
    }
}

TEST(BlockHasher, ReadsBlocksAtAnyAlignment) {
    const std::vector<Block> blocks = blocks_of(9, 3);
    for (const BlockHasher& hasher : hashers_to_test()) {
        for (std::size_t shift = 0; shift < 16; ++shift) {
            std::vector<std::uint8_t> bytes(9 * 16 + shift);
            std::memcpy(bytes.data() + shift, blocks.data(), 9 * 16);
            EXPECT_EQ(hasher.hash(bytes.data() + shift, 9), hasher.hash(blocks.data(), 9));
        }
    }
}

TEST(BlockHasher, TellsApartMessagesThatDifferInOneBitInOrderOrInLength) {
    for (const BlockHasher& hasher : hashers_to_test()) {
        std::set<Pair> seen;
        std::size_t messages = 0;
        std::vector<Block> blocks = blocks_of(6, 5);
        const auto note = [&](std::size_t count) {
            seen.insert(pair_of(hasher.hash(blocks.data(), count)));
            ++messages;
        };
        for (std::size_t count = 0; count <= blocks.size(); ++count) note(count);
        for (Block& block : blocks) {
            for (int bit = 0; bit < 64; ++bit) {
                block.first ^= 1ULL << bit;
                note(blocks.size());
                block.first ^= 1ULL << bit;
                block.second ^= 1ULL << bit;
                note(blocks.size());
                block.second ^= 1ULL << bit;
            }
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            for (std::size_t j = 0; j < i; ++j) {
                std::swap(blocks[i], blocks[j]);
                note(blocks.size());
                std::swap(blocks[i], blocks[j]);
            }
        }
        // Equal blocks must not cancel out, wherever they stand.
        for (std::size_t count = 1; count < 20; ++count) {
            const std::vector<Block> zeros(count, Block{0, 0});
            seen.insert(pair_of(hasher.hash(zeros.data(), count)));
            ++messages;
        }
        EXPECT_EQ(seen.size(), messages);
    }
}

TEST(BlockHasher, ChangesHalfTheOutputForOneBitOfInput) {
    for (const BlockHasher& hasher : hashers_to_test()) {
        std::vector<Block> blocks = blocks_of(3, 11);
        const Fingerprint before = hasher.hash(blocks.data(), 3);
        int changed = 0;
        for (int bit = 0; bit < 64; ++bit) {
            blocks[1].second ^= 1ULL << bit;
            const Fingerprint after = hasher.hash(blocks.data(), 3);
            changed += std::popcount(before.hi ^ after.hi) + std::popcount(before.lo ^ after.lo);
            blocks[1].second ^= 1ULL << bit;
        }
        EXPECT_NEAR(changed / 64.0, 64.0, 4.0);
    }
}

TEST(BlockHasher, GivesOtherFingerprintsUnderAnotherSeed) {
    const std::vector<Block> blocks = blocks_of(2, 1);
    for (const BlockHasher& hasher : hashers_to_test()) {
        const BlockHasher other(seed_of(2), hasher.lanes());
        const BlockHasher same(seed_of(1), hasher.lanes());
        EXPECT_NE(hasher.hash(blocks.data(), 2), other.hash(blocks.data(), 2));
        EXPECT_EQ(hasher.hash(blocks.data(), 2), same.hash(blocks.data(), 2));
    }
}

TEST(BlockHasher, WideLanesGiveWhatNarrowOnesGive) {
    if (best_hash_lanes() != HashLanes::WideAes) GTEST_SKIP() << "this CPU has no VAES";
    const BlockHasher narrow(seed_of(3), HashLanes::Aes);
    const BlockHasher wide(seed_of(3), HashLanes::WideAes);
    for (std::size_t count = 0; count < 40; ++count) {
        const std::vector<Block> blocks = blocks_of(count, count);
        ASSERT_EQ(narrow.hash(blocks.data(), count), wide.hash(blocks.data(), count)) << count;
        for (std::size_t cut = 0; cut <= count; ++cut) {
            HashState state = wide.start();
            wide.absorb(state, blocks.data(), cut);
            narrow.absorb(state, blocks.data() + cut, count - cut);
            ASSERT_EQ(narrow.finish(state), wide.hash(blocks.data(), count)) << cut;
        }
    }
}

// AES-128 in software, to show that the instructions compute what the design says.
class SoftwareAes {
  public:
    SoftwareAes() {
        // The S-box: the multiplicative inverse in GF(2^8), then the affine map (FIPS 197, 5.1.1).
        for (unsigned value = 0; value < 256; ++value) {
            std::uint8_t inverse = 0;
            for (unsigned other = 1; other < 256 && value != 0; ++other) {
                if (times(static_cast<std::uint8_t>(value), static_cast<std::uint8_t>(other)) == 1)
                    inverse = static_cast<std::uint8_t>(other);
            }
            std::uint8_t mapped = 0x63;
            for (int turn = 0; turn < 5; ++turn) mapped ^= std::rotl(inverse, turn);
            box_[value] = mapped;
        }
    }

    // SubBytes, ShiftRows, MixColumns, AddRoundKey.
    void round(std::array<std::uint8_t, 16>& state, const std::uint8_t* key) const {
        std::array<std::uint8_t, 16> shifted;
        for (std::size_t column = 0; column < 4; ++column) {
            for (std::size_t row = 0; row < 4; ++row) {
                shifted[4 * column + row] = box_[state[4 * ((column + row) % 4) + row]];
            }
        }
        for (std::size_t column = 0; column < 4; ++column) {
            const std::uint8_t* in = shifted.data() + 4 * column;
            for (std::size_t row = 0; row < 4; ++row) {
                state[4 * column + row] = static_cast<std::uint8_t>(
                    times(2, in[row]) ^ times(3, in[(row + 1) % 4]) ^ in[(row + 2) % 4] ^
                    in[(row + 3) % 4] ^ key[4 * column + row]);
            }
        }
    }

  private:
    static std::uint8_t times(std::uint8_t a, std::uint8_t b) {
        unsigned product = 0;
        for (int bit = 0; bit < 8; ++bit) {
            if ((b >> bit & 1) != 0) product ^= unsigned{a} << bit;
        }
        for (int bit = 15; bit >= 8; --bit) {
            if ((product >> bit & 1) != 0) product ^= 0x11bU << (bit - 8);
        }
        return static_cast<std::uint8_t>(product);
    }

    std::array<std::uint8_t, 256> box_{};
};

using Bytes16 = std::array<std::uint8_t, 16>;

Bytes16 bytes_of(const std::uint64_t* words) {
    Bytes16 bytes;
    std::memcpy(bytes.data(), words, 16);
    return bytes;
}

TEST(BlockHasher, AesLanesAreTheSumThatTheDesignDescribes) {
    if (best_hash_lanes() == HashLanes::Portable)
        GTEST_SKIP() << "this CPU has no AES instructions";
    const SoftwareAes aes;
    const BlockHasher hasher(seed_of(9), HashLanes::Aes);
    const std::uint64_t* const keys = hasher.key_words();
    for (std::size_t count = 0; count < 11; ++count) {
        const std::vector<Block> blocks = blocks_of(count, 40 + count);
        Bytes16 sum{};
        for (std::size_t i = 0; i < count; ++i) {
            const std::array<std::uint64_t, 2> masked{blocks[i].first ^ (keys[0] + i * keys[2]),
                                                      blocks[i].second ^ (keys[1] + i * keys[3])};
            Bytes16 state = bytes_of(masked.data());
            for (std::size_t r = 0; r < 4; ++r) aes.round(state, bytes_of(keys + 4 + 2 * r).data());
            for (std::size_t byte = 0; byte < 16; ++byte) sum[byte] ^= state[byte];
        }
        const Bytes16 whitening = bytes_of(keys + 12);
        for (std::size_t byte = 0; byte < 16; ++byte) sum[byte] ^= whitening[byte];
        for (std::size_t r = 1; r <= 10; ++r) aes.round(sum, bytes_of(keys + 12 + 2 * r).data());
        std::uint64_t words[2];
        std::memcpy(words, sum.data(), 16);
        EXPECT_EQ(hasher.hash(blocks.data(), count), (Fingerprint{words[1], words[0]}));
    }
}

// SipHash-2-4-128, written from the paper's definition.
Pair siphash(std::uint64_t k0, std::uint64_t k1, const std::vector<std::uint8_t>& message) {
    std::uint64_t a = k0 ^ 0x736f6d6570736575ULL, b = k1 ^ 0x646f72616e646f6dULL ^ 0xee;
    std::uint64_t c = k0 ^ 0x6c7967656e657261ULL, d = k1 ^ 0x7465646279746573ULL;
    const auto rounds = [&](int count) {
        for (int i = 0; i < count; ++i) {
            a += b, c += d, b = std::rotl(b, 13) ^ a, d = std::rotl(d, 16) ^ c;
            a = std::rotl(a, 32), c += b, a += d, b = std::rotl(b, 17) ^ c;
            d = std::rotl(d, 21) ^ a, c = std::rotl(c, 32);
        }
    };
    std::vector<std::uint8_t> padded = message;
    padded.resize((message.size() + 8) / 8 * 8);
    padded.back() = static_cast<std::uint8_t>(message.size());
    for (std::size_t at = 0; at < padded.size(); at += 8) {
        std::uint64_t word = 0;
        for (std::size_t i = 8; i-- > 0;) word = word << 8 | padded[at + i];
        d ^= word;
        rounds(2);
        a ^= word;
    }
    c ^= 0xee;
    rounds(4);
    const std::uint64_t lo = a ^ b ^ c ^ d;
    b ^= 0xdd;
    rounds(4);
    return {a ^ b ^ c ^ d, lo};
}

TEST(BlockHasher, PortableLanesAreSipHash) {
    // The authors' first two vectors, key 00 01 .. 0f, message empty and 00.
    const std::uint64_t k0 = 0x0706050403020100ULL, k1 = 0x0f0e0d0c0b0a0908ULL;
    ASSERT_EQ(siphash(k0, k1, {}), (Pair{0x930255c71472f66dULL, 0xe6a825ba047f81a3ULL}));
    ASSERT_EQ(siphash(k0, k1, {0}), (Pair{0x45fc229b11597634ULL, 0x44af996bd8c187daULL}));
    const BlockHasher hasher(seed_of(4), HashLanes::Portable);
    for (std::size_t count = 0; count < 20; ++count) {
        const std::vector<Block> blocks = blocks_of(count, count);
        std::vector<std::uint8_t> message(count * 16);
        if (count > 0) std::memcpy(message.data(), blocks.data(), message.size());
        EXPECT_EQ(pair_of(hasher.hash(blocks.data(), count)),
                  siphash(hasher.key_words()[34], hasher.key_words()[35], message));
    }
}

}  // namespace
}  // namespace millpond
