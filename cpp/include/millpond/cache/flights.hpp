// Single-flight: who loads, who waits, and who must not wait. When many callers miss on one key,
// the first leads a flight (runs the load) and the others join it. This is only the state machine:
// it knows no keys (the store maps a key to its FlightId), no values and no time, and never waits.
// A waiter is an opaque `handle` of the binding, handed back when there is something to tell it.
//
// Loads nest: a load may call another cached function, so a flight can wait for another. Callers
// therefore carry the innermost flight they run in (their `parent`), and join() refuses what would
// close a cycle: such a caller runs the load by itself, uncoalesced, rather than wait for ever.
//
//     FlightId flight = flights.lead(parent);            // the first caller; it loads, then
//     flights.land(flight, woken);                       // wakes everybody in `woken`
//
//     const Join join = flights.join(flight, parent, handle);
//     if (join.outcome == JoinOutcome::Waiting) ...      // wait on `handle`; leave() to give up
//
// Ids carry a generation. The id of a flight that is over, of a waiter that has been woken, and the
// default id (none) are harmless everywhere: each call says what it returns for them.
//
// The states, the wait graph and what the bindings do for threads and for tasks are told in
// docs/design/flights.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "millpond/base/slab.hpp"
#include "millpond/base/sync.hpp"

namespace millpond {

// One load, from lead() or a restart to its end. The default is "none".
struct FlightId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(FlightId, FlightId) = default;
};

// One caller waiting on a flight. The default is "none".
struct WaiterId {
    std::uint32_t slot = 0;
    std::uint32_t generation = 0;
    friend bool operator==(WaiterId, WaiterId) = default;
};

enum class JoinOutcome {
    Waiting,        // the handle will be handed out exactly once, unless leave() comes first
    WouldDeadlock,  // the flight waits for the caller: run the load uncoalesced
    Over,           // the flight is over: look the value up again
};
struct Join {
    JoinOutcome outcome = JoinOutcome::Over;
    WaiterId waiter;  // none unless Waiting
};

enum class LeaveOutcome {
    Stayed,    // others still wait on the flight
    LastLeft,  // nobody waits any more: an asynchronous load may be cancelled, and ends the flight
    Gone,      // the handle was handed out before: it has its outcome, or leads now
};

enum class EndOutcome {
    Ended,  // the flight was in the air and is over now
    Stale,  // it was over before
};

enum class RestartOutcome {
    Promoted,  // a waiter leads now
    Ended,     // nobody waited: the flight is over
    Stale,     // it was over before
};
struct Restart {
    RestartOutcome outcome = RestartOutcome::Stale;
    FlightId flight;           // what the flight is called from now on; none unless Promoted
    std::uint64_t handle = 0;  // who leads it
};

// Since construction.
struct FlightStats {
    std::uint64_t led = 0;
    std::uint64_t joined = 0;
    std::uint64_t refused = 0;  // joins that would have closed a cycle
    std::uint64_t landed = 0;
    std::uint64_t failed = 0;
    std::uint64_t restarted = 0;  // waiters promoted
};

// Thread-safe under the lock policy. Memory: 56 B a flight and 40 B a waiter at the highest tide;
// nothing is allocated while that stands. Lock is NoLock or MutexLock. Only lead(), join() and the
// calls that fill a vector can throw (std::bad_alloc), and then they have changed nothing.
template <class Lock = NoLock>
class Flights {
  public:
    // A new flight, whose load runs inside that of `parent` (none, or over: on its own). O(1).
    [[nodiscard]] FlightId lead(FlightId parent);

    // Queues `handle`, of a caller that runs inside the load of `parent`, on `flight`. O(1) when
    // `flight` itself waits for nothing or `parent` is none; O(ancestors) when nobody waits on
    // `parent` and its ancestors; else O(flights and waits that `flight` waits for).
    [[nodiscard]] Join join(FlightId flight, FlightId parent, std::uint64_t handle);

    // The flight is over, with a value or with an error to share. Appends the handles of its
    // waiters to `woken`, in the order in which they joined. What was led inside it flies on, on
    // its own. O(waiters + flights and waits inside it).
    EndOutcome land(FlightId flight, std::vector<std::uint64_t>& woken);
    EndOutcome fail(FlightId flight, std::vector<std::uint64_t>& woken);

    // The waiter gives up (cancelled, timed out, interrupted). O(1).
    LeaveOutcome leave(WaiterId waiter) noexcept;

