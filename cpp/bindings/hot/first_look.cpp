#include "hot/first_look.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <utility>
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
    KnownStampsPtr* known;  // owned; of `generations`, as the row look has found them
};

PyTypeObject* g_type = nullptr;

struct Texts {
    PyObject *on, *fetch, *timeout, *failed, *said, *slow;
    bool make() {
        return intern(on, "on") && intern(fetch, "fetch") && intern(timeout, "timeout") &&
               intern(failed, "failed") && intern(said, "said") &&
               intern(slow, "its answers take too long");
    }
} g_texts;

LookObject* as_look(PyObject* object) { return reinterpret_cast<LookObject*>(object); }

double seconds(Nanos span) noexcept { return static_cast<double>(span.count()) * 1e-9; }

// One look-up.
class Look {
  public:
    Look(LookObject* self, PyObject* call, LookFor how, FirstFound& found) noexcept
        : self_(self), call_(call), how_(how), found_(found) {}

    Looked run();

  private:
    bool name_generations();
    Looked from_row();
    Looked from_tier();
    Looked cannot();
    Reading::Outcome open(PyObject* data, const std::vector<Present>& known, std::int64_t micros);
    Looked of_no_use(Reading::Outcome outcome, PyObject* data, PyObject* fetched);
    Looked absent(PyObject* fetched, PyObject* seen, PyObject* past = Py_None);
    Looked failed(std::int64_t ticket);
    bool ended(std::int64_t ticket, PyObject* data);

    [[nodiscard]] const ReaderObject& reader() const {
        return *reinterpret_cast<ReaderObject*>(self_->reader);
    }
    [[nodiscard]] PyObject* monitor() const { return reader().monitor; }
    [[nodiscard]] PyObject* key() const { return PyTuple_GET_ITEM(call_, 0); }

    LookObject* self_;
    PyObject* call_;
    LookFor how_;
    FirstFound& found_;
    Ref names_;
    Instant began_{};
};

bool Look::name_generations() {
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

Looked Look::run() {
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
    if (!name_generations()) {
        return Looked::Error;
    }
    if (self_->row != nullptr && tier_monitor(monitor()).state() == BreakerState::Closed) {
        const Looked looked = from_row();
        if (looked != Looked::Skipped) {
            return looked;
        }
    }
    return how_.waiting ? from_tier() : Looked::Skipped;
}

Looked Look::from_row() {
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
Looked Look::cannot() {
    if (PyErr_Occurred() != nullptr) {
        if (PyErr_ExceptionMatches(PyExc_Exception) == 0) {
            return Looked::Error;
        }
        PyErr_Clear();
    }
    return Looked::Skipped;
}

Looked Look::from_tier() {
    const double cap = memory_life(kNoLimit, kNoLimit, reader().monitors);
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
    if (fetched && !is_fetched(fetched.get(), PySequence_Fast_GET_SIZE(names_.get()))) {
        PyErr_SetString(PyExc_ValueError, "what fetch() returned is not what a Tier promises");
        fetched = Ref();
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
    if (outcome == Reading::Outcome::Good && cap < kNoLimit) {
        shorten_loaded(found_.loaded.get(), cap);  // It may be heard of others only since.
    }
    if (outcome == Reading::Outcome::Good || outcome == Reading::Outcome::Error) {
        return outcome == Reading::Outcome::Good ? Looked::Value : Looked::Error;
    }
    return of_no_use(outcome, data.get(), fetched.get());
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
    PyObject* const arguments[] = {self_->stage, number.get(), g_texts.fetch, error};
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

// Whether an entry is good, or there is none; `micros` is the time of the tier, where it is known.
Reading::Outcome Look::open(PyObject* data, const std::vector<Present>& known,
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
Looked Look::of_no_use(Reading::Outcome outcome, PyObject* data, PyObject* fetched) {
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
Looked Look::absent(PyObject* fetched, PyObject* seen, PyObject* past) {
    const double took =
        began_ == Instant{} ? 0 : std::max(0.0, seconds(tier_now(monitor()) - began_));
    found_.first = Ref(Py_BuildValue("(OOdO)", fetched, seen, took, past));
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
        self->known = new (std::nothrow) KnownStampsPtr;
        if (self->known == nullptr) {
            Py_DECREF(as_object(self));
            return PyErr_NoMemory();
        }
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
    delete std::exchange(self->known, nullptr);
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

Looked look_first(PyObject* look, PyObject* call, LookFor how, FirstFound& found) {
    try {
        return Look(as_look(look), call, how, found).run();
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
