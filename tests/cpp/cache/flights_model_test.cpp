// A seeded long run of every call against a plain model (lists and a depth-first search over an
// edge list), and a run of many threads for the sanitizer.
#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/cache/flights.hpp"

namespace millpond {
namespace {

using Handles = std::vector<std::uint64_t>;

struct ModelWaiter {
    std::uint64_t handle;
    int parent;  // a flight's number, -1: none
    WaiterId id;
};
struct ModelFlight {
    FlightId id;
    int parent = -1;
    std::vector<ModelWaiter> waiters;
};

// The same machine, with numbers that are never used twice and no thought of cost.
class Model {
  public:
    std::map<int, ModelFlight> flights;

    int add(FlightId id, int parent) {
        flights[++last_] = {id, parent, {}};
        return last_;
    }
    // The flights that `number` waits for directly.
    [[nodiscard]] std::set<int> waits_for(int number) const {
        std::set<int> out;
        for (const auto& [other, flight] : flights) {
            if (flight.parent == number) {
                out.insert(other);
            }
            for (const ModelWaiter& waiter : flight.waiters) {
                if (waiter.parent == number) {
                    out.insert(other);
                }
            }
        }
        return out;
    }
    [[nodiscard]] bool reaches(int from, const std::set<int>& goals) const {
        std::set<int> seen;
        std::vector<int> open{from};
        while (!open.empty()) {
            const int number = open.back();
            open.pop_back();
            if (goals.contains(number)) {
                return true;
            }
            if (seen.insert(number).second) {
                const std::set<int> next = waits_for(number);
                open.insert(open.end(), next.begin(), next.end());
            }
        }
        return false;
    }
    [[nodiscard]] bool would_deadlock(int flight, int parent) const {
        std::set<int> chain;
        for (int number = parent; number != -1; number = flights.at(number).parent) {
            chain.insert(number);
        }
        return reaches(flight, chain);
    }
    // What ran inside `number` runs on its own from now on.
    void cut_inside(int number) {
        for (auto& [other, flight] : flights) {
            if (flight.parent == number) {
                flight.parent = -1;
            }
            for (ModelWaiter& waiter : flight.waiters) {
                if (waiter.parent == number) {
                    waiter.parent = -1;
                }
            }
        }
    }
    Handles end(int number) {
        Handles handles;
        for (const ModelWaiter& waiter : flights.at(number).waiters) {
            handles.push_back(waiter.handle);
        }
        cut_inside(number);
        flights.erase(number);
        return handles;
    }

  private:
    int last_ = 0;
};

template <class Lock>
class FlightsModelTest : public testing::Test {
  protected:
    static constexpr std::size_t kMostFlights = 12;

    std::size_t pick(std::size_t below) { return random() % below; }
    int any_flight() {
        auto it = model.flights.begin();
        std::advance(it, static_cast<std::ptrdiff_t>(pick(model.flights.size())));
        return it->first;
    }
    int any_parent() { return model.flights.empty() || pick(3) == 0 ? -1 : any_flight(); }
    FlightId id_of(int number) {
        if (number != -1) {
            return model.flights.at(number).id;
        }
        return stale.empty() || pick(2) == 0 ? FlightId{} : stale[pick(stale.size())];
    }

    void lead() {
        if (model.flights.size() < kMostFlights) {
            const int parent = any_parent();
            model.add(flights.lead(id_of(parent)), parent);
        }
    }
    void join() {
        const int number = any_flight();
        const int parent = any_parent();
        const std::uint64_t handle = ++last_handle;
        const bool refuse = parent != -1 && model.would_deadlock(number, parent);
        const Join join = flights.join(id_of(number), id_of(parent), handle);
        ASSERT_EQ(join.outcome, refuse ? JoinOutcome::WouldDeadlock : JoinOutcome::Waiting);
        refused += refuse;
        if (!refuse) {
            model.flights.at(number).waiters.push_back({handle, parent, join.waiter});
        }
    }
    void end() {
        const int number = any_flight();
        const FlightId id = id_of(number);
        Handles woken;
        ASSERT_EQ(pick(2) == 0 ? flights.land(id, woken) : flights.fail(id, woken),
                  EndOutcome::Ended);
        ASSERT_EQ(woken, model.end(number));
        stale.push_back(id);
    }
    void leave() {
        std::vector<ModelWaiter>& waiters = model.flights.at(any_flight()).waiters;
        if (waiters.empty()) {
            return;
        }
        const auto it = waiters.begin() + static_cast<std::ptrdiff_t>(pick(waiters.size()));
        const WaiterId id = it->id;
        waiters.erase(it);
        ASSERT_EQ(flights.leave(id),
                  waiters.empty() ? LeaveOutcome::LastLeft : LeaveOutcome::Stayed);
        ASSERT_EQ(flights.leave(id), LeaveOutcome::Gone);
    }
    void restart() {
        const int number = any_flight();
        ModelFlight& flight = model.flights.at(number);
        const Restart restart = flights.restart(flight.id);
        stale.push_back(flight.id);
        if (flight.waiters.empty()) {
            ASSERT_EQ(restart.outcome, RestartOutcome::Ended);
            model.end(number);
            return;
        }
        const ModelWaiter promoted = flight.waiters.front();
        ASSERT_EQ(restart.outcome, RestartOutcome::Promoted);
        ASSERT_EQ(restart.handle, promoted.handle);
        ASSERT_EQ(flights.leave(promoted.id), LeaveOutcome::Gone);
        flight.waiters.erase(flight.waiters.begin());
        model.cut_inside(number);
        flight.parent = promoted.parent;
        flight.id = restart.flight;
    }
    void detach() {
        const int number = any_flight();
        flights.detach(id_of(number));
        model.flights.at(number).parent = -1;
    }
    void use_stale() {
        const FlightId id = id_of(-1);
        Handles woken;
        ASSERT_EQ(flights.land(id, woken), EndOutcome::Stale);
        ASSERT_EQ(flights.join(id, id_of(any_parent()), 0).outcome, JoinOutcome::Over);
        ASSERT_EQ(flights.restart(id).outcome, RestartOutcome::Stale);
        ASSERT_TRUE(woken.empty());
    }
    void step() {
        if (model.flights.empty()) {
            return lead();
        }
        switch (pick(16)) {
            case 0:
            case 1:
            case 2: return lead();
            case 3: return end();
            case 4:
            case 5: return leave();
            case 6: return restart();
            case 7: return pick(4) == 0 ? detach() : use_stale();
            default: return join();
        }
    }
    void check() {
        std::size_t waiting = 0;
        for (const auto& [number, flight] : model.flights) {
            ASSERT_EQ(flights.waiters(flight.id), flight.waiters.size());
            waiting += flight.waiters.size();
        }
        ASSERT_EQ(flights.active(), model.flights.size());
        ASSERT_EQ(flights.waiting(), waiting);
    }

