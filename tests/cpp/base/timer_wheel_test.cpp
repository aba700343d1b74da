#include "millpond/base/timer_wheel.hpp"

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <stdexcept>
#include <vector>

#include <gtest/gtest.h>

namespace millpond {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr Nanos kTick{1 << 20};
constexpr std::size_t kNoLimit = ~std::size_t{0};

// The owner of a wheel, at its plainest. `touched` counts the links read.
struct Slots {
    struct Node {
        std::uint32_t next = 0xFFFF'FFFF;
        std::uint32_t prev = 0xFFFF'FFFF;
        Instant deadline = kNever;
    };
    std::vector<Node> nodes;
    std::size_t touched = 0;

    std::uint32_t& wheel_next(std::uint32_t slot) { return ++touched, nodes.at(slot).next; }
    std::uint32_t& wheel_prev(std::uint32_t slot) { return nodes.at(slot).prev; }
    Instant deadline(std::uint32_t slot) { return nodes.at(slot).deadline; }
};

using Wheel = TimerWheel<Slots>;

Instant at(Nanos since_start) { return Instant{since_start}; }

class TimerWheelTest : public testing::Test {
  protected:
    // Schedules a new slot and returns its number.
    std::uint32_t add(Nanos deadline) {
        slots.nodes.push_back({.deadline = at(deadline)});
        const auto slot = static_cast<std::uint32_t>(slots.nodes.size() - 1);
        wheel.schedule(slots, slot);
        return slot;
    }
    std::vector<std::uint32_t> advance(Nanos now, std::size_t limit = kNoLimit) {
        std::vector<std::uint32_t> out;
        wheel.advance(slots, at(now), limit, [&](std::uint32_t slot) { out.push_back(slot); });
        return out;
    }

