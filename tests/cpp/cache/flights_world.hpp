// A small world of callers, threads and tasks, that play a program over Flights one step at a time.
// A program says what each caller calls and what each load does; whoever steps next is chosen from
// outside, so a test can play every interleaving. No clock and no thread is involved.
//
// The judge knows nothing of ancestry or flights that wait: it looks at the callers themselves.
// Who waits, waits for the caller that runs the load; who gathers, for its children. A join must be
// refused exactly when that relation would lead back to the one who joins.
#pragma once

#include <algorithm>
#include <vector>

#include <gtest/gtest.h>

#include "millpond/cache/flights.hpp"

namespace millpond::flights_world {

enum class Ends { Lands, Fails, Interrupted };
enum class Patience { Waits, TimesOut, Cancelled };  // TimesOut goes on after it, Cancelled unwinds
enum class Order { InTurn, AtOnce };
enum class Runs { InCaller, InTask };  // a thread loads by itself, a task has the load in its own

// One call of a cached function: what its load calls, if this caller comes to lead.
struct Call {
    std::size_t key;
    std::vector<Call> body{};
    Ends ends = Ends::Lands;
    Patience patience = Patience::Waits;
    Order order = Order::InTurn;
};

struct Program {
    std::vector<Call> callers;
    std::vector<Runs> runs;
};

enum class State { Ready, Waiting, Promoted, Gathering, Done };
enum class Kind { Step, GiveUp };
struct Move {
    std::size_t actor;
    Kind kind;
};

constexpr std::size_t kNobody = ~std::size_t{0};

struct Frame {
    const Call* call;
    FlightId flight;  // none: uncoalesced, or the frame in which a caller starts
    std::size_t next = 0;
};

struct Actor {
    Runs runs;
    std::vector<Frame> frames;
    FlightId context;                // what it runs in below its own frames
    std::size_t gatherer = kNobody;  // whose child it is
    bool is_task = false;
    State state = State::Ready;
    bool unwinding = false;
    std::size_t open_children = 0;
    const Call* call = nullptr;  // waited for
    FlightId flight{};           // waited on, or promoted to
    WaiterId waiter{};
    std::size_t ticket = 0;
};

// What happened on all paths together, to show that the programs reach what they are there for.
struct Tally {
    std::size_t paths = 0;
    std::size_t refused = 0;
    std::size_t promoted = 0;
    std::size_t cancelled = 0;
};

// One run of a program: the callers, the store's map of keys, and the flights under test.
class World {
  public:
    World(const Program& program, Flights<NoLock>& flights, Tally& tally)
        : tally_(tally), flights_(flights), roots_(program.callers.size()) {
        for (std::size_t i = 0; i < program.callers.size(); ++i) {
            roots_[i] = Call{0, {program.callers[i]}};
            actors_.push_back({program.runs[i], {{&roots_[i], {}}}, {}});
        }
    }

    // What can happen next. Fails the test when only impatience could go on.
    std::vector<Move> moves() const {
        std::vector<Move> out;
        bool stuck = true;
        bool done = true;
        for (std::size_t i = 0; i < actors_.size(); ++i) {
            const Actor& actor = actors_[i];
            const bool waits = actor.state == State::Waiting || actor.state == State::Promoted;
            const bool steps = actor.state == State::Ready || actor.state == State::Promoted;
            done = done && actor.state == State::Done;
            stuck = stuck && !steps && !(waits && actor.unwinding);
            if (steps && !(waits && actor.unwinding)) {
                out.push_back({i, Kind::Step});
            }
            if (waits && (actor.unwinding || actor.call->patience != Patience::Waits)) {
                out.push_back({i, Kind::GiveUp});
            }
        }
        EXPECT_TRUE(done || !stuck) << "deadlock";
        return done || stuck ? std::vector<Move>{} : out;
    }

    void carry_out(Move move) {
        if (move.kind == Kind::GiveUp) {
            give_up(move.actor);
        } else if (actors_[move.actor].state == State::Promoted) {
            take_over(move.actor);
        } else if (actors_[move.actor].unwinding) {
            unwind(move.actor);
        } else {
            step(move.actor);
        }
    }

    void check_end() const {
        EXPECT_EQ(flights_.active(), 0U);
        EXPECT_EQ(flights_.waiting(), 0U);
        EXPECT_TRUE(std::ranges::all_of(outcomes_, [](int n) { return n == 1; }))
            << "a waiter without exactly one outcome";
    }

