// What the methods of a cached function share with its other parts.
#pragma once

#include "hot/async_call.hpp"
#include "hot/function_object.hpp"

namespace millpond::bindings {

// A tuple and a dict of arguments, laid out as vectorcall passes them. Borrows both.
class FlatCall {
  public:
    FlatCall(PyObject* args, PyObject* kwargs);
    [[nodiscard]] bool ok() const noexcept { return !failed_; }
    [[nodiscard]] Call call() const noexcept {
        return {values_.data() + 1, positional_ | PY_VECTORCALL_ARGUMENTS_OFFSET, names_.get()};
    }

  private:
    std::vector<PyObject*> values_;
    std::size_t positional_ = 0;
    Ref names_;
    bool failed_ = false;
};

inline void count_bypass(FunctionObject* self) noexcept {
    constexpr auto kBypass = static_cast<std::size_t>(cache::MissReason::Bypass);
    ++self->cache->store->counters(space_of(self)).misses[kBypass];
}

// get_or_load_many, in two steps. _load_many(keys, loader, ttl, tags, cost) makes one load of all keys
// that are neither here nor being loaded, and returns what there is then and a list of (key, flight)
// of the rest. _follow(flight, key, loader, ttl, tags, cost, True) waits for one of these; LEFT_OUT
// when its load had no value for the key. Both only on the function behind a Cache's own entries.
[[nodiscard]] PyObject* function_load_many(PyObject* self, PyObject* const* args, Py_ssize_t count);
[[nodiscard]] PyObject* function_follow(PyObject* self, PyObject* const* args, Py_ssize_t count);
// The same in an event loop: _begin_many(keys, ttl, tags, cost) gives a Batch (batch_object.cpp), and
// _await, with the arguments of _follow, an awaitable.
[[nodiscard]] PyObject* function_begin_many(PyObject* self, PyObject* const* args,
                                            Py_ssize_t count);
[[nodiscard]] PyObject* function_await(PyObject* self, PyObject* const* args, Py_ssize_t count);
// Called once at import. 0, or -1 with an exception set.
[[nodiscard]] int init_batches();

// The start hook of an asynchronous call whose arguments come after the first of `args`.
[[nodiscard]] Start start_shifted_call(PyObject* owner, PyObject* args, PyObject* kwargs,
                                       StartMode mode, FlightObject* promoted, PyObject** out);

// An awaitable that loads anew and replaces what is stored.
[[nodiscard]] PyObject* refresh_asynchronously(FunctionObject* self, const Call& call);

// ---- function_tiers.cpp

[[nodiscard]] PyObject* function_set_flow(PyObject* self, PyObject* const* args, Py_ssize_t count);
[[nodiscard]] PyObject* function_is_per_instance(PyObject* self, PyObject*);
[[nodiscard]] PyObject* function_flow(PyObject* self, PyObject*);
[[nodiscard]] PyObject* function_shared_call(PyObject* self, PyObject* const* args,
                                             Py_ssize_t count, PyObject* kwnames);
[[nodiscard]] PyObject* function_drop_entries(PyObject* self, PyObject*);

}  // namespace millpond::bindings
