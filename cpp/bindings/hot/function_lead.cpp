// Leading a load: the reservation, the call of the function, and how its end reaches those who wait.
#include <new>
#include <utility>

#include "hot/coroutine.hpp"
#include "hot/function_object.hpp"
#include "hot/loaded.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

// Guarded by the GIL.
Load* g_spare_loads = nullptr;

// What callers get of what a load returned. Steals `value`.
PyObject* bare_value(PyObject* value) {
    if (!is_loaded(value)) [[likely]] {
        return value;
    }
    const Ref whole(value);
    return Py_NewRef(loaded_value(value));
}

}  // namespace

Load* make_load(FunctionObject* self, CacheKey&& key, Ref&& shared, const Terms& terms) {
    Load* load = g_spare_loads;
    if (load != nullptr) {
        g_spare_loads = static_cast<Load*>(load->next);
    } else if ((load = new (std::nothrow) Load()) == nullptr) {
        PyErr_NoMemory();
        return nullptr;
    }
    load->owner = Py_NewRef(as_object(self));
    load->settle = settle_load;
    load->key = std::move(key);
    load->shared = std::move(shared);
    load->entry = {};
    load->life = terms.life;
    load->followers = 0;
    load->seen = terms.seen;
    load->store = terms.store;
    load->beside = terms.beside;
    load->revalidates = terms.revalidates;
    load->behind = terms.behind;
    load->renews = false;
    load->solo = false;
    add_record(load, terms.record.get());
    return load;
}

void add_record(Load* load, PyObject* record) {
    if (record == nullptr) {
        return;
    }
    if (!load->records) {
        load->records = Ref(PyList_New(0));
    }
    if (!load->records || PyList_Append(load->records.get(), record) < 0) {
        PyErr_WriteUnraisable(record);
    }
}

void give_back(Load* load) {
    load->key.owned = Ref();
    load->shared = Ref();
    load->records = Ref();
    solo_forget(load);
    if (kFreeListsOn) {
        load->next = std::exchange(g_spare_loads, load);
    } else {
        delete load;
    }
}

namespace {

// What is served in place of the exception that is set; null: nothing, and it stays set.
PyObject* served_instead(FunctionObject* self, Load* load) {
    if (!load->revalidates) {
        return nullptr;
    }
    const Ref exception(take_raised());
    PyObject* const value = stale_instead(self, load, exception.get());
    if (value == nullptr) {
        const Ref traceback(PyException_GetTraceback(exception.get()));
        raise_with_traceback(exception.get(), traceback.get());
    }
    return value;
}

// Reserves the key of a load; `word` is what the pending entry has for a value. False with an
// exception set.
bool reserve(FunctionObject* self, Load* load, cache::Word word, const Tags& tags) {
    // Rendering tags, comparing keys and the collector may have run code that began the same load, or
    // stored its value: two entries of one key must never be found, so this one then runs beside it.
    const bool known = load->beside || load->seen == self->cache->store->mutations();
    const Slot there = known ? kNoSlot : look_up(self->cache, load->key, load->started);
    load->beside |= there != kNoSlot;
    if (there == kFailed) {
        return false;
    }
    if (load->key.ref.space != space_of(self)) {
        // The same code cleared the function: what started before that is stored nowhere.
        load->key.ref.space = space_of(self);
        load->store = false;
        load->beside = true;
    }
    try {
        load->since = self->cache->store->invalidations();
        load->entry = self->cache->store->begin(load->key.ref, word, tags, !load->beside);
    } catch (...) {
        raise_current_exception();
        return false;
    }
    own_key(load->key);
    return true;
}

}  // namespace

FlightObject* open_flight(FunctionObject* self, Load* load, const Tags& tags) {
    load->started = store_now(self->cache);
    FlightObject* const flight = flight_lead(as_object(self), settle_load,
                                             LoadTicket{.extra = static_cast<SoloLoad*>(load)});
    if (flight == nullptr) {
        give_back(load);
        return nullptr;
    }
    if (!reserve(self, load, reinterpret_cast<std::uintptr_t>(flight), tags)) {
        flight_abandon(flight);
        Py_DECREF(as_object(flight));
        return nullptr;
    }
    Py_INCREF(as_object(flight));
    return flight;
}

