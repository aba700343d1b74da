// Hashing for tables and for keys. mix64 spreads an integer over a table hash. BlockHasher is a
// keyed hash of 16-byte blocks to a 128-bit Fingerprint, for keys that live in one process: its
// results differ between processes and between CPUs, so they are never stored or sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace millpond {

// What a hash table is indexed by.
using Hash = std::uint64_t;

// Spreads every input bit over all output bits; a bijection (Stafford's variant 13 of the
// MurmurHash3 finaliser). Thread-safe, about 1 ns.
[[nodiscard]] constexpr Hash mix64(std::uint64_t value) noexcept {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

// 128 bits that stand for a key within this process.
struct Fingerprint {
    std::uint64_t hi = 0;
    std::uint64_t lo = 0;

    friend constexpr bool operator==(const Fingerprint&, const Fingerprint&) noexcept = default;

    // The hash to index a table with: any 64 of the 128 bits are as good as any other.
    [[nodiscard]] constexpr Hash hash() const noexcept { return lo; }
};

// The unit that BlockHasher reads.
struct Block {
    std::uint64_t first;
    std::uint64_t second;
};
static_assert(sizeof(Block) == 16);

// Which implementation hashes. The AES ones agree; the portable one gives other, equally good
// fingerprints.
enum class HashLanes {
    WideAes,   // two AES blocks to an instruction (x86-64 with VAES): about 0.15 ns a block
    Aes,       // AES instructions (x86-64 AES-NI or ARMv8 crypto): about 0.3 ns a block
    Portable,  // SipHash-2-4 with 128 bits of output: any CPU, about 5 ns a block
};

// The fastest lanes that this CPU runs. Thread-safe; reads the CPU's features at every call.
[[nodiscard]] HashLanes best_hash_lanes() noexcept;

// A message half-way through being hashed.
struct HashState {
    std::uint64_t words[4];
    std::uint64_t blocks;
};

// A keyed 128-bit hash of messages of whole blocks. Without knowledge of the seed nobody can
// choose two messages that collide with a probability worth stating (docs/design/keys.md has the
// argument). Immutable after construction, hence thread-safe.
class BlockHasher {
  public:
    static constexpr std::size_t kSeedBytes = 32;

    // The seed is secret and random. Costs microseconds: one hasher serves a process.
    // REQUIRES: this CPU runs `lanes`.
    explicit BlockHasher(std::span<const std::uint8_t, kSeedBytes> seed,
                         HashLanes lanes = best_hash_lanes()) noexcept;

    [[nodiscard]] HashLanes lanes() const noexcept { return lanes_; }

    // An empty message.
    [[nodiscard]] HashState start() const noexcept { return functions_->start(*this); }

    // Appends `count` blocks of 16 bytes, at any alignment. Linear.
    void absorb(HashState& state, const void* blocks, std::size_t count) const noexcept {
        functions_->absorb(*this, state, blocks, count);
    }

    // The fingerprint of everything absorbed; the state stays as it was.
    [[nodiscard]] Fingerprint finish(const HashState& state) const noexcept {
        Block compressed;
        compress(state, compressed);
        return finish(compressed);
    }

    // The fingerprint of one compressed message.
    [[nodiscard]] Fingerprint finish(const Block& compressed) const noexcept {
        Block total{0, 0};
        sum(&compressed, 1, total);
        return Fingerprint{total.second, total.first};
    }

    // start, absorb and finish in one call: the fast way for short messages.
    [[nodiscard]] Fingerprint hash(const void* blocks, std::size_t count) const noexcept {
        Block compressed;
        compress(blocks, count, compressed);
        return finish(compressed);
    }

    // Unordered things are put together by a commutative sum: their fingerprints are added lane by
    // lane, modulo 2^64. compress() is the first half of hash(): it keeps messages apart, but does
    // not mix them yet; sum() mixes and adds. Both leave a result in memory in one piece, since
    // whoever reads 16 bytes that were written as twice 8 has to wait.
    void compress(const void* blocks, std::size_t count, Block& out) const noexcept {
        functions_->compress(*this, blocks, count, out);
    }
    void compress(const HashState& state, Block& out) const noexcept {
        functions_->compress_state(*this, state, out);
    }

    // Adds the fingerprints of `count` compressed messages to `total`, whose order does not count:
    // several at a time cost little more than one.
    void sum(const Block* compressed, std::size_t count, Block& total) const noexcept {
        functions_->sum(*this, compressed, count, total);
    }

    // One implementation; private to hash.cpp in all but name.
    struct Functions {
        HashState (*start)(const BlockHasher&) noexcept;
        void (*absorb)(const BlockHasher&, HashState&, const void*, std::size_t) noexcept;
        void (*compress)(const BlockHasher&, const void*, std::size_t, Block&) noexcept;
        void (*compress_state)(const BlockHasher&, const HashState&, Block&) noexcept;
        void (*sum)(const BlockHasher&, const Block*, std::size_t, Block&) noexcept;
    };

    // The seed, expanded: masks, round keys, SipHash key.
    static constexpr std::size_t kKeyWords = 36;
    [[nodiscard]] const std::uint64_t* key_words() const noexcept { return keys_; }

  private:
    alignas(16) std::uint64_t keys_[kKeyWords];
    const Functions* functions_;
    HashLanes lanes_;
};

}  // namespace millpond
