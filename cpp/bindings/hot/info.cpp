#include "hot/info.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "hot/heap_type.hpp"
#include "millpond/base/error.hpp"
#include "millpond/cache/store.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

PyStructSequence_Field g_fields[] = {
    {"hits", "calls answered from the cache, in memory or in a tier"},
    {"misses", "calls that were not, neither from memory nor from a tier, for whatever reason"},
    {"maxsize", "the most entries, or None"},
    {"currsize", "entries held now"},
    {"hit_rate", "hits / (hits + misses), 0.0 before the first call"},
    {"hits_by_tier", "hits by where the value was, a dict; \"memory\" is always in it"},
    {"miss_reasons", "why memory had no value, a dict; the tiers may have had one"},
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
    {"stale_hits", "calls that got a value past its life: it was being loaded, or that failed"},
    {nullptr, nullptr},
};
PyStructSequence_Desc g_description = {
    "millpond.CacheInfo",
    "Statistics of a cached function or a cache.",
    g_fields,
    4,
};

std::vector<std::string>& source_names() {
    static auto* names = new std::vector<std::string>{"function"};  // Never destroyed.
    return *names;
}

bool add_count(PyObject* dict, const char* name, std::uint64_t number) {
    const Ref count(PyLong_FromUnsignedLongLong(number));
    return count && PyDict_SetItemString(dict, name, count.get()) == 0;
}

PyObject* tiers_dict(const cache::Counters& counters) {
    Ref dict(PyDict_New());
    bool complete = dict && add_count(dict.get(), "memory", counters.hits);
    for (std::size_t i = 1; complete && i < source_names().size(); ++i) {
        if (counters.hits_from[i] != 0) {
            complete = add_count(dict.get(), source_names()[i].c_str(), counters.hits_from[i]);
        }
    }
    return complete ? dict.release() : nullptr;
}

PyObject* reasons_dict(const cache::Counters& counters) {
    Ref dict(PyDict_New());
    for (std::size_t i = 0; dict && i < cache::kMissReasons; ++i) {
        if (!add_count(dict.get(), reason_name(static_cast<cache::MissReason>(i)),
                       counters.misses[i])) {
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
    const std::uint64_t hits = counters.hits + counters.tier_hits();
    const std::uint64_t absent = counters.all_misses();
    // A call counts as a miss when memory has nothing, and as a tier's hit when its load has ended.
    const std::uint64_t misses = absent - std::min(absent, counters.tier_hits());
    const std::uint64_t calls = hits + misses;
    const double rate = calls == 0 ? 0.0 : static_cast<double>(hits) / static_cast<double>(calls);
    Ref info(PyStructSequence_New(g_type));
    if (!info) {
        return nullptr;
    }
    const std::array values = {
        PyLong_FromUnsignedLongLong(hits),
        PyLong_FromUnsignedLongLong(misses),
        bound == cache::kUnbounded ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(bound),
        PyLong_FromSize_t(size),
        PyFloat_FromDouble(rate),
        tiers_dict(counters),
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
        PyLong_FromUnsignedLongLong(counters.stale_hits),
    };
    static_assert(values.size() + 1 == sizeof g_fields / sizeof g_fields[0]);
    bool complete = true;
    for (std::size_t i = 0; i < values.size(); ++i) {
        complete &= values[i] != nullptr;
        PyStructSequence_SetItem(info.get(), static_cast<Py_ssize_t>(i), values[i]);
    }
    return complete ? info.release() : nullptr;
}

std::uint8_t source_id(const std::string& name) {
    std::vector<std::string>& names = source_names();
    for (std::size_t i = 1; i < names.size(); ++i) {
        if (names[i] == name) {
            return static_cast<std::uint8_t>(i);
        }
    }
    if (names.size() == cache::kSources) {
        throw Error(ErrorCode::LimitExceeded,
                    "a process can tell " + std::to_string(cache::kSources - 1) +
                        " names of tiers apart, and " + name + " is one more");
    }
    names.push_back(name);
    return static_cast<std::uint8_t>(names.size() - 1);
}

const char* source_name(std::uint8_t source) noexcept { return source_names()[source].c_str(); }

int init_info(PyObject* module) {
    g_type = PyStructSequence_NewType(&g_description);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "CacheInfo", as_object(g_type));
}

}  // namespace millpond::bindings