PyObject* run_load(FunctionObject* self, const Call& call, FlightObject* flight) {
    PyObject* token = nullptr;
    PyObject* value = nullptr;
    if (flight_enter(flight, &token) == 0) {
        value = make_first_look_and_load(self, call, load_of(flight));
        if (value != nullptr && !check_cacheable(loaded_value(value))) {
            Py_CLEAR(value);
        }
        value = value != nullptr ? value : served_instead(self, load_of(flight));
        flight_exit(token);
    }
    if (value != nullptr) {
        const bool anew = is_to_be_loaded_anew(load_of(flight), as_loaded(value));
        const Terms terms{.life = self->rules->life, .store = load_of(flight)->store};
        const bool leads = anew && leads_anew(self, load_of(flight), terms);
        flight_land(flight, value);
        value = bare_value(value);
        return anew ? load_anew(self, call, value, terms, leads) : value;
    }
    const Ref exception(take_raised());
    if (flight_is_interruption(exception.get())) {
        flight_abandon(flight);
    } else {
        flight_fail(flight, exception.get());
    }
    const Ref traceback(PyException_GetTraceback(exception.get()));
    raise_with_traceback(exception.get(), traceback.get());
    return nullptr;
}

namespace {

// Settles a load that nobody has joined. Whoever joins from here on finds it settled.
void settle_solo(Load* load, PyObject* value, PyObject* exception) {
    LoadTicket ticket{.extra = static_cast<SoloLoad*>(load), .loaded = as_loaded(value)};
    value = value == nullptr ? nullptr : loaded_value(value);
    if (const SettleHook hook = std::exchange(load->settle, nullptr)) {
        hook(nullptr, ticket, load->owner, value, exception);
    }
}

// The leader's part ends without a value; the exception stays set.
void end_without_value(FunctionObject* self, Load* load) {
    const Ref exception(take_raised());
    const bool shared = !flight_is_interruption(exception.get());
    if (load->flight == nullptr) {
        settle_solo(load, nullptr, shared ? exception.get() : nullptr);
    }
    const Ref flight(as_object(std::exchange(load->flight, nullptr)));
    const bool settled = load->settle == nullptr;
    if (flight && !shared && !settled) {
        // Whoever waits leads from now on: the flight takes over the load and the reservation.
        load->solo = false;
        if (self->cache->store->holds(load->entry)) {
            (*self->cache->store)[load->entry.slot].value =
                reinterpret_cast<std::uintptr_t>(Py_NewRef(flight.get()));
        }
        flight_abandon(reinterpret_cast<FlightObject*>(flight.get()));
    } else {
        if (flight && shared) {
            flight_fail(reinterpret_cast<FlightObject*>(flight.get()), exception.get());
        } else if (flight) {
            flight_abandon(reinterpret_cast<FlightObject*>(flight.get()));
        }
        give_back(load);
    }
    const Ref traceback(PyException_GetTraceback(exception.get()));
    raise_with_traceback(exception.get(), traceback.get());
}

}  // namespace

PyObject* lead_load(FunctionObject* self, const Call& call, CacheKey&& key, Marks&& marks,
                    const Terms& terms) {
    Load* const load = make_load(self, std::move(key), std::move(marks.shared), terms);
    if (load == nullptr) {
        return nullptr;
    }
    load->solo = true;
    load->started = store_now(self->cache);
    if (!reserve(self, load, word_of(load), marks.tags)) {
        give_back(load);
        return nullptr;
    }
    PyObject* value = nullptr;
    if (solo_enter(load) == 0) {
        value = make_first_look_and_load(self, call, load);
        if (value != nullptr && !check_cacheable(loaded_value(value))) {
            Py_CLEAR(value);
        }
        value = value != nullptr ? value : served_instead(self, load);
        solo_exit(load);
    }
    if (value == nullptr) {
        end_without_value(self, load);
        return nullptr;
    }
    const bool anew = is_to_be_loaded_anew(load, as_loaded(value));
    const bool leads = anew && leads_anew(self, load, terms);
    if (load->flight == nullptr) {
        settle_solo(load, value, nullptr);
    }
    if (load->flight != nullptr) {
        flight_land(load->flight, value);
    }
    give_back(load);
    value = bare_value(value);
    return anew ? load_anew(self, call, value, terms, leads) : value;
}

FlightObject* join_load(FunctionObject* self, Slot pending) {
    const cache::Word word = (*self->cache->store)[pending].value;
    Load* const load = load_in(word);
    FlightObject* const flight =
        load != nullptr ? solo_flight(load) : reinterpret_cast<FlightObject*>(word);
    if (flight == nullptr) {
        return nullptr;
    }
    ++counters(self).coalesced;
    ++load_of(flight)->followers;
    return reinterpret_cast<FlightObject*>(Py_NewRef(as_object(flight)));
}

}  // namespace millpond::bindings
