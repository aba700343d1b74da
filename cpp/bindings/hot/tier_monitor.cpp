#include "hot/tier_monitor.hpp"

#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <string>

#include "hot/clock.hpp"
#include "hot/forks.hpp"
#include "hot/heap_type.hpp"
#include "hot/name_table.hpp"
#include "hot/tier_snapshot.hpp"
#include "millpond/cache/tier_monitor.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

using cache::TierBytes;
using cache::TierEvent;
using cache::TierNotice;
using cache::TierOp;
using cache::TierOutcome;

struct MonitorObject {
    PyObject_HEAD cache::TierMonitor* monitor;  // owned
    PyObject* name;                             // owned
    ManualClockObject* clock;                   // owned; null: the system's
    std::uint32_t forks;                        // g_forks when it was last looked at
    double cap;                                 // seconds; infinite: none
};

MonitorObject* as_monitor(PyObject* object) noexcept {
    return reinterpret_cast<MonitorObject*>(object);
}

PyTypeObject* g_type = nullptr;

Names<TierOp, cache::kTierOps> g_ops;
Names<TierOutcome, cache::kTierOutcomes> g_outcomes;
Names<TierEvent, cache::kTierEvents> g_events;
Names<TierNotice, 6> g_notices;

Instant now_of(const MonitorObject* self) noexcept {
    return self->clock != nullptr ? self->clock->now : precise_now();
}

// The monitor, which in the child of a fork begins anew first.
cache::TierMonitor& monitor_of(MonitorObject* self) noexcept {
    if (self->forks != g_forks) [[unlikely]] {
        self->forks = g_forks;
        self->monitor->forked(random_seed(), now_of(self));
    }
    return *self->monitor;
}

bool read_outcome(PyObject* given, TierOutcome& outcome) {
    if (given == Py_None) {
        outcome = TierOutcome::Ok;
        return true;
    }
    return g_outcomes.find(given, "outcome", outcome);
}

bool read_count(PyObject* given, std::uint64_t& count) {
    const unsigned long long value = PyLong_AsUnsignedLongLong(given);
    count = value;
    return value != ~0ULL || PyErr_Occurred() == nullptr;
}

// Seconds as a span; false with an exception set unless they are more than 0 and at most an hour.
bool read_span(double seconds, const char* option, Nanos& span) {
    if (!(seconds > 0 && seconds <= 3600)) {
        raise_error(PythonError::Configuration,
                    std::string(option) + ": allowed are seconds above 0, up to 3600");
        return false;
    }
    span = Nanos{static_cast<Nanos::rep>(seconds * 1e9)};
    return true;
}

PyObject* monitor_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    static const char* names[] = {"name", "clock", "seed", "slow", nullptr};
    PyObject* name = nullptr;
    PyObject* clock = Py_None;
    PyObject* seed_object = Py_None;
    double slow = 0.1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "U|$OOd:TierMonitor", const_cast<char**>(names),
                                     &name, &clock, &seed_object, &slow)) {
        return nullptr;
    }
    if (clock != Py_None && Py_TYPE(clock) != manual_clock_type()) {
        raise_error(PythonError::OptionType, "clock: allowed is a ManualClock or None");
        return nullptr;
    }
    cache::TierMonitorOptions options;
    if (!read_span(slow, "slow", options.slow)) {
        return nullptr;
    }
    std::uint64_t seed = 0;
    if (seed_object == Py_None) {
        seed = random_seed();
    } else if (!read_count(seed_object, seed)) {
        return nullptr;
    }
    PyObject* const object = type->tp_alloc(type, 0);
    if (object == nullptr) {
        return nullptr;
    }
    MonitorObject* const self = as_monitor(object);
    self->name = Py_NewRef(name);
    self->clock =
        clock == Py_None ? nullptr : reinterpret_cast<ManualClockObject*>(Py_NewRef(clock));
    self->forks = g_forks;
    self->cap = std::numeric_limits<double>::infinity();
    try {
        self->monitor = new cache::TierMonitor(options, seed, now_of(self));
    } catch (...) {
        Py_DECREF(object);
        raise_current_exception();
        return nullptr;
    }
    return object;
}

void monitor_dealloc(PyObject* object) {
    MonitorObject* const self = as_monitor(object);
    delete std::exchange(self->monitor, nullptr);
    Py_CLEAR(self->name);
    Py_CLEAR(self->clock);
    release_object(object);
}

PyObject* monitor_repr(PyObject* object) {
    const Ref state(PyObject_GetAttrString(object, "state"));
    return state
               ? PyUnicode_FromFormat("<TierMonitor %R %U>", as_monitor(object)->name, state.get())
               : nullptr;
}

// ---- Operations

