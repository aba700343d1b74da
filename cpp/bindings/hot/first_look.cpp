#include "hot/first_look.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>

#include "bind_journal.hpp"
#include "hot/clock.hpp"
#include "hot/first_look_state.hpp"
#include "hot/tier_monitor.hpp"

namespace millpond::bindings {
namespace {

using cache::TierBytes;
using cache::TierEvent;
using cache::TierMonitor;
using cache::TierNotice;
using cache::TierOp;
using cache::TierOutcome;

struct Texts {
    PyObject *on, *fetch, *timeout, *failed, *said, *slow;
    bool make() {
        return intern(on, "on") && intern(fetch, "fetch") && intern(timeout, "timeout") &&
               intern(failed, "failed") && intern(said, "said") &&
               intern(slow, "its answers take too long");
    }
} g_texts;

double seconds(Nanos span) noexcept { return static_cast<double>(span.count()) * 1e-9; }

}  // namespace

bool OneLook::name_generations() {
    PyObject* const own = self_->generations;
    PyObject* const tags = PyTuple_GET_ITEM(call_, 1);
    if (PyTuple_GET_SIZE(tags) == 0) {
        names_ = Ref::share(own);
        return true;
    }
    const Py_ssize_t first = PyTuple_GET_SIZE(own);
    const Py_ssize_t more = PyTuple_GET_SIZE(tags);
    names_ = Ref(PyList_New(first + more));
    for (Py_ssize_t i = 0; names_ && i < first + more; ++i) {
        PyObject* const name =
            i < first ? PyTuple_GET_ITEM(own, i) : PyTuple_GET_ITEM(tags, i - first);
        PyList_SET_ITEM(names_.get(), i, Py_NewRef(name));
    }
    return static_cast<bool>(names_);
}

// Value: the tier may be read, by what is known here.
Looked OneLook::may_ask() {
    if (self_->listening != Py_None) {
        const Ref on(PyObject_GetAttr(self_->listening, g_texts.on));
        if (!on) {
            return Looked::Error;
        }
        if (on.get() != Py_True) {
            return Looked::Skipped;
        }
    }
    if ((!how_.waiting && self_->row == nullptr) || journal_is_pending(self_->pending)) {
        return Looked::Skipped;
    }
    return name_generations() ? Looked::Value : Looked::Error;
}

Looked OneLook::run() {
    const Looked may = may_ask();
    if (may != Looked::Value) {
        return may;
    }
    if (self_->row != nullptr && tier_monitor(monitor()).state() == BreakerState::Closed) {
        const Looked looked = from_row();
        if (looked != Looked::Skipped) {
            return looked;
        }
    }
    return how_.waiting ? from_tier() : Looked::Skipped;
}

Looked OneLook::from_row() {
    RowFound row;
    began_ = tier_now(monitor());
    const bool untagged = names_.get() == self_->generations;
    const KnownStampsPtr known = untagged ? *self_->known : nullptr;
    if (look_for_row(self_->row, key(), names_.get(), known, row) != RowOutcome::Found) {
        return cannot();
    }
    const std::int64_t ticket = tier_monitor(monitor()).begin(TierOp::Fetch, began_);
    if (ticket < 0) {
        return Looked::Skipped;
    }
    const Ref data = Ref::share(row.data ? row.data.get() : Py_None);
    if (!ended(ticket, data.get())) {
        return Looked::Error;
    }
    if (untagged && row.known != known) {
        // Whoever reads with the old ones has them for himself.
        const KnownStampsPtr old = std::exchange(*self_->known, row.known);
    }
    const auto outcome = open(data.get(), row.known->present, row.now);
    if (outcome == Reading::Outcome::Good || outcome == Reading::Outcome::Error) {
        return outcome == Reading::Outcome::Good ? Looked::Value : Looked::Error;
    }
    if (!row.guarded && look_again(self_->row, key(), row) != RowOutcome::Found) {
        return cannot();
    }
    const Ref fetched(Py_BuildValue("([O][L]O)", row.data ? row.data.get() : Py_None,
                                    static_cast<long long>(row.guard), row.known->texts.get()));
    return fetched ? of_no_use(outcome, data.get(), fetched.get()) : Looked::Error;
}

// The tier is asked: it finds out too what went wrong, and knows what is to be done.
Looked OneLook::cannot() {
    if (PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
            return Looked::Error;
        }
        PyErr_Clear();
    }
    return Looked::Skipped;
}

