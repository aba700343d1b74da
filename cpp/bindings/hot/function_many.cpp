// What a batch of keys does, and how a thread makes one.
#include "hot/coroutine.hpp"
#include "hot/function_control.hpp"
#include "hot/function_methods.hpp"
#include "hot/key_batch.hpp"
#include "hot/loaded.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

bool KeyBatch::begin(const Request& request) {
    if (!found_ || !waiting_ || !missing_ || !names_) {
        return false;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(request.keys);
    led_.reserve(static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (!begin(PyTuple_GET_ITEM(request.keys, i), request)) {
            return false;
        }
    }
    return true;
}

bool KeyBatch::begin(PyObject* key, const Request& request) {
    PyObject* const args[] = {key, request.loader, request.ttl, request.tags, request.cost};
    const Call call{args, std::size(args), nullptr};
    CacheKey wanted;
    Terms terms;
    if (!terms_of(self_, call, terms)) {
        return false;
    }
    const Verdict verdict = decide(self_, call, wanted, terms);
    switch (verdict.kind) {
        case Verdict::Error: return false;
        case Verdict::Hit: {
            const Ref value(hand_out(self_, verdict.value));
            return value && PyDict_SetItem(found_.get(), key, value.get()) == 0;
        }
        case Verdict::Join: {
            const Ref flight(as_object(verdict.flight));
            const Ref pair(PyTuple_Pack(2, key, flight.get()));
            return pair && PyList_Append(waiting_.get(), pair.get()) == 0;
        }
        case Verdict::Through: {
            unshared_.push_back(key);
            const Ref name = self_->tiers != nullptr ? shared_name(self_, call) : Ref();
            if (PyErr_Occurred() != nullptr ||
                (name && PyList_Append(names_.get(), name.get()) < 0)) {
                return false;
            }
            break;
        }
        case Verdict::Lead:
            if (!lead(call, std::move(wanted), terms)) {
                return false;
            }
            break;
    }
    return PyList_Append(missing_.get(), key) == 0;
}

bool KeyBatch::lead(const Call& call, CacheKey&& key, const Terms& terms) {
    Marks marks;
    if (!marks_for(self_, call, marks)) {
        return false;
    }
    if (marks.shared && PyList_Append(names_.get(), PyTuple_GET_ITEM(marks.shared.get(), 0)) < 0) {
        return false;
    }
    Load* const load = make_load(self_, std::move(key), std::move(marks.shared), terms);
    if (load == nullptr) {
        return false;
    }
    FlightObject* const flight = open_flight(self_, load, marks.tags);
    if (flight == nullptr || !flights_.enter(flight)) {
        return false;
    }
    led_.push_back({call.args[0], {}});
    return true;
}

bool KeyBatch::end(PyObject* loaded) {
    if (!collect(loaded)) {
        return false;
    }
    flights_.leave();
    return land();
}

// Reads all values while the loads are still under way: a mapping may be the user's own.
bool KeyBatch::collect(PyObject* loaded) {
    if (PyDict_CheckExact(loaded) == 0 && PyObject_HasAttrString(loaded, "keys") == 0) {
        raise_error(PythonError::OptionType,
                    std::string("get_or_load_many: the loader returned a ") +
                        Py_TYPE(loaded)->tp_name + "; it must return a mapping of keys to values");
        return false;
    }
    for (Led& one : led_) {
        if (!take(loaded, one.key, one.value)) {
            return false;
        }
    }
    for (PyObject* const key : unshared_) {
        Ref value;
        if (!take(loaded, key, value)) {
            return false;
        }
    }
    return true;
}

// The value that was loaded for a key, which goes to the result; null when there is none.
bool KeyBatch::take(PyObject* loaded, PyObject* key, Ref& value) {
    if (PyDict_CheckExact(loaded)) {
        value = Ref::share(PyDict_GetItemWithError(loaded, key));
        if (!value) {
            return PyErr_Occurred() == nullptr;
        }
    } else {
        const int there = PySequence_Contains(loaded, key);
        if (there <= 0) {
            return there == 0;
        }
        value = Ref(PyObject_GetItem(loaded, key));
    }
    return value && PyDict_SetItem(found_.get(), key, loaded_value(value.get())) == 0;
}

// Each flight gets its own outcome: what cannot be cached fails the load of its key alone.
bool KeyBatch::land() {
    Ref refusal;
    for (std::size_t i = 0; i < led_.size(); ++i) {
        PyObject* const value = led_[i].value.get();
        if (value == nullptr) {
            flights_.land(i, left_out());
        } else if (check_cacheable(loaded_value(value))) {
            flights_.land(i, value);
        } else {
            const Ref exception(take_raised());
            flights_.fail(i, exception.get());
            refusal = refusal ? std::move(refusal) : Ref::share(exception.get());
        }
    }
    if (refusal) {
        raise_again(refusal.release());
        return false;
    }
    return true;
}

int KeyBatch::traverse(visitproc visit, void* arg) const {
    for (const Led& one : led_) {
        Py_VISIT(one.value.get());
    }
    Py_VISIT(found_.get());
    Py_VISIT(waiting_.get());
    Py_VISIT(missing_.get());
    Py_VISIT(names_.get());
    return flights_.traverse(visit, arg);
}

namespace {

bool call_loader(KeyBatch& batch, PyObject* loader) {
    // A loader that asks tiers is told what the keys are called there.
    PyObject* const arguments[] = {batch.missing(), batch.names()};
    const bool named = PyList_GET_SIZE(batch.names()) > 0;
    const Ref loaded(PyObject_Vectorcall(loader, arguments, named ? 2 : 1, nullptr));
    return loaded && batch.end(loaded.get());
}

// The loader raised: so do all who wait for its keys, unless it was interrupted.
void end_with_exception(KeyBatch& batch) {
    batch.flights().leave();
    const Ref exception(take_raised());
    if (!flight_is_interruption(exception.get())) {
        batch.flights().fail(exception.get());
    } else {
        batch.flights().give_up();
    }
    const Ref traceback(PyException_GetTraceback(exception.get()));
    raise_with_traceback(exception.get(), traceback.get());
}

}  // namespace

PyObject* function_load_many(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 5 || PyTuple_Check(args[0]) == 0 || !as_function(object)->mapping) {
        PyErr_SetString(PyExc_TypeError, "_load_many() takes keys, loader, ttl, tags and cost");
        return nullptr;
    }
    try {
        KeyBatch batch(as_function(object));
        if (!batch.begin({args[0], args[1], args[2], args[3], args[4]})) {
            return nullptr;
        }
        if (PyList_GET_SIZE(batch.missing()) > 0 && !call_loader(batch, args[1])) {
            end_with_exception(batch);
            return nullptr;
        }
        return PyTuple_Pack(2, batch.found(), batch.waiting());
    } catch (...) {
        raise_current_exception();
        return nullptr;
    }
}

PyObject* function_follow(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 7 || !is_flight(args[0]) || !as_function(object)->mapping) {
        PyErr_SetString(PyExc_TypeError, "_follow() takes a flight and a call's arguments");
        return nullptr;
    }
    const Call call{args + 1, static_cast<std::size_t>(count - 1), nullptr};
    return follow_load(as_function(object), call, reinterpret_cast<FlightObject*>(args[0]));
}

}  // namespace millpond::bindings
