#include "hot/first_look.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <vector>

#include "bind_journal.hpp"
#include "hot/clock.hpp"
#include "hot/entry_reader.hpp"
#include "hot/entry_reading.hpp"
#include "hot/row_look.hpp"
#include "hot/tier_monitor.hpp"

namespace millpond::bindings {
namespace {

using cache::TierBytes;
using cache::TierEvent;
using cache::TierMonitor;
using cache::TierNotice;
using cache::TierOp;
using cache::TierOutcome;

struct LookObject {
    PyObject_HEAD PyObject* reader;  // EntryReader
    PyObject* stage;                 // .failed(ticket, op, error), .said(notice, why)
    PyObject* tier;                  // .fetch(keys, names, deadline), .timeout
    PyObject* row;                   // RowLook of the tier, or null
    PyObject* journal;
    const void* pending;    // in the journal
    PyObject* listening;    // .on; None: there is nothing to hear
    PyObject* generations;  // of every call: a tuple of names
    PyObject* deadline;     // deadline(at), the class
    double most;            // seconds that memory keeps a value
    double budget;          // seconds for all tiers
};

PyTypeObject* g_type = nullptr;

struct Texts {
    PyObject *on, *fetch, *timeout, *failed, *said, *op, *slow;
    bool make() {
        PyObject** const all[] = {&on, &fetch, &timeout, &failed, &said, &op, &slow};
        const char* const spelt[] = {
            "on", "fetch", "timeout", "failed", "said", "fetch", "its answers take too long"};
        for (std::size_t i = 0; i < std::size(all); ++i) {
            *all[i] = PyUnicode_InternFromString(spelt[i]);
            if (*all[i] == nullptr) {
                return false;
            }
        }
        return true;
    }
} g_texts;

LookObject* as_look(PyObject* object) { return reinterpret_cast<LookObject*>(object); }

double seconds(Nanos span) noexcept { return static_cast<double>(span.count()) * 1e-9; }

// One look-up.
class Look {
  public:
    Look(LookObject* self, PyObject* call, bool store, FirstFound& found) noexcept
        : self_(self), call_(call), store_(store), found_(found) {}

    Looked run(bool waiting);

  private:
    bool name_generations();
    Looked from_row();
    Looked from_tier();
    Looked read(PyObject* data, PyObject* stamps, PyObject* fetched);
    Looked absent(PyObject* fetched, PyObject* seen);
    Looked failed(std::int64_t ticket);
    bool ended(std::int64_t ticket, PyObject* data);

    [[nodiscard]] PyObject* monitor() const {
        return reinterpret_cast<ReaderObject*>(self_->reader)->monitor;
    }
    [[nodiscard]] PyObject* key() const { return PyTuple_GET_ITEM(call_, 0); }