OneLook::Question OneLook::question() {
    TierMonitor& engine = tier_monitor(monitor());
    // While the tier is out, the time does not matter.
    const bool out = engine.state() != BreakerState::Closed;
    began_ = out ? Instant{} : tier_now(monitor());
    Question asked;
    asked.ticket = engine.begin(TierOp::Fetch, began_);
    if (asked.ticket < 0) {
        return asked;
    }
    const Ref timeout(PyObject_GetAttr(self_->tier, g_texts.timeout));
    const double most = timeout ? PyFloat_AsDouble(timeout.get()) : -1;
    const Instant now = read_clock(CLOCK_MONOTONIC);
    const Ref at(PyErr_Occurred() == nullptr ? PyFloat_FromDouble(seconds(now.time_since_epoch()) +
                                                                  std::min(most, self_->budget))
                                             : nullptr);
    asked.deadline = Ref(at ? PyObject_CallOneArg(self_->deadline, at.get()) : nullptr);
    asked.keys = Ref(asked.deadline ? PyList_New(1) : nullptr);
    if (asked.keys) {
        PyList_SET_ITEM(asked.keys.get(), 0, Py_NewRef(key()));
    }
    return asked;
}

Looked OneLook::from_tier() {
    const double cap = memory_life(kNoLimit, kNoLimit, reader().monitors);
    const Question asked = question();
    if (asked.ticket < 0) {
        return absent(Py_None, Py_None);
    }
    Ref fetched;
    if (asked.keys) {
        PyObject* const arguments[] = {self_->tier, asked.keys.get(), names_.get(),
                                       asked.deadline.get()};
        fetched = Ref(PyObject_VectorcallMethod(g_texts.fetch, arguments, 4, nullptr));
    }
    const Looked looked = answered(asked.ticket, fetched);
    if (looked == Looked::Value && cap < kNoLimit) {
        shorten_loaded(found_.loaded.get(), cap);  // It may be heard of others only since.
    }
    return looked;
}

// `fetched` is null where the tier raised.
Looked OneLook::answered(std::int64_t ticket, const Ref& fetched) {
    if (fetched && !is_fetched(fetched.get(), PySequence_Fast_GET_SIZE(names_.get()))) {
        PyErr_SetString(PyExc_ValueError, "what fetch() returned is not what a Tier promises");
        return failed(ticket);
    }
    if (!fetched) {
        return failed(ticket);
    }
    const Ref data = Ref::share(PyList_GET_ITEM(PyTuple_GET_ITEM(fetched.get(), 0), 0));
    std::vector<Present> known;
    if (!ended(ticket, data.get()) ||
        !read_present(names_.get(), PyTuple_GET_ITEM(fetched.get(), 2), known)) {
        return Looked::Error;
    }
    const auto outcome = open(data.get(), known, -1);
    if (outcome == Reading::Outcome::Good || outcome == Reading::Outcome::Error) {
        return outcome == Reading::Outcome::Good ? Looked::Value : Looked::Error;
    }
    return of_no_use(outcome, data.get(), fetched.get());
}

PyObject* OneLook::begin() {
    switch (may_ask()) {
        case Looked::Value: break;
        case Looked::Error: return nullptr;
        case Looked::Absent:
        case Looked::Skipped: Py_RETURN_NONE;
    }
    if (self_->row != nullptr) {
        Py_RETURN_NONE;  // It has been asked already, or cannot be.
    }
    const Question asked = question();
    if (asked.ticket < 0) {
        return absent(Py_None, Py_None) == Looked::Absent ? found_.first.release() : nullptr;
    }
    if (!asked.keys) {
        return failed(asked.ticket) == Looked::Absent ? found_.first.release() : nullptr;
    }
    return Py_BuildValue("(LLOOO)", static_cast<long long>(asked.ticket),
                         static_cast<long long>(began_.time_since_epoch().count()),
                         asked.keys.get(), names_.get(), asked.deadline.get());
}

