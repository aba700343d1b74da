// get_or_load_many: one call of a loader for many keys, each of them a flight of its own.
//
// Nobody is waited for until these loads have landed: two callers that want each other's keys never
// wait in a circle.
#pragma once

#include <Python.h>

#include <vector>

#include "hot/flight_group.hpp"
#include "hot/function_object.hpp"

namespace millpond::bindings {

class KeyBatch {
  public:
    // What is behind the arguments of _load_many, borrowed. The keys are a tuple; they and the
    // function outlive the batch.
    struct Request {
        PyObject *keys, *loader, *ttl, *tags, *cost;
    };

    explicit KeyBatch(FunctionObject* self) : self_(self) {}

    // All that return a bool return false with an exception set.

    // Looks all keys up, and leads the loads of those that nobody has, inside which it leaves the
    // thread.
    [[nodiscard]] bool begin(const Request& request);
    // Takes the mapping that the loader returned: the flights land. If it raises an exception before
    // that, they are still in the air.
    [[nodiscard]] bool end(PyObject* loaded);
    [[nodiscard]] FlightGroup& flights() noexcept { return flights_; }

    // Borrowed: the values found or loaded, the keys that others load with their flights, the keys to
    // load, and what these are called in the tiers, where the function has any.
    [[nodiscard]] PyObject* found() const noexcept { return found_.get(); }
    [[nodiscard]] PyObject* waiting() const noexcept { return waiting_.get(); }
    [[nodiscard]] PyObject* missing() const noexcept { return missing_.get(); }
    [[nodiscard]] PyObject* names() const noexcept { return names_.get(); }
    [[nodiscard]] int traverse(visitproc visit, void* arg) const;

  private:
    [[nodiscard]] bool begin(PyObject* key, const Request& request);
    [[nodiscard]] bool lead(const Call& call, CacheKey&& key, const Terms& terms);
    [[nodiscard]] bool collect(PyObject* loaded);
    [[nodiscard]] bool take(PyObject* loaded, PyObject* key, Ref& value);
    [[nodiscard]] bool land();

    struct Led {
        PyObject* key;  // borrowed from the tuple of keys
        Ref value;      // null: the loader left it out
    };

    FunctionObject* self_;
    FlightGroup flights_;
    std::vector<Led> led_;             // in the order of the flights
    std::vector<PyObject*> unshared_;  // keys to load that no flight is for: the cache is disabled
    Ref found_{PyDict_New()};
    Ref waiting_{PyList_New(0)};
    Ref missing_{PyList_New(0)};
    Ref names_{PyList_New(0)};
};

}  // namespace millpond::bindings
