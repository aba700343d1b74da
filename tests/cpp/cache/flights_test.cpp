#include "millpond/cache/flights.hpp"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millpond {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

using Handles = std::vector<std::uint64_t>;
constexpr FlightId kNone;

// Every behaviour holds under both lock policies.
template <class Lock>
class FlightsTest : public testing::Test {
  protected:
    FlightId lead(FlightId parent = kNone) { return flights.lead(parent); }
    JoinOutcome join(FlightId flight, FlightId parent, std::uint64_t handle) {
        return flights.join(flight, parent, handle).outcome;
    }
    WaiterId wait(FlightId flight, std::uint64_t handle, FlightId parent = kNone) {
        const Join join = flights.join(flight, parent, handle);
        EXPECT_EQ(join.outcome, JoinOutcome::Waiting);
        return join.waiter;
    }
    Handles land(FlightId flight) {
        Handles woken;
        EXPECT_EQ(flights.land(flight, woken), EndOutcome::Ended);
        return woken;
    }

    Flights<Lock> flights;
};

using Locks = testing::Types<NoLock, MutexLock>;
TYPED_TEST_SUITE(FlightsTest, Locks);

TYPED_TEST(FlightsTest, HandsOutTheWaitersInTheOrderOfJoining) {
    const FlightId flight = this->lead();
    for (std::uint64_t handle = 1; handle <= 5; ++handle) {
        this->wait(flight, handle);
    }
    EXPECT_EQ(this->flights.waiters(flight), 5U);
    EXPECT_THAT(this->land(flight), ElementsAre(1, 2, 3, 4, 5));
    EXPECT_EQ(this->flights.active(), 0U);
    EXPECT_EQ(this->flights.waiting(), 0U);
}

TYPED_TEST(FlightsTest, AppendsToWhatTheCallerHasCollectedSoFar) {
    Handles woken{99};
    const FlightId first = this->lead();
    this->wait(first, 1);
    this->flights.land(first, woken);
    const FlightId second = this->lead();
    this->wait(second, 2);
    this->flights.fail(second, woken);
    EXPECT_THAT(woken, ElementsAre(99, 1, 2));
}

TYPED_TEST(FlightsTest, FindsEveryCallOnAnEndedFlightStaleAndHarmless) {
    const FlightId flight = this->lead();
    const WaiterId waiter = this->wait(flight, 1);
    this->land(flight);
    const FlightId reused = this->lead();  // takes the same slot
    ASSERT_EQ(reused.slot, flight.slot);
    for (const FlightId stale : {flight, kNone, FlightId{12345, 1}}) {
        Handles woken;
        EXPECT_EQ(this->flights.land(stale, woken), EndOutcome::Stale);
        EXPECT_EQ(this->flights.fail(stale, woken), EndOutcome::Stale);
        EXPECT_EQ(this->join(stale, kNone, 2), JoinOutcome::Over);
        EXPECT_EQ(this->flights.restart(stale).outcome, RestartOutcome::Stale);
        EXPECT_EQ(this->flights.waiters(stale), 0U);
        this->flights.detach(stale);
        EXPECT_THAT(woken, IsEmpty());
    }
    EXPECT_EQ(this->flights.leave(waiter), LeaveOutcome::Gone);
    EXPECT_EQ(this->flights.leave(WaiterId{}), LeaveOutcome::Gone);
    EXPECT_EQ(this->flights.leave(WaiterId{12345, 1}), LeaveOutcome::Gone);
    EXPECT_EQ(this->flights.active(), 1U);
    EXPECT_THAT(this->land(reused), IsEmpty());
}

TYPED_TEST(FlightsTest, TellsTheLastWhoLeavesFromTheOthers) {
    const FlightId flight = this->lead();
    const WaiterId first = this->wait(flight, 1);
    const WaiterId second = this->wait(flight, 2);
    const WaiterId third = this->wait(flight, 3);
    EXPECT_EQ(this->flights.leave(second), LeaveOutcome::Stayed);
    EXPECT_EQ(this->flights.leave(second), LeaveOutcome::Gone);
    EXPECT_EQ(this->flights.leave(first), LeaveOutcome::Stayed);
    EXPECT_EQ(this->flights.leave(third), LeaveOutcome::LastLeft);
    this->wait(flight, 4);  // the flight is still in the air
    EXPECT_THAT(this->land(flight), ElementsAre(4));
}

TYPED_TEST(FlightsTest, RefusesToWaitOnTheFlightThatTheCallerRunsIn) {
    const FlightId outer = this->lead();
    const FlightId middle = this->lead(outer);
    const FlightId inner = this->lead(middle);
    EXPECT_EQ(this->join(inner, inner, 1), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(middle, inner, 1), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(outer, inner, 1), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(outer, kNone, 1), JoinOutcome::Waiting);
    EXPECT_EQ(this->flights.stats().refused, 3U);
}

