#include "hot/flight_group.hpp"

#include <algorithm>
#include <utility>

#include "hot/flight_state.hpp"
#include "hot/loops.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

FlightObject* as_flight(const Ref& flight) { return reinterpret_cast<FlightObject*>(flight.get()); }

}  // namespace

FlightGroup::~FlightGroup() {
    if (whole_) {  // It is about to die too: nobody refers to either.
        whole()->settle = nullptr;
        whole()->group = nullptr;
    }
    give_up();
}

bool FlightGroup::is_ours(const Member& member) const noexcept {
    const FlightObject* const flight = as_flight(member.flight);
    return flight->group == this && flight->state == FlightState::InAir && flight->id == member.id;
}

bool FlightGroup::enter(FlightObject* flight) {
    Ref owned(as_object(flight));
    try {
        members_.push_back({std::move(owned), flight->id, nullptr});
    } catch (...) {
        flight_abandon(flight);
        raise_current_exception();
        return false;
    }
    flight->group = this;
    return flight_enter(flight, &members_.back().token) == 0;
}

void FlightGroup::leave() {
    for (std::size_t i = members_.size(); i-- > 0;) {
        flight_exit(std::exchange(members_[i].token, nullptr));
    }
}

FlightObject* FlightGroup::take(std::size_t place) {
    const Member& member = members_[place];
    const bool ours = is_ours(member);
    if (as_flight(member.flight)->group == this) {
        as_flight(member.flight)->group = nullptr;
    }
    return ours ? as_flight(member.flight) : nullptr;
}

void FlightGroup::land(std::size_t place, PyObject* value) {
    if (FlightObject* const flight = take(place)) {
        flight_land(flight, value);
    }
}

void FlightGroup::fail(std::size_t place, PyObject* exception) {
    if (FlightObject* const flight = take(place)) {
        flight_fail(flight, exception);
    }
}

void FlightGroup::fail(PyObject* exception) {
    for (std::size_t i = 0; i < members_.size(); ++i) {
        fail(i, exception);
    }
}

void FlightGroup::give_up() {
    leave();
    for (std::size_t i = 0; i < members_.size(); ++i) {
        if (FlightObject* const flight = take(i)) {
            flight_abandon(flight);
        }
    }
}

// The end of the task. What it has not ended itself ends as it did.
void FlightGroup::settle_whole(FlightObject* flight, LoadTicket& ticket, PyObject*, PyObject*,
                               PyObject* exception) {
    auto* const group = static_cast<FlightGroup*>(ticket.extra);
    const Ref whole(std::exchange(group->whole_, Ref()));
    flight->group = nullptr;
    if (exception != nullptr) {
        group->fail(exception);
    } else {
        group->give_up();
    }
}

FlightObject* FlightGroup::run_task(PyObject* owner, PyObject* coroutine) {
    const Ref keep = Ref::share(owner);
    const Ref loop(running_loop());
    if (!whole_) {
        try {
            const FlightId around = members_.empty() ? current_flight() : members_.back().id;
            whole_ = Ref(as_object(
                flight_lead_inside(around, owner, settle_whole, LoadTicket{.extra = this})));
        } catch (...) {
            raise_current_exception();
        }
        if (!whole_) {
            return nullptr;
        }
    }
    Ref flight = Ref::share(whole_.get());
    as_flight(flight)->group = this;
    for (const Member& member : members_) {
        if (is_ours(member)) {
            Py_XSETREF(as_flight(member.flight)->loop, Py_XNewRef(loop.get()));
        }
    }
    return flight_run_task(as_flight(flight), coroutine) == 0
               ? reinterpret_cast<FlightObject*>(flight.release())
               : nullptr;
}

FlightId FlightGroup::outermost() const noexcept {
    return members_.empty() ? whole()->id : members_.front().id;
}

bool FlightGroup::is_waited_for() const {
    if (whole_ && flights().waiters(whole()->id) > 0) {
        return true;
    }
    return std::ranges::any_of(members_, [this](const Member& member) {
        return is_ours(member) && flights().waiters(member.id) > 0;
    });
}

int FlightGroup::traverse(visitproc visit, void* arg) const {
    for (const Member& member : members_) {
        Py_VISIT(member.flight.get());
    }
    Py_VISIT(whole_.get());
    return 0;
}

}  // namespace millpond::bindings