    // The load was torn down without a result that others may share (interrupt, its event loop
    // closed). The longest waiting waiter leads from now on, inside its own parent, and is a waiter
    // no longer; the flight gets a new id, so that whatever is left of the old load can neither end
    // it nor count as a part of it. A promoted waiter that gives up before it has begun calls this
    // again. O(flights and waits inside it).
    Restart restart(FlightId flight) noexcept;

    // The load of `flight` runs in a task of its own from now on, so it is awaited only by those
    // that have joined it. O(1).
    void detach(FlightId flight) noexcept;

    // For the child process after a fork, where the other threads are gone: drops the waiters whose
    // handle fails keep_waiter(handle) and the flights that fail keep_flight(id), and appends all
    // handles dropped, or bereft of their flight, to `dropped`. O(flights + waiters).
    // REQUIRES: the predicates do not call back. With a real mutex: the fork held it.
    void abandon(const std::function<bool(FlightId)>& keep_flight,
                 const std::function<bool(std::uint64_t)>& keep_waiter,
                 std::vector<std::uint64_t>& dropped);

    // How many wait on `flight`; 0 when it is over. O(1).
    [[nodiscard]] std::size_t waiters(FlightId flight) const noexcept;
    // How many flights are in the air, and how many wait on all of them. O(1).
    [[nodiscard]] std::size_t active() const noexcept;
    [[nodiscard]] std::size_t waiting() const noexcept;
    [[nodiscard]] FlightStats stats() const noexcept;
    [[nodiscard]] std::size_t allocated_bytes() const noexcept;

  private:
    struct Flight {
        std::uint64_t mark = 0;        // of the search that came by last
        std::uint32_t generation = 1;  // goes up at each end and restart, skipping 0
        bool in_air = false;
        Slot next = kNoSlot;  // in the free list, in a search, or among its siblings
        Slot prev = kNoSlot;  // among its siblings
        Slot parent = kNoSlot;
        Slot first_child = kNoSlot;
        Slot first_inside = kNoSlot;  // a list of waiters: the callers inside this load that wait
        Slot first_waiter = kNoSlot;  // a list of waiters: those on this flight
        Slot last_waiter = kNoSlot;
        std::uint32_t waiters = 0;
        Slot visit = kNoSlot;  // the stack of a search
    };
    struct Waiter {
        std::uint64_t handle = 0;
        std::uint32_t generation = 1;  // goes up when it is woken or leaves, skipping 0
        Slot flight = kNoSlot;         // kNoSlot: a free record
        Slot parent = kNoSlot;
        Slot next = kNoSlot;  // on the same flight, in the order of joining; in the free list
        Slot prev = kNoSlot;
        Slot next_inside = kNoSlot;  // inside the same parent
        Slot prev_inside = kNoSlot;
    };
    static_assert(sizeof(Flight) <= 56 && sizeof(Waiter) <= 40);

    // The slot of a flight in the air, else kNoSlot.
    Slot find(FlightId id) const noexcept MILLPOND_REQUIRES(lock_) {
        const bool current =
            id.slot < flights_.end() && flights_[id.slot].generation == id.generation;
        return current && flights_[id.slot].in_air ? id.slot : kNoSlot;
    }
    static void renew(std::uint32_t& generation) noexcept { generation += generation + 1 ? 1 : 2; }

    bool closes_cycle(Slot flight, Slot parent) noexcept MILLPOND_REQUIRES(lock_);
    bool waits_for_marked(Slot flight, std::uint64_t wanted) noexcept MILLPOND_REQUIRES(lock_);
    void set_parent(Slot flight, Slot parent) noexcept MILLPOND_REQUIRES(lock_);
    void cut_parent(Slot flight) noexcept MILLPOND_REQUIRES(lock_);
    void cut_inside(Slot flight) noexcept MILLPOND_REQUIRES(lock_);
    void remove(Slot waiter) noexcept MILLPOND_REQUIRES(lock_);
    void end(Slot flight) noexcept MILLPOND_REQUIRES(lock_);
    void hand_out(Slot flight, std::vector<std::uint64_t>& out) MILLPOND_REQUIRES(lock_);
    EndOutcome finish(FlightId id, std::vector<std::uint64_t>& woken,
                      std::uint64_t FlightStats::* counter) MILLPOND_EXCLUDES(lock_);

    mutable Lock lock_;
    Slab<Flight, 6> flights_ MILLPOND_GUARDED_BY(lock_);
    Slab<Waiter, 8> waiters_ MILLPOND_GUARDED_BY(lock_);
    std::uint64_t searches_ MILLPOND_GUARDED_BY(lock_) = 0;
    FlightStats stats_ MILLPOND_GUARDED_BY(lock_);
};

