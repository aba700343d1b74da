#include "hot/entry_reader.hpp"

#include <algorithm>
#include <new>

#include "hot/entry_head.hpp"
#include "hot/entry_reading.hpp"

namespace millpond::bindings {
namespace {

using cache::TierEvent;

PyTypeObject* g_type = nullptr;

ReaderObject* as_reader(PyObject* object) { return reinterpret_cast<ReaderObject*>(object); }

// Seconds, None being no limit. False with an exception set.
bool read_seconds(PyObject* given, double& seconds) {
    seconds = given == Py_None ? kNoLimit : PyFloat_AsDouble(given);
    return seconds != -1 || PyErr_Occurred() == nullptr;
}

bool are_monitors(PyObject* monitors) {
    bool all = PyTuple_Check(monitors) != 0;
    for (Py_ssize_t i = 0; all && i < PyTuple_GET_SIZE(monitors); ++i) {
        all = is_tier_monitor(PyTuple_GET_ITEM(monitors, i));
    }
    if (!all) {
        PyErr_SetString(PyExc_TypeError, "a tuple of TierMonitors is needed");
    }
    return all;
}

// Adds the texts of names to a list. False with an exception set.
bool add_texts(PyObject* list, const std::vector<GenerationBytes>& names) {
    return std::ranges::all_of(names, [&](const auto& name) {
        const Ref text(generation_text(name));
        return text && PyList_Append(list, text.get()) == 0;
    });
}

// What read() is asked.
struct Question {
    Ref keys;
    Ref entries;
    std::vector<Present> known;
    std::size_t call = 0;
    double most = kNoLimit;
    bool store = false;
    bool anew = false;

    // False with an exception set.
    bool read(PyObject* const* args, Py_ssize_t count);
};

bool read_pair(PyObject* pair, std::vector<Present>& known) {
    if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
        PyErr_SetString(PyExc_TypeError, "read() takes names and their stamps as a pair");
        return false;
    }
    return read_present(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1), known);
}

bool Question::read(PyObject* const* args, Py_ssize_t count) {
    if (count != 7) {
        PyErr_SetString(PyExc_TypeError, "read() takes seven arguments");
        return false;
    }
    keys = Ref(PySequence_Fast(args[0], "keys are a sequence"));
    entries = Ref(keys ? PySequence_Fast(args[1], "entries are a sequence") : nullptr);
    const int stored = entries ? PyObject_IsTrue(args[5]) : -1;
    const int asked_anew = stored < 0 ? -1 : PyObject_IsTrue(args[6]);
    if (asked_anew < 0 || !read_seconds(args[4], most) || !read_pair(args[2], known)) {
        return false;
    }
    store = stored != 0;
    anew = asked_anew != 0;
    call = known.size();
    if (args[3] != Py_None && !read_pair(args[3], known)) {
        return false;
    }
    if (PySequence_Fast_GET_SIZE(entries.get()) != PySequence_Fast_GET_SIZE(keys.get())) {
        PyErr_SetString(PyExc_ValueError, "the tier has not answered for each key");
        return false;
    }
    return true;
}

// What read() answers.
struct Answer {
    Ref found{PyDict_New()};
    Ref seen{PyBytes_FromStringAndSize(nullptr, 0)};
    Ref later{PyList_New(0)};
    Ref unknown{PyList_New(0)};
    Ref past{PyDict_New()};

    // Adds what became of one entry. False with an exception set.
    bool add(Reading& reading, PyObject* key, PyObject* entry) {
        if (entry == Py_None) {
            static_cast<void>(reading.bad(TierEvent::Absent));
            return true;
        }
        Ref loaded;
        switch (reading.open(key, entry, loaded)) {
            case Reading::Outcome::Good: return PyDict_SetItem(found.get(), key, loaded.get()) == 0;
            case Reading::Outcome::Bad: seen = Ref::share(entry); return true;
            case Reading::Outcome::Past:
                seen = Ref::share(entry);
                return PyDict_SetItem(past.get(), key, loaded.get()) == 0;
            case Reading::Outcome::Unknown:
                return PyList_Append(later.get(), key) == 0 &&
                       add_texts(unknown.get(), reading.others());
            case Reading::Outcome::Error: break;
        }
        return false;
    }
};

