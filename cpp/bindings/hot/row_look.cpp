#include "hot/row_look.hpp"

#include <chrono>
#include <new>
#include <utility>

#include "hot/clock.hpp"
#include "hot/mapped_stamp.hpp"
#include "hot/read_lock.hpp"

namespace millpond::bindings {
namespace {

// What is asked again by then, since the file forgets generations that nobody asks for.
constexpr Nanos kStampLife = std::chrono::seconds{10};

struct LookObject {
    PyObject_HEAD PyObject* database;  // .opened, .local.reader
    PyObject* query;                   // (data, guard, expires, used) of a key
    PyObject* usual;                   // (data, guard) of (key, now): mostly enough
    PyObject* brief;                   // (data,) of the same
    PyObject* note;                    // note(key, now): an entry was used after a while
    PyObject* check;                   // check(now): now and then
    PyObject* clock;                   // clock(): microseconds, in tests; None
    // Microseconds: between two notes of a use; that a guard is kept; between two checks.
    long long use_grain;
    long long guard_life;
    long long check_every;
    long long checked;
    // The stamps that are known, by name, and for how long: while the file is the same and its number
    // too. Whoever invalidates something changes the number after the commit and before saying that
    // it is done, so while it is what it was before the stamps were read, they are the present ones.
    PyObject* opened;  // null: none
    std::uint64_t version;
    std::uint64_t number;
    Instant until;
    PyObject* stamps;
    // What the last thread that looked has for a connection, which spares looking that up; null: none.
    std::uint64_t thread;
    PyObject* parts;
};

PyTypeObject* g_type = nullptr;

// The names of attributes, made once.
struct Texts {
    PyObject *opened, *local, *parts;
    bool make() {
        return intern(opened, "opened") && intern(local, "local") && intern(parts, "parts");
    }
} g_texts;

LookObject* as_look(PyObject* object) { return reinterpret_cast<LookObject*>(object); }

// What is open: (identity, stamp, epoch). Its stamp, or null.
MappedStamp* stamp_of(PyObject* opened) noexcept {
    return PyTuple_Check(opened) && PyTuple_GET_SIZE(opened) == 3
               ? mapped_stamp(PyTuple_GET_ITEM(opened, 1))
               : nullptr;
}

// The stamps that are known of what is open; what is read from now on may be added. Borrowed, or null
// with an exception set.
PyObject* current(LookObject* self, PyObject* opened, const MappedStamp& stamp) {
    const std::uint64_t number = stamp.value();
    const Instant now = coarse_now();
    if (self->opened != opened || self->number != number || now >= self->until) {
        PyObject* const fresh = PyDict_New();
        if (fresh == nullptr) {
            return nullptr;
        }
        ++self->version;
        self->number = number;
        self->until = now + kStampLife;
        Py_XSETREF(self->opened, Py_NewRef(opened));
        Py_XSETREF(self->stamps, fresh);
    }
    return self->stamps;
}

// Null with an exception set: where not all are known, none but that.
Ref known_stamps(PyObject* known, PyObject* names, bool& all) {
    const Py_ssize_t count = PySequence_Fast_GET_SIZE(names);
    Ref stamps(PyList_New(count));
    all = static_cast<bool>(stamps);
    for (Py_ssize_t i = 0; all && i < count; ++i) {
        PyObject* const stamp = PyDict_GetItemWithError(known, PySequence_Fast_GET_ITEM(names, i));
        all = stamp != nullptr;
        if (all) {
            PyList_SET_ITEM(stamps.get(), i, Py_NewRef(stamp));
        }
    }
    return stamps;
}

// The same, read. False, maybe with an exception set, where not all are known.
bool find_stamps(const LookObject* self, PyObject* stamps, PyObject* names, RowFound& found) {
    const auto made = std::make_shared<KnownStamps>();
    bool all = false;
    made->version = self->version;
    made->texts = known_stamps(stamps, names, all);
    if (!all || !read_present(names, made->texts.get(), made->present)) {
        return false;
    }
    found.known = made;
    return true;
}

// A thread's connection: (reader, its lock, execute, the cursor).
struct Parts {
    Ref whole;
    PyObject* lock;
    PyObject* execute;
    PyObject* cursor;
};

// Whether a connection is one to what is open.
bool is_current(PyObject* whole, PyObject* opened, MappedStamp*& stamp) {
    const Ref its(PyObject_GetAttr(PyTuple_GET_ITEM(whole, 0), g_texts.opened));
    return its.get() == opened && (stamp = stamp_of(opened)) != nullptr &&
           PyLong_AsUnsignedLongLong(PyTuple_GET_ITEM(opened, 2)) == stamp->epoch();
}

// What this thread has for a connection. Null, maybe with an exception set, where it has none.
Ref local_parts(const LookObject* self) {
    const Ref local(PyObject_GetAttr(self->database, g_texts.local));
    Ref whole(local ? PyObject_GetAttr(local.get(), g_texts.parts) : nullptr);
    const bool good = whole && PyTuple_Check(whole.get()) != 0 &&
                      PyTuple_GET_SIZE(whole.get()) == 4 &&
                      is_read_lock(PyTuple_GET_ITEM(whole.get(), 1)) &&
                      Py_TYPE(PyTuple_GET_ITEM(whole.get(), 3))->tp_iternext != nullptr;
    return good ? std::move(whole) : Ref();
}

// This thread's connection, where it is one to what is open; else false. May set an exception.
bool parts_of(LookObject* self, Parts& parts, Ref& opened, MappedStamp*& stamp) {
    opened = Ref(PyObject_GetAttr(self->database, g_texts.opened));
    if (!opened) {
        return false;
    }
    const std::uint64_t thread = PyThreadState_GetID(PyThreadState_Get());
    if (self->thread == thread) {
        parts.whole = Ref::share(self->parts);
    }
    // Once closed, a connection is one to nothing.
    if (!parts.whole || !is_current(parts.whole.get(), opened.get(), stamp)) {
        PyErr_Clear();
        parts.whole = local_parts(self);
        if (!parts.whole || !is_current(parts.whole.get(), opened.get(), stamp)) {
            return false;
        }
        self->thread = thread;
        Py_XSETREF(self->parts, Py_NewRef(parts.whole.get()));
    }
    parts.lock = PyTuple_GET_ITEM(parts.whole.get(), 1);
    parts.execute = PyTuple_GET_ITEM(parts.whole.get(), 2);
    parts.cursor = PyTuple_GET_ITEM(parts.whole.get(), 3);
    return true;
}

// The row of a query, None if there is none; null with an exception set. The lock is held meanwhile,
// so that nobody closes the connection.
Ref row_of(const Parts& parts, PyObject* query, PyObject* values) {
    PyObject* const arguments[] = {query, values};
    take_read_lock(parts.lock);
    const Ref done(PyObject_Vectorcall(parts.execute, arguments, 2, nullptr));
    Ref row(done ? Py_TYPE(parts.cursor)->tp_iternext(parts.cursor) : nullptr);
    give_read_lock(parts.lock);
    if (!row && PyErr_Occurred() == nullptr) {
        row = Ref::share(Py_None);
    }
    return row;
}

bool is_whole(PyObject* number, long long& value) {
    if (PyLong_CheckExact(number) == 0) {
        return false;
    }
    value = PyLong_AsLongLong(number);
    return value != -1 || PyErr_Occurred() == nullptr;
}

bool read_now(const LookObject* self, std::int64_t& now) {
    if (self->clock != Py_None) {
        const Ref given(PyObject_CallNoArgs(self->clock));
        now = given ? PyLong_AsLongLong(given.get()) : -1;
        return now != -1 || PyErr_Occurred() == nullptr;
    }
    now = read_clock(CLOCK_REALTIME).time_since_epoch() / std::chrono::microseconds{1};
    return true;
}

// False with an exception set.
bool call_with(PyObject* function, PyObject* key, std::int64_t now) {
    const Ref number(PyLong_FromLongLong(now));
    PyObject* const arguments[] = {key, number.get()};
    return number && Ref(key == nullptr ? PyObject_CallOneArg(function, number.get())
                                        : PyObject_Vectorcall(function, arguments, 2, nullptr));
}

RowOutcome take_row(LookObject* self, PyObject* key, PyObject* row, RowFound& found) {
    if (row == Py_None) {
        return RowOutcome::Found;
    }
    long long guard = 0, expires = 0, used = 0;
    if (PyTuple_Check(row) == 0 || PyTuple_GET_SIZE(row) != 4 ||
        !is_whole(PyTuple_GET_ITEM(row, 1), guard) ||
        !is_whole(PyTuple_GET_ITEM(row, 2), expires) || !is_whole(PyTuple_GET_ITEM(row, 3), used)) {
        return PyErr_Occurred() != nullptr ? RowOutcome::Error : RowOutcome::Cannot;
    }
    if (found.now - used > self->use_grain && !call_with(self->note, key, found.now)) {
        return RowOutcome::Error;
    }
    PyObject* const data = PyTuple_GET_ITEM(row, 0);
    if (expires > found.now && data != Py_None) {
        if (PyBytes_CheckExact(data) == 0) {
            return RowOutcome::Cannot;
        }
        found.data = Ref::share(data);
    }
    found.guard = guard > found.now - self->guard_life ? guard : 0;
    return RowOutcome::Found;
}

// An entry that lives, and whose use need not be noted. It asks for few columns: sqlite3 spells out
// the name of each, for every row.
RowOutcome usual_row(LookObject* self, const Parts& parts, PyObject* key, RowFound& found) {
    const Ref now(PyLong_FromLongLong(found.now));
    const Ref values(now ? PyTuple_Pack(2, key, now.get()) : nullptr);
    PyObject* const query = found.guarded ? self->usual : self->brief;
    const Ref row(values ? row_of(parts, query, values.get()) : Ref());
    if (!row) {
        return RowOutcome::Error;
    }
    long long guard = 0;
    if (PyTuple_Check(row.get()) == 0 || PyTuple_GET_SIZE(row.get()) != (found.guarded ? 2 : 1) ||
        PyBytes_CheckExact(PyTuple_GET_ITEM(row.get(), 0)) == 0 ||
        (found.guarded && !is_whole(PyTuple_GET_ITEM(row.get(), 1), guard))) {
        return PyErr_Occurred() != nullptr ? RowOutcome::Error : RowOutcome::Cannot;
    }
    found.data = Ref::share(PyTuple_GET_ITEM(row.get(), 0));
    found.guard = guard > found.now - self->guard_life ? guard : 0;
    return RowOutcome::Found;
}

// Any row, with its guard.
RowOutcome whole_row(LookObject* self, const Parts& parts, PyObject* key, RowFound& found) {
    found.data = Ref();
    found.guard = 0;
    found.guarded = true;
    const Ref values(PyTuple_Pack(1, key));
    const Ref row(values ? row_of(parts, self->query, values.get()) : Ref());
    return row ? take_row(self, key, row.get(), found) : RowOutcome::Error;
}

RowOutcome look_for(LookObject* self, PyObject* key, PyObject* names, const KnownStampsPtr& known,
                    RowFound& found) {
    Ref opened;
    Parts parts{};
    MappedStamp* stamp = nullptr;
    if (!parts_of(self, parts, opened, stamp)) {
        PyErr_Clear();  // The first time in a thread, say.
        return RowOutcome::Cannot;
    }
    PyObject* const stamps = current(self, opened.get(), *stamp);
    if (stamps != nullptr && known && known->version == self->version) {
        found.known = known;
    } else if (stamps == nullptr || !find_stamps(self, stamps, names, found)) {
        return PyErr_Occurred() != nullptr ? RowOutcome::Error : RowOutcome::Cannot;
    }
    if (!read_now(self, found.now)) {
        return RowOutcome::Error;
    }
    const long long since = found.now - self->checked;
    if (since < 0 || since >= self->check_every) {
        self->checked = found.now;
        if (!call_with(self->check, nullptr, found.now)) {
            return RowOutcome::Error;
        }
    }
    const RowOutcome usual = usual_row(self, parts, key, found);
    return usual != RowOutcome::Cannot ? usual : whole_row(self, parts, key, found);
}

// look(key, names): (data, guard, stamps), or None.
PyObject* look_call(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "look() takes a key and names");
        return nullptr;
    }
    const Ref names(PySequence_Fast(args[1], "names are a sequence"));
    RowFound found;
    try {
        switch (names ? look_for(as_look(object), args[0], names.get(), nullptr, found)
                      : RowOutcome::Error) {
            case RowOutcome::Found: break;
            case RowOutcome::Cannot: Py_RETURN_NONE;
            case RowOutcome::Error: return nullptr;
        }
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    return Py_BuildValue("(OLO)", found.data ? found.data.get() : Py_None,
                         static_cast<long long>(found.guard), found.known->texts.get());
}

// The dict of the stamps that are known; None: nothing is open.
PyObject* look_current(PyObject* object, PyObject*) {
    LookObject* const self = as_look(object);
    const Ref opened(PyObject_GetAttr(self->database, g_texts.opened));
    if (!opened) {
        return nullptr;
    }
    const MappedStamp* const stamp = stamp_of(opened.get());
    return stamp == nullptr ? Py_NewRef(Py_None) : Py_XNewRef(current(self, opened.get(), *stamp));
}

// is_due(now): whether it is time for a check, which the caller makes now.
PyObject* look_is_due(PyObject* object, PyObject* given) {
    LookObject* const self = as_look(object);
    const long long now = PyLong_AsLongLong(given);
    if (now == -1 && PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    const long long since = now - self->checked;
    const bool due = since < 0 || since >= self->check_every;
    if (due) {
        self->checked = now;
    }
    return PyBool_FromLong(due);
}

// RowLook(database, query, usual, brief, note, check, clock, use_grain, guard_life, check_every)
PyObject* look_new(PyTypeObject* type, PyObject* args, PyObject*) {
    PyObject *database = nullptr, *query = nullptr, *usual = nullptr, *brief = nullptr,
             *note = nullptr, *check = nullptr, *clock = nullptr;
    long long use_grain = 0, guard_life = 0, check_every = 0;
    if (PyArg_ParseTuple(args, "OUUUOOOLLL:RowLook", &database, &query, &usual, &brief, &note,
                         &check, &clock, &use_grain, &guard_life, &check_every) == 0) {
        return nullptr;
    }
    LookObject* const self = as_look(type->tp_alloc(type, 0));
    if (self != nullptr) {
        self->database = Py_NewRef(database);
        self->query = Py_NewRef(query);
        self->usual = Py_NewRef(usual);
        self->brief = Py_NewRef(brief);
        self->note = Py_NewRef(note);
        self->check = Py_NewRef(check);
        self->clock = Py_NewRef(clock);
        self->use_grain = use_grain;
        self->guard_life = guard_life;
        self->check_every = check_every;
    }
    return as_object(self);
}

int look_traverse(PyObject* object, visitproc visit, void* arg) {
    const LookObject* const self = as_look(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->database);
    Py_VISIT(self->note);
    Py_VISIT(self->check);
    Py_VISIT(self->clock);
    Py_VISIT(self->opened);
    Py_VISIT(self->parts);
    return 0;
}

int look_clear(PyObject* object) {
    LookObject* const self = as_look(object);
    Py_CLEAR(self->database);
    Py_CLEAR(self->query);
    Py_CLEAR(self->usual);
    Py_CLEAR(self->brief);
    Py_CLEAR(self->note);
    Py_CLEAR(self->check);
    Py_CLEAR(self->clock);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->stamps);
    self->thread = 0;
    Py_CLEAR(self->parts);
    return 0;
}

void look_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    look_clear(object);
    release_object(as_look(object));
}