template <class Lock>
FlightId Flights<Lock>::lead(FlightId parent) {
    const LockGuard guard(lock_);
    const Slot slot = flights_.acquire();
    Flight& flight = flights_[slot];
    flight.in_air = true;
    flight.next = kNoSlot;
    set_parent(slot, find(parent));
    ++stats_.led;
    return {slot, flight.generation};
}

template <class Lock>
Join Flights<Lock>::join(FlightId flight_id, FlightId parent_id, std::uint64_t handle) {
    const LockGuard guard(lock_);
    const Slot on = find(flight_id);
    if (on == kNoSlot) {
        return {};
    }
    const Slot parent = find(parent_id);
    if (parent != kNoSlot && closes_cycle(on, parent)) {
        ++stats_.refused;
        return {JoinOutcome::WouldDeadlock, {}};
    }
    const Slot slot = waiters_.acquire();
    Waiter& waiter = waiters_[slot];
    Flight& flight = flights_[on];
    waiter.handle = handle;
    waiter.flight = on;
    waiter.parent = parent;
    waiter.next = kNoSlot;
    waiter.prev = flight.last_waiter;
    (waiter.prev == kNoSlot ? flight.first_waiter : waiters_[waiter.prev].next) = slot;
    flight.last_waiter = slot;
    ++flight.waiters;
    waiter.prev_inside = kNoSlot;
    waiter.next_inside = kNoSlot;
    if (parent != kNoSlot) {
        waiter.next_inside = flights_[parent].first_inside;
        if (waiter.next_inside != kNoSlot) {
            waiters_[waiter.next_inside].prev_inside = slot;
        }
        flights_[parent].first_inside = slot;
    }
    ++stats_.joined;
    return {JoinOutcome::Waiting, {slot, waiter.generation}};
}

template <class Lock>
EndOutcome Flights<Lock>::land(FlightId flight, std::vector<std::uint64_t>& woken) {
    return finish(flight, woken, &FlightStats::landed);
}

template <class Lock>
EndOutcome Flights<Lock>::fail(FlightId flight, std::vector<std::uint64_t>& woken) {
    return finish(flight, woken, &FlightStats::failed);
}

template <class Lock>
EndOutcome Flights<Lock>::finish(FlightId id, std::vector<std::uint64_t>& woken,
                                 std::uint64_t FlightStats::* counter) {
    const LockGuard guard(lock_);
    const Slot slot = find(id);
    if (slot == kNoSlot) {
        return EndOutcome::Stale;
    }
    if (flights_[slot].waiters != 0) {
        hand_out(slot, woken);
    }
    end(slot);
    ++(stats_.*counter);
    return EndOutcome::Ended;
}

template <class Lock>
void Flights<Lock>::set_parent(Slot flight, Slot parent) noexcept {
    Flight& child = flights_[flight];
    child.parent = parent;
    child.prev = kNoSlot;
    child.next = kNoSlot;
    if (parent != kNoSlot) {
        child.next = flights_[parent].first_child;
        if (child.next != kNoSlot) {
            flights_[child.next].prev = flight;
        }
        flights_[parent].first_child = flight;
    }
}

// Takes `flight` from among its parent's children.
template <class Lock>
void Flights<Lock>::cut_parent(Slot slot) noexcept {
    Flight& flight = flights_[slot];
    if (flight.parent == kNoSlot) {
        return;
    }
    (flight.prev == kNoSlot ? flights_[flight.parent].first_child : flights_[flight.prev].next) =
        flight.next;
    if (flight.next != kNoSlot) {
        flights_[flight.next].prev = flight.prev;
    }
    flight.parent = kNoSlot;
}

// The load of `flight` is no more: what was led or waits inside it does so on its own.
template <class Lock>
void Flights<Lock>::cut_inside(Slot slot) noexcept {
    Flight& flight = flights_[slot];
    for (Slot child = flight.first_child; child != kNoSlot; child = flights_[child].next) {
        flights_[child].parent = kNoSlot;
    }
    for (Slot inside = flight.first_inside; inside != kNoSlot;
         inside = waiters_[inside].next_inside) {
        waiters_[inside].parent = kNoSlot;
    }
    flight.first_child = kNoSlot;
    flight.first_inside = kNoSlot;
}

// Frees a flight that nobody waits on.
template <class Lock>
void Flights<Lock>::end(Slot slot) noexcept {
    cut_inside(slot);
    cut_parent(slot);
    flights_[slot].in_air = false;
    renew(flights_[slot].generation);
    flights_.release(slot);
}

}  // namespace millpond
