// A store when memory runs out: what cannot fail does not, and no word is lost.
#include <algorithm>
#include <cstdlib>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/base/hash.hpp"
#include "millpond/cache/store.hpp"

namespace {

thread_local bool g_exhausted = false;

// No memory from operator new for as long as it lives.
class OutOfMemory {
  public:
    OutOfMemory() { g_exhausted = true; }
    ~OutOfMemory() { g_exhausted = false; }
    OutOfMemory(const OutOfMemory&) = delete;
    OutOfMemory& operator=(const OutOfMemory&) = delete;
};

}  // namespace

// Not inlined: compilers that see a new end in a free() take it for a mistake.
[[gnu::noinline]] void* operator new(std::size_t size) {
    void* const memory = g_exhausted ? nullptr : std::malloc(size == 0 ? 1 : size);
    if (memory == nullptr) {
        throw std::bad_alloc();
    }
    return memory;
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace millpond::cache {
namespace {

constexpr Word kMany = 1000;
constexpr TagHash kTag = 9;

class StoreMemory : public testing::TestWithParam<PolicyKind> {
  protected:
    [[nodiscard]] KeyRef key(Word word) const { return {mix64(word), word, space, 0}; }
    void fill() {
        for (Word word = 0; word < kMany; ++word) {
            const Keep keep{.deadline = Instant{std::chrono::seconds{word % 2 == 0 ? 1 : 100}}};
            store.put(key(word), kNoSlot, kMany + word, keep, {&kTag, 1}, now);
        }
    }
    // Takes what came back, one by one as a dying cache does; each word once.
    void take() {
        while (store.hand_over(), !store.removed().empty()) {
            const Removed last = store.removed().back();
            store.removed().pop_back();
            returned += last.key + kMany == last.value ? 1U : 0U;
            taken[last.key] = true;
        }
    }

    StoreCore store{{.policy = GetParam()}};
    SpaceId space = store.open_space();
    Instant now{};
    std::vector<bool> taken = std::vector<bool>(kMany);
    std::size_t returned = 0;
};

TEST_P(StoreMemory, AnInvalidationNeedsNone) {
    fill();
    {
        const OutOfMemory now_there_is_none;
        EXPECT_EQ(store.invalidate(kTag), kMany);
        EXPECT_EQ(store.size(), 0U);
        EXPECT_LT(store.removed().size(), kMany) << "the test has to run out of memory";
        take();
    }
    EXPECT_EQ(returned, kMany);
    EXPECT_EQ(std::ranges::count(taken, true), kMany);
}

TEST_P(StoreMemory, WhatHasLeftIsFoundByNobodyAndComesBackLater) {
    fill();
    const Slot slot = store.find(key(kMany - 1));
    const EntryId id = store.id_of(slot);
    {
        const OutOfMemory now_there_is_none;
        for (Word word = 0; word < kMany; ++word) {
            store.erase(store.find(key(word)));
        }
    }
    EXPECT_FALSE(store.holds(id));
    EXPECT_EQ(store.find(key(kMany - 1)), kNoSlot);
    store.for_each([](Slot, const Entry&) { ADD_FAILURE() << "it has left"; });
    store.put(key(kMany), kNoSlot, 2 * kMany, {}, {}, now);
    store.erase(store.find(key(kMany)));
    EXPECT_EQ(store.removed().size(), kMany + 1) << "the next removal brings the others along";
}

TEST_P(StoreMemory, ExpiryAndRetirementNeedNone) {
    fill();
    {
        const OutOfMemory now_there_is_none;
        store.advance(Instant{std::chrono::seconds{2}}, kMany);
        EXPECT_EQ(store.size(), kMany / 2);
        store.retire_space(space);
        EXPECT_EQ(store.size(), 0U);
        take();
    }
    EXPECT_EQ(returned, kMany);
}

TEST_P(StoreMemory, TheEndOfAStoreNeedsNone) {
    fill();
    const EntryId load = store.begin(key(kMany), 7, {}, true);
    {
        const OutOfMemory now_there_is_none;
        store.abort(load);
        store.drop_all();
        taken.resize(kMany);
        while (store.hand_over(), !store.removed().empty()) {
            store.removed().pop_back();
            ++returned;
        }
    }
    EXPECT_EQ(returned, kMany + 1);
    EXPECT_EQ(store.loads(), 0U);
}

TEST_P(StoreMemory, AValueThatCannotBeStoredLeavesTheStoreAsItWas) {
    fill();
    for (Word word = kMany; word < 2 * kMany; ++word) {
        const OutOfMemory now_there_is_none;
        try {
            store.put(key(word), kNoSlot, word, {}, {}, now);
        } catch (const std::bad_alloc&) {
            EXPECT_EQ(store.find(key(word)), kNoSlot);
            EXPECT_EQ(store.size(), word);
            return;
        }
    }
    FAIL() << "a thousand entries were stored without memory";
}

INSTANTIATE_TEST_SUITE_P(Policies, StoreMemory,
                         testing::Values(PolicyKind::Lru, PolicyKind::Lfu, PolicyKind::Fifo,
                                         PolicyKind::Sieve, PolicyKind::S3Fifo));

}  // namespace
}  // namespace millpond::cache
