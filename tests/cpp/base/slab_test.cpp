#include "millpond/base/slab.hpp"

#include <algorithm>
#include <cstdint>
#include <random>
#include <set>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

namespace millpond {
namespace {

struct Node {
    std::uint64_t value = 7;
    Slot next = kNoSlot;
};
struct alignas(64) Line {
    std::uint64_t value;
    Slot next;
};

TEST(Column, StartsAsZeroBytesAndGrowsByWholeChunks) {
    Column<std::uint32_t, 4> column;
    EXPECT_EQ(column.reserved(), 0U);
    EXPECT_EQ(column.allocated_bytes(), 0U);
    column.reserve(1);
    EXPECT_EQ(column.reserved(), 16U);
    column.reserve(16);
    EXPECT_EQ(column.reserved(), 16U);
    column.reserve(17);
    EXPECT_EQ(column.reserved(), 32U);
    EXPECT_GE(column.allocated_bytes(), 32U * sizeof(std::uint32_t));
    for (Slot slot = 0; slot < 32; ++slot) {
        EXPECT_EQ(column[slot], 0U);
    }
}

TEST(Column, MovesNothingWhenItGrows) {
    Column<std::uint64_t, 4> column;
    std::vector<std::uint64_t*> places;
    for (Slot slot = 0; slot < 1000; ++slot) {
        column.reserve(std::size_t{slot} + 1);
        column[slot] = slot * 3;
        places.push_back(&column[slot]);
    }
    for (Slot slot = 0; slot < 1000; ++slot) {
        EXPECT_EQ(&column[slot], places[slot]);
        EXPECT_EQ(std::as_const(column)[slot], slot * 3);
    }
}

TEST(Column, AlignsWhatAsksForIt) {
    Column<Line, 2> column;
    column.reserve(40);
    for (Slot slot = 0; slot < 40; ++slot) {
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&column[slot]) % 64, 0U);
    }
}

TEST(Slab, HandsOutTheSlotFreedLastWithWhatItHeld) {
    Slab<Node> slab;
    EXPECT_EQ(slab.acquire(), 0U);
    EXPECT_EQ(slab.acquire(), 1U);
    EXPECT_EQ(slab.acquire(), 2U);
    EXPECT_EQ(slab[2].value, 7U);
    slab[0].value = 10;
    slab[2].value = 12;
    slab.release(0);
    slab.release(2);
    EXPECT_EQ(slab.used(), 1U);
    EXPECT_EQ(slab.acquire(), 2U);
    EXPECT_EQ(slab[2].value, 12U);
    EXPECT_EQ(slab.acquire(), 0U);
    EXPECT_EQ(slab[0].value, 10U);
    EXPECT_EQ(slab.acquire(), 3U);
    EXPECT_EQ(slab.end(), 4U);
}

TEST(Slab, InitialisesOverAlignedElementsToo) {
    Slab<Line, 2> slab;
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(slab[slab.acquire()].value, 0U);
    }
}

TEST(Slab, HandsOutDistinctSlotsInAnyOrderOfUse) {
    std::mt19937_64 random{3};
    Slab<Node, 3> slab;
    std::unordered_map<Slot, std::uint64_t> held;
    std::vector<Slot> order;
    Slot most = 0;
    for (std::uint64_t step = 0; step < 50'000; ++step) {
        const bool grows = (step / 5000) % 2 == 0;
        if (order.empty() || random() % 10 < (grows ? 7U : 3U)) {
            const Slot slot = slab.acquire();
            ASSERT_TRUE(held.emplace(slot, step).second) << "slot handed out twice";
            slab[slot].value = step;
            order.push_back(slot);
        } else {
            const std::size_t at = random() % order.size();
            const Slot slot = std::exchange(order[at], order.back());
            order.pop_back();
            ASSERT_EQ(slab[slot].value, held.at(slot));
            held.erase(slot);
            slab.release(slot);
        }
        most = std::max(most, static_cast<Slot>(held.size()));
        ASSERT_EQ(slab.used(), held.size());
        ASSERT_EQ(slab.end(), most) << "a free slot was left lying";
    }
}

}  // namespace
}  // namespace millpond
