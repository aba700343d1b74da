#include "millpond/base/anchored_clock.hpp"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

namespace millpond {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// A machine: true time, a counter that follows it at some rate, and how often each was read.
struct World {
    std::int64_t nanos = 1'000'000'000'000'000'000;
    double counts = 5e12;
    double counts_per_nano = 3.1;
    int clock_reads = 0;
    double reading_takes = 10;  // ns

    void pass(Nanos span) {
        nanos += span.count();
        counts += static_cast<double>(span.count()) * counts_per_nano;
    }
    [[nodiscard]] Instant now() const { return Instant{Nanos{nanos}}; }
};

struct FakeCounter {
    World* world;
    std::uint64_t operator()() const {
        world->pass(Nanos{static_cast<Nanos::rep>(world->reading_takes)});
        return static_cast<std::uint64_t>(static_cast<std::int64_t>(world->counts));
    }
};
struct FakeClock {
    World* world;
    Instant operator()() const {
        ++world->clock_reads;
        world->pass(Nanos{30});
        return world->now();
    }
};
constexpr Nanos kTick = milliseconds{4};

struct FakeCoarse {
    World* world;
    Instant operator()() const {
        return Instant{Nanos{world->nanos / kTick.count() * kTick.count()}};
    }
};
using Clock = AnchoredClock<FakeClock, FakeCoarse, FakeCounter>;

Clock clock_of(World& world) {
    return Clock{FakeClock{&world}, FakeCoarse{&world}, FakeCounter{&world}};
}

// How far the clock is off now; readings themselves take some 50 ns.
Nanos error_of(Clock& clock, const World& world) {
    const Instant read = clock.now();
    return std::chrono::abs(read - world.now());
}

void settle(Clock& clock, World& world) {
    for (int i = 0; i < 4; ++i) {
        (void)clock.now();
        world.pass(milliseconds{5});
    }
    (void)clock.now();
}

TEST(AnchoredClock, TellsTheTimeOfTheClockFromTheFirstReading) {
    World world;
    Clock clock = clock_of(world);
    for (int i = 0; i < 1000; ++i) {
        EXPECT_LT(error_of(clock, world), microseconds{1});
        world.pass(microseconds{7});
    }
}

TEST(AnchoredClock, ReadsTheClockOnceATickWhenTheCounterCanBeTrusted) {
    World world;
    Clock clock = clock_of(world);
    settle(clock, world);
    world.clock_reads = 0;
    for (int i = 0; i < 100'000; ++i) {
        (void)clock.now();
        world.pass(microseconds{1});
    }
    const int ticks = 100'000 / 4000;
    EXPECT_LE(world.clock_reads, ticks + 2);
    EXPECT_GE(world.clock_reads, ticks - 2);
}

TEST(AnchoredClock, StaysWithinMicrosecondsAtAnyRateAndPace) {
    std::mt19937_64 random{7};
    for (const double rate : {0.024, 1.0, 2.4, 5.7, 24.0}) {
        World world;
        world.counts_per_nano = rate;
        Clock clock = clock_of(world);
        settle(clock, world);
        const auto grain = Nanos{static_cast<Nanos::rep>(std::ceil(2 / rate))};
        for (int i = 0; i < 20'000; ++i) {
            EXPECT_LT(error_of(clock, world), microseconds{5} + grain) << rate;
            world.pass(Nanos{static_cast<Nanos::rep>(random() % 3'000'000)});
        }
    }
}

TEST(AnchoredClock, AsksTheClockAfterAnyPause) {
    World world;
    Clock clock = clock_of(world);
    settle(clock, world);
    for (const Nanos pause : {Nanos{hours{30}}, Nanos{seconds{5}}, Nanos{milliseconds{4}}}) {
        world.pass(pause);
        EXPECT_LT(error_of(clock, world), microseconds{1});
    }
}

// What a counter does at worst, and how wrong the clock may be for how long.
void survives(World& world, Clock& clock) {
    bool off = false;
    Instant until{};
    for (int i = 0; i < 20'000; ++i) {
        const Nanos error = error_of(clock, world);
        EXPECT_LE(error, kTick + microseconds{1});
        if (error > microseconds{5} && !off) {
            off = true;
            until = world.now() + kTick + microseconds{10};
        }
        if (error > microseconds{5}) {
            EXPECT_LT(world.now(), until) << "wrong for longer than one tick";
        }
        world.pass(microseconds{3});
    }
}

TEST(AnchoredClock, IsWrongForOneTickAtMostWhenTheCounterJumps) {
    for (const double jump : {-4e12, -3e4, -1.0, 1.0, 9e3, 1e5, 1e13}) {
        World world;
        Clock clock = clock_of(world);
        settle(clock, world);
        world.counts += jump;
        survives(world, clock);
    }
}

TEST(AnchoredClock, IsWrongForOneTickAtMostWhenTheCounterChangesItsRate) {
    for (const double rate : {0.0, 0.1, 2.9, 3.2, 30.0}) {
        World world;
        Clock clock = clock_of(world);
        settle(clock, world);
        world.counts_per_nano = rate;
        survives(world, clock);
    }
}

TEST(AnchoredClock, TrustsTheCounterAgainAfterItHasChangedItsRate) {
    World world;
    Clock clock = clock_of(world);
    settle(clock, world);
    world.counts_per_nano = 2.2;
    settle(clock, world);
    settle(clock, world);
    world.clock_reads = 0;
    for (int i = 0; i < 1000; ++i) {
        (void)clock.now();
    }
    EXPECT_LE(world.clock_reads, 1);
}

TEST(AnchoredClock, DoesNotTakeAReadingThatWasInterruptedForARate) {
    World world;
    Clock clock = clock_of(world);
    settle(clock, world);
    world.reading_takes = 1e6;  // The thread loses the processor within each reading.
    for (int i = 0; i < 10; ++i) {
        (void)clock.now();
        world.pass(milliseconds{5});
    }
    world.reading_takes = 10;
    for (int i = 0; i < 1000; ++i) {
        EXPECT_LT(error_of(clock, world), microseconds{5});
        world.pass(microseconds{50});
    }
}

}  // namespace
}  // namespace millpond
