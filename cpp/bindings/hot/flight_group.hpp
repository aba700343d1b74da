// Flights that one load ends: those of the keys of a batch.
//
// They nest, each led inside the one before. So whatever the load calls has all of them for its
// ancestry, and a call in it that would wait for one of them is seen.
//
// A thread runs the load in its own frame, between enter() and leave(). In an event loop one task
// runs it (run_task), under a flight of its own inside all the others: the *whole*, which is what the
// caller waits for. Others wait for the flights of keys. The task is cancelled when nobody waits for
// any of them.
//
// All functions need the GIL.
#pragma once

#include <Python.h>

#include <cstddef>
#include <vector>

#include "hot/flight_object.hpp"
#include "hot/heap_type.hpp"
#include "millpond/cache/flights.hpp"

namespace millpond::bindings {

class FlightGroup {
  public:
    FlightGroup() = default;
    FlightGroup(const FlightGroup&) = delete;
    FlightGroup& operator=(const FlightGroup&) = delete;
    // What is still in the air is given up: whoever waits for it leads now.
    ~FlightGroup();

    // Takes over the reference to a flight that this thread has just led. What it runs and leads from
    // now until leave() is inside it. False with an exception set.
    [[nodiscard]] bool enter(FlightObject* flight);
    void leave();

    [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }

    // The ends of flights. A flight that has another leader by now, or is over, stays as it is.
    void land(std::size_t place, PyObject* value);
    void fail(std::size_t place, PyObject* exception);
    void fail(PyObject* exception);
    void give_up();

    // Has a task of the running loop run `coroutine`, which ends the flights: those that it leaves are
    // failed by what it raises, and given up when it is interrupted. The flight to wait for, a new
    // reference; null with an exception set, the flights given up and the coroutine closed. `owner`
    // keeps the group. May be called again when the caller has been promoted.
    [[nodiscard]] FlightObject* run_task(PyObject* owner, PyObject* coroutine);

    // ---- For flights

    // The flight whose task runs the load, borrowed; null before and after it.
    [[nodiscard]] FlightObject* whole() const noexcept {
        return reinterpret_cast<FlightObject*>(whole_.get());
    }
    // The first in the nest.
    [[nodiscard]] FlightId outermost() const noexcept;
    [[nodiscard]] bool is_waited_for() const;
    [[nodiscard]] int traverse(visitproc visit, void* arg) const;

  private:
    struct Member {
        Ref flight;
        FlightId id;
        PyObject* token = nullptr;  // of flight_enter, until flight_exit
    };

    static void settle_whole(FlightObject* flight, LoadTicket& ticket, PyObject* owner,
                             PyObject* value, PyObject* exception);
    [[nodiscard]] bool is_ours(const Member& member) const noexcept;
    // The flight, if it is this group's to end; the group has nothing more to do with it then.
    [[nodiscard]] FlightObject* take(std::size_t place);

    std::vector<Member> members_;
    Ref whole_;
};

}  // namespace millpond::bindings
