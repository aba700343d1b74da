#include "hot/function_object.hpp"

#include <algorithm>

#include "hot/coroutine.hpp"
#include "hot/function_control.hpp"
#include "hot/negative.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

[[nodiscard]] Load* load_of(FlightObject* flight) {
    return static_cast<Load*>(flight_ticket(flight).extra);
}

[[nodiscard]] cache::Counters& counters(FunctionObject* self) noexcept {
    return self->cache->store->counters(space_of(self));
}

// The dollars that a loaded value cost; what a cost function raises is reported, and costs nothing.
float cost_of(FunctionObject* self, PyObject* value) {
    if (!self->rules->cost) {
        return self->rules->life.cost;
    }
    const Ref dollars(PyObject_CallOneArg(self->rules->cost.get(), value));
    const double cost = dollars ? PyFloat_AsDouble(dollars.get()) : -1;
    if (PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(self->rules->cost.get());
        return 0;
    }
    return cost >= 0 && cost < 1e30 ? static_cast<float>(cost) : 0;
}

// Whether the rules let this value in, and how long it lives then.
bool admitted(FunctionObject* self, PyObject* value, Life& life) {
    const Rules& rules = *self->rules;
    if (value == Py_None) {
        if (!rules.cache_none) {
            return false;
        }
        if (rules.negative_ttl > Nanos::zero()) {
            life.ttl = rules.negative_ttl;
        }
    }
    if (!rules.condition) {
        return true;
    }
    const Ref verdict(PyObject_CallOneArg(rules.condition.get(), value));
    const int wanted = verdict ? PyObject_IsTrue(verdict.get()) : -1;
    if (wanted < 0) {
        PyErr_WriteUnraisable(rules.condition.get());
    }
    return wanted == 1;
}

bool failure_is_kept(const FunctionObject* self, PyObject* exception) {
    const Rules& rules = *self->rules;
    return rules.negative_ttl > Nanos::zero() && rules.exceptions &&
           PyErr_GivenExceptionMatches(exception, rules.exceptions.get()) == 1;
}

// Stores what a load brought. Nothing it meets is raised: the caller has its value.
void keep_result(FunctionObject* self, Load* load, PyObject* value, Instant now) {
    CacheObject* const cache = self->cache;
    std::uint64_t weight = 0;
    if (!weigh_entry(cache, load->key, value, weight)) {
        PyErr_WriteUnraisable(as_object(self));
        cache->store->refuse(load->key.ref);
        cache->store->abort(load->entry);
        return;
    }
    Slot existing = kNoSlot;
    if (load->beside && (existing = look_up(cache, load->key, now)) == kFailed) {
        PyErr_WriteUnraisable(as_object(self));
        cache->store->abort(load->entry);
        return;
    }
    const Slot slot = load->entry.slot;
    // The reservation's word is its reference to the flight: it comes back when the value goes in.
    PyObject* const flight = cache->store->holds(load->entry)
                                 ? reinterpret_cast<PyObject*>((*cache->store)[slot].value)
                                 : nullptr;
    try {
        const cache::Keep keep = keep_for(cache, load->life, weight, now);
        if (cache->store->finish(load->entry, existing, reinterpret_cast<std::uintptr_t>(value),
                                 keep, now) == cache::Stored::Kept) {
            Py_INCREF(value);
            mark_collectable(cache, slot);
            Py_XDECREF(flight);
        }
    } catch (...) {
        raise_current_exception();
        PyErr_WriteUnraisable(as_object(self));
        cache->store->abort(load->entry);
    }
}

