#include "hot/function_control.hpp"

#include <utility>

#include "hot/control.hpp"
#include "hot/info.hpp"
#include "hot/negative.hpp"

namespace millpond::bindings {
namespace {

// Counts a miss that a scope demanded, and tells the observers.
void count_miss(FunctionObject* self, const Control& control, PyObject* key,
                cache::MissReason reason) {
    ++self->cache->store->counters(space_of(self)).misses[static_cast<std::size_t>(reason)];
    static_cast<void>(
        tell_observers(control, as_object(self), key, {false, Nanos{0}, reason, false}));
}

}  // namespace

Verdict judge(FunctionObject* self, const Call& given, const Control& control, CacheKey& key,
              Terms& terms) {
    Ref made;
    Call call = given;
    call.made = call.made == nullptr ? &made : call.made;
    if (control.disabled) {
        count_miss(self, control, Py_None, cache::MissReason::Disabled);
        return {Verdict::Through};
    }
    CacheObject* const cache = self->cache;
    const Instant now = tick(cache, store_now(cache));
    const Keyed keyed = key_call(self, call, key);
    if (keyed != Keyed::Yes) {
        return {keyed == Keyed::No ? Verdict::Through : Verdict::Error};
    }
    const Ref shown(PyTuple_GET_SIZE(control.observers.get()) == 0 ? Py_NewRef(Py_None)
                                                                   : call_identity(self, call));
    if (!shown) {
        return {Verdict::Error};
    }
    if (control.has_ttl) {
        terms.life.ttl = control.ttl;
    }
    terms.store = !control.no_store;
    if (control.no_cache || control.refresh) {
        count_miss(self, control, shown.get(), cache::MissReason::Bypass);
        terms.beside = true;
        return {Verdict::Lead};
    }
    const Slot slot = look_up(cache, key, now);
    if (slot == kFailed) {
        return {Verdict::Error};
    }
    if (slot == kNoSlot) {
        const cache::MissReason reason = cache->store->miss(key.ref);
        terms.record =
            tell_observers(control, as_object(self), shown.get(), {false, Nanos{0}, reason, false});
        return {Verdict::Lead};
    }
    if ((*cache->store)[slot].state == cache::EntryState::Pending) {
        FlightObject* const flight = join_load(self, slot);
        if (flight == nullptr) {
            return {Verdict::Error};
        }
        const cache::MissReason reason = cache->store->miss(key.ref);
        const Ref record =
            tell_observers(control, as_object(self), shown.get(), {false, Nanos{0}, reason, true});
        add_record(load_of(flight), record.get());
        return {Verdict::Join, nullptr, flight};
    }
    const Nanos age = cache->store->age((*cache->store)[slot], now);
    if (control.max_age == Nanos::zero() || age > control.max_age) {
        count_miss(self, control, shown.get(), cache::MissReason::Stale);
        terms.beside = true;
        return {Verdict::Lead};
    }
    if (is_stale((*cache->store)[slot], now)) {
        const Verdict verdict = judge_stale(self, call, key, slot, now, terms);
        Ref record = tell_observers(control, as_object(self), shown.get(),
                                    {verdict.value != nullptr, age, cache::MissReason::Stale,
                                     verdict.kind == Verdict::Join});
        if (verdict.kind == Verdict::Join) {
            add_record(load_of(verdict.flight), record.get());
        } else if (verdict.value == nullptr) {
            terms.record = std::move(record);
        }
        return verdict;
    }
    PyObject* const value = take_hit(cache, slot, now);
    static_cast<void>(tell_observers(control, as_object(self), shown.get(),
                                     {true, age, cache::MissReason::ColdOrEvicted, false}));
    return {Verdict::Hit, value};
}

}  // namespace millpond::bindings