PyObject* OneLook::end(PyObject* begun, PyObject* fetched) {
    long long ticket = -1, began = 0;
    PyObject *keys = nullptr, *names = nullptr, *deadline = nullptr;
    if (PyArg_ParseTuple(begun, "LLOOO:end", &ticket, &began, &keys, &names, &deadline) == 0) {
        return nullptr;
    }
    began_ = Instant{Nanos{began}};
    names_ = Ref::share(names);
    // What it raised goes the way of what a tier raises that is not awaited.
    const bool raised = PyExceptionInstance_Check(fetched) != 0;
    if (raised) {
        PyErr_SetObject(as_object(Py_TYPE(fetched)), fetched);
    }
    switch (answered(ticket, raised ? Ref() : Ref::share(fetched))) {
        case Looked::Value: return found_.loaded.release();
        case Looked::Absent: return found_.first.release();
        case Looked::Error:
        case Looked::Skipped: break;
    }
    return nullptr;
}

// The tier raised.
Looked OneLook::failed(std::int64_t ticket) {
    if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {  // Ctrl-C says nothing about the tier.
        static_cast<void>(tier_monitor(monitor()).end(ticket, TierOutcome::Cancelled, TierBytes{},
                                                      tier_now(monitor())));
        return Looked::Error;
    }
    PyObject *kind = nullptr, *error = nullptr, *trace = nullptr;
    PyErr_Fetch(&kind, &error, &trace);
    PyErr_NormalizeException(&kind, &error, &trace);
    if (trace != nullptr) {
        PyException_SetTraceback(error, trace);
    }
    const Ref owned_kind(kind), owned(error), owned_trace(trace);
    const Ref number(PyLong_FromLongLong(ticket));
    PyObject* const arguments[] = {self_->stage, number.get(), g_texts.fetch, error};
    const Ref done(number ? PyObject_VectorcallMethod(g_texts.failed, arguments, 4, nullptr)
                          : nullptr);
    return done ? absent(Py_None, Py_None) : Looked::Error;
}

// Counts an answer, and says what has to be said. False with an exception set.
bool OneLook::ended(std::int64_t ticket, PyObject* data) {
    TierBytes bytes;
    if (PyBytes_Check(data)) {
        bytes.in = static_cast<std::uint64_t>(PyBytes_GET_SIZE(data));
    }
    const TierNotice notice =
        tier_monitor(monitor()).end(ticket, TierOutcome::Ok, bytes, tier_now(monitor()));
    if (notice == TierNotice::None) {
        return true;
    }
    const Ref name(notice_name(notice));
    PyObject* const arguments[] = {self_->stage, name.get(), g_texts.slow};
    return static_cast<bool>(Ref(PyObject_VectorcallMethod(g_texts.said, arguments, 3, nullptr)));
}

// Whether an entry is good, or there is none; `micros` is the time of the tier, where it is known.
Reading::Outcome OneLook::open(PyObject* data, const std::vector<Present>& known,
                               std::int64_t micros) {
    Reading reading(reinterpret_cast<ReaderObject*>(self_->reader), known, known.size(),
                    self_->most, how_.store, how_.anew);
    if (micros >= 0) {
        reading.at(micros);
    }
    return data == Py_None ? reading.bad(TierEvent::Absent)
                           : reading.open(key(), data, found_.loaded);
}

// There is no good entry: the flow has to know what there is.
Looked OneLook::of_no_use(Reading::Outcome outcome, PyObject* data, PyObject* fetched) {
    if (outcome == Reading::Outcome::Unknown) {
        return absent(fetched, Py_None);
    }
    const Ref past(outcome == Reading::Outcome::Past ? found_.loaded.release()
                                                     : Py_NewRef(Py_None));
    const Ref nothing(PyBytes_FromStringAndSize(nullptr, 0));
    return nothing ? absent(fetched, data == Py_None ? nothing.get() : data, past.get())
                   : Looked::Error;
}

// The flow goes on from here.
Looked OneLook::absent(PyObject* fetched, PyObject* seen, PyObject* past) {
    const double took =
        began_ == Instant{} ? 0 : std::max(0.0, seconds(tier_now(monitor()) - began_));
    found_.first = Ref(Py_BuildValue("(OOdO)", fetched, seen, took, past));
    return found_.first ? Looked::Absent : Looked::Error;
}

bool make_first_look_texts() { return g_texts.make(); }

}  // namespace millpond::bindings
