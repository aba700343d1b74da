#include "hot/loaded.hpp"

#include <algorithm>
#include <cmath>

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

LoadedObject* cast(PyObject* object) { return reinterpret_cast<LoadedObject*>(object); }

// Loaded(value, ttl, store, source, cost, tags, stale)
PyObject* loaded_new(PyTypeObject* type, PyObject* args, PyObject*) {
    PyObject* value = nullptr;
    PyObject* tags = nullptr;
    long long ttl = 0, stale = 0;
    int store = 0;
    unsigned char source = 0;
    double cost = 0;
    if (PyArg_ParseTuple(args, "OLpbd|O!L", &value, &ttl, &store, &source, &cost, &PyTuple_Type,
                         &tags, &stale) == 0) {
        return nullptr;
    }
    LoadedObject* const self = cast(type->tp_alloc(type, 0));
    if (self != nullptr) {
        self->value = Py_NewRef(value);
        self->tags = Py_XNewRef(tags);
        self->ttl = ttl < 0 ? kNoEnd : ttl;
        self->stale = stale;
        self->cost = cost;
        self->left = self->fresh = std::numeric_limits<double>::infinity();
        self->source = source;
        self->store = store != 0;
    }
    return as_object(self);
}

int loaded_traverse(PyObject* self, visitproc visit, void* arg) {
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(cast(self)->value);
    Py_VISIT(cast(self)->tags);
    return 0;
}

int loaded_clear(PyObject* self) {
    Py_CLEAR(cast(self)->value);
    Py_CLEAR(cast(self)->tags);
    return 0;
}

void loaded_dealloc(PyObject* self) {
    PyObject_GC_UnTrack(self);
    loaded_clear(self);
    release_object(cast(self));
}

PyObject* get_value(PyObject* self, void*) { return Py_NewRef(cast(self)->value); }
PyObject* get_cost(PyObject* self, void*) { return PyFloat_FromDouble(cast(self)->cost); }
PyObject* get_tags(PyObject* self, void*) {
    PyObject* const tags = cast(self)->tags;
    return tags == nullptr ? PyTuple_New(0) : Py_NewRef(tags);
}
PyObject* get_fresh(PyObject* self, void*) { return PyFloat_FromDouble(cast(self)->fresh); }
PyObject* get_stale(PyObject* self, void*) {
    const LoadedObject* const loaded = cast(self);
    return PyFloat_FromDouble(std::isinf(loaded->left) ? 0 : loaded->left - loaded->fresh);
}
PyObject* get_past(PyObject* self, void*) { return PyBool_FromLong(cast(self)->past); }

// More than a century is for ever.
long long nanos_of(double seconds) {
    const double nanos = seconds * 1e9;
    return nanos < 4e18 ? static_cast<long long>(nanos) : kNoEnd;
}

// shorten(seconds)
PyObject* loaded_shorten(PyObject* self, PyObject* given) {
    const double seconds = PyFloat_AsDouble(given);
    if (PyErr_Occurred() != nullptr) {
        return nullptr;
    }
    shorten_loaded(self, seconds);
    Py_RETURN_NONE;
}

PyMethodDef g_methods[] = {
    method("shorten", loaded_shorten, METH_O,
           "shorten($self, seconds, /)\n--\n\n"
           "Have memory keep it no longer than that from now on."),
    {},
};

PyGetSetDef g_attributes[] = {
    {"value", get_value, nullptr, "What the caller gets.", nullptr},
    {"cost", get_cost, nullptr, "Dollars that it cost, or would have.", nullptr},
    {"tags", get_tags, nullptr, "Hashes of the tags that its call does not tell.", nullptr},
    {"fresh", get_fresh, nullptr,
     "Seconds of life that it has left in its tier, below 0 once it is past it; infinite: it is "
     "from "
     "none.",
     nullptr},
    {"stale", get_stale, nullptr, "Seconds that its tier keeps it past its life.", nullptr},
    {"past", get_past, nullptr, "Whether it is past its life, and to be loaded anew.", nullptr},
    {},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, loaded_new),
    slot(Py_tp_dealloc, loaded_dealloc),
    slot(Py_tp_traverse, loaded_traverse),
    slot(Py_tp_clear, loaded_clear),
    {Py_tp_getset, g_attributes},
    {Py_tp_methods, g_methods},
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.Loaded", sizeof(LoadedObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_loaded(PyObject* object) noexcept {
    return object != nullptr && Py_IS_TYPE(object, g_type);
}

PyObject* loaded_value(PyObject* object) noexcept {
    return is_loaded(object) ? cast(object)->value : object;
}

const LoadedObject* as_loaded(PyObject* object) noexcept {
    return is_loaded(object) ? cast(object) : nullptr;
}

PyObject* make_loaded(const TierValue& from) {
    LoadedObject* const self = cast(g_type->tp_alloc(g_type, 0));
    if (self != nullptr) {
        self->value = Py_NewRef(from.value);
        self->tags = Py_XNewRef(from.tags);
        self->ttl = nanos_of(from.life);
        self->stale = self->ttl == kNoEnd ? 0 : nanos_of(from.kept - from.life);
        self->left = from.left;
        self->fresh = from.fresh;
        self->age = from.age;
        self->cost = from.cost;
        self->source = from.source;
        self->store = from.store && from.kept > 0;
        self->past = from.fresh <= 0;
    }
    return as_object(self);
}

void shorten_loaded(PyObject* object, double seconds) noexcept {
    LoadedObject* const self = cast(object);
    const long long most = nanos_of(seconds);
    if (self->ttl > most) {
        self->ttl = most;
        self->stale = 0;
    } else if (self->ttl != kNoEnd) {
        self->stale = std::min(self->stale, most - self->ttl);
    }
    self->store = self->store && self->ttl + self->stale > 0;
}

int init_loaded(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "Loaded", as_object(g_type));
}

}  // namespace millpond::bindings