void end_load(FunctionObject* self, Load* load, PyObject* value, PyObject* exception) {
    if (value == nullptr && exception == nullptr) {  // Given up before it had an outcome.
        self->cache->store->abort(load->entry);
        return;
    }
    const Instant now = store_now(self->cache);
    cache::Counters& counted = counters(self);
    ++counted.loads;
    counted.load_nanos +=
        static_cast<std::uint64_t>(std::max<Nanos::rep>(0, (now - load->started).count()));
    Ref kept;
    if (value != nullptr) {
        if (!self->mapping) {
            load->life.cost = cost_of(self, value);
        }
        counters(self).cost_spent += static_cast<double>(load->life.cost);
        counters(self).cost_saved += static_cast<double>(load->life.cost) * load->followers;
        if (load->store && admitted(self, value, load->life)) {
            kept = self->rules->copy ? Ref(PyObject_CallOneArg(self->rules->copy.get(), value))
                                     : Ref::share(value);
            if (!kept) {
                PyErr_WriteUnraisable(self->rules->copy.get());
            }
        }
    } else if (exception != nullptr) {
        ++counted.load_errors;
        if (load->store && failure_is_kept(self, exception)) {
            load->life.ttl = self->rules->negative_ttl;
            kept = Ref(make_negative(exception));
            if (!kept) {
                PyErr_Clear();
            }
        }
    }
    if (kept) {
        keep_result(self, load, kept.get(), now);
        return;
    }
    if (value != nullptr && load->store) {
        self->cache->store->refuse(load->key.ref);
    }
    self->cache->store->abort(load->entry);
}

}  // namespace

void settle_load(FlightObject* flight, PyObject* owner, PyObject* value, PyObject* exception) {
    Load* const load = load_of(flight);
    FunctionObject* const self = as_function(owner);
    PyObject *type, *raised, *traceback;
    PyErr_Fetch(&type, &raised, &traceback);
    if (self->cache != nullptr) {
        end_load(self, load, value, exception);
        drain(self->cache);
    }
    if (load->on_heap) {
        delete load;
    }
    PyErr_Restore(type, raised, traceback);
}

PyObject* hand_out(const FunctionObject* self, PyObject* value) {
    if (is_negative(value)) {
        const Ref negative(value);
        return raise_negative(value);
    }
    if (!self->rules->copy) {
        return value;
    }
    const Ref original(value);
    return PyObject_CallOneArg(self->rules->copy.get(), value);
}

FlightObject* open_flight(FunctionObject* self, Load* load, const Tags& tags) {
    load->started = store_now(self->cache);
    FlightObject* const flight =
        flight_lead(as_object(self), settle_load, LoadTicket{.extra = load});
    if (flight == nullptr) {
        if (load->on_heap) {
            delete load;
        }
        return nullptr;
    }
    // Rendering tags, comparing keys and the collector may have run code that began the same load, or
    // stored its value: two entries of one key must never be found, so this one then runs beside it.
    const bool known = load->beside || load->seen == self->cache->store->mutations();
    const Slot there = known ? kNoSlot : look_up(self->cache, load->key, load->started);
    load->beside |= there != kNoSlot;
    if (there == kFailed) {
        flight_abandon(flight);
        Py_DECREF(as_object(flight));
        return nullptr;
    }
    if (load->key.ref.space != space_of(self)) {
        // The same code cleared the function: what started before that is stored nowhere.
        load->key.ref.space = space_of(self);
        load->store = false;
        load->beside = true;
    }
    try {
        load->entry = self->cache->store->begin(
            load->key.ref, reinterpret_cast<std::uintptr_t>(flight), tags, !load->beside);
    } catch (...) {
        flight_abandon(flight);
        Py_DECREF(as_object(flight));
        raise_current_exception();
        return nullptr;
    }
    own_key(load->key);
    Py_INCREF(as_object(flight));
    return flight;
}

PyObject* run_load(FunctionObject* self, const Call& call, FlightObject* flight) {
    PyObject* token = nullptr;
    PyObject* value = nullptr;
    if (flight_enter(flight, &token) == 0) {
        value = call_through(self, call);
        if (value != nullptr && !check_cacheable(value)) {
            Py_CLEAR(value);
        }
        flight_exit(token);
    }
    if (value != nullptr) {
        flight_land(flight, value);
        return value;
    }
    const Ref exception(take_raised());
    if (flight_is_interruption(exception.get())) {
        // Whoever starts it again outlives this frame, so the load must too.
        Load* const load = load_of(flight);
        if (!load->on_heap) {
            flight_ticket(flight).extra = new Load(std::move(*load));
            load_of(flight)->on_heap = true;
        }
        flight_abandon(flight);
    } else {
        flight_fail(flight, exception.get());
    }
    const Ref traceback(PyException_GetTraceback(exception.get()));
    raise_with_traceback(exception.get(), traceback.get());
    return nullptr;
}

