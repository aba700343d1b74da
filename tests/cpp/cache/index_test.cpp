#include "millpond/cache/index.hpp"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

namespace millpond::cache {
namespace {

// Draws a hash, as kind or as unkind to the index as a test wants it.
using Draw = std::function<Hash(std::mt19937_64&)>;

// An index beside a multimap that knows the same.
class IndexModel {
  public:
    explicit IndexModel(std::uint64_t seed, Draw draw) : random(seed), draw_(std::move(draw)) {}

    void insert() { insert(draw_(random)); }
    void insert(Hash hash) {
        Slot slot = static_cast<Slot>(hashes_.size());
        if (!free_.empty() && random() % 4 != 0) {
            slot = free_.back();
            free_.pop_back();
        } else {
            hashes_.push_back(0);
        }
        hashes_[slot] = hash;
        hashed_ = 0;
        index.insert(hash, slot, hash_of());
        most_hashed = std::max(most_hashed, hashed_);
        model.emplace(hash, slot);
        slots_.push_back(slot);
    }
    void erase() {
        const std::size_t at = random() % slots_.size();
        const Slot slot = std::exchange(slots_[at], slots_.back());
        slots_.pop_back();
        const Hash hash = hashes_[slot];
        index.erase(hash, slot, hash_of());
        hashes_[slot] = ~hash;  // Whoever still asks for it is told nonsense.
        free_.push_back(slot);
        const auto [first, last] = model.equal_range(hash);
        model.erase(std::find_if(first, last, [&](auto& pair) { return pair.second == slot; }));
    }

    // The slots of exactly `hash`, by the index.
    std::multiset<Slot> seen(Hash hash) const {
        std::multiset<Slot> slots;
        const Slot none = index.find(hash, [&](Slot slot) {
            if (hashes_.at(slot) == hash) {
                slots.insert(slot);
            }
            return false;
        });
        EXPECT_EQ(none, kNoSlot);
        return slots;
    }
    std::multiset<Slot> expected(Hash hash) const {
        std::multiset<Slot> slots;
        const auto [first, last] = model.equal_range(hash);
        std::for_each(first, last, [&](auto& pair) { slots.insert(pair.second); });
        return slots;
    }
    void check_all() const {
        ASSERT_EQ(index.size(), model.size());
        for (const Slot slot : slots_) {
            ASSERT_EQ(seen(hashes_[slot]), expected(hashes_[slot]));
            ASSERT_EQ(index.find(hashes_[slot], [&](Slot at) { return at == slot; }), slot);
        }
    }
    void check_one() {
        const Hash hash = slots_.empty() || random() % 2 == 0
                              ? draw_(random)
                              : hashes_[slots_[random() % slots_.size()]];
        ASSERT_EQ(seen(hash), expected(hash));
    }
    [[nodiscard]] std::size_t size() const { return slots_.size(); }

    Index index;
    std::unordered_multimap<Hash, Slot> model;
    std::mt19937_64 random;
    std::size_t most_hashed = 0;  // look-ups of a slot's hash in one insert, at most

  private:
    std::function<Hash(Slot)> hash_of() {
        return [this](Slot slot) {
            ++hashed_;
            return hashes_.at(slot);
        };
    }

