// millpond._engine.Loaded: what the load of a function with tiers returns in place of a bare value:
// the value, how long memory may keep it, and who had it. The end of the load reads it; callers get
// the value.
#pragma once

#include <Python.h>

#include <cstdint>
#include <limits>

#include "hot/heap_type.hpp"

namespace millpond::bindings {

// Where a value came from: the function itself, or the tier with this number (source_id).
inline constexpr std::uint8_t kFromFunction = 0;
// From nowhere: nobody had a value, and the function was not asked.
inline constexpr std::uint8_t kFromNobody = 255;
// From memory, past its life: the function failed.
inline constexpr std::uint8_t kFromStale = 254;

inline constexpr long long kNoEnd = std::numeric_limits<long long>::max();

struct LoadedObject {
    PyObject_HEAD PyObject* value;
    PyObject* tags;       // of memory's entry, beyond those of the call; a tuple of hashes, or null
    long long ttl;        // ns that memory has it as fresh, negative: it is past that; or kNoEnd
    long long stale;      // ns that memory keeps it past that
    double cost;          // dollars that the value cost, or would have
    double left;          // seconds that its entry in a tier has left; infinite: it is from none
    double fresh;         // seconds that it is fresh there, negative: it is past that
    double age;           // seconds since that was stored
    std::uint8_t source;  // kFromFunction, kFromNobody, or the number of a tier
    bool store;           // whether memory keeps it
    bool past;            // whether it is past its life: it is to be loaded anew
};

// Of null too, which is none.
[[nodiscard]] bool is_loaded(PyObject* object) noexcept;
// The value in it, borrowed; the object itself if it is no Loaded.
[[nodiscard]] PyObject* loaded_value(PyObject* object) noexcept;
// The same as what it is; null if it is none.
[[nodiscard]] const LoadedObject* as_loaded(PyObject* object) noexcept;

// What a tier had. Memory may have it as fresh for `life` seconds, and keep it for `kept`: both from
// now on, the first less than 0 for a value that is past its life. `tags` is null or a tuple of
// hashes. New reference, or null with MemoryError set.
struct TierValue {
    PyObject* value;
    PyObject* tags;
    double left;
    double fresh;
    double life;
    double kept;
    double cost;
    double age;
    std::uint8_t source;
    bool store;
};
[[nodiscard]] PyObject* make_loaded(const TierValue& from);
// Memory keeps it no longer than so many seconds from now on. REQUIRES: is_loaded(object).
void shorten_loaded(PyObject* object, double seconds) noexcept;

[[nodiscard]] int init_loaded(PyObject* module);

}  // namespace millpond::bindings
