#include "hot/cache_lease.hpp"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "hot/cache_object.hpp"
#include "hot/forks.hpp"
#include "translate_error.hpp"

namespace millpond::bindings {
namespace {

// The longest tick of a coarse clock (a kernel of 100 Hz).
constexpr Nanos kLongestTick = std::chrono::milliseconds{10};
constexpr double kMostSeconds = 3e9;

// Another process writes it; no lock is needed to see that it is another number.
std::uint64_t read_word(const CacheLease& lease) noexcept {
    return __atomic_load_n(lease.word, __ATOMIC_ACQUIRE);
}

// Whether the alarm is due, or will be before the next tick.
bool alarm_due(const CacheObject* self, const CacheLease& lease, Instant now) noexcept {
    const bool coarse = self->clock == nullptr && !self->precise;
    return lease.until != kNever && lease.until - now <= (coarse ? kLongestTick : Nanos{0});
}

// Without memory, since that may be what has run out. The loads under way are undone too.
void drop_everything(CacheObject* self) {
    EngineStore& store = *self->store;
    store.for_each([&store](Slot slot, const cache::Entry& entry) {
        if (!store.retired(entry.space)) {
            store.erase(slot);
        }
    });
    drain(self);
}

void call(CacheObject* self, PyObject* function) {
    const Ref kept = Ref::share(function);
    const Ref done(PyObject_CallNoArgs(function));
    if (!done) {
        PyErr_WriteUnraisable(function);
        drop_everything(self);
    }
}

CacheLease* lease_of(CacheObject* self) {
    if (self->lease == nullptr) {
        try {
            self->lease = new CacheLease();
            self->lease->inside.reserve(8);
        } catch (...) {
            raise_current_exception();
            return nullptr;
        }
    }
    return self->lease;
}

// From now on look-ups ask for the time, the next one first of all.
void look_at_the_clock(CacheObject* self) noexcept {
    self->timed = true;
    self->last_tick = kNoTick;
}

bool check_function(PyObject* function, const char* method) {
    if (PyCallable_Check(function) == 0) {
        PyErr_Format(PyExc_TypeError, "%s(): a function is needed, not %.100s", method,
                     Py_TYPE(function)->tp_name);
        return false;
    }
    return true;
}

}  // namespace

Instant run_lease(CacheObject* self, Instant now) {
    CacheLease& lease = *self->lease;
    const unsigned long here = PyThread_get_thread_ident();
    if (std::exchange(lease.forks, g_forks) != g_forks) {
        std::erase_if(lease.inside, [here](unsigned long thread) { return thread != here; });
    }
    const bool alarm = alarm_due(self, lease, now);
    const bool changed = lease.word != nullptr && read_word(lease) != lease.seen;
    if ((!alarm && !changed) || std::ranges::find(lease.inside, here) != lease.inside.end()) {
        return now;
    }
    const Ref keep_alive = Ref::share(as_object(self));
    try {
        lease.inside.push_back(here);
    } catch (const std::bad_alloc&) {
        drop_everything(self);
        return now;
    }
    self->last_tick = kNoTick;  // Nobody takes the short way until all is done.
    if (alarm) {
        const std::uint64_t renewals = lease.renewals;
        call(self, lease.alarm);
        if (lease.renewals == renewals) {
            lease.until = kNever;
        }
    }
    if (changed && lease.word != nullptr) {
        const std::uint64_t watches = lease.watches;
        const std::uint64_t value = read_word(lease);
        call(self, lease.changed);
        if (lease.watches == watches) {
            lease.seen = value;
        }
    }
    std::erase(lease.inside, here);
    return check_now(self);
}

int traverse_lease(const CacheLease& lease, visitproc visit, void* arg) {
    Py_VISIT(lease.alarm);
    Py_VISIT(lease.changed);
    Py_VISIT(lease.view.obj);
    return 0;
}

void clear_lease(CacheLease& lease) {
    lease.until = kNever;
    lease.word = nullptr;
    ++lease.renewals;
    ++lease.watches;
    Py_buffer view = std::exchange(lease.view, Py_buffer{});
    if (view.obj != nullptr) {
        PyBuffer_Release(&view);
    }
    Py_CLEAR(lease.alarm);
    Py_CLEAR(lease.changed);
}

PyObject* cache_set_alarm(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    CacheObject* const self = as_cache(object);
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "_set_alarm() takes seconds or None, and a function");
        return nullptr;
    }
    Instant until = kNever;
    if (args[0] != Py_None) {
        const double seconds = PyFloat_AsDouble(args[0]);
        if (seconds == -1.0 && PyErr_Occurred() != nullptr) {
            return nullptr;
        }
        if (!(seconds >= 0 && seconds <= kMostSeconds)) {
            raise_error(PythonError::Configuration,
                        "_set_alarm(): seconds from now must lie within 0 and 3e9");
            return nullptr;
        }
        if (!check_function(args[1], "_set_alarm")) {
            return nullptr;
        }
        until = store_now(self) + Nanos{static_cast<Nanos::rep>(std::llround(seconds * 1e9))};
    }
    CacheLease* const lease = lease_of(self);
    if (lease == nullptr) {
        return nullptr;
    }
    PyObject* const before =
        std::exchange(lease->alarm, until == kNever ? nullptr : Py_NewRef(args[1]));
    lease->until = until;
    ++lease->renewals;
    if (until != kNever) {
        look_at_the_clock(self);
    }
    Py_XDECREF(before);
    Py_RETURN_NONE;
}

PyObject* cache_watch_word(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    CacheObject* const self = as_cache(object);
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "_watch_word() takes a buffer or None, an offset and a function");
        return nullptr;
    }
    Py_buffer view{};
    const std::uint64_t* word = nullptr;
    if (args[0] != Py_None) {
        const Py_ssize_t offset = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
        if ((offset == -1 && PyErr_Occurred() != nullptr) ||
            !check_function(args[2], "_watch_word") ||
            PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0) {
            return nullptr;
        }
        const auto* const start = static_cast<const char*>(view.buf);
        constexpr auto kWord = static_cast<Py_ssize_t>(sizeof(std::uint64_t));
        if (offset < 0 || offset > view.len - kWord ||
            reinterpret_cast<std::uintptr_t>(start + offset) % sizeof(std::uint64_t) != 0) {
            PyBuffer_Release(&view);
            raise_error(PythonError::Configuration,
                        "_watch_word(): offset must name 8 aligned bytes inside the buffer");
            return nullptr;
        }
        word = reinterpret_cast<const std::uint64_t*>(start + offset);
    }
    CacheLease* const lease = lease_of(self);
    if (lease == nullptr) {
        PyBuffer_Release(&view);
        return nullptr;
    }
    Py_buffer old_view = std::exchange(lease->view, view);
    PyObject* const old_function =
        std::exchange(lease->changed, word == nullptr ? nullptr : Py_NewRef(args[2]));
    lease->word = word;
    ++lease->watches;
    const std::uint64_t value = word == nullptr ? 0 : read_word(*lease);
    lease->seen = value;
    if (word != nullptr) {
        look_at_the_clock(self);
    }
    if (old_view.obj != nullptr) {
        PyBuffer_Release(&old_view);
    }
    Py_XDECREF(old_function);
    return word == nullptr ? Py_NewRef(Py_None) : PyLong_FromUnsignedLongLong(value);
}

}  // namespace millpond::bindings
