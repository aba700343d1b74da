#include "hot/info.hpp"

#include <array>

#include "hot/heap_type.hpp"
#include "millpond/cache/store.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

PyStructSequence_Field g_fields[] = {
    {"hits", "calls answered from the cache"},
    {"misses", "calls that were not, for whatever reason"},
    {"maxsize", "the most entries, or None"},
    {"currsize", "entries held now"},
    {"hit_rate", "hits / (hits + misses), 0.0 before the first call"},
    {"miss_reasons", "misses by reason, a dict"},
    {"loads", "times the function was run and returned or raised"},
    {"load_errors", "loads that raised"},
    {"load_seconds", "time spent in loads, summed"},
    {"coalesced", "misses that waited for another caller's load instead of making one"},
    {"evictions", "entries that left to keep a bound"},
    {"expirations", "entries whose life ended"},
    {"invalidations", "entries deleted or invalidated"},
    {"replacements", "values replaced by another"},
    {"not_stored", "values that were not stored: too heavy, or refused by a rule"},
    {"bytes", "weight of the entries held now; 0 where bytes are not counted"},
    {"cost_spent", "dollars of the loads, as `cost=` told"},
    {"cost_saved", "dollars that hits and coalesced calls did not spend"},
    {nullptr, nullptr},
};
PyStructSequence_Desc g_description = {
    "millpond.CacheInfo",
    "Statistics of a cached function or a cache.",
    g_fields,
    4,
};

PyObject* reasons_dict(const cache::Counters& counters) {
    Ref dict(PyDict_New());
    for (std::size_t i = 0; dict && i < cache::kMissReasons; ++i) {
        const Ref count(PyLong_FromUnsignedLongLong(counters.misses[i]));
        if (!count ||
            PyDict_SetItemString(dict.get(), reason_name(static_cast<cache::MissReason>(i)),
                                 count.get()) < 0) {
            return nullptr;
        }
    }
    return dict.release();
}

}  // namespace

const char* reason_name(cache::MissReason reason) noexcept {
    static constexpr std::array<const char*, cache::kMissReasons> kNames = {
        "cold_or_evicted", "expired", "stale", "invalidated", "bypass", "disabled", "not_stored"};
    return kNames[static_cast<std::size_t>(reason)];
}

PyObject* make_info(const cache::Counters& counters, std::uint64_t bound, std::size_t size,
                    std::uint64_t bytes) {
    const auto removed = [&counters](cache::Cause cause) {
        return PyLong_FromUnsignedLongLong(counters.removals[static_cast<std::size_t>(cause)]);
    };
    const std::uint64_t misses = counters.all_misses();
    const std::uint64_t calls = counters.hits + misses;
    const double rate =
        calls == 0 ? 0.0 : static_cast<double>(counters.hits) / static_cast<double>(calls);
    Ref info(PyStructSequence_New(g_type));
    if (!info) {
        return nullptr;
    }
    const std::array values = {
        PyLong_FromUnsignedLongLong(counters.hits),
        PyLong_FromUnsignedLongLong(misses),
        bound == cache::kUnbounded ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bound),
        PyLong_FromSize_t(size),
        PyFloat_FromDouble(rate),
        reasons_dict(counters),
        PyLong_FromUnsignedLongLong(counters.loads),
        PyLong_FromUnsignedLongLong(counters.load_errors),
        PyFloat_FromDouble(static_cast<double>(counters.load_nanos) * 1e-9),
        PyLong_FromUnsignedLongLong(counters.coalesced),
        removed(cache::Cause::Size),
        removed(cache::Cause::Expired),
        removed(cache::Cause::Explicit),
        removed(cache::Cause::Replaced),
        PyLong_FromUnsignedLongLong(counters.not_stored),
        PyLong_FromUnsignedLongLong(bytes),
        PyFloat_FromDouble(counters.cost_spent),
        PyFloat_FromDouble(counters.cost_saved),
    };
    static_assert(values.size() + 1 == sizeof g_fields / sizeof g_fields[0]);
    bool complete = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
        complete &= values[i] != nullptr;
        PyStructSequence_SetItem(info.get(), static_cast<Py_ssize_t>(i), values[i]);
    }
    return complete ? info.release() : nullptr;
}

int init_info(PyObject* module) {
    g_type = PyStructSequence_NewType(&g_description);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "CacheInfo", as_object(g_type));
}

}  // namespace millpond::bindings
