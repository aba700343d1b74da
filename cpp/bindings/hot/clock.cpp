#include "hot/clock.hpp"

#include <dlfcn.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include <algorithm>
#include <cmath>

#include "hot/heap_type.hpp"
#include "millpond/base/anchored_clock.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {

int (*g_clock_gettime)(clockid_t, timespec*) = clock_gettime;

namespace {

PyTypeObject* g_type = nullptr;

// Far from both ends of the time line, so that no test steps over one.
constexpr double kMostSeconds = 3e9;

bool seconds_of(PyObject* object, Nanos& span) {
    const double seconds = PyFloat_AsDouble(object);
    if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
        return false;
    }
    if (!(std::fabs(seconds) <= kMostSeconds)) {
        raise_error(PythonError::Configuration, "ManualClock: seconds must lie within +-3e9");
        return false;
    }
    span = Nanos{static_cast<Nanos::rep>(std::llround(seconds * 1e9))};
    return true;
}

PyObject* clock_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
    static const char* names[] = {"start", nullptr};
    PyObject* start = nullptr;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:ManualClock", const_cast<char**>(names),
                                     &start)) {
        return nullptr;
    }
    Nanos span{0};
    if (start != nullptr && !seconds_of(start, span)) {
        return nullptr;
    }
    PyObject* self = type->tp_alloc(type, 0);
    if (self != nullptr) {
        // Not zero, so that a clock may also be stepped back.
        reinterpret_cast<ManualClockObject*>(self)->now =
            Instant{std::chrono::hours{24 * 365 * 100}} + span;
    }
    return self;
}

PyObject* clock_advance(PyObject* self, PyObject* seconds) {
    Nanos span{0};
    if (!seconds_of(seconds, span)) {
        return nullptr;
    }
    reinterpret_cast<ManualClockObject*>(self)->now += span;
    Py_RETURN_NONE;
}

void clock_dealloc(PyObject* self) { release_object(self); }

PyMethodDef g_methods[] = {
    method("advance", clock_advance, METH_O,
           "advance($self, seconds, /)\n--\n\n"
           "Move the time on by a number of seconds; a negative one steps it back."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, clock_new),
    slot(Py_tp_dealloc, clock_dealloc),
    {Py_tp_methods, g_methods},
    {Py_tp_doc,
     const_cast<char*>(
         "ManualClock(start=0.0)\n--\n\n"
         "A clock for tests: it stands still until `advance` moves it.\n\n"
         "Give it to a Cache as `clock=`; several caches may share one. Not a wall clock:\n"
         "what it counts are seconds from a time of its own.\n\n"
         "Args:\n"
         "    start: seconds to begin with, within +-3e9.\n\n"
         "Raises:\n"
         "    ConfigurationError: seconds are not a number within +-3e9.\n\n"
         "Example:\n"
         "    >>> from millpond import Cache\n"
         "    >>> clock = ManualClock()\n"
         "    >>> cache = Cache(ttl=60, clock=clock)\n"
         "    >>> cache['a'] = 1\n"
         "    >>> clock.advance(60)\n"
         "    >>> 'a' in cache\n"
         "    False\n")},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.ManualClock", sizeof(ManualClockObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

// ---- The precise clock

struct ExactClock {
    Instant operator()() const noexcept { return read_clock(CLOCK_MONOTONIC); }
};

#if defined(__x86_64__) && defined(CLOCK_MONOTONIC_COARSE)

struct CoarseClock {
    Instant operator()() const noexcept { return coarse_now(); }
};
struct TimeStampCounter {
    std::uint64_t operator()() const noexcept { return __rdtsc(); }
};

// Guarded by the GIL, as the stores are.
AnchoredClock<ExactClock, CoarseClock, TimeStampCounter> g_anchored;
bool g_counter_is_good = false;

// Whether the time-stamp counter runs at one rate whatever the processor does, and reading it is not
// so slow (as where a virtual machine has to ask its host) that the exact clock is as good.
bool counter_is_good() noexcept {
    unsigned a, b, c, d;
    constexpr unsigned kInvariant = 1U << 8;
    if (__get_cpuid(0x80000007, &a, &b, &c, &d) == 0 || (d & kInvariant) == 0) {
        return false;
    }
    constexpr int kReadings = 32;
    std::uint64_t counts = 0;
    Instant last{};
    const Instant start = ExactClock{}();
    for (int i = 0; i < kReadings; ++i) {
        counts ^= TimeStampCounter{}();
    }
    const Instant middle = ExactClock{}();
    for (int i = 0; i < kReadings; ++i) {
        last = std::max(last, ExactClock{}());
    }
    return counts != 1 && middle - start < (last - middle) * 2 / 3;
}

#endif

// The C library has the vDSO loaded and lets a program look into it by its name.
void find_clock() noexcept {
#ifdef __linux__
    void* const vdso = dlopen("linux-vdso.so.1", RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD);
    if (vdso == nullptr) {
        return;
    }
    for (const char* const name : {"__vdso_clock_gettime", "__kernel_clock_gettime"}) {
        if (void* const found = dlsym(vdso, name)) {
            g_clock_gettime = reinterpret_cast<int (*)(clockid_t, timespec*)>(found);
        }
    }
#endif
}

}  // namespace

PyTypeObject* manual_clock_type() noexcept { return g_type; }

Instant precise_now() noexcept {
#if defined(__x86_64__) && defined(CLOCK_MONOTONIC_COARSE)
    if (g_counter_is_good) [[likely]] {
        return g_anchored.now();
    }
#endif
    return ExactClock{}();
}

int init_manual_clock(PyObject* module) {
    find_clock();
#if defined(__x86_64__) && defined(CLOCK_MONOTONIC_COARSE)
    g_counter_is_good = counter_is_good();
#endif
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "ManualClock", as_object(g_type));
}

}  // namespace millpond::bindings