    LookObject* self_;
    PyObject* call_;
    bool store_;
    FirstFound& found_;
    Ref names_;
    Instant began_{};
    std::int64_t micros_ = -1;  // by the clock of the tier, where it was read
    long long guard_ = 0;       // of the row
};

bool Look::name_generations() {
    PyObject* const own = self_->generations;
    PyObject* const tags = PyTuple_GET_ITEM(call_, 1);
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

Looked Look::run(bool waiting) {
    if (self_->listening != Py_None) {
        const Ref on(PyObject_GetAttr(self_->listening, g_texts.on));
        if (!on) {
            return Looked::Error;
        }
        if (on.get() != Py_True) {
            return Looked::Skipped;
        }
    }
    if ((!waiting && self_->row == nullptr) || journal_is_pending(self_->pending)) {
        return Looked::Skipped;
    }
    if (!name_generations()) {
        return Looked::Error;
    }
    if (self_->row != nullptr && tier_monitor(monitor()).state() == BreakerState::Closed) {
        const Looked looked = from_row();
        if (looked != Looked::Skipped) {
            return looked;
        }
    }
    return waiting ? from_tier() : Looked::Skipped;
}

Looked Look::from_row() {
    RowFound row;
    began_ = tier_now(monitor());
    switch (look_for_row(self_->row, key(), names_.get(), row)) {
        case RowOutcome::Found: break;
        case RowOutcome::Cannot: return Looked::Skipped;
        case RowOutcome::Error:
            if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
                return Looked::Error;
            }
            PyErr_Clear();  // The tier finds it too, and knows what is to be done.
            return Looked::Skipped;
    }
    const std::int64_t ticket = tier_monitor(monitor()).begin(TierOp::Fetch, began_);
    if (ticket < 0) {
        return Looked::Skipped;
    }
    PyObject* const data = row.data ? row.data.get() : Py_None;
    if (!ended(ticket, data)) {
        return Looked::Error;
    }
    micros_ = row.now;
    guard_ = row.guard;
    return read(data, row.stamps.get(), nullptr);
}

Looked Look::from_tier() {
    TierMonitor& engine = tier_monitor(monitor());
    // While the tier is out, the time does not matter.
    const bool out = engine.state() != BreakerState::Closed;
    began_ = out ? Instant{} : tier_now(monitor());
    const std::int64_t ticket = engine.begin(TierOp::Fetch, began_);
    if (ticket < 0) {
        return absent(Py_None, Py_None);
    }
    const Ref timeout(PyObject_GetAttr(self_->tier, g_texts.timeout));
    const double most = timeout ? PyFloat_AsDouble(timeout.get()) : -1;
    const Instant now = read_clock(CLOCK_MONOTONIC);
    const Ref at(PyErr_Occurred() == nullptr ? PyFloat_FromDouble(seconds(now.time_since_epoch()) +
                                                                  std::min(most, self_->budget))
                                             : nullptr);
    const Ref deadline(at ? PyObject_CallOneArg(self_->deadline, at.get()) : nullptr);
    const Ref keys(deadline ? PyList_New(1) : nullptr);
    Ref fetched;
    if (keys) {
        PyList_SET_ITEM(keys.get(), 0, Py_NewRef(key()));
        PyObject* const arguments[] = {self_->tier, keys.get(), names_.get(), deadline.get()};
        fetched = Ref(PyObject_VectorcallMethod(g_texts.fetch, arguments, 4, nullptr));
    }
    if (fetched && (PyTuple_Check(fetched.get()) == 0 || PyTuple_GET_SIZE(fetched.get()) != 3 ||
                    PyList_Check(PyTuple_GET_ITEM(fetched.get(), 0)) == 0 ||
                    PyList_GET_SIZE(PyTuple_GET_ITEM(fetched.get(), 0)) != 1)) {
        PyErr_SetString(PyExc_ValueError, "the tier has not answered for each key");
        fetched = Ref();
    }
    if (!fetched) {
        return failed(ticket);
    }
    const Ref data = Ref::share(PyList_GET_ITEM(PyTuple_GET_ITEM(fetched.get(), 0), 0));
    return ended(ticket, data.get())
               ? read(data.get(), PyTuple_GET_ITEM(fetched.get(), 2), fetched.get())
               : Looked::Error;
}

// The tier raised.
Looked Look::failed(std::int64_t ticket) {
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
    PyObject* const arguments[] = {self_->stage, number.get(), g_texts.op, error};
    const Ref done(number ? PyObject_VectorcallMethod(g_texts.failed, arguments, 4, nullptr)
                          : nullptr);
    return done ? absent(Py_None, Py_None) : Looked::Error;
}

// Counts an answer, and says what has to be said. False with an exception set.
bool Look::ended(std::int64_t ticket, PyObject* data) {
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

// What is in the entry, if it is good. `fetched` is null where the row has it.
Looked Look::read(PyObject* data, PyObject* stamps, PyObject* fetched) {
    std::vector<Present> known;
    if (!read_present(names_.get(), stamps, known)) {
        return Looked::Error;
    }
    Reading reading(reinterpret_cast<ReaderObject*>(self_->reader), known, known.size(),
                    self_->most, store_);
    if (micros_ >= 0) {
        reading.at(micros_);
    }
    auto outcome = Reading::Outcome::Bad;
    if (data == Py_None) {
        outcome = reading.bad(TierEvent::Absent);
    } else {
        outcome = reading.open(key(), data, found_.loaded);
    }
    if (outcome == Reading::Outcome::Good) {
        return Looked::Value;
    }
    if (outcome == Reading::Outcome::Error) {
        return Looked::Error;
    }
    const Ref made(fetched != nullptr ? Py_NewRef(fetched)
                                      : Py_BuildValue("([O][L]O)", data, guard_, stamps));
    const Ref nothing(PyBytes_FromStringAndSize(nullptr, 0));
    if (!made || !nothing) {
        return Looked::Error;
    }
    return absent(made.get(), outcome == Reading::Outcome::Unknown ? Py_None
                              : data == Py_None                    ? nothing.get()
                                                                   : data);
}

// The flow goes on from here.
Looked Look::absent(PyObject* fetched, PyObject* seen) {
    const double took =
        began_ == Instant{} ? 0 : std::max(0.0, seconds(tier_now(monitor()) - began_));
    found_.first = Ref(Py_BuildValue("(OOd)", fetched, seen, took));
    return found_.first ? Looked::Absent : Looked::Error;
}

// FirstLook(reader, stage, tier, row, journal, listening, generations, deadline, most, budget)
PyObject* look_new(PyTypeObject* type, PyObject* args, PyObject*) {
    PyObject *reader = nullptr, *stage = nullptr, *tier = nullptr, *row = nullptr,
             *journal = nullptr, *listening = nullptr, *generations = nullptr, *deadline = nullptr,
             *most = nullptr;
    double budget = 0;
    if (PyArg_ParseTuple(args, "OOOOOOO!OOd:FirstLook", &reader, &stage, &tier, &row, &journal,
                         &listening, &PyTuple_Type, &generations, &deadline, &most, &budget) == 0) {
        return nullptr;
    }
    const void* const pending = journal_in(journal);
    if (!is_entry_reader(reader) || pending == nullptr || (row != Py_None && !is_row_look(row))) {
        PyErr_SetString(PyExc_TypeError, "FirstLook() takes an EntryReader, a RowLook, a Journal");
        return nullptr;
    }
    const double seconds = most == Py_None ? kNoLimit : PyFloat_AsDouble(most);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    LookObject* const self = as_look(type->tp_alloc(type, 0));
    if (self != nullptr) {
        self->reader = Py_NewRef(reader);
        self->stage = Py_NewRef(stage);
        self->tier = Py_NewRef(tier);
        self->row = row == Py_None ? nullptr : Py_NewRef(row);
        self->journal = Py_NewRef(journal);
        self->pending = pending;
        self->listening = Py_NewRef(listening);
        self->generations = Py_NewRef(generations);
        self->deadline = Py_NewRef(deadline);
        self->most = seconds;
        self->budget = budget;
    }
    return as_object(self);
}

int look_traverse(PyObject* object, visitproc visit, void* arg) {
    const LookObject* const self = as_look(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->reader);
    Py_VISIT(self->stage);
    Py_VISIT(self->tier);
    Py_VISIT(self->row);
    Py_VISIT(self->listening);
    Py_VISIT(self->generations);
    Py_VISIT(self->deadline);
    return 0;
}

// What a look-up needs stays until the object goes: one may be under way.
void look_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    LookObject* const self = as_look(object);
    Py_CLEAR(self->reader);
    Py_CLEAR(self->stage);
    Py_CLEAR(self->tier);
    Py_CLEAR(self->row);
    Py_CLEAR(self->journal);
    Py_CLEAR(self->listening);
    Py_CLEAR(self->generations);
    Py_CLEAR(self->deadline);
    release_object(self);
}

PyType_Slot g_slots[] = {
    slot(Py_tp_new, look_new),
    slot(Py_tp_dealloc, look_dealloc),
    slot(Py_tp_traverse, look_traverse),
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.FirstLook", sizeof(LookObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_first_look(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

Looked look_first(PyObject* look, PyObject* call, bool store, bool waiting, FirstFound& found) {
    try {
        return Look(as_look(look), call, store, found).run(waiting);
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return Looked::Error;
    }
}

int init_first_look(PyObject* module) {
    g_type = g_texts.make() ? make_heap_type(module, g_spec) : nullptr;
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "FirstLook", as_object(g_type));
}

}  // namespace millpond::bindings
