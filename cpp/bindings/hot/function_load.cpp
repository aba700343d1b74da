// A call that the hit path could not answer: the decision, the wait, the hand-over.
#include "hot/function_control.hpp"
#include "hot/function_object.hpp"
#include "hot/negative.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

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
        case WaitResult::Over: return call_slowly(self, call.args, call.nargsf, call.kwnames);
        case WaitResult::Raised:
        case WaitResult::TimedOut:
        case WaitResult::Interrupted: break;
    }
    return nullptr;
}

bool marks_for(FunctionObject* self, const Call& call, Marks& marks) {
    if (self->tiers != nullptr) [[unlikely]] {
        marks.shared = shared_call(self, call, marks.tags);
        return static_cast<bool>(marks.shared);
    }
    const bool none = plan_of(self).tags.empty() && !self->per_instance && !self->mapping;
    return none || call_tags(self, call, marks.tags);
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
    CacheObject* const cache = self->cache;
    const Instant now = look_up_time(cache);
    const Keyed keyed = key_call(self, call, key);
    if (keyed != Keyed::Yes) {
        return {keyed == Keyed::No ? Verdict::Through : Verdict::Error};
    }
    const Slot slot = look_up(cache, key, now);
    if (slot == kFailed) {
        return {Verdict::Error};
    }
    if (slot != kNoSlot && (*cache->store)[slot].state == cache::EntryState::Resident) {
        if (is_stale((*cache->store)[slot], now)) [[unlikely]] {
            return judge_stale(self, call, key, slot, now, terms);
        }
        return {Verdict::Hit, take_hit(cache, slot, now)};
    }
    cache->store->miss(key.ref);
    if (slot != kNoSlot) {
        FlightObject* const flight = join_load(self, slot);
        return {flight != nullptr ? Verdict::Join : Verdict::Error, nullptr, flight};
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
            Marks marks;
            return marks_for(self, call, marks)
                       ? lead_load(self, call, std::move(key), std::move(marks), terms)
                       : nullptr;
        }
    }
    return nullptr;
}

}  // namespace

PyObject* call_absent(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                      PyObject* kwnames, cache::Hash hash, cache::Word word, std::uint8_t kind) {
    CacheObject* const cache = self->cache;
    if (cache->timed && check_now(cache) != cache->last_tick) {
        return call_slowly(self, args, nargsf, kwnames);  // What is due goes first.
    }
    const Call call{args, nargsf, kwnames};
    const bool is_text = kind == static_cast<std::uint8_t>(KeyKind::Str);
    CacheKey own{{hash, word, self->space, kind},
                 is_text ? Ref::share(reinterpret_cast<PyObject*>(word)) : Ref()};
    cache->store->miss(own.ref);
    Terms terms{.life = self->rules->life, .seen = cache->store->mutations()};
    Marks marks;
    return marks_for(self, call, marks)
               ? lead_load(self, call, std::move(own), std::move(marks), terms)
               : nullptr;
}

PyObject* call_slowly(FunctionObject* self, PyObject* const* args, std::size_t nargsf,
                      PyObject* kwnames) {
    const Call call{args, nargsf, kwnames};
    for (;;) {
        FlightObject* flight = nullptr;
        PyObject* value = call_without_waiting(self, call, &flight);
        if (flight == nullptr) {
            return value;
        }
        value = follow_load(self, call, flight);
        Py_DECREF(as_object(flight));
        if (value != left_out() || takes_left_out(self, call)) {
            return value;
        }
        Py_DECREF(value);  // A load of many keys had none for this one: look again, and lead.
    }
}

}  // namespace millpond::bindings
