// A synchronous load that nobody has joined. Most loads never are, so most never need a flight: it is
// made when the first other caller joins, or when something inside the load has to know what it is
// inside of.
//
//     solo_enter(load)          the load begins: what this thread runs now is inside it
//     value = call the function
//     solo_exit(load)
//     if (load->flight == nullptr)      nobody knows: the leader settles it, and that is all
//     else flight_land / flight_fail / flight_abandon (load->flight)
//
// Loads are kept in a pool and never on a stack: a stack that is switched away (greenlets) would
// take them along while others look at them. All functions need the GIL.
#pragma once

#include "hot/flight_object.hpp"
#include "millpond/cache/flights.hpp"

namespace millpond::bindings {

struct SoloLoad;

// Names a load for as long as it is under way.
struct SoloRef {
    SoloLoad* load = nullptr;
    std::uint64_t generation = 0;
    // The load, or null when it is over.
    [[nodiscard]] SoloLoad* get() const noexcept;
};

struct SoloLoad {
    // What flight_lead takes, set by the owner. Both are kept while the load is under way.
    PyObject* owner = nullptr;
    SettleHook settle = nullptr;  // null once the load is settled: a late flight has nothing to do
    // Made by solo_flight, owned.
    FlightObject* flight = nullptr;

    // Of ancestry.cpp.
    PyObject* scope = nullptr;  // between solo_enter and solo_exit, owned
    SoloRef outer;              // what the scope said before, one of the two
    FlightId outer_flight;
    unsigned long thread = 0;  // that leads
    SoloLoad* next = nullptr;  // among the loads under way, of all threads
    SoloLoad* prev = nullptr;
    std::uint64_t generation = 1;  // goes up when the load is over
};

inline SoloLoad* SoloRef::get() const noexcept {
    return load != nullptr && load->generation == generation ? load : nullptr;
}

// The load begins and ends, in one thread and nested like the loads. solo_enter: 0, or -1 with an
// exception set; solo_exit keeps the exception that may be set.
[[nodiscard]] int solo_enter(SoloLoad* load);
void solo_exit(SoloLoad* load);

// The load's flight, borrowed, made if there is none yet; null with MemoryError set. Its ticket's
// `extra` is the load.
[[nodiscard]] FlightObject* solo_flight(SoloLoad* load);

// The load is over, and so is what refers to it. Gives back the flight.
void solo_forget(SoloLoad* load);

}  // namespace millpond::bindings
