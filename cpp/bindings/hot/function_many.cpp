// get_or_load_many: one call of a loader for many keys, each of them a flight of its own.
//
// The loads nest: each flight is led inside the one before. So whatever the loader calls has all of
// them for its ancestry, and a call in it that would wait for one of them is seen. Nobody is waited
// for until these loads have landed: two callers that want each other's keys never wait in a circle.
#include "hot/coroutine.hpp"
#include "hot/function_control.hpp"
#include "hot/function_methods.hpp"
#include "hot/loaded.hpp"
#include "hot/weigher.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

struct Led {
    PyObject* key;  // borrowed from the tuple of keys
    FlightObject* flight;
    PyObject* token = nullptr;  // of flight_enter, until flight_exit
    Ref value;                  // null: the loader left it out
};

// What is behind the arguments of _load_many, borrowed.
struct Request {
    PyObject *keys, *loader, *ttl, *tags, *cost;
};

class Batch {
  public:
    Batch(FunctionObject* self, const Request& request) : self_(self), request_(request) {}
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;
    ~Batch() {
        leave();
        for (const Led& one : led_) {
            if (!ended_) {
                flight_abandon(one.flight);  // Whoever waits for it leads now.
            }
            Py_DECREF(as_object(one.flight));
        }
    }

    // All return false with an exception set.
    bool run();
    // (values found or loaded, the keys that others load with their flights): a new reference.
    [[nodiscard]] PyObject* result() const { return PyTuple_Pack(2, found_.get(), waiting_.get()); }

  private:
    bool begin(PyObject* key);
    bool lead(const Call& call, CacheKey&& key, const Terms& terms);
    bool load();
    bool collect(PyObject* loaded);
    bool take(PyObject* loaded, PyObject* key, Ref& value);
    bool land();
    bool fail();
    void leave();

    FunctionObject* self_;
    Request request_;
    std::vector<Led> led_;
    std::vector<PyObject*> unshared_;  // keys to load that no flight is for: the cache is disabled
    Ref found_{PyDict_New()};
    Ref waiting_{PyList_New(0)};
    Ref missing_{PyList_New(0)};
    Ref names_{PyList_New(0)};  // of these in the tiers, where the function has any
    bool ended_ = false;        // Each flight has had its end, or has another leader.
};

bool Batch::run() {
    if (!found_ || !waiting_ || !missing_ || !names_) {
        return false;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(request_.keys);
    led_.reserve(static_cast<std::size_t>(count));
    for (Py_ssize_t i = 0; i < count; ++i) {
        if (!begin(PyTuple_GET_ITEM(request_.keys, i))) {
            return false;
        }
    }
    return PyList_GET_SIZE(missing_.get()) == 0 || load();
}

bool Batch::begin(PyObject* key) {
    PyObject* const args[] = {key, request_.loader, request_.ttl, request_.tags, request_.cost};
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

bool Batch::lead(const Call& call, CacheKey&& key, const Terms& terms) {
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
    if (flight == nullptr) {
        return false;
    }
    led_.push_back({call.args[0], flight, nullptr, {}});
    return flight_enter(flight, &led_.back().token) == 0;
}

bool Batch::load() {
    // A loader that asks tiers is told what the keys are called there.
    PyObject* const arguments[] = {missing_.get(), names_.get()};
    const bool named = PyList_GET_SIZE(names_.get()) > 0;
    const Ref loaded(PyObject_Vectorcall(request_.loader, arguments, named ? 2 : 1, nullptr));
    if (!loaded || !collect(loaded.get())) {
        return fail();
    }
    leave();
    return land();
}

// Reads all values while the loads are still under way: a mapping may be the user's own.
bool Batch::collect(PyObject* loaded) {
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
bool Batch::take(PyObject* loaded, PyObject* key, Ref& value) {
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
bool Batch::land() {
    Ref refusal;
    ended_ = true;
    for (const Led& one : led_) {
        if (!one.value) {
            flight_land(one.flight, left_out());
        } else if (check_cacheable(loaded_value(one.value.get()))) {
            flight_land(one.flight, one.value.get());
        } else {
            const Ref exception(take_raised());
            flight_fail(one.flight, exception.get());
            refusal = refusal ? std::move(refusal) : Ref::share(exception.get());
        }
    }
    if (refusal) {
        raise_again(refusal.release());
        return false;
    }
    return true;
}

// The loader raised: so do all who wait for its keys, unless it was interrupted.
bool Batch::fail() {
    leave();
    ended_ = true;
    const Ref exception(take_raised());
    const bool shared = !flight_is_interruption(exception.get());
    for (const Led& one : led_) {
        if (shared) {
            flight_fail(one.flight, exception.get());
        } else {
            flight_abandon(one.flight);
        }
    }
    const Ref traceback(PyException_GetTraceback(exception.get()));
    raise_with_traceback(exception.get(), traceback.get());
    return false;
}

void Batch::leave() {
    for (std::size_t i = led_.size(); i-- > 0;) {
        flight_exit(std::exchange(led_[i].token, nullptr));
    }
}

}  // namespace

PyObject* function_load_many(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 5 || PyTuple_Check(args[0]) == 0 || !as_function(object)->mapping) {
        PyErr_SetString(PyExc_TypeError, "_load_many() takes keys, loader, ttl, tags and cost");
        return nullptr;
    }
    try {
        Batch batch(as_function(object), {args[0], args[1], args[2], args[3], args[4]});
        return batch.run() ? batch.result() : nullptr;
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
