// The type millpond._engine.FirstLook.
#include <new>
#include <utility>

#include "bind_journal.hpp"
#include "hot/first_look_state.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

FirstLookObject* as_look(PyObject* object) { return reinterpret_cast<FirstLookObject*>(object); }

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
    FirstLookObject* const self = as_look(type->tp_alloc(type, 0));
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
    const FirstLookObject* const self = as_look(object);
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
    FirstLookObject* const self = as_look(object);
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

// begin(call): see the stub.
PyObject* look_begin(PyObject* object, PyObject* call) {
    FirstFound found;
    if (PyTuple_Check(call) == 0 || PyTuple_GET_SIZE(call) != 2 ||
        PyTuple_Check(PyTuple_GET_ITEM(call, 1)) == 0) {
        PyErr_SetString(PyExc_TypeError, "begin() takes (name, generations)");
        return nullptr;
    }
    try {
        return OneLook(as_look(object), call, {.store = true, .anew = false, .waiting = true},
                       found)
            .begin();
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

// end(call, begun, fetched, store, anew)
PyObject* look_end(PyObject* object, PyObject* const* args, Py_ssize_t count) {
    if (count != 5 || PyTuple_Check(args[0]) == 0 || PyTuple_Check(args[1]) == 0) {
        PyErr_SetString(PyExc_TypeError, "end() takes a call, what begin() gave, and the answer");
        return nullptr;
    }
    FirstFound found;
    const LookFor how{.store = args[3] == Py_True, .anew = args[4] == Py_True, .waiting = true};
    try {
        return OneLook(as_look(object), args[0], how, found).end(args[1], args[2]);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

PyMethodDef g_methods[] = {
    method(
        "begin", look_begin, METH_O,
        "begin($self, call, /)\n--\n\n"
        "What to await of a tier, and to give end(): (ticket, began, keys, names, deadline). Or\n"
        "what is known without it. None: nothing is."),
    method("end", look_end, METH_FASTCALL,
           "end($self, call, begun, fetched, store, anew, /)\n--\n\n"
           "A Loaded, or what was found instead. `fetched` is what the tier gave, or raised."),
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, look_new),
    slot(Py_tp_dealloc, look_dealloc),
    slot(Py_tp_traverse, look_traverse),
    {Py_tp_methods, g_methods},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.FirstLook", sizeof(FirstLookObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_first_look(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

Looked look_first(PyObject* look, PyObject* call, LookFor how, FirstFound& found) {
    try {
        return OneLook(as_look(look), call, how, found).run();
    } catch (const std::bad_alloc&) {
        PyErr_NoMemory();
        return Looked::Error;
    }
}

int init_first_look(PyObject* module) {
    g_type = make_first_look_texts() ? make_heap_type(module, g_spec) : nullptr;
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "FirstLook", as_object(g_type));
}

}  // namespace millpond::bindings
