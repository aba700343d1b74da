#include "hot/async_call.hpp"
#include "hot/control.hpp"
#include "hot/coroutine.hpp"
#include "hot/function_control.hpp"
#include "hot/function_methods.hpp"
#include "hot/loaded.hpp"
#include "hot/negative.hpp"
#include "hot/ready.hpp"
#include "hot/weigher.hpp"

namespace millpond::bindings {
namespace {

void load_behind(FunctionObject* self, const Call& call, const Terms& terms);

// Leads a load in a task of the running loop. Start::Wait, Start::Value where that is not needed, or
// Start::Error.
Start lead_task(FunctionObject* self, const Call& call, CacheKey&& key, const Terms& terms,
                PyObject** out) {
    Marks marks;
    if (!marks_for(self, call, marks)) {
        return Start::Error;
    }
    Load* const load = make_load(self, std::move(key), std::move(marks.shared), terms);
    if (load == nullptr) {
        return Start::Error;
    }
    FlightObject* const flight = open_flight(self, load, marks.tags);
    if (flight == nullptr) {
        return Start::Error;
    }
    Ref owner(as_object(flight));
    FirstFound found;
    const Looked looked = look_first(self, load, /*waiting=*/false, found);
    if (looked == Looked::Value && check_cacheable(loaded_value(found.loaded.get()))) {
        const bool past = is_to_be_loaded_anew(load, as_loaded(found.loaded.get()));
        flight_land(flight, found.loaded.get());
        if (past) {
            load_behind(self, call, terms);
        }
        *out = Py_NewRef(loaded_value(found.loaded.get()));
        return Start::Value;
    }
    PyObject* const coroutine =
        PyErr_Occurred() == nullptr
            ? guard_awaitable(self, call, load, call_load(self, call, load, found.first.get()))
            : nullptr;
    if (coroutine == nullptr) {
        const Ref exception(take_raised());
        flight_fail(flight, exception.get());
        const Ref traceback(PyException_GetTraceback(exception.get()));
        raise_with_traceback(exception.get(), traceback.get());
        return Start::Error;
    }
    const Ref awaited(coroutine);
    if (flight_run_task(flight, coroutine) < 0) {
        return Start::Error;
    }
    *out = owner.release();
    return Start::Wait;
}

// Has a task load what the caller got past its life, unless one does or has.
void load_behind(FunctionObject* self, const Call& call, const Terms& terms) {
    CacheObject* const cache = self->cache;
    CacheKey key;
    PyObject* flight = nullptr;
    if (key_call(self, call, key) == Keyed::Yes) {
        const Instant now = store_now(cache);
        const Slot slot = look_up(cache, key, now);
        if (slot != kFailed && !is_loaded_anew(cache, key, slot, now)) {
            Terms again = anew(terms);
            again.behind = true;
            static_cast<void>(lead_task(self, call, std::move(key), again, &flight));
        }
    }
    if (PyErr_Occurred() != nullptr) {
        PyErr_WriteUnraisable(as_object(self));
    }
    Py_XDECREF(flight);
}

// The same where a flight has landed it.
void load_behind(FunctionObject* self, const Call& call) {
    Terms terms{.life = self->rules->life};
    Control control;
    if (g_open_scopes != 0 && read_control(control)) {
        terms.store = !control.no_store;
    }
    load_behind(self, call, terms);
}

Start call_alone(FunctionObject* self, const Call& call, PyObject** out) {
    *out = call_through(self, call);
    return *out == nullptr ? Start::Error : Start::Alone;
}

// A promoted waiter starts the load of its flight again.
Start lead_again(FunctionObject* self, const Call& call, FlightObject* flight, PyObject** out) {
    load_of(flight)->started = store_now(self->cache);
    const Load* const load = load_of(flight);
    const Ref coroutine(guard_awaitable(self, call, load, call_load(self, call, load)));
    if (!coroutine) {
        const Ref exception(take_raised());
        flight_fail(flight, exception.get());
        const Ref traceback(PyException_GetTraceback(exception.get()));
        raise_with_traceback(exception.get(), traceback.get());
        return Start::Error;
    }
    if (flight_run_task(flight, coroutine.get()) < 0) {
        return Start::Error;
    }
    *out = Py_NewRef(as_object(flight));
    return Start::Wait;
}

// Leads a load that nobody waits for. Steals `stale`, which the caller gets.
Start lead_behind(FunctionObject* self, const Call& call, CacheKey&& key, const Terms& terms,
                  PyObject* stale, PyObject** out) {
    PyObject* flight = nullptr;
    if (lead_task(self, call, std::move(key), terms, &flight) == Start::Error) {
        PyErr_WriteUnraisable(as_object(self));
    }
    Py_XDECREF(flight);
    *out = hand_out(self, stale);
    return *out == nullptr ? Start::Error : Start::Value;
}

Start start(FunctionObject* self, const Call& call, PyObject** out) {
    CacheKey key;
    Terms terms;
    if (!terms_of(self, call, terms)) {
        return Start::Error;
    }
    const Verdict verdict = decide(self, call, key, terms);
    switch (verdict.kind) {
        case Verdict::Error: break;
        case Verdict::Hit:
            *out = hand_out(self, verdict.value);
            return *out == nullptr ? Start::Error : Start::Value;
        case Verdict::Join: *out = as_object(verdict.flight); return Start::Wait;
        case Verdict::Through: return call_alone(self, call, out);
        case Verdict::Lead:
            if (verdict.value != nullptr) {
                return lead_behind(self, call, std::move(key), terms, verdict.value, out);
            }
            return lead_task(self, call, std::move(key), terms, out);
    }
    return Start::Error;
}

Start start_as(FunctionObject* self, const Call& call, StartMode mode, FlightObject* promoted,
               PyObject** out) {
    switch (mode) {
        case StartMode::First: return start(self, call, out);
        case StartMode::Restart: return lead_again(self, call, promoted, out);
        case StartMode::LeftOut:
            if (!takes_left_out(self, call)) {
                return start(self, call, out);
            }
            *out = Py_NewRef(left_out());
            return Start::Value;
        case StartMode::Anew:
            load_behind(self, call);
            *out = Py_NewRef(Py_None);
            return Start::Value;
        case StartMode::Alone: break;
    }
    return call_alone(self, call, out);
}

// The hooks of an AsyncCall.
Start start_call(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                 FlightObject* promoted, PyObject** out) {
    const FlatCall flat(args, kwargs);
    return flat.ok() ? start_as(as_function(owner), flat.call(), mode, promoted, out)
                     : Start::Error;
}

// The call behind the first of `args`.
Start start_after_first(PyObject* owner, PyObject* args, PyObject* kwargs, Ref* made,
                        StartMode mode, FlightObject* promoted, PyObject** out) {
    const FlatCall flat(args, kwargs);
    if (!flat.ok()) {
        return Start::Error;
    }
    Call call = flat.call();
    ++call.args;
    --call.nargsf;
    call.made = made;
    return start_as(as_function(owner), call, mode, promoted, out);
}

// The first of `args` is what key= returned when the call was made.
Start start_keyed_call(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                       FlightObject* promoted, PyObject** out) {
    Ref made = Ref::share(PyTuple_GET_ITEM(args, 0));
    return start_after_first(owner, args, kwargs, &made, mode, promoted, out);
}

Start start_refresh(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                    FlightObject* promoted, PyObject** out) {
    if (mode != StartMode::First) {
        return start_call(owner, args, kwargs, mode, promoted, out);
    }
    FunctionObject* const self = as_function(owner);
    const FlatCall flat(args, kwargs);
    CacheKey key;
    const Keyed keyed = flat.ok() ? key_call(self, flat.call(), key) : Keyed::Failed;
    if (keyed != Keyed::Yes) {
        return keyed == Keyed::No ? call_alone(self, flat.call(), out) : Start::Error;
    }
    count_bypass(self);
    Terms terms{self->rules->life};
    terms.beside = true;
    return lead_task(self, flat.call(), std::move(key), terms, out);
}

// `first`, unless it is null, comes before the arguments.
PyObject* make_call(FunctionObject* self, const Call& call, StartHook hook, PyObject* first) {
    const Py_ssize_t count = call.positional();
    const Py_ssize_t shift = first == nullptr ? 0 : 1;
    const Ref args(PyTuple_New(count + shift));
    if (!args) {
        return nullptr;
    }
    if (first != nullptr) {
        PyTuple_SET_ITEM(args.get(), 0, Py_NewRef(first));
    }
    for (Py_ssize_t i = 0; i < count; ++i) {
        PyTuple_SET_ITEM(args.get(), i + shift, Py_NewRef(call.args[i]));
    }
    Ref kwargs;
    if (call.named() > 0) {
        kwargs = Ref(PyDict_New());
        for (Py_ssize_t i = 0; kwargs && i < call.named(); ++i) {
            if (PyDict_SetItem(kwargs.get(), PyTuple_GET_ITEM(call.kwnames, i),
                               call.args[count + i]) < 0) {
                return nullptr;
            }
        }
        if (!kwargs) {
            return nullptr;
        }
    }
    return make_async_call(as_object(self), hook, args.get(), kwargs.get());
}

// The value of a call that is a hit right now and holds no failure, as a finished awaitable; null
// without an exception: everything else, which is decided when it is awaited.
PyObject* hit_now(FunctionObject* self, const Call& call) {
    CacheKey key;
    CacheObject* const cache = self->cache;
    const Instant now = look_up_time(cache);
    const Keyed keyed = key_call(self, call, key);
    if (keyed != Keyed::Yes) {
        return nullptr;
    }
    const Slot slot = look_up(cache, key, now);
    if (slot >= kFailed) {
        return nullptr;
    }
    const cache::Entry& entry = (*cache->store)[slot];
    if (entry.state != cache::EntryState::Resident || is_stale(entry, now) ||
        is_negative(reinterpret_cast<PyObject*>(entry.value))) {
        return nullptr;
    }
    PyObject* const value = hand_out(self, take_hit(cache, slot, now));
    return value == nullptr ? nullptr : make_ready(value);
}

}  // namespace

FlatCall::FlatCall(PyObject* args, PyObject* kwargs) {
    const Py_ssize_t count = PyTuple_GET_SIZE(args);
    const Py_ssize_t named = kwargs == nullptr ? 0 : PyDict_GET_SIZE(kwargs);
    values_.reserve(static_cast<std::size_t>(count + named) + 1);
    values_.push_back(nullptr);  // Room for whoever prepends `self`.
    for (Py_ssize_t i = 0; i < count; ++i) {
        values_.push_back(PyTuple_GET_ITEM(args, i));
    }
    if (named > 0) {
        names_ = Ref(PyTuple_New(named));
        if (!names_) {
            failed_ = true;
            return;
        }
        PyObject *name, *value;
        Py_ssize_t at = 0;
        for (Py_ssize_t i = 0; PyDict_Next(kwargs, &at, &name, &value); ++i) {
            PyTuple_SET_ITEM(names_.get(), i, Py_NewRef(name));
            values_.push_back(value);
        }
    }
    positional_ = static_cast<std::size_t>(count);
}

PyObject* call_asynchronously(FunctionObject* self, const Call& call) {
    Ref made;
    if (g_open_scopes == 0) {
        Call kept = call;
        kept.made = &made;
        PyObject* const ready = hit_now(self, kept);
        if (ready != nullptr || PyErr_Occurred() != nullptr) {
            return ready;
        }
    }
    return make_call(self, call, made ? start_keyed_call : start_call, made.get());
}

Start start_shifted_call(PyObject* owner, PyObject* args, PyObject* kwargs, StartMode mode,
                         FlightObject* promoted, PyObject** out) {
    return start_after_first(owner, args, kwargs, nullptr, mode, promoted, out);
}

PyObject* refresh_asynchronously(FunctionObject* self, const Call& call) {
    return make_call(self, call, start_refresh, nullptr);
}

}  // namespace millpond::bindings