    Slots slots;
    Wheel wheel{at(Nanos{0})};
};

using Reported = std::vector<std::uint32_t>;

TEST_F(TimerWheelTest, ReportsAtTheDeadlineAndNotANanosecondBefore) {
    for (const Nanos deadline :
         {Nanos{1}, Nanos{500}, kTick - Nanos{1}, kTick, kTick * 64 + Nanos{7}, Nanos{seconds{3}},
          Nanos{hours{5}}, Nanos{hours{24 * 40}}}) {
        Wheel fresh{at(Nanos{0})};
        wheel = fresh;
        const std::uint32_t slot = add(deadline);
        EXPECT_EQ(advance(deadline - Nanos{1}), Reported{}) << deadline.count();
        EXPECT_EQ(advance(deadline), Reported{slot}) << deadline.count();
        EXPECT_EQ(advance(deadline + hours{24 * 100}), Reported{}) << deadline.count();
    }
}

TEST_F(TimerWheelTest, ReportsAPastDeadlineAtTheNextAdvanceEvenAtTheSameTime) {
    EXPECT_EQ(advance(hours{1}), Reported{});
    const std::uint32_t slot = add(seconds{1});
    EXPECT_EQ(advance(hours{1}), Reported{slot});
}

TEST_F(TimerWheelTest, ReportsTheEarlierTickFirstAfterALongGap) {
    const std::uint32_t far = add(hours{24 * 30});
    const std::uint32_t day = add(hours{24});
    const std::uint32_t minute = add(seconds{60});
    const std::uint32_t soon = add(milliseconds{3});
    const std::uint32_t later_minute = add(seconds{61});
    EXPECT_EQ(advance(hours{24 * 365}), (Reported{soon, minute, later_minute, day, far}));
}

TEST_F(TimerWheelTest, KeepsTheOrderOfArrivalWithinATick) {
    const std::uint32_t first = add(kTick * 3 + Nanos{9});
    const std::uint32_t second = add(kTick * 3 + Nanos{2});
    EXPECT_EQ(advance(kTick * 4), (Reported{first, second}));
}

TEST_F(TimerWheelTest, LooksAtTheWholeTickThoughEarlierComersAreNotDueYet) {
    const std::uint32_t late = add(kTick * 3 + Nanos{900});
    const std::uint32_t early = add(kTick * 3 + Nanos{100});
    EXPECT_EQ(advance(kTick * 3 + Nanos{100}), Reported{early});
    EXPECT_EQ(advance(kTick * 3 + Nanos{899}), Reported{});
    EXPECT_EQ(advance(kTick * 3 + Nanos{900}), Reported{late});
}

TEST_F(TimerWheelTest, ForgetsACancelledSlot) {
    const std::uint32_t gone = add(seconds{1});
    const std::uint32_t kept = add(seconds{1});
    wheel.cancel(slots, gone);
    wheel.cancel(slots, gone);
    EXPECT_EQ(slots.nodes[gone].next, Wheel::kNil);
    EXPECT_EQ(slots.nodes[gone].prev, Wheel::kNil);
    EXPECT_EQ(advance(seconds{2}), Reported{kept});
}

TEST_F(TimerWheelTest, MovesASlotThatIsScheduledAgain) {
    const std::uint32_t slot = add(hours{10});
    slots.nodes[slot].deadline = at(seconds{1});
    wheel.schedule(slots, slot);
    EXPECT_EQ(advance(seconds{1}), Reported{slot});
    EXPECT_EQ(advance(hours{11}), Reported{});
}

TEST_F(TimerWheelTest, FollowsADeadlineThatMovedLaterUnasked) {
    const std::uint32_t slot = add(seconds{1});
    slots.nodes[slot].deadline = at(hours{30});
    EXPECT_EQ(advance(hours{30} - Nanos{1}), Reported{});
    EXPECT_EQ(advance(hours{30}), Reported{slot});
    const std::uint32_t never = add(hours{31});
    slots.nodes[never].deadline = kNever;
    EXPECT_EQ(advance(hours{1'000'000}), Reported{});
    EXPECT_EQ(slots.nodes[never].next, Wheel::kNil);
}

TEST_F(TimerWheelTest, LeavesASlotWithoutDeadlineUnscheduled) {
    slots.nodes.push_back({});
    wheel.schedule(slots, 0);
    EXPECT_EQ(slots.nodes[0].next, Wheel::kNil);
    EXPECT_EQ(wheel.next_deadline_hint(), kNever);
    EXPECT_EQ(advance(Nanos::max()), Reported{});
}

TEST_F(TimerWheelTest, ReportsInTimeOnAClockThatSteppedBack) {
    const std::uint32_t past = add(seconds{5});
    EXPECT_EQ(advance(seconds{10}), Reported{past});
    const std::uint32_t slot = add(seconds{8});
    const std::uint32_t later = add(seconds{9});
    const std::uint32_t far = add(seconds{11});
    EXPECT_EQ(advance(seconds{7}), Reported{});
    EXPECT_EQ(wheel.next_deadline_hint(), at(seconds{8}));
    EXPECT_EQ(advance(seconds{8}), Reported{slot});
    EXPECT_EQ(advance(seconds{10}), Reported{later});
    EXPECT_EQ(advance(seconds{11}), Reported{far});
}

TEST_F(TimerWheelTest, LetsTheCallbackCancelAndScheduleOthersAndItself) {
    const std::uint32_t first = add(seconds{1});
    const std::uint32_t victim = add(seconds{1});
    const std::uint32_t pulled = add(hours{9});
    Reported out;
    wheel.advance(slots, at(seconds{2}), kNoLimit, [&](std::uint32_t slot) {
        out.push_back(slot);
        EXPECT_EQ(slots.nodes[slot].next, Wheel::kNil);
        if (slot == first && out.size() == 1) {
            wheel.cancel(slots, victim);
            slots.nodes[pulled].deadline = at(milliseconds{1500});
            wheel.schedule(slots, pulled);
            slots.nodes[first].deadline = at(milliseconds{1700});
            wheel.schedule(slots, first);
            slots.nodes.resize(slots.nodes.size() * 100);  // the slots move in memory
        }
    });
    EXPECT_EQ(out, (Reported{first, pulled, first}));
}

TEST_F(TimerWheelTest, StaysConsistentWhenTheCallbackThrows) {
    const std::uint32_t first = add(seconds{1});
    const std::uint32_t second = add(seconds{1});
    EXPECT_THROW(wheel.advance(slots, at(seconds{2}), kNoLimit,
                               [](std::uint32_t) { throw std::runtime_error("no"); }),
                 std::runtime_error);
    EXPECT_EQ(slots.nodes[first].next, Wheel::kNil);
    EXPECT_EQ(advance(seconds{2}), Reported{second});
}

TEST_F(TimerWheelTest, DoesNoMoreThanTheLimitAndGoesOnAtTheNextCall) {
    std::set<std::uint32_t> open;
    for (int i = 0; i < 1000; ++i) {
        open.insert(add(hours{7} + microseconds{i}));
    }
    std::size_t calls = 0;
    for (; !open.empty(); ++calls) {
        ASSERT_LT(calls, 6000U);  // at most one move a level, one report
        const std::size_t work = wheel.advance(
            slots, at(hours{8}), 1, [&](std::uint32_t slot) { EXPECT_EQ(open.erase(slot), 1U); });
        ASSERT_EQ(work, 1U);
    }
    EXPECT_EQ(wheel.advance(slots, at(hours{8}), 1, [](std::uint32_t) { FAIL(); }), 0U);
}

TEST_F(TimerWheelTest, DoesNothingWithALimitOfZero) {
    const std::uint32_t slot = add(seconds{1});
    EXPECT_EQ(advance(seconds{2}, 0), Reported{});
    EXPECT_EQ(advance(seconds{2}), Reported{slot});
}

// A walk over empty ticks would take 3e13 steps for each of these years.
TEST_F(TimerWheelTest, SkipsIdleTimeInsteadOfWalkingIt) {
    const std::uint32_t slot = add(hours{24 * 365 * 200});
    slots.touched = 0;
    for (int year = 1; year < 200; ++year) {
        EXPECT_EQ(advance(hours{24 * 365} * year), Reported{});
    }
    EXPECT_EQ(advance(hours{24 * 365 * 200}), Reported{slot});
    EXPECT_LT(slots.touched, 100'000U);
}

TEST_F(TimerWheelTest, HintsAtTheNextDeadlineWithoutEverBeingLate) {
    EXPECT_EQ(wheel.next_deadline_hint(), kNever);
    add(hours{3});
    int wakeups = 0;
    Reported out;
    while (out.empty()) {
        const Instant hint = wheel.next_deadline_hint();
        ASSERT_LE(hint, at(hours{3}));
        ASSERT_LE(++wakeups, 7);  // once a level and once within the tick
        out = advance(hint.time_since_epoch());
    }
    EXPECT_EQ(wheel.next_deadline_hint(), kNever);
}

TEST_F(TimerWheelTest, ForgetsEverythingWhenCleared) {
    add(milliseconds{1});
    add(hours{30});
    wheel.clear();
    slots.nodes.clear();
    EXPECT_EQ(wheel.next_deadline_hint(), kNever);
    const std::uint32_t slot = add(seconds{1});
    EXPECT_EQ(advance(hours{40}), Reported{slot});
}

TEST(TimerWheel, WorksOnBothSidesOfTheClocksZero) {
    Slots slots;
    Wheel wheel{at(-hours{24 * 50})};
    slots.nodes = {
        {.deadline = at(-seconds{1})}, {.deadline = at(Nanos{-1})}, {.deadline = at(hours{1})}};
    for (std::uint32_t slot = 0; slot < 3; ++slot) {
        wheel.schedule(slots, slot);
    }
    Reported out;
    const auto collect = [&](std::uint32_t slot) { out.push_back(slot); };
    wheel.advance(slots, at(-seconds{1}), kNoLimit, collect);
    EXPECT_EQ(out, Reported{0});
    wheel.advance(slots, at(Nanos{0}), kNoLimit, collect);
    EXPECT_EQ(out, (Reported{0, 1}));
    wheel.advance(slots, at(hours{2}), kNoLimit, collect);
    EXPECT_EQ(out, (Reported{0, 1, 2}));
}

// Random schedules against a sorted map: seeds and the limit of work for one call.
class TimerWheelModel : public testing::TestWithParam<std::tuple<unsigned, std::size_t>> {
  protected:
    static constexpr std::uint32_t kSlots = 300;

    std::uint64_t pick(std::uint64_t below) { return random() % below; }

    // Sub-tick, tick, minute, day and beyond-the-top distances, all of them often.
    Nanos span() {
        static constexpr std::uint64_t kScales[] = {1 << 10,    1 << 20,    1 << 26,    1ULL << 32,
                                                    1ULL << 38, 1ULL << 44, 1ULL << 50, 1ULL << 53};
        return Nanos{static_cast<std::int64_t>(pick(kScales[pick(std::size(kScales))]))};
    }
    void forget(std::uint32_t slot) {
        const auto [first, last] = model.equal_range(slots.nodes[slot].deadline);
        const auto found = std::find_if(first, last, [&](auto& e) { return e.second == slot; });
        if (found != last) {
            model.erase(found);
        }
    }
    void schedule(std::uint32_t slot) {
        forget(slot);
        const Nanos distance = pick(10) == 0 ? -span() : span();
        slots.nodes[slot].deadline = pick(20) == 0 ? kNever : now + distance;
        wheel.schedule(slots, slot);
        if (slots.nodes[slot].deadline != kNever) {
            model.emplace(slots.nodes[slot].deadline, slot);
        }
    }
    void cancel(std::uint32_t slot) {
        forget(slot);
        wheel.cancel(slots, slot);
    }
    // Moves a deadline later behind the wheel's back.
    void postpone(std::uint32_t slot) {
        if (slots.nodes[slot].next == Wheel::kNil) {
            return;
        }
        forget(slot);
        slots.nodes[slot].deadline += span();
        model.emplace(slots.nodes[slot].deadline, slot);
    }
    // One call; checks each report against the model. Returns the work done.
    std::size_t advance_once(std::size_t limit) {
        const std::size_t before = model.size();
        const std::size_t work = wheel.advance(slots, now, limit, [&](std::uint32_t slot) {
            EXPECT_LE(slots.nodes[slot].deadline, now) << "reported early";
            EXPECT_EQ(slots.nodes[slot].next, Wheel::kNil);
            const std::size_t open = model.size();
            forget(slot);
            EXPECT_EQ(model.size() + 1, open) << "reported a slot that was not scheduled";
        });
        EXPECT_LE(work, limit);
        EXPECT_LE(before - model.size(), work);
        return work;
    }
    void drain(std::size_t limit) {
        for (std::size_t calls = 0; advance_once(limit) == limit; ++calls) {
            ASSERT_LT(calls, 10U * kSlots) << "the work does not end";
        }
        ASSERT_TRUE(model.empty() || model.begin()->first > now)
            << "something due was not reported";
        ASSERT_EQ(wheel.next_deadline_hint() == kNever, model.empty());
        ASSERT_TRUE(model.empty() || wheel.next_deadline_hint() <= model.begin()->first);
    }

    std::mt19937_64 random{std::get<0>(GetParam())};
    Instant now = at(hours{24 * 7});
    Slots slots{std::vector<Slots::Node>(kSlots)};
    Wheel wheel{now};
    std::multimap<Instant, std::uint32_t> model;
};

TEST_P(TimerWheelModel, ReportsWhatASortedMapReports) {
    const std::size_t limit = std::get<1>(GetParam());
    for (int step = 0; step < 20'000; ++step) {
        const auto slot = static_cast<std::uint32_t>(pick(kSlots));
        switch (pick(8)) {
            case 0:
            case 1:
            case 2: schedule(slot); break;
            case 3: cancel(slot); break;
            case 4: postpone(slot); break;
            case 5: now += pick(4) == 0 ? -span() : span(); [[fallthrough]];
            case 6: advance_once(limit); break;
            default: drain(limit); break;
        }
        if (HasFatalFailure() || HasNonfatalFailure()) {
            FAIL() << "at step " << step;
        }
    }
    now += hours{24 * 10'000};
    drain(limit);
    EXPECT_TRUE(model.empty());
}

INSTANTIATE_TEST_SUITE_P(Seeds, TimerWheelModel,
                         testing::Combine(testing::Values(1U, 2U, 3U, 4U),
                                          testing::Values(std::size_t{1}, std::size_t{7},
                                                          kNoLimit)));

}  // namespace
}  // namespace millpond