TYPED_TEST(FlightsTest, RefusesTheSecondOfTwoLoadsThatCallEachOther) {
    const FlightId a = this->lead();
    const FlightId b = this->lead();
    EXPECT_EQ(this->join(b, a, 1), JoinOutcome::Waiting);
    EXPECT_EQ(this->join(a, b, 2), JoinOutcome::WouldDeadlock);
    EXPECT_THAT(this->land(b), ElementsAre(1));
    EXPECT_THAT(this->land(a), IsEmpty());
}

TYPED_TEST(FlightsTest, RefusesACycleThroughNestedLoadsAndSeveralWaiters) {
    const FlightId a = this->lead();
    const FlightId a_inner = this->lead(this->lead(a));
    const FlightId b = this->lead();
    const FlightId b_inner = this->lead(b);
    const FlightId c = this->lead();
    EXPECT_EQ(this->join(b, a_inner, 1), JoinOutcome::Waiting);  // a waits for b
    EXPECT_EQ(this->join(c, b_inner, 2), JoinOutcome::Waiting);  // b waits for c
    EXPECT_EQ(this->join(a, c, 3), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(a_inner, c, 3), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(c, a, 4), JoinOutcome::Waiting);  // in the same direction
}

TYPED_TEST(FlightsTest, AllowsTheReverseWaitOnceTheFirstHasLeft) {
    const FlightId a = this->lead();
    const FlightId b = this->lead();
    const WaiterId waiter = this->wait(b, 1, a);
    EXPECT_EQ(this->join(a, b, 2), JoinOutcome::WouldDeadlock);
    this->flights.leave(waiter);
    EXPECT_EQ(this->join(a, b, 2), JoinOutcome::Waiting);
}

TYPED_TEST(FlightsTest, LetsTheFlightsLedInsideAnEndedOneFlyOn) {
    const FlightId outer = this->lead();
    const FlightId inner = this->lead(outer);
    const FlightId other = this->lead();
    this->wait(other, 1, outer);
    EXPECT_THAT(this->land(outer), IsEmpty());
    EXPECT_EQ(this->flights.active(), 2U);
    const FlightId reused = this->lead(outer);  // its parent is over: on its own
    ASSERT_EQ(reused.slot, outer.slot);
    EXPECT_EQ(this->join(reused, inner, 2), JoinOutcome::Waiting);
    EXPECT_EQ(this->join(reused, other, 3), JoinOutcome::Waiting);
    EXPECT_THAT(this->land(inner), IsEmpty());
    EXPECT_THAT(this->land(other), ElementsAre(1));
    EXPECT_THAT(this->land(reused), ElementsAre(2, 3));
}

TYPED_TEST(FlightsTest, PromotesTheLongestWaitingAndKeepsTheOthers) {
    const FlightId flight = this->lead();
    const WaiterId first = this->wait(flight, 1);
    const WaiterId second = this->wait(flight, 2);
    this->wait(flight, 3);
    const Restart restart = this->flights.restart(flight);
    EXPECT_EQ(restart.outcome, RestartOutcome::Promoted);
    EXPECT_EQ(restart.handle, 1U);
    EXPECT_EQ(this->flights.leave(first), LeaveOutcome::Gone);
    EXPECT_EQ(this->flights.leave(second), LeaveOutcome::Stayed);
    EXPECT_THAT(this->land(restart.flight), ElementsAre(3));
}

TYPED_TEST(FlightsTest, KeepsTheOldLoadFromEndingARestartedFlight) {
    const FlightId flight = this->lead();
    this->wait(flight, 1);
    this->wait(flight, 2);
    const Restart restart = this->flights.restart(flight);
    Handles woken;
    EXPECT_EQ(this->flights.land(flight, woken), EndOutcome::Stale);
    EXPECT_EQ(this->flights.restart(flight).outcome, RestartOutcome::Stale);
    EXPECT_EQ(this->flights.waiters(restart.flight), 1U);
    EXPECT_THAT(this->land(restart.flight), ElementsAre(2));
}

TYPED_TEST(FlightsTest, EndsARestartedFlightThatNobodyWaitsOn) {
    const FlightId flight = this->lead();
    this->flights.leave(this->wait(flight, 1));
    EXPECT_EQ(this->flights.restart(flight).outcome, RestartOutcome::Ended);
    EXPECT_EQ(this->flights.active(), 0U);
    EXPECT_EQ(this->flights.restart(flight).outcome, RestartOutcome::Stale);
}

TYPED_TEST(FlightsTest, PassesTheLeadOnWhenThePromotedGivesUpBeforeItHasBegun) {
    const FlightId flight = this->lead();
    this->wait(flight, 1);
    this->wait(flight, 2);
    const Restart first = this->flights.restart(flight);
    const Restart second = this->flights.restart(first.flight);
    EXPECT_EQ(second.handle, 2U);
    EXPECT_EQ(this->flights.restart(second.flight).outcome, RestartOutcome::Ended);
}

