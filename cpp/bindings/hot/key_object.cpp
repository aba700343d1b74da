#include "hot/key_object.hpp"

#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

int key_traverse(PyObject* object, visitproc visit, void* arg) {
    KeyObject* const self = reinterpret_cast<KeyObject*>(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->leaves);
    Py_VISIT(self->object);
    return 0;
}

int key_clear(PyObject* object) {
    KeyObject* const self = reinterpret_cast<KeyObject*>(object);
    Py_CLEAR(self->leaves);
    Py_CLEAR(self->object);
    return 0;
}

void key_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    key_clear(object);
    release_object(object);
}

PyType_Slot g_slots[] = {
    slot(Py_tp_dealloc, key_dealloc),
    slot(Py_tp_traverse, key_traverse),
    slot(Py_tp_clear, key_clear),
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.Key", sizeof(KeyObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                          Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      g_slots};

}  // namespace

PyObject* make_key_object(const Fingerprint& print, PyObject* leaves, PyObject* object) {
    KeyObject* const self = PyObject_GC_New(KeyObject, g_type);
    if (self == nullptr) {
        return nullptr;
    }
    self->print = print;
    self->leaves = Py_XNewRef(leaves);
    self->object = Py_XNewRef(object);
    PyObject_GC_Track(self);
    return as_object(self);
}

PyObject* fingerprint_bytes(const Fingerprint& print) {
    const std::uint64_t halves[2] = {print.hi, print.lo};
    return PyBytes_FromStringAndSize(reinterpret_cast<const char*>(halves), sizeof halves);
}

int init_key_object(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : 0;
}

}  // namespace millpond::bindings
