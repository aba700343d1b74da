// What a cached call meets only when others wait: leaving, restarting, the search for cycles.
#include "millpond/cache/flights.hpp"

namespace millpond {

template <class Lock>
LeaveOutcome Flights<Lock>::leave(WaiterId id) noexcept {
    const LockGuard guard(lock_);
    if (id.slot >= waiters_.end() || waiters_[id.slot].generation != id.generation ||
        waiters_[id.slot].flight == kNoSlot) {
        return LeaveOutcome::Gone;
    }
    const Slot flight = waiters_[id.slot].flight;
    remove(id.slot);
    return flights_[flight].waiters == 0 ? LeaveOutcome::LastLeft : LeaveOutcome::Stayed;
}

template <class Lock>
Restart Flights<Lock>::restart(FlightId id) noexcept {
    const LockGuard guard(lock_);
    const Slot slot = find(id);
    if (slot == kNoSlot) {
        return {};
    }
    Flight& flight = flights_[slot];
    if (flight.waiters == 0) {
        end(slot);
        return {RestartOutcome::Ended, {}, 0};
    }
    const Slot promoted = flight.first_waiter;
    const std::uint64_t handle = waiters_[promoted].handle;
    const Slot parent = waiters_[promoted].parent;
    remove(promoted);
    cut_inside(slot);
    cut_parent(slot);
    set_parent(slot, parent);
    renew(flight.generation);
    ++stats_.restarted;
    return {RestartOutcome::Promoted, {slot, flight.generation}, handle};
}

template <class Lock>
void Flights<Lock>::detach(FlightId id) noexcept {
    const LockGuard guard(lock_);
    if (const Slot slot = find(id); slot != kNoSlot) {
        cut_parent(slot);
    }
}

template <class Lock>
void Flights<Lock>::abandon(const std::function<bool(FlightId)>& keep_flight,
                            const std::function<bool(std::uint64_t)>& keep_waiter,
                            std::vector<std::uint64_t>& dropped) {
    const LockGuard guard(lock_);
    dropped.reserve(dropped.size() + waiters_.used());
    for (Slot slot = 0; slot < waiters_.end(); ++slot) {
        if (waiters_[slot].flight != kNoSlot && !keep_waiter(waiters_[slot].handle)) {
            dropped.push_back(waiters_[slot].handle);
            remove(slot);
        }
    }
    for (Slot slot = 0; slot < flights_.end(); ++slot) {
        if (flights_[slot].in_air && !keep_flight(FlightId{slot, flights_[slot].generation})) {
            hand_out(slot, dropped);
            end(slot);
        }
    }
}

template <class Lock>
std::size_t Flights<Lock>::waiters(FlightId id) const noexcept {
    const LockGuard guard(lock_);
    const Slot slot = find(id);
    return slot == kNoSlot ? 0 : flights_[slot].waiters;
}

template <class Lock>
std::size_t Flights<Lock>::active() const noexcept {
    const LockGuard guard(lock_);
    return flights_.used();
}

template <class Lock>
std::size_t Flights<Lock>::waiting() const noexcept {
    const LockGuard guard(lock_);
    return waiters_.used();
}

template <class Lock>
FlightStats Flights<Lock>::stats() const noexcept {
    const LockGuard guard(lock_);
    return stats_;
}

template <class Lock>
std::size_t Flights<Lock>::allocated_bytes() const noexcept {
    const LockGuard guard(lock_);
    return flights_.allocated_bytes() + waiters_.allocated_bytes();
}

// Whether a caller inside `parent` that waits on `flight` would wait for itself: it runs inside
// `flight`, or `flight` waits for something that it runs inside.
template <class Lock>
bool Flights<Lock>::closes_cycle(Slot flight, Slot parent) noexcept {
    if (flight == parent) {
        return true;
    }
    if (flights_[flight].first_child == kNoSlot && flights_[flight].first_inside == kNoSlot) {
        return false;  // it waits for nothing, so it is no ancestor of `parent` either
    }
    searches_ += 2;
    bool awaited = false;
    for (Slot slot = parent; slot != kNoSlot; slot = flights_[slot].parent) {
        if (slot == flight) {
            return true;
        }
        flights_[slot].mark = searches_;
        awaited = awaited || flights_[slot].waiters != 0;
    }
    // A path from outside into the caller's ancestry ends in a waiter: without one there is none.
    return awaited && waits_for_marked(flight, searches_);
}

// Whether `flight` is marked `wanted` or waits, through however many others, for one that is.
// Marks what it has seen with `wanted + 1`; the stack is threaded through the flights.
template <class Lock>
bool Flights<Lock>::waits_for_marked(Slot flight, std::uint64_t wanted) noexcept {
    Slot top = kNoSlot;
    bool found = false;
    const auto visit = [&](Slot slot) MILLPOND_REQUIRES(lock_) {
        Flight& seen = flights_[slot];
        found = found || seen.mark == wanted;
        if (seen.mark < wanted) {
            seen.mark = wanted + 1;
            seen.visit = top;
            top = slot;
        }
    };
    visit(flight);
    while (top != kNoSlot && !found) {
        const Slot slot = top;
        top = flights_[slot].visit;
        for (Slot child = flights_[slot].first_child; child != kNoSlot;
             child = flights_[child].next) {
            visit(child);
        }
        for (Slot inside = flights_[slot].first_inside; inside != kNoSlot;
             inside = waiters_[inside].next_inside) {
            visit(waiters_[inside].flight);
        }
    }
    return found;
}

// Takes a waiter out of both its lists and frees its record.
template <class Lock>
void Flights<Lock>::remove(Slot slot) noexcept {
    Waiter& waiter = waiters_[slot];
    Flight& flight = flights_[waiter.flight];
    (waiter.prev == kNoSlot ? flight.first_waiter : waiters_[waiter.prev].next) = waiter.next;
    (waiter.next == kNoSlot ? flight.last_waiter : waiters_[waiter.next].prev) = waiter.prev;
    --flight.waiters;
    if (waiter.parent != kNoSlot) {
        (waiter.prev_inside == kNoSlot ? flights_[waiter.parent].first_inside
                                       : waiters_[waiter.prev_inside].next_inside) =
            waiter.next_inside;
        if (waiter.next_inside != kNoSlot) {
            waiters_[waiter.next_inside].prev_inside = waiter.prev_inside;
        }
    }
    waiter.flight = kNoSlot;
    renew(waiter.generation);
    waiters_.release(slot);
}

// Appends the handles of all waiters, in the order in which they joined, and frees their records.
template <class Lock>
void Flights<Lock>::hand_out(Slot slot, std::vector<std::uint64_t>& out) {
    Flight& flight = flights_[slot];
    std::size_t place = out.size();
    out.resize(place + flight.waiters);  // the only step that can throw
    while (flight.first_waiter != kNoSlot) {
        out[place++] = waiters_[flight.first_waiter].handle;
        remove(flight.first_waiter);
    }
}

template class Flights<NoLock>;
template class Flights<MutexLock>;

}  // namespace millpond