  private:
    void step(std::size_t me) {
        Frame& frame = actors_[me].frames.back();
        if (frame.next == frame.call->body.size()) {
            return end_frame(me);
        }
        if (frame.call->order == Order::InTurn) {
            return begin(me, frame.call->body[frame.next++]);
        }
        const Call& call = *frame.call;
        frame.next = call.body.size();
        actors_[me].state = State::Gathering;
        actors_[me].open_children = call.body.size();
        for (const Call& child : call.body) {
            Actor actor{actors_[me].runs, {}, innermost(me), me};
            actors_.push_back(actor);
            begin(actors_.size() - 1, child);
        }
    }

    void begin(std::size_t me, const Call& call) {
        const FlightId parent = innermost(me);
        const FlightId flight = keys_[call.key];
        const std::size_t holder = holder_of(flight);
        const Join join = flights_.join(flight, parent, outcomes_.size());
        ASSERT_EQ(join.outcome == JoinOutcome::Over, holder == kNobody);
        if (join.outcome != JoinOutcome::Over) {
            const bool deadlock = join.outcome == JoinOutcome::WouldDeadlock;
            ASSERT_EQ(deadlock, waits_for(holder, me)) << "key " << call.key;
            tally_.refused += deadlock;
            deadlock ? run_uncoalesced(me, call) : wait(me, call, flight, join);
        } else if (actors_[me].runs == Runs::InCaller) {
            keys_[call.key] = flights_.lead(parent);
            hold(keys_[call.key], me);
            actors_[me].frames.push_back({&call, keys_[call.key]});
        } else {
            keys_[call.key] = flights_.lead({});
            start_task(me, call, keys_[call.key]);
        }
    }

    void run_uncoalesced(std::size_t me, const Call& call) {
        actors_[me].frames.push_back({&call, {}});
        settle(me);
    }

    // The load runs in a task of its own and `me`, who leads, waits like everyone else.
    void start_task(std::size_t me, const Call& call, FlightId flight) {
        const Join join = flights_.join(flight, innermost(me), outcomes_.size());
        ASSERT_EQ(join.outcome, JoinOutcome::Waiting);
        wait(me, call, flight, join);
        Actor task{Runs::InTask, {{&call, flight}}, {}};
        task.is_task = true;
        actors_.push_back(task);
        hold(flight, actors_.size() - 1);
    }

    void wait(std::size_t me, const Call& call, FlightId flight, Join join) {
        Actor& actor = actors_[me];
        actor.state = State::Waiting;
        actor.call = &call;
        actor.flight = flight;
        actor.waiter = join.waiter;
        actor.ticket = outcomes_.size();
        outcomes_.push_back(0);
        ticket_owner_.push_back(me);
    }

    void end_frame(std::size_t me) {
        const Frame frame = actors_[me].frames.back();
        if (interrupts(*frame.call)) {
            interrupted_.push_back(frame.call);
            actors_[me].unwinding = true;
            return unwind(me);
        }
        pop(me);
        release(frame.flight);
        std::vector<std::uint64_t> woken;
        ASSERT_EQ(frame.call->ends == Ends::Fails ? flights_.fail(frame.flight, woken)
                                                  : flights_.land(frame.flight, woken),
                  EndOutcome::Ended);
        for (const std::uint64_t ticket : woken) {
            ++outcomes_[ticket];
            actors_[ticket_owner_[ticket]].state = State::Ready;
            settle(ticket_owner_[ticket]);
        }
    }

    void unwind(std::size_t me) {
        const Frame frame = actors_[me].frames.back();
        pop(me);
        if (frame.flight != FlightId{}) {
            restart(frame.flight, frame.call->key);
        }
    }

    void restart(FlightId flight, std::size_t key) {
        release(flight);
        const Restart restart = flights_.restart(flight);
        ASSERT_NE(restart.outcome, RestartOutcome::Stale);
        keys_[key] = restart.flight;
        if (restart.outcome == RestartOutcome::Promoted) {
            const std::size_t promoted = ticket_owner_[restart.handle];
            ++outcomes_[restart.handle];
            ++tally_.promoted;
            hold(restart.flight, promoted);
            actors_[promoted].state = State::Promoted;
            for (Actor& actor : actors_) {
                actor.flight = actor.flight == flight ? restart.flight : actor.flight;
            }
        }
    }