PyObject* reader_read(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    try {
        Question asked;
        Answer answer;
        if (!asked.read(args, count) || !answer.found || !answer.seen || !answer.later ||
            !answer.unknown || !answer.past) {
            return nullptr;
        }
        Reading reading(as_reader(object), asked.known, asked.call, asked.most, asked.store,
                        asked.anew);
        for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(asked.keys.get()); ++i) {
            // Whoever decodes may run anything, and change a list.
            const Ref key = Ref::share(PySequence_Fast_GET_ITEM(asked.keys.get(), i));
            if (i >= PySequence_Fast_GET_SIZE(asked.entries.get())) {
                break;
            }
            const Ref entry = Ref::share(PySequence_Fast_GET_ITEM(asked.entries.get(), i));
            if (!answer.add(reading, key.get(), entry.get())) {
                return nullptr;
            }
        }
        return PyTuple_Pack(5, answer.found.get(), answer.seen.get(), answer.later.get(),
                            answer.unknown.get(), answer.past.get());
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

// EntryReader(monitor, source, now, monitors, terms, opened, stale_while, stale_if, strict)
PyObject* reader_new(PyTypeObject* type, PyObject* args, PyObject*) {
    PyObject *monitor = nullptr, *now = nullptr, *monitors = nullptr, *opened = nullptr,
             *unpack = nullptr;
    unsigned char source = 0;
    int plain = 0, readonly = 0, strict = 0;
    unsigned long long schema = 0;
    unsigned int most = 0;
    double stale_while = 0, stale_if = 0;
    if (PyArg_ParseTuple(args, "ObOO(pKIpO)Oddp:EntryReader", &monitor, &source, &now, &monitors,
                         &plain, &schema, &most, &readonly, &unpack, &opened, &stale_while,
                         &stale_if, &strict) == 0 ||
        !are_monitors(monitors)) {
        return nullptr;
    }
    if (!is_tier_monitor(monitor)) {
        PyErr_SetString(PyExc_TypeError, "EntryReader() takes a TierMonitor");
        return nullptr;
    }
    ReaderObject* const self = as_reader(type->tp_alloc(type, 0));
    if (self != nullptr) {
        self->monitor = Py_NewRef(monitor);
        self->now = Py_NewRef(now);
        self->monitors = Py_NewRef(monitors);
        self->opened = Py_NewRef(opened);
        self->terms = {schema, readonly != 0, Py_NewRef(unpack)};
        self->stale_while = stale_while;
        self->stale_if = stale_if;
        self->most = most;
        self->source = source;
        self->plain = plain != 0;
        self->strict = strict != 0;
    }
    return as_object(self);
}

int reader_traverse(PyObject* object, visitproc visit, void* arg) {
    const ReaderObject* const self = as_reader(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->monitor);
    Py_VISIT(self->now);
    Py_VISIT(self->monitors);
    Py_VISIT(self->opened);
    Py_VISIT(self->terms.unpack);
    return 0;
}

int reader_clear(PyObject* object) {
    ReaderObject* const self = as_reader(object);
    Py_CLEAR(self->monitor);
    Py_CLEAR(self->now);
    Py_CLEAR(self->monitors);
    Py_CLEAR(self->opened);
    Py_CLEAR(self->terms.unpack);
    return 0;
}

void reader_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    reader_clear(object);
    release_object(as_reader(object));
}

// memory_life(left, most, monitors)
PyObject* memory_life_function(PyObject*, PyObject* const* args, Py_ssize_t count) {
    double left = 0;
    double most = 0;
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "memory_life() takes left, most and monitors");
        return nullptr;
    }
    if (!read_seconds(args[0], left) || !read_seconds(args[1], most) || !are_monitors(args[2])) {
        return nullptr;
    }
    const double life = memory_life(left, most, args[2]);
    return life == kNoLimit ? Py_NewRef(Py_None) : PyFloat_FromDouble(life);
}

PyMethodDef g_methods[] = {
    method(
        "read", reader_read, METH_FASTCALL,
        "read($self, keys, entries, present, others, most, store, anew, /)\n--\n\n"
        "What is good of the entries that the tier has for keys.\n\n"
        "Args:\n"
        "    keys, entries: an entry, or None, for each key.\n"
        "    present: the names of the call's generations, and their stamps.\n"
        "    others: the same for generations that only entries know; None: not asked yet.\n"
        "    most: seconds that memory may keep a value; None: no limit.\n"
        "    store: whether it keeps it at all.\n"
        "    anew: whether the caller is about to load anew what is past its life.\n\n"
        "Returns:\n"
        "    a `Loaded` for each key that has a good entry; an entry that is not good, or b\"\";\n"
        "    the keys whose entries have generations that are not known, and the names of these;\n"
        "    and a `Loaded` for each whose value is past its life, in case that its load fails."),
    {nullptr, nullptr, 0, nullptr},
};

PyMethodDef g_functions[] = {
    method("memory_life", memory_life_function, METH_FASTCALL,
           "memory_life($module, left, most, monitors, /)\n--\n\n"
           "Seconds that memory may keep a value: the least of what its entry has left, what its\n"
           "function allows, and the caps of the tiers; None: no limit."),
    {},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, reader_new),
    slot(Py_tp_dealloc, reader_dealloc),
    slot(Py_tp_traverse, reader_traverse),
    slot(Py_tp_clear, reader_clear),
    {Py_tp_methods, g_methods},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.EntryReader", sizeof(ReaderObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_entry_reader(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

int init_entry_reader(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    if (g_type == nullptr || PyModule_AddObjectRef(module, "EntryReader", as_object(g_type)) != 0) {
        return -1;
    }
    return PyModule_AddFunctions(module, g_functions);
}

}  // namespace millpond::bindings
