#include "hot/loaded.hpp"

#include <cmath>
#include <limits>

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
        self->ttl = ttl;
        self->stale = stale;
        self->cost = cost;
        self->left = std::numeric_limits<double>::infinity();
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
PyObject* get_left(PyObject* self, void*) {
    const double left = cast(self)->left;
    return std::isinf(left) ? Py_NewRef(Py_None) : PyFloat_FromDouble(left);
}

PyGetSetDef g_attributes[] = {
    {"value", get_value, nullptr, "What the caller gets.", nullptr},
    {"cost", get_cost, nullptr, "Dollars that it cost, or would have.", nullptr},
    {"tags", get_tags, nullptr, "Hashes of the tags that its call does not tell.", nullptr},
    {"left", get_left, nullptr, "Seconds that the tier's entry has left; None: it is from none.",
     nullptr},
    {},
};

PyType_Slot g_slots[] = {
    slot(Py_tp_new, loaded_new),           slot(Py_tp_dealloc, loaded_dealloc),
    slot(Py_tp_traverse, loaded_traverse), slot(Py_tp_clear, loaded_clear),
    {Py_tp_getset, g_attributes},          {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.Loaded", sizeof(LoadedObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE, g_slots};

}  // namespace

bool is_loaded(PyObject* object) noexcept { return Py_IS_TYPE(object, g_type); }

PyObject* loaded_value(PyObject* object) noexcept {
    return is_loaded(object) ? cast(object)->value : object;
}

const LoadedObject* as_loaded(PyObject* object) noexcept {
    return is_loaded(object) ? cast(object) : nullptr;
}

PyObject* make_loaded(const TierValue& from) {
    LoadedObject* const self = cast(g_type->tp_alloc(g_type, 0));
    if (self != nullptr) {
        // More than a century is for ever.
        const double nanos = from.life * 1e9;
        self->value = Py_NewRef(from.value);
        self->tags = Py_XNewRef(from.tags);
        self->ttl = nanos < 4e18 ? static_cast<long long>(nanos) : -1;
        self->left = from.left;
        self->age = from.age;
        self->cost = from.cost;
        self->source = from.source;
        self->store = from.store && self->ttl != 0;
    }
    return as_object(self);
}

int init_loaded(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : PyModule_AddObjectRef(module, "Loaded", as_object(g_type));
}

}  // namespace millpond::bindings