    Draw draw_;
    std::vector<Hash> hashes_;
    std::vector<Slot> slots_;
    std::vector<Slot> free_;
    std::size_t hashed_ = 0;
};

struct Hashes {
    const char* name;
    Draw draw;
    int steps;
};

class IndexTest : public testing::TestWithParam<Hashes> {};

TEST_P(IndexTest, FindsWhatAMultimapFinds) {
    for (const std::uint64_t seed : {1U, 2U, 3U}) {
        IndexModel model{seed, GetParam().draw};
        bool grew_while_erasing = false;
        const int steps = GetParam().steps;
        for (int step = 0; step < steps; ++step) {
            // It grows, then shrinks and grows by turns, so that erasures fall into every phase.
            const bool grows = step < steps / 2 || (step / (steps / 10)) % 2 == 0;
            if (model.size() == 0 || model.random() % 10 < (grows ? 7U : 3U)) {
                model.insert();
            } else {
                model.erase();
                grew_while_erasing |= model.index.growing();
            }
            ASSERT_EQ(model.index.size(), model.model.size());
            ASSERT_NO_FATAL_FAILURE(model.check_one());
            if (step % (steps / 20) == 0) {
                ASSERT_NO_FATAL_FAILURE(model.check_all());
            }
        }
        EXPECT_TRUE(grew_while_erasing) << "the interesting case never came";
        ASSERT_NO_FATAL_FAILURE(model.check_all());
        while (model.size() > 0) {
            model.erase();
        }
        EXPECT_EQ(model.index.size(), 0U);
        ASSERT_NO_FATAL_FAILURE(model.check_one());
    }
}

INSTANTIATE_TEST_SUITE_P(
    Hashes, IndexTest,
    testing::Values(
        Hashes{"random", [](auto& random) { return random(); }, 20'000},
        Hashes{"few", [](auto& random) { return (random() % 50) * 0x9E3779B97F4A7C15U; }, 2000},
        Hashes{"all_equal", [](auto&) { return Hash{0xDEADBEEF12345678U}; }, 700},
        Hashes{"all_zero", [](auto&) { return Hash{0}; }, 700},
        Hashes{"all_ones", [](auto&) { return ~Hash{0}; }, 700},
        Hashes{"equal_low_bits", [](auto& random) { return random() << 32; }, 1000},
        Hashes{"equal_high_bits", [](auto& random) { return random() & 0xFFFFFFFFU; }, 20'000},
        Hashes{"high_bits_set", [](auto& random) { return random() | 0xFFFFFFFF00000000U; },
               20'000},
        Hashes{"sequential", [n = Hash{0}](auto&) mutable { return ++n; }, 20'000}),
    [](const auto& hashes) { return hashes.param.name; });

// What one insertion does beside probing is moving: the hashes it asks for count that.
TEST(Index, MovesABoundedNumberOfSlotsInOneOperation) {
    IndexModel model{5, [](auto& random) { return random(); }};
    for (int i = 0; i < 60; ++i) {
        model.insert();
    }
    model.most_hashed = 0;
    std::size_t tables = 0;
    bool growing = model.index.growing();
    for (int i = 0; i < 100'000; ++i) {
        model.insert();
        tables += model.index.growing() && !growing ? 1U : 0U;
        growing = model.index.growing();
    }
    EXPECT_GE(tables, 10U);
    EXPECT_GT(model.most_hashed, 0U);
    EXPECT_LE(model.most_hashed, Index::kMovedPerOperation);
    ASSERT_NO_FATAL_FAILURE(model.check_all());
}

// Large enough for the older table to lose its tail while it is searched and erased from.
TEST(Index, GivesTheOlderTableBackBitByBit) {
    std::unordered_map<Slot, Hash> hashes;
    const auto hash_of = [&](Slot slot) { return hashes.at(slot); };
    std::mt19937_64 random{8};
    Index index;
    constexpr Slot kGrows = (std::size_t{1} << 18) * 3 / 4;
    for (Slot slot = 0; slot < kGrows + 1; ++slot) {
        // Some near the end, whose run goes round to the beginning.
        hashes[slot] = slot % 1000 == 0 ? random() | 0x3FFF0 : random();
        index.insert(hashes[slot], slot, hash_of);
    }
    ASSERT_TRUE(index.growing());
    const std::size_t full = index.allocated_bytes();
    std::size_t least = full;
    for (Slot slot = 0; index.growing(); ++slot) {
        ASSERT_LT(slot, kGrows);
        index.erase(hashes.at(slot), slot, hash_of);
        ASSERT_LE(index.allocated_bytes(), least);
        ASSERT_GE(index.allocated_bytes() + (std::size_t{1} << 18), least) << "too much at once";
        least = index.allocated_bytes();
        const Slot kept = slot + 1 + static_cast<Slot>(random() % (kGrows - slot));
        ASSERT_EQ(index.find(hashes.at(kept), [&](Slot at) { return at == kept; }), kept);
        ASSERT_EQ(index.find(hashes.at(slot), [&](Slot at) { return at == slot; }), kNoSlot);
    }
    EXPECT_EQ(index.allocated_bytes(), full / 3 * 2);
}

TEST(Index, TakesSlotsFarBeyondItsSize) {
    std::unordered_map<Slot, Hash> hashes;
    const auto hash_of = [&](Slot slot) { return hashes.at(slot); };
    Index index;
    for (const Slot slot : {5U, 29U, 30U, 31U, 1000U, 100'000U}) {
        hashes[slot] = ~Hash{0} - slot;
        index.insert(hashes[slot], slot, hash_of);
        for (const auto& [known, hash] : hashes) {
            EXPECT_EQ(index.find(hash, [known = known](Slot at) { return at == known; }), known);
        }
    }
    for (const auto& [slot, hash] : hashes) {
        index.erase(hash, slot, hash_of);
        EXPECT_EQ(index.find(hash, [slot = slot](Slot at) { return at == slot; }), kNoSlot);
    }
    EXPECT_EQ(index.size(), 0U);
}

TEST(Index, StaysWithinItsBytesAnEntry) {
    IndexModel model{7, [](auto& random) { return random(); }};
    for (int i = 0; i < 100'000; ++i) {
        model.insert();
        if (model.size() > 100 && !model.index.growing()) {
            // Three quarters full at most, three eighths at least, in words of four bytes.
            ASSERT_LE(model.index.allocated_bytes(), model.size() * 32 / 3 + 64);
        }
    }
}

}  // namespace
}  // namespace millpond::cache