PyObject* lead_load(FunctionObject* self, const Call& call, CacheKey&& key, const Tags& tags,
                    const Terms& terms) {
    Load load{self, std::move(key)};
    load.life = terms.life;
    load.beside = terms.beside;
    load.store = terms.store;
    load.seen = terms.seen;
    FlightObject* const flight = open_flight(self, &load, tags);
    if (flight == nullptr) {
        return nullptr;
    }
    PyObject* const value = run_load(self, call, flight);
    Py_DECREF(as_object(flight));
    return value;
}

PyObject* follow_load(FunctionObject* self, const Call& call, FlightObject* flight) {
    PyObject* value = nullptr;
    switch (flight_wait(flight, self->rules->wait_timeout, &value)) {
        case WaitResult::Value: return hand_out(self, value);
        case WaitResult::Lead:
            // The load was interrupted before it had a result: this caller runs it again, with the
            // reservation that is still there.
            load_of(flight)->started = store_now(self->cache);
            return run_load(self, call, flight);
        case WaitResult::Alone: return call_through(self, call);
        case WaitResult::Raised:
        case WaitResult::TimedOut:
        case WaitResult::Interrupted: break;
    }
    return nullptr;
}

Tags tags_for(FunctionObject* self, const Call& call, bool* failed) {
    Tags tags;
    *failed = false;
    if (!plan_of(self).tags.empty() || self->per_instance || self->mapping) {
        *failed = !call_tags(self, call, tags);
    }
    return tags;
}

Verdict decide(FunctionObject* self, const Call& call, CacheKey& key, Terms& terms) {
    if (g_open_scopes != 0) {
        Control control;
        if (read_control(control)) {
            return judge(self, call, control, key, terms);
        }
        if (PyErr_Occurred() != nullptr) {
            return {Verdict::Error};
        }
    }
    const Keyed keyed = key_call(self, call, key, nullptr);
    if (keyed != Keyed::Yes) {
        return {keyed == Keyed::No ? Verdict::Through : Verdict::Error};
    }
    CacheObject* const cache = self->cache;
    const Instant now = cache->timed ? check_now(cache) : Instant{};
    if (cache->timed && now != cache->last_tick) {
        tick(cache, now);
    }
    const Slot slot = look_up(cache, key, now);
    if (slot == kFailed) {
        return {Verdict::Error};
    }
    if (slot != kNoSlot && (*cache->store)[slot].state == cache::EntryState::Resident) {
        return {Verdict::Hit, take_hit(cache, slot, now)};
    }
    cache->store->miss(key.ref);
    if (slot != kNoSlot) {
        return {Verdict::Join, nullptr, join_load(self, slot)};
    }
    terms.seen = cache->store->mutations();
    return {Verdict::Lead};
}

namespace {

// A call, but for the wait: whoever blocks in follow_load must own nothing by destructor, since at
// interpreter shutdown a daemon thread never comes back from there.
PyObject* call_without_waiting(FunctionObject* self, const Call& call, FlightObject** flight) {
    CacheKey key;
    Terms terms;
    if (!terms_of(self, call, terms)) {
        return nullptr;
    }
    const Verdict verdict = decide(self, call, key, terms);
    switch (verdict.kind) {
        case Verdict::Error: break;
        case Verdict::Hit: return hand_out(self, verdict.value);
        case Verdict::Join: *flight = verdict.flight; break;
        case Verdict::Through: return call_through(self, call);
        case Verdict::Lead: {
            bool failed = false;
            const Tags tags = tags_for(self, call, &failed);
            return failed ? nullptr : lead_load(self, call, std::move(key), tags, terms);
        }
    }
    return nullptr;
}

}  // namespace

FlightObject* join_load(FunctionObject* self, Slot pending) {
    PyObject* const flight = reinterpret_cast<PyObject*>((*self->cache->store)[pending].value);
    ++counters(self).coalesced;
    ++load_of(reinterpret_cast<FlightObject*>(flight))->followers;
    return reinterpret_cast<FlightObject*>(Py_NewRef(flight));
}

PyObject* call_slowly(FunctionObject* self, const Call& call) {
    FlightObject* flight = nullptr;
    PyObject* value = call_without_waiting(self, call, &flight);
    if (flight != nullptr) {
        value = follow_load(self, call, flight);
        Py_DECREF(as_object(flight));
    }
    return value;
}

}  // namespace millpond::bindings
