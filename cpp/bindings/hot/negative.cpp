#include "hot/negative.hpp"

#include "hot/coroutine.hpp"
#include "hot/heap_type.hpp"

namespace millpond::bindings {
namespace {

PyTypeObject* g_type = nullptr;

int negative_traverse(PyObject* object, visitproc visit, void* arg) {
    NegativeObject* const self = reinterpret_cast<NegativeObject*>(object);
    Py_VISIT(Py_TYPE(object));
    Py_VISIT(self->exception);
    Py_VISIT(self->traceback);
    return 0;
}

int negative_clear(PyObject* object) {
    NegativeObject* const self = reinterpret_cast<NegativeObject*>(object);
    Py_CLEAR(self->exception);
    Py_CLEAR(self->traceback);
    return 0;
}

void negative_dealloc(PyObject* object) {
    PyObject_GC_UnTrack(object);
    negative_clear(object);
    release_object(object);
}

PyType_Slot g_slots[] = {
    slot(Py_tp_dealloc, negative_dealloc),
    slot(Py_tp_traverse, negative_traverse),
    slot(Py_tp_clear, negative_clear),
    {0, nullptr},
};

PyType_Spec g_spec = {"millpond._engine.Negative", sizeof(NegativeObject), 0,
                      Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE |
                          Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      g_slots};

}  // namespace

PyTypeObject* negative_type() noexcept { return g_type; }

PyObject* make_negative(PyObject* exception) {
    NegativeObject* const self = PyObject_GC_New(NegativeObject, g_type);
    if (self == nullptr) {
        return nullptr;
    }
    self->exception = Py_NewRef(exception);
    self->traceback = PyException_GetTraceback(exception);
    PyObject_GC_Track(self);
    return as_object(self);
}

PyObject* raise_negative(PyObject* negative) {
    NegativeObject* const self = reinterpret_cast<NegativeObject*>(negative);
    raise_with_traceback(self->exception, self->traceback);
    return nullptr;
}

int init_negative(PyObject* module) {
    g_type = make_heap_type(module, g_spec);
    return g_type == nullptr ? -1 : 0;
}

}  // namespace millpond::bindings