PyMethodDef g_methods[] = {
    method("look", look_call, METH_FASTCALL,
           "look($self, key, names, /)\n--\n\n"
           "(the entry or None, its guard, the stamps of the names) of a key; None where the tier\n"
           "has to be asked. Raises what sqlite3 raises."),
    method("current", look_current, METH_NOARGS,
           "current($self, /)\n--\n\n"
           "The stamps that are known, by name: a dict to which may be added what is read after\n"
           "this call. None while nothing is open."),
    method("is_due", look_is_due, METH_O,
           "is_due($self, now, /)\n--\n\n"
           "Whether it is time for a check, which the caller makes then."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, look_new),           slot(Py_tp_dealloc, look_dealloc),
    slot(Py_tp_traverse, look_traverse), slot(Py_tp_clear, look_clear),
    {Py_tp_methods, g_methods},          {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.RowLook", sizeof(LookObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_row_look(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

RowOutcome look_for_row(PyObject* look, PyObject* key, PyObject* names, const KnownStampsPtr& known,
                        RowFound& found) {
    found.guarded = false;
    return look_for(as_look(look), key, names, known, found);
}

RowOutcome look_again(PyObject* look, PyObject* key, RowFound& found) {
    Ref opened;
    Parts parts{};
    MappedStamp* stamp = nullptr;
    if (!parts_of(as_look(look), parts, opened, stamp)) {
        PyErr_Clear();
        return RowOutcome::Cannot;
    }
    return whole_row(as_look(look), parts, key, found);
}

int init_row_look(PyObject* module) {
    g_type = g_texts.make() ? make_heap_type(module, g_spec) : nullptr;
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "RowLook", as_object(g_type));
}

}  // namespace millpond::bindings