PyObject* monitor_begin(PyObject* object, PyObject* name) {
    MonitorObject* const self = as_monitor(object);
    TierOp op;
    if (!g_ops.find(name, "operation", op)) {
        return nullptr;
    }
    cache::TierMonitor& monitor = monitor_of(self);
    // While the tier is out, the time does not matter.
    const bool out = monitor.state() != BreakerState::Closed;
    return PyLong_FromLongLong(monitor.begin(op, out ? Instant{} : now_of(self)));
}

PyObject* monitor_end(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    MonitorObject* const self = as_monitor(object);
    if (count < 1 || count > 4) {
        PyErr_Format(PyExc_TypeError,
                     "end() takes a ticket, an outcome, bytes in and bytes out, not %zd arguments",
                     count);
        return nullptr;
    }
    const long long ticket = PyLong_AsLongLong(args[0]);
    if (ticket < 0) {
        if (PyErr_Occurred() == nullptr) {
            PyErr_Format(PyExc_ValueError, "end(%lld): begin() refused this operation", ticket);
        }
        return nullptr;
    }
    TierOutcome outcome = TierOutcome::Ok;
    TierBytes bytes;
    if ((count > 1 && !read_outcome(args[1], outcome)) ||
        (count > 2 && !read_count(args[2], bytes.in)) ||
        (count > 3 && !read_count(args[3], bytes.out))) {
        return nullptr;
    }
    return notice_name(monitor_of(self).end(ticket, outcome, bytes, now_of(self)));
}

PyObject* monitor_count(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError, "count() takes an event and a number, not %zd arguments",
                     count);
        return nullptr;
    }
    TierEvent event;
    std::uint64_t times = 1;
    if (!g_events.find(args[0], "event", event) || (count > 1 && !read_count(args[1], times))) {
        return nullptr;
    }
    monitor_of(as_monitor(object)).count(event, times);
    Py_RETURN_NONE;
}

// ---- Probes: (kind, ticket), the ticket being twice the epoch, odd for a write.

PyObject* monitor_probe_in(PyObject* object, PyObject*) {
    MonitorObject* const self = as_monitor(object);
    const Instant next = monitor_of(self).next_probe();
    if (next == kNever) {
        Py_RETURN_NONE;
    }
    const Nanos left = std::max(next - now_of(self), Nanos{0});
    return PyFloat_FromDouble(static_cast<double>(left.count()) * 1e-9);
}

PyObject* monitor_begin_probe(PyObject* object, PyObject*) {
    MonitorObject* const self = as_monitor(object);
    const auto probe = monitor_of(self).begin_probe(now_of(self));
    if (!probe) {
        Py_RETURN_NONE;
    }
    const auto ticket = static_cast<unsigned long long>(probe->epoch) * 2 + (probe->write ? 1 : 0);
    return Py_BuildValue("(sK)", probe->write ? "write" : "read", ticket);
}

PyObject* monitor_end_probe(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    MonitorObject* const self = as_monitor(object);
    if (count < 1 || count > 2) {
        PyErr_Format(PyExc_TypeError,
                     "end_probe() takes a ticket and an outcome, not %zd arguments", count);
        return nullptr;
    }
    std::uint64_t ticket = 0;
    TierOutcome outcome = TierOutcome::Ok;
    if (!read_count(args[0], ticket) || (count > 1 && !read_outcome(args[1], outcome))) {
        return nullptr;
    }
    const cache::TierMonitor::Probe probe{(ticket & 1) != 0,
                                          static_cast<std::uint32_t>(ticket >> 1)};
    return notice_name(monitor_of(self).end_probe(probe, outcome, now_of(self)));
}

// ---- For those who look

PyObject* monitor_snapshot(PyObject* object, PyObject*) {
    MonitorObject* const self = as_monitor(object);
    return tier_snapshot(self->name, monitor_of(self), now_of(self));
}

PyObject* monitor_name(PyObject* object, void*) { return Py_NewRef(as_monitor(object)->name); }

PyObject* monitor_state(PyObject* object, void*) {
    static constexpr const char* kNames[] = {"closed", "open", "half_open"};
    return PyUnicode_InternFromString(
        kNames[static_cast<std::size_t>(monitor_of(as_monitor(object)).state())]);
}

PyObject* monitor_full(PyObject* object, void*) {
    return PyBool_FromLong(monitor_of(as_monitor(object)).full());
}

PyObject* monitor_cap(PyObject* object, void*) {
    const double cap = as_monitor(object)->cap;
    return std::isinf(cap) ? Py_NewRef(Py_None) : PyFloat_FromDouble(cap);
}