    std::mt19937_64 random{20260401};
    Flights<Lock> flights;
    Model model;
    std::vector<FlightId> stale;
    std::uint64_t last_handle = 0;
    std::size_t refused = 0;
};

using Locks = testing::Types<NoLock, MutexLock>;
TYPED_TEST_SUITE(FlightsModelTest, Locks);

TYPED_TEST(FlightsModelTest, DoesWhatThePlainModelDoes) {
    for (int i = 0; i < 60'000; ++i) {
        this->step();
        if (i % 64 == 0) {
            this->check();
        }
        if (this->HasFatalFailure()) {
            FAIL() << "at step " << i;
        }
    }
    EXPECT_GT(this->refused, 1000U);  // the run did meet cycles
    while (!this->model.flights.empty()) {
        this->end();
    }
    this->check();
}

// Threads that lead, join, leave, interrupt and nest on a few keys; each counts what it is owed.
TEST(FlightsThreads, OweEveryWaiterExactlyOneOutcomeAcrossThreads) {
    constexpr std::size_t kThreads = 4;
    constexpr int kRounds = 4000;
    constexpr std::size_t kKeys = 3;
    Flights<MutexLock> flights;
    MutexLock map_lock;
    FlightId keys[kKeys];  // the store's part, with its own lock
    std::vector<std::atomic<int>> outcomes(kThreads * kRounds);
    std::atomic<int> unexpected = 0;
    const auto deliver = [&](const Handles& woken) {
        for (const std::uint64_t handle : woken) {
            ++outcomes[handle];
        }
    };
    const auto look_up = [&](std::size_t key, FlightId parent, std::uint64_t handle) {
        const LockGuard guard(map_lock);
        Join join = flights.join(keys[key], parent, handle);
        const bool lead = join.outcome == JoinOutcome::Over;
        if (lead) {
            keys[key] = flights.lead(parent);
        }
        return std::pair{lead ? keys[key] : FlightId{}, join};
    };
    const auto work = [&](std::size_t thread) {
        std::mt19937_64 random{thread};
        for (int round = 0; round < kRounds; ++round) {
            const std::uint64_t handle = thread * kRounds + static_cast<std::uint64_t>(round);
            const auto [flight, join] = look_up(random() % kKeys, {}, handle);
            Handles woken;
            if (flight != FlightId{}) {
                const auto [inner, nested] = look_up(random() % kKeys, flight, handle);
                if (nested.outcome == JoinOutcome::Waiting &&
                    flights.leave(nested.waiter) == LeaveOutcome::Gone) {
                    --outcomes[handle];  // woken (or made the leader) while inside
                }
                flights.land(inner, woken);
                ++outcomes[handle];
                if (random() % 8 == 0) {
                    const LockGuard guard(map_lock);
                    Restart restart = flights.restart(flight);
                    if (restart.outcome == RestartOutcome::Promoted) {
                        ++outcomes[restart.handle];
                        flights.fail(restart.flight, woken);
                    }
                } else {
                    flights.land(flight, woken);
                }
            } else if (join.outcome != JoinOutcome::Waiting) {
                ++unexpected;  // nobody is refused outside of a load
            } else if (random() % 2 == 0 && flights.leave(join.waiter) != LeaveOutcome::Gone) {
                ++outcomes[handle];
            }
            deliver(woken);
        }
    };
    std::vector<std::thread> threads;
    for (std::size_t thread = 0; thread < kThreads; ++thread) {
        threads.emplace_back(work, thread);
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    Handles rest;
    for (const FlightId flight : keys) {
        flights.land(flight, rest);
    }
    deliver(rest);
    EXPECT_EQ(unexpected, 0);
    EXPECT_EQ(flights.active(), 0U);
    EXPECT_EQ(flights.waiting(), 0U);
    for (const std::atomic<int>& outcome : outcomes) {
        ASSERT_EQ(outcome, 1);
    }
}

}  // namespace
}  // namespace millpond