    void take_over(std::size_t me) {
        Actor& actor = actors_[me];
        if (actor.runs == Runs::InCaller) {
            actor.state = State::Ready;
            actor.frames.push_back({actor.call, actor.flight});
        } else {
            release(actor.flight);
            flights_.detach(actor.flight);
            start_task(me, *actor.call, actor.flight);
        }
    }

    // A waiter times out or is cancelled, before or after it was promoted.
    void give_up(std::size_t me) {
        Actor& actor = actors_[me];
        const bool promoted = actor.state == State::Promoted;
        actor.state = State::Ready;
        actor.unwinding = actor.unwinding || actor.call->patience == Patience::Cancelled;
        const LeaveOutcome left = flights_.leave(actor.waiter);
        ASSERT_EQ(left == LeaveOutcome::Gone, promoted);
        if (promoted) {
            restart(actor.flight, actor.call->key);
        } else {
            ++outcomes_[actor.ticket];
            const std::size_t holder = holder_of(actor.flight);
            if (left == LeaveOutcome::LastLeft && actors_[holder].is_task) {
                cancel(holder);
            }
        }
        settle(me);
    }

    void cancel(std::size_t whom) {
        ++tally_.cancelled;
        actors_[whom].unwinding = actors_[whom].state != State::Done;
        for (std::size_t i = 0; i < actors_.size(); ++i) {
            if (actors_[i].gatherer == whom && actors_[i].state != State::Done) {
                cancel(i);
            }
        }
    }

    void pop(std::size_t me) {
        actors_[me].frames.pop_back();
        settle(me);
    }

    // Returns at once from frames that nobody else can see, so that they add no interleavings.
    void settle(std::size_t me) {
        Actor& actor = actors_[me];
        const auto returns = [&](const Frame& frame) {
            return frame.flight == FlightId{} &&
                   (actor.unwinding ||
                    (frame.next == frame.call->body.size() && !interrupts(*frame.call)));
        };
        while (actor.state == State::Ready && !actor.frames.empty() &&
               returns(actor.frames.back())) {
            actor.frames.pop_back();
        }
        if (actor.state == State::Ready && actor.frames.empty()) {
            actor.state = State::Done;
            if (actor.gatherer != kNobody && --actors_[actor.gatherer].open_children == 0) {
                actors_[actor.gatherer].state = State::Ready;
                settle(actor.gatherer);
            }
        }
    }

    // Only the first load of a call is interrupted: programs end.
    bool interrupts(const Call& call) const {
        return call.ends == Ends::Interrupted &&
               std::ranges::find(interrupted_, &call) == interrupted_.end();
    }

    FlightId innermost(std::size_t me) const {
        const Actor& actor = actors_[me];
        const auto found = std::find_if(actor.frames.rbegin(), actor.frames.rend(),
                                        [](const Frame& f) { return f.flight != FlightId{}; });
        return found == actor.frames.rend() ? actor.context : found->flight;
    }

    // Whether `from` is `goal`, or waits for it through however many others.
    bool waits_for(std::size_t from, std::size_t goal) const {
        const Actor& actor = actors_[from];
        if (from == goal) {
            return true;
        }
        if (actor.state == State::Waiting) {
            return waits_for(holder_of(actor.flight), goal);
        }
        for (std::size_t i = 0; actor.state == State::Gathering && i < actors_.size(); ++i) {
            if (actors_[i].gatherer == from && waits_for(i, goal)) {
                return true;
            }
        }
        return false;
    }

    // Who runs the load of a flight, or is about to.
    std::size_t holder_of(FlightId flight) const {
        const auto found =
            std::ranges::find_if(holders_, [&](const auto& held) { return held.first == flight; });
        return found == holders_.end() ? kNobody : found->second;
    }
    void hold(FlightId flight, std::size_t me) {
        EXPECT_EQ(holder_of(flight), kNobody) << "two leaders";
        holders_.emplace_back(flight, me);
    }
    void release(FlightId flight) {
        EXPECT_EQ(std::erase_if(holders_, [&](auto& held) { return held.first == flight; }), 1U);
    }

    Tally& tally_;
    Flights<NoLock>& flights_;
    std::vector<Call> roots_;
    std::vector<Actor> actors_;
    std::vector<const Call*> interrupted_;
    std::vector<int> outcomes_;  // by ticket; tickets are the handles
    std::vector<std::size_t> ticket_owner_;
    std::vector<std::pair<FlightId, std::size_t>> holders_;
    FlightId keys_[4];
};

}  // namespace millpond::flights_world