TYPED_TEST(FlightsTest, MovesARestartedFlightInsideTheLoadOfItsNewLeader) {
    const FlightId old_parent = this->lead();
    const FlightId flight = this->lead(old_parent);
    const FlightId new_parent = this->lead();
    this->wait(flight, 1, new_parent);
    const Restart restart = this->flights.restart(flight);
    EXPECT_EQ(this->join(new_parent, restart.flight, 2), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(old_parent, restart.flight, 2), JoinOutcome::Waiting);
}

TYPED_TEST(FlightsTest, CountsNothingOfTheOldLoadAsAPartOfTheRestartedOne) {
    const FlightId flight = this->lead();
    const FlightId child = this->lead(flight);
    const FlightId awaited = this->lead();
    this->wait(awaited, 1, flight);
    this->wait(flight, 2);
    const FlightId again = this->flights.restart(flight).flight;
    EXPECT_EQ(this->join(again, child, 3), JoinOutcome::Waiting);
    EXPECT_EQ(this->join(again, awaited, 4), JoinOutcome::Waiting);
}

TYPED_TEST(FlightsTest, LetsADetachedFlightWaitOnItsFormerParent) {
    const FlightId parent = this->lead();
    const FlightId first = this->lead(parent);
    const FlightId second = this->lead(parent);
    const FlightId third = this->lead(parent);
    EXPECT_EQ(this->join(parent, second, 1), JoinOutcome::WouldDeadlock);
    this->flights.detach(second);
    EXPECT_EQ(this->join(parent, second, 1), JoinOutcome::Waiting);
    EXPECT_EQ(this->join(parent, first, 2), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->join(parent, third, 3), JoinOutcome::WouldDeadlock);
}

TYPED_TEST(FlightsTest, RefusesTheParentOfATaskOnlyWhileItIsAwaitedThere) {
    const FlightId parent = this->lead();
    const FlightId task = this->lead();                   // runs in a task of its own ...
    const WaiterId leader = this->wait(task, 1, parent);  // ... and its leader waits on it
    EXPECT_EQ(this->join(parent, task, 2), JoinOutcome::WouldDeadlock);
    EXPECT_EQ(this->flights.leave(leader), LeaveOutcome::LastLeft);
    EXPECT_EQ(this->join(parent, task, 2), JoinOutcome::Waiting);
}

TYPED_TEST(FlightsTest, DropsWhatTheOtherThreadsLeftBehindAtAFork) {
    const FlightId mine = this->lead();
    const FlightId theirs = this->lead();
    const FlightId inside_theirs = this->lead(theirs);
    this->wait(mine, 10);
    this->wait(mine, 21);
    this->wait(theirs, 11);
    this->wait(theirs, 22);
    Handles dropped;
    this->flights.abandon(
        [&](FlightId flight) { return flight == mine || flight == inside_theirs; },
        [](std::uint64_t handle) { return handle < 20; }, dropped);
    EXPECT_THAT(dropped, UnorderedElementsAre(21, 22, 11));
    EXPECT_EQ(this->flights.active(), 2U);
    EXPECT_EQ(this->flights.waiting(), 1U);
    EXPECT_EQ(this->join(theirs, kNone, 12), JoinOutcome::Over);
    EXPECT_THAT(this->land(mine), ElementsAre(10));
    EXPECT_THAT(this->land(inside_theirs), IsEmpty());
}

TYPED_TEST(FlightsTest, AllocatesNothingOnceTheTideHasBeenThere) {
    const auto tide = [&] {
        std::vector<FlightId> open;
        for (int i = 0; i < 1000; ++i) {
            open.push_back(this->lead(open.empty() ? kNone : open.back()));
            this->wait(open.back(), 1);
        }
        for (const FlightId flight : open) {
            this->land(flight);
        }
        return this->flights.allocated_bytes();
    };
    const std::size_t bytes = tide();
    EXPECT_EQ(tide(), bytes);
    EXPECT_EQ(this->flights.waiting(), 0U);
}

TYPED_TEST(FlightsTest, CountsWhatHappened) {
    Handles woken;
    const FlightId landed = this->lead();
    this->wait(landed, 1);
    this->flights.land(this->flights.restart(landed).flight, woken);
    this->flights.fail(this->lead(), woken);
    this->flights.fail(landed, woken);  // stale: not counted
    const FlightStats stats = this->flights.stats();
    EXPECT_EQ(stats.led, 2U);
    EXPECT_EQ(stats.joined, 1U);
    EXPECT_EQ(stats.restarted, 1U);
    EXPECT_EQ(stats.landed, 1U);
    EXPECT_EQ(stats.failed, 1U);
    EXPECT_EQ(stats.refused, 0U);
}

}  // namespace
}  // namespace millpond
