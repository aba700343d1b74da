// What the end of a load does: stores the value, or what stands for a failure, and counts.
#include <algorithm>

#include "hot/control.hpp"
#include "hot/function_object.hpp"
#include "hot/loaded.hpp"
#include "hot/negative.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

// The dollars that a loaded value cost; what a cost function raises is reported, and costs nothing.
double cost_of(FunctionObject* self, PyObject* value) {
    if (!self->rules->cost) {
        return self->rules->life.cost;
    }
    const Ref dollars(PyObject_CallOneArg(self->rules->cost.get(), value));
    const double cost = dollars ? PyFloat_AsDouble(dollars.get()) : -1;
    if (PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(self->rules->cost.get());
        return 0;
    }
    return cost >= 0 && cost <= cache::kMostDollars ? cost : 0;
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
           PyErr_GivenExceptionMatches(exception, rules.exceptions.get()) == 1 &&
           !is_error(exception, PythonError::WaitTimeout);  // That says nothing of the value.
}

// Gives the entry the tags that came with the value; whether it may be stored.
bool add_loaded_tags(FunctionObject* self, const Load* load, const LoadedObject* loaded) {
    EngineStore& store = *self->cache->store;
    if (loaded == nullptr || loaded->tags == nullptr || !store.holds(load->entry)) {
        return true;
    }
    Tags tags;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(loaded->tags); ++i) {
        tags.push_back(PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(loaded->tags, i)));
    }
    if (PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(as_object(self));
        return false;
    }
    try {
        return store.add_tags(load->entry, tags, load->since);
    } catch (...) {
        raise_current_exception();
        PyErr_WriteUnraisable(as_object(self));
        return false;
    }
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
    // The reservation's word may be its reference to a flight: it comes back when the value goes in.
    const cache::Word word =
        cache->store->holds(load->entry) ? (*cache->store)[load->entry.slot].value : 0;
    PyObject* const flight = load_in(word) == nullptr ? reinterpret_cast<PyObject*>(word) : nullptr;
    try {
        const cache::Keep keep = keep_for(cache, load->life, weight, now);
        const cache::Put put = cache->store->finish(
            load->entry, existing, reinterpret_cast<std::uintptr_t>(value), keep, now);
        if (put.outcome == cache::Stored::Kept) {
            Py_INCREF(value);
            mark_collectable(cache, put.slot);
            if (put.key_taken) {
                Py_XDECREF(flight);
            }
        }
    } catch (...) {
        raise_current_exception();
        PyErr_WriteUnraisable(as_object(self));
        cache->store->abort(load->entry);
    }
}

// What a refresh returned is newer than what it was to replace, so that goes although this is not
// kept. A load that was undone meanwhile replaces nothing.
void drop_replaced(FunctionObject* self, const Load* load, Instant now) {
    EngineStore& store = *self->cache->store;
    if (!load->beside || load->revalidates || !store.holds(load->entry)) {
        return;
    }
    const Slot existing = look_up(self->cache, load->key, now);
    if (existing == kFailed) {
        PyErr_WriteUnraisable(as_object(self));
    } else if (existing != kNoSlot && store.holds(load->entry)) {
        store.erase(existing, cache::Cause::Replaced);
    }
}

// What a load through the tiers says of its value. Whether memory keeps it.
bool take_loaded(Load* load, const LoadedObject& loaded, cache::Counters& counted) {
    load->life.ttl = Nanos{loaded.ttl};
    load->life.jitter = loaded.past ? 0 : load->life.jitter;
    load->life.stale = Nanos{loaded.stale};
    load->life.cost = loaded.cost;
    const std::uint64_t calls =
        (load->behind || load->renews ? 0U : 1U) + std::uint64_t{load->followers};
    if (loaded.source == kFromFunction) {
        counted.cost_spent += loaded.cost;
        counted.cost_saved += loaded.cost * load->followers;
    } else if (loaded.source < cache::kSources) {
        counted.hits_from[loaded.source] += calls;
        counted.stale_hits += loaded.past ? calls : 0;
        counted.cost_saved += loaded.cost * static_cast<double>(calls);
    }
    return load->store && loaded.store;
}

void end_load(FunctionObject* self, Load* load, PyObject* value, PyObject* exception,
              const LoadedObject* loaded) {
    if (value == nullptr && exception == nullptr) {  // Given up before it had an outcome.
        self->cache->store->abort(load->entry);
        return;
    }
    const Instant now = store_now(self->cache);
    cache::Counters& counted = counters(self);
    const bool failed = loaded != nullptr && loaded->source == kFromStale;
    if (loaded == nullptr || failed || loaded->source == kFromFunction) {
        ++counted.loads;
        counted.load_nanos +=
            static_cast<std::uint64_t>(std::max<Nanos::rep>(0, (now - load->started).count()));
    }
    if (failed) {
        ++counted.load_errors;
        counted.stale_hits += (load->behind ? 0U : 1U) + std::uint64_t{load->followers};
        self->cache->store->abort(load->entry);
        return;
    }
    Ref kept;
    const bool replaces = load->store && value != nullptr && value != left_out() &&
                          (loaded == nullptr || loaded->source == kFromFunction);
    if (value != nullptr) {
        bool wanted = false;
        if (loaded != nullptr) {
            wanted = take_loaded(load, *loaded, counted);
            load->store = wanted;
        } else {
            if (!self->mapping) {
                load->life.cost = cost_of(self, value);
            }
            load->store = load->store && value != left_out();
            counters(self).cost_spent += load->life.cost;
            counters(self).cost_saved += load->life.cost * load->followers;
            wanted = load->store && admitted(self, value, load->life);
        }
        if (wanted) {
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
            load->life.stale = Nanos::zero();
            kept = Ref(make_negative(exception));
            if (!kept) {
                PyErr_Clear();
            }
        }
    }
    if (kept && add_loaded_tags(self, load, loaded)) {
        keep_result(self, load, kept.get(), now);
        return;
    }
    if (value != nullptr && load->store) {
        self->cache->store->refuse(load->key.ref);
    }
    if (replaces) {
        drop_replaced(self, load, now);
    }
    self->cache->store->abort(load->entry);
}

}  // namespace

void settle_load(FlightObject*, LoadTicket& ticket, PyObject* owner, PyObject* value,
                 PyObject* exception) {
    Load* const load = static_cast<Load*>(static_cast<SoloLoad*>(ticket.extra));
    FunctionObject* const self = as_function(owner);
    if (self->cache != nullptr) {
        ticket.anew = is_to_be_loaded_anew(load, ticket.loaded);
        end_load(self, load, value, exception, ticket.loaded);
        const std::uint8_t source =
            ticket.loaded == nullptr ? kFromFunction : ticket.loaded->source;
        if (load->records && source != kFromFunction && source < cache::kSources) [[unlikely]] {
            tell_landed(load->records.get(), source, ticket.loaded->age);
        }
        drain(self->cache);
    }
    if (!load->solo) {
        give_back(load);
    }
}

}  // namespace millpond::bindings