int monitor_set_cap(PyObject* object, PyObject* given, void*) {
    double cap = std::numeric_limits<double>::infinity();
    if (given == nullptr || (given != Py_None && PyFloat_Check(given) == 0)) {
        raise_error(PythonError::OptionType, "cap: allowed is a float of seconds, or None");
        return -1;
    }
    if (given != Py_None && !((cap = PyFloat_AS_DOUBLE(given)) >= 0)) {
        raise_error(PythonError::Configuration, "cap: allowed are seconds >= 0");
        return -1;
    }
    as_monitor(object)->cap = cap;
    return 0;
}

PyMethodDef g_methods[] = {
    method("begin", monitor_begin, METH_O,
           "begin($self, operation, /)\n--\n\n"
           "A ticket for `end`; below 0 if the operation is not to be made: -1 the tier is out,\n"
           "-2 it is full and the operation needs room."),
    method("end", monitor_end, METH_FASTCALL,
           "end($self, ticket, outcome=None, bytes_in=0, bytes_out=0, /)\n--\n\n"
           "Tell how an operation went: None for well, the `kind` of its TierError, or\n"
           "\"cancelled\". Returns what is to be said in the log, once: \"opened\" (the tier is "
           "out),\n"
           "\"full\", \"configuration\", or None."),
    method("count", monitor_count, METH_FASTCALL,
           "count($self, event, times=1, /)\n--\n\n"
           "Count \"hit\", a miss (\"absent\", \"stale_generation\", \"expired\", \"stale\",\n"
           "\"unreadable\"), \"stale_hit\" (a value past its life was served), or a fill that was\n"
           "not made (\"fill_refused\", \"fill_dropped\")."),
    method("probe_in", monitor_probe_in, METH_NOARGS,
           "probe_in($self, /)\n--\n\n"
           "Seconds until a probe is due, 0.0 for now; None while there is nothing to find out."),
    method("begin_probe", monitor_begin_probe, METH_NOARGS,
           "begin_probe($self, /)\n--\n\n"
           "(\"read\" or \"write\", ticket) of a probe to be made now; None if none is due."),
    method(
        "end_probe", monitor_end_probe, METH_FASTCALL,
        "end_probe($self, ticket, outcome=None, /)\n--\n\n"
        "Tell how a probe went. Returns \"closed\" (the tier is back), \"room\" (it is no longer\n"
        "full) or None."),
    method("snapshot", monitor_snapshot, METH_NOARGS,
           "snapshot($self, /)\n--\n\nAll that is counted, as a dict."),
    {nullptr, nullptr, 0, nullptr},
};

PyGetSetDef g_attributes[] = {
    {"name", monitor_name, nullptr, "What the tier is called.", nullptr},
    {"state", monitor_state, nullptr, "\"closed\", \"open\" (the tier is out) or \"half_open\".",
     nullptr},
    {"full", monitor_full, nullptr, "Whether the tier has no room for more.", nullptr},
    {"cap", monitor_cap, monitor_set_cap,
     "Seconds that memory may keep what the tier is asked about, for now; None: no limit.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, monitor_new),
    slot(Py_tp_dealloc, monitor_dealloc),
    slot(Py_tp_repr, monitor_repr),
    {Py_tp_methods, g_methods},
    {Py_tp_getset, g_attributes},
    {Py_tp_doc,
     const_cast<char*>("TierMonitor(name, *, clock=None, seed=None, slow=0.1)\n--\n\n"
                       "The breaker and the statistics of one tier. In the child of a fork it\n"
                       "counts from zero; whether the tier is out stays known.\n\n"
                       "Args:\n"
                       "    name: of the tier.\n"
                       "    clock: a ManualClock, in tests.\n"
                       "    seed: of the jitter; None for one that differs from run to run.\n"
                       "    slow: seconds; an operation that takes longer and succeeds is slow.\n\n"
                       "Raises:\n"
                       "    ConfigurationError: `slow` is not above 0 and up to 3600, or an\n"
                       "        operation, outcome or event has a name that there is not.\n")},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.TierMonitor", sizeof(MonitorObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_tier_monitor(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }
cache::TierMonitor& tier_monitor(PyObject* object) noexcept {
    return monitor_of(as_monitor(object));
}
Instant tier_now(PyObject* object) noexcept { return now_of(as_monitor(object)); }
double tier_cap(PyObject* object) noexcept { return as_monitor(object)->cap; }

PyObject* notice_name(TierNotice notice) noexcept {
    return Py_NewRef(
        notice == TierNotice::None ? Py_None : g_notices.texts[static_cast<std::size_t>(notice)]);
}

int init_tier_monitor(PyObject* module) {
    count_forks();
    if (!g_ops.make() || !g_outcomes.make() || !g_events.make() || !g_notices.make()) {
        return -1;
    }
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "TierMonitor", as_object(g_type));
}

}  // namespace millpond::bindings
