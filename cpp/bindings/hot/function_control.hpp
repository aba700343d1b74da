// What becomes of a call of a cached function: the one decision behind every way of calling it.
#pragma once

#include "hot/control.hpp"
#include "hot/function_object.hpp"

namespace millpond::bindings {

struct Verdict {
    enum Kind {
        Error,  // an exception is set
        Hit,    // `value`, a new reference, not handed out yet
        Join,   // wait on `flight`, a new reference
        // Load under `key` on `terms`; with a `value`, of a new reference, in the background: the
        // caller gets that, not handed out yet.
        Lead,
        Through,  // call the plain function, storing nothing
    };
    Kind kind;
    PyObject* value = nullptr;
    FlightObject* flight = nullptr;
};

// The decision where a scope is open in this context.
[[nodiscard]] Verdict judge(FunctionObject* self, const Call& call, const Control& control,
                            CacheKey& key, Terms& terms);
// The decision where the resident entry of `key` is past its life. Counts hits and misses.
[[nodiscard]] Verdict judge_stale(FunctionObject* self, const Call& call, const CacheKey& key,
                                  Slot slot, Instant now, Terms& terms);
// The decision, whatever is open. Counts hits and misses.
[[nodiscard]] Verdict decide(FunctionObject* self, const Call& call, CacheKey& key, Terms& terms);

// The bytes that name a call: its shared key (32), or its fingerprint (16) where an argument has no
// meaning outside this process. New reference, or null with an exception set.
[[nodiscard]] PyObject* call_identity(FunctionObject* self, const Call& call);

}  // namespace millpond::bindings
